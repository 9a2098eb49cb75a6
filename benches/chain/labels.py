"""Whether labels are joined exactly once where the server is killed among them."""

import http.client
import json
import random
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass

from figures import at_least, exactly, told
from served import Served, metric, post

MODEL = "sentiment"
# Rows of a request, and labels of a call.
ROWS = 500
# Predictions of the last 10 ms before a kill may be lost; these have all been written by then.
WRITTEN = 1.0


def joined(settings):
    """Predictions, then a label for each, over a server that is killed again and again. What has no
    answer is sent once more, as a client does that cannot know."""
    calls, kills = (10, 1) if settings.quick else (200, 20)
    store = settings.scratch / "feedback.db"
    start = lambda: Served(settings.bundle, "--feedback-store", store)
    with start() as server:
        wanted = [labels_of(server, number) for number in range(calls)]
        time.sleep(WRITTEN)
    sent, began = send_all(start, wanted, kills)
    took = time.perf_counter() - began
    total = calls * ROWS
    stored, distinct = in_store(store)
    with start() as server:
        send(server, wanted, Sent())
        metrics = server.get("/metrics")
    again = {
        result: int(metric(metrics, f'luthier_feedback_labels_total{{{of_version(result)}}}'))
        for result in ("accepted", "duplicate")
    }
    how = f"{total} labels, the server killed by SIGKILL {sent.kills} times, the call without answer sent again"
    return [
        exactly("labels: in the store", stored, "", total, how),
        exactly("labels: rows that have one", distinct, "", total, how),
        exactly("labels: known when all are sent once more", again["duplicate"], "", total, "by /metrics"),
        exactly("labels: counted a second time", again["accepted"], "", 0, "by /metrics"),
        at_least("labels: kills among them", sent.kills, "", kills, "at random moments of a call"),
        told("labels: stored though their call had no answer", sent.duplicates, "", "known when sent again"),
        told("labels: time for all of it", took, "s", f"with {sent.kills} restarts"),
    ]


def of_version(result):
    return f'model="{MODEL}",version="1",result="{result}"'


def labels_of(server, number):
    """Asks for predictions, and gives the call that brings their labels."""
    texts = [f"a {word} film, number {number * ROWS + row}" for row, word in zip(range(ROWS), words())]
    body = json.dumps({"instances": texts})
    status, headers, _ = post(server.connect(), f"/v1/models/{MODEL}:predict", body)
    if status != 200:
        raise SystemExit(f"a prediction gets {status}")
    identity = headers["x-prediction-id"]
    return json.dumps({"labels": [{"id": identity, "row": row, "label": "1"} for row in range(ROWS)]})


def words():
    while True:
        yield from ("warm", "dull", "lovely", "cold", "funny")


@dataclass
class Sent:
    """What it took to get all labels there."""

    kills: int = 0
    duplicates: int = 0
    """Labels that were known already when they were sent again."""


def send_all(start, wanted, kills):
    """Sends all labels, with kills spread over them; gives what it took, and when it began."""
    sent, chance = Sent(), random.Random(7)
    began = time.perf_counter()
    at = {len(wanted) * (kill + 1) // (kills + 1) for kill in range(kills)}
    server = start()
    number = 0
    while number < len(wanted):
        if number in at:
            at.remove(number)
            # Within the few milliseconds that a call takes, so that some die in the middle.
            threading.Timer(chance.uniform(0, 0.004), server.process.kill).start()
            sent.kills += 1
            number += send(server, wanted[number:], sent)
            server.kill()
            server = start()
        else:
            number += send(server, wanted[number : min([len(wanted), *at])], sent)
    with server:
        return sent, began


def send(server, calls, sent):
    """Sends calls until one has no answer; how many have one."""
    connection = server.connect()
    for number, call in enumerate(calls):
        try:
            status, _, document = post(connection, f"/v1/models/{MODEL}:feedback", call)
        except (OSError, http.client.HTTPException, ValueError):
            return number
        if status != 200 or document["unknown"]:
            raise SystemExit(f"labels get {status} {document}")
        sent.duplicates += document["duplicates"]
    return len(calls)


def in_store(path):
    """How many labels there are, and rows that have one."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        (stored,) = database.execute("SELECT count(*) FROM labels").fetchone()
        (distinct,) = database.execute("SELECT count(*) FROM (SELECT DISTINCT id, row FROM labels)").fetchone()
    return stored, distinct
