"""What the server takes for one row over HTTP, with server and client on a core each."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import product
from figures import at_most, below, told

SCRIPT = Path(__file__).with_name("sentences.lua")
MODEL = "sst2"
PATH = f"/v1/models/{MODEL}:predict"
# A server that has not answered by then never will.
PATIENCE = 10.0


def http(settings):
    """Latency on one connection, throughput on eight, and time to the first answer."""
    parts = settings.sets("sst2").get("sst2")
    if parts is None:
        return []
    need_wrk()
    cores = sorted(os.sched_getaffinity(0))
    core, client_core = cores[0], cores[-1]
    folder = product.job(settings.scratch / "http", MODEL, parts, "f1")
    bundle = product.run(folder, settings.trials).folder / "bundle"
    bodies = write_bodies(settings.scratch / "bodies.txt", parts.test)
    os.sched_setaffinity(0, {client_core})
    try:
        starts = [first_answer(bundle, core) for _ in range(settings.repeats(5))]
        seconds = 1 if settings.quick else 10
        with server(bundle, core) as port:
            load(port, PATH, 1, 1, bodies)
            both = [
                (load(port, PATH, 1, seconds, bodies), load(port, "/healthz", 1, seconds))
                for _ in range(settings.repeats(3))
            ]
            busy = load(port, PATH, 8, seconds, bodies)
    finally:
        os.sched_setaffinity(0, cores)
    return http_figures(both, busy, starts, "" if core != client_core else "; ONE CORE FOR BOTH")


def http_figures(both, busy, starts, note):
    alone, idle = zip(*both)
    requests, seconds = (sum(round[key] for round in alone) for key in ("requests", "seconds"))
    how = f"wrk on 1 connection; median of {len(both)} rounds, {requests} requests in {seconds:.0f} s{note}"
    floor = f"/healthz, which no model answers, in turn with the rounds above{note}"
    many = f"wrk for {busy['seconds']:.0f} s, 8 connections, server on one core{note}"
    start = f"exec of luthier serve to the first 200 of :predict, median of {len(starts)}{note}"
    failed = sum(round["failed"] for round in [*alone, busy])

    def middle(rounds, key):
        return median(round[key] for round in rounds)

    return [
        below("http: one row, p50", middle(alone, "p50_ms"), "ms", 0.3, how),
        below("http: one row, p99", middle(alone, "p99_ms"), "ms", 1, how),
        told("http: no row, p50", middle(idle, "p50_ms"), "ms", floor),
        told("http: no row, p99", middle(idle, "p99_ms"), "ms", floor),
        told("http: requests per second", busy["requests"] / busy["seconds"], "1/s", many),
        at_most("http: failed requests", failed, "", 0, "both loads"),
        below("http: start to first answer", median(starts) * 1e3, "ms", 200, start),
    ]


def need_wrk():
    if not shutil.which("wrk"):
        product.say("installing wrk")
        subprocess.run(
            "apt-get update -qq && apt-get install -y -qq wrk",
            shell=True,
            check=True,
            stdout=subprocess.DEVNULL,
        )


def write_bodies(path, test):
    texts = (row["text"] for row in product.rows(test))
    path.write_text("".join(json.dumps({"instances": [text]}) + "\n" for text in texts))
    return path


def load(port, path, connections, seconds, *bodies):
    """What `sentences.lua` says after so many seconds of load from one thread."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", SCRIPT]
    command += [f"http://127.0.0.1:{port}{path}", "--", *bodies]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def first_answer(bundle, core):
    """Seconds from starting a server to its first answer."""
    start = time.perf_counter()
    with server(bundle, core):
        return time.perf_counter() - start


@contextmanager
def server(bundle, core):
    """A server pinned to a core; gives its port once it answers."""
    port = free_port()
    process = subprocess.Popen(
        [product.BINARY, "serve", bundle, "--rest-port", str(port), "--grpc-port", "0"],
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.perf_counter() + PATIENCE
        while not answers(port):
            if process.poll() is not None or time.perf_counter() > deadline:
                sys.exit("luthier serve does not answer")
            time.sleep(0.001)
        yield port
    finally:
        process.terminate()
        process.wait()


def answers(port):
    """Whether a text sent to the server comes back answered."""
    body = b'{"instances": ["a quiet, lovely film"]}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(head.encode() + body)
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
