"""A `luthier serve` under measurement."""

import http.client
import json
import os
import subprocess
import sys

import product


class Served:
    """A server on ports of its own, ready; on one core where that is said. Ended on leaving."""

    def __init__(self, *arguments, core=None):
        command = [product.BINARY, "serve", *map(str, arguments), "--rest-port", "0", "--grpc-port", "0"]
        # Requests are told of as in production; what comes after the start is nobody's to read.
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )
        self.rest, self.grpc = self._addresses()
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def _addresses(self):
        addresses = None
        # Byte by byte, so that all that follows is left to who drains it.
        while line := self._line():
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("message") == "listening":
                addresses = event["luthier.address"], event["luthier.grpc_address"]
            if event.get("message") == "every model answers":
                return addresses
        sys.exit(f"luthier serve ends with {self.process.wait()}")

    def _line(self):
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self.process.stderr.fileno(), 1)
            if not byte:
                return ""
            line += byte
        return line.decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end(self.process.terminate)

    def kill(self):
        """SIGKILL: nothing is put in order."""
        self.end(self.process.kill)

    def end(self, how):
        how()
        self.process.wait()
        self.drain.wait()

    def connect(self, timeout=10):
        return http.client.HTTPConnection(self.rest, timeout=timeout)

    def get(self, path):
        connection = self.connect()
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def post(connection, path, body):
    """Status, headers and document of an answer."""
    connection.request("POST", path, body)
    answer = connection.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())


def metric(text, series):
    """The value of a series, 0 where it is absent."""
    values = (line.rsplit(" ", 1) for line in text.splitlines())
    return next((float(value) for name, value in values if name == series), 0.0)
