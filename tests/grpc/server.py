"""A `luthier serve` on free ports."""

import json
import subprocess
import threading
import urllib.error
import urllib.request


class Server:
    """A running server, ready; ended on leaving."""

    def __init__(self, luthier, *arguments):
        command = [luthier, "serve", *map(str, arguments), "--rest-port", "0", "--grpc-port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.rest, self.grpc = self._addresses()
        # The log goes on, and must be read for the server not to wait.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def _addresses(self):
        said, addresses = [], None
        for line in self.process.stderr:
            said.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("message") == "listening":
                addresses = event["luthier.address"], event["luthier.grpc_address"]
            if event.get("message") == "every model answers":
                return addresses
        raise SystemExit(f"the server ends with {self.process.wait()}:\n{''.join(said)}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.code = self.process.wait(60)

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.rest}{path}", timeout=30) as answer:
            return answer.read().decode()

    def post(self, path, body):
        """Status, headers and document of an answer, whatever the status."""
        request = urllib.request.Request(f"http://{self.rest}{path}", json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.headers, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.loads(error.read())
