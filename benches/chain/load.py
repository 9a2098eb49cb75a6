"""What requests take over gRPC, and whether a swap of versions fails any."""

import json
import os
import subprocess
import threading
import time
from statistics import median

import product
from figures import at_least, at_most, below, told
from served import Served, metric, post

CLIENT = product.EXAMPLES / "grpc_load"
MODEL = "sentiment"
RATE = 200
CONNECTIONS = 8


def build():
    """The client over gRPC: one of Python takes longer than the server that it asks."""
    product.build_example("luthier-serve", "grpc_load")


def texts(settings):
    """The texts of the example's test split, a line each, as a file."""
    path = settings.scratch / "texts.txt"
    rows = product.rows(product.EXAMPLE / "data/test.csv")
    path.write_text("".join(" ".join(row["text"].split()) + "\n" for row in rows))
    return path


def client(address, path, seconds, rate=None, core=None):
    """Starts the client over gRPC; what it finds is JSON on its output."""
    command = [CLIENT, address, MODEL, path, str(seconds), *([] if rate is None else [str(rate)])]
    pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=pin)


def found(process):
    out, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"grpc_load ends with {process.returncode}")
    return json.loads(out)


def grpc(settings):
    """One row per request on one connection, server and client on a core each."""
    cores = sorted(os.sched_getaffinity(0))
    path, seconds = texts(settings), 1 if settings.quick else 10
    with Served(settings.bundle, "--workers", 1, core=cores[0]) as server:
        ask = lambda seconds: found(client(server.grpc, path, seconds, core=cores[-1]))
        ask(1)
        rounds = [ask(seconds) for _ in range(settings.repeats(3))]
    p50, p99 = (median(one[key] for one in rounds) for key in ("p50_ms", "p99_ms"))
    note = "" if cores[0] != cores[-1] else "; ONE CORE FOR BOTH"
    count = sum(one["requests"] for one in rounds)
    how = f"a client in Rust on h2, {seconds} s, {count} requests, median of {len(rounds)}{note}"
    failed = sum(one["failed"] for one in rounds)
    return [
        below("grpc: one row, p50", p50, "ms", 0.4, how),
        told("grpc: one row, p99", p99, "ms", how),
        at_most("grpc: failed requests", failed, "", 0, how),
    ]


def swaps(settings):
    """New versions of a model under requests at a steady rate over both protocols."""
    count, pause = (2, 1.5) if settings.quick else (12, 2.0)
    model = settings.scratch / "models" / MODEL
    publish(settings.bundle, model)
    seconds = pause * (count + 2)
    with Served(model.parent, "--poll", "0.2") as server:
        over_grpc = client(server.grpc, texts(settings), seconds, RATE)
        rest = [Rest(server, place, seconds) for place in range(CONNECTIONS)]
        for thread in rest:
            thread.start()
        for _ in range(count):
            time.sleep(pause)
            publish(settings.bundle, model)
        for thread in rest:
            thread.join()
        over_grpc = found(over_grpc)
        seen = versions_that_answered(server.get("/metrics"), count + 1)
    statuses = [status for thread in rest for status, _ in thread.answers]
    took = max(took for thread in rest for _, took in thread.answers) * 1e3
    failed_rest = sum(status != 200 for status in statuses)
    how = f"{RATE} requests per second over each protocol, whether or not the last were answered"
    rate = (len(statuses) + over_grpc["requests"]) / seconds
    return [
        at_least("swaps: versions taken up while requests came", seen - 1, "", count, how),
        at_most("swaps: failed requests over REST", failed_rest, f"of {len(statuses)}", 0, how),
        at_most(
            "swaps: failed requests over gRPC", over_grpc["failed"], f"of {over_grpc['requests']}", 0, how
        ),
        at_least("swaps: requests per second", rate, "1/s", 1.9 * RATE, "both protocols together"),
        told("swaps: longest answer over REST", took, "ms", "from the time that it was due"),
        told("swaps: longest answer over gRPC", over_grpc["longest_ms"], "ms", "the same"),
    ]


def publish(bundle, model):
    product.luthier("bundle", "publish", bundle, model)


def versions_that_answered(metrics, last):
    """How many versions have answered requests over both protocols."""
    def answers(version, protocol):
        labels = f'model="{MODEL}",version="{version}",protocol="{protocol}",api="predict",status="200"'
        return metric(metrics, f"luthier_requests_total{{{labels}}}") > 0

    return sum(answers(v, "rest") and answers(v, "grpc") for v in range(1, last + 1))


class Rest(threading.Thread):
    """A share of the requests over REST, on one connection: status of each, and its time since it
    was due."""

    def __init__(self, server, place, seconds):
        super().__init__()
        self.connection, self.seconds, self.answers = server.connect(), seconds, []
        self.first = place / RATE

    def run(self):
        body = json.dumps({"instances": ["a warm and funny film"]})
        start = time.perf_counter() + self.first
        for number in range(int(self.seconds * RATE / CONNECTIONS)):
            due = start + number * CONNECTIONS / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            try:
                status, _, _ = post(self.connection, f"/v1/models/{MODEL}:predict", body)
            except OSError:
                status = 0
                self.connection.close()
            self.answers.append((status, time.perf_counter() - due))
