"""From a bundle to a container that runs, is scraped and alerts; and the files that are shipped."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from functools import cache
from pathlib import Path

import engine
from figures import at_most, below, exactly, told
from product import CHECKOUT, say

OFFSET = 21000
REST, PROMETHEUS, ALERTMANAGER = (f"http://127.0.0.1:{port + OFFSET}" for port in (8501, 9090, 9093))
CONTAINER = "luthier-sentiment"
MB = 1e6
# Nothing takes longer.
PATIENCE = 240


@cache
def static_program():
    """The static build that an image needs; installs what runs it, too."""
    command = [CHECKOUT / "tests/ship/run", "ready"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def ship(settings):
    """One command from a bundle to a watched server, and what happens when it stops."""
    program = static_program()
    engine.configure(settings.scratch)
    out = settings.scratch / "shipped"
    command = [program, "ship", settings.bundle, "--out", out, "--local", "--engine", "podman"]
    began = time.monotonic()
    local = subprocess.Popen(
        [*command, "--port-offset", str(OFFSET)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        up = until("a server", lambda: answers(f"{REST}/readyz"), local) - began
        watched = until("who watches it", is_watched, local) - began
        size, model = image_size(out)
        figures = [
            told("ship: running", up, "s", "luthier ship --local until /readyz says yes, no image cached"),
            below(
                "ship: running, scraped, alerting", watched, "s", 60,
                "until Prometheus has scraped it, has evaluated every rule and has an Alertmanager",
            ),
            at_most("ship: image without the model", size - model, "MB", 40, f"and {model:.2f} MB of model"),
        ]
        return figures if settings.quick else figures + stopped(local)
    finally:
        local.send_signal(signal.SIGINT)
        local.wait(60)
        engine.clear()


def stopped(local):
    """Seconds from the end of the server to the alert."""
    # Before the first scrape, Prometheus has an alert pending that nothing is scraped.
    until("no alert", lambda: not pending(), local)
    began = time.monotonic()
    subprocess.run(["podman", "stop", "--time", "20", CONTAINER], check=True, capture_output=True)
    noticed = until("the alert in Prometheus", lambda: "LuthierDown" in pending(), local) - began
    alerted = until("the alert in Alertmanager", lambda: "LuthierDown" in alerts(), local) - began
    how = "podman stop until Alertmanager has LuthierDown; the rule waits a minute, to be sure"
    return [
        told("ship: a stopped server is noticed", noticed, "s", "podman stop until the alert is pending in Prometheus"),
        told("ship: a stopped server is told of", alerted, "s", how),
    ]


def until(what, holds, local):
    """The time at which something holds, while the command runs."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if local.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"luthier ship --local ({local.poll() or 'it runs'}): waited for {what} in vain")
        time.sleep(0.05)
    return time.monotonic()


def is_watched():
    """Prometheus has the server, a verdict on every rule, and somebody to send alerts to."""
    query = urllib.parse.quote('up{job="sentiment"} == 1')
    groups = asked("rules").get("groups", [])
    rules = [rule for group in groups for rule in group["rules"]]
    return (
        bool(asked(f"query?query={query}").get("result"))
        and len(rules) >= 6
        and all(rule["health"] == "ok" for rule in rules)
        and bool(asked("alertmanagers").get("activeAlertmanagers"))
        and answers(f"{ALERTMANAGER}/-/ready")
    )


def asked(path):
    """What Prometheus's API says, nothing where it is not there yet."""
    try:
        return json.loads(get(f"{PROMETHEUS}/api/v1/{path}"))["data"]
    except OSError:
        return {}


def pending():
    """Names of the alerts that Prometheus has, and that it may not have told of yet."""
    return {alert["labels"]["alertname"] for alert in asked("alerts").get("alerts", [])}


def alerts():
    """Names of the alerts that Alertmanager has."""
    return {alert["labels"]["alertname"] for alert in json.loads(get(f"{ALERTMANAGER}/api/v2/alerts"))}


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def answers(url):
    try:
        return bool(get(url))
    except OSError:
        return False


def image_size(out):
    """Megabytes of the image, and of the model in it."""
    inspect = lambda *what: subprocess.run(["podman", *what], check=True, capture_output=True, text=True).stdout
    name = inspect("inspect", "--format", "{{.ImageName}}", CONTAINER).strip()
    (image,) = json.loads(inspect("image", "inspect", name))
    model = sum(path.stat().st_size for path in (out / "image/models").rglob("*") if path.is_file())
    return image["Size"] / MB, model / MB


def files(settings):
    """Whether the same bundle gives the same bytes, and what their readers say of them."""
    program = static_program()
    trees = []
    for place in ("one", "another/and/deeper"):
        out = settings.scratch / place
        out.parent.mkdir(parents=True, exist_ok=True)
        # Another minute, folder, environment and way to say it.
        command = [program, "ship", os.path.relpath(settings.bundle, out.parent), "--out", out.name]
        surroundings = {**os.environ, "TZ": "Asia/Tokyo", "LANG": place}
        subprocess.run(command, cwd=out.parent, env=surroundings, check=True, capture_output=True)
        trees.append(tree(out))
        time.sleep(1.1)
    one, another = trees
    differing = sum(one.get(path) != another.get(path) for path in one.keys() | another.keys())
    figures = [exactly("files: that differ", differing, f"of {len(one)}", 0, "the same bundle shipped twice")]
    return figures if settings.quick else figures + checked()


def checked():
    """The checks of the files by the tools that they are for."""
    say("  tests/ship/run files")
    environment = {**os.environ, "LUTHIER": static_program()}
    command = [CHECKOUT / "tests/ship/run", "files"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    passed = re.search(r"(\d+) passed, 0 failed", done.stdout)
    how = f"tests/ship/run files: {passed[0] if passed else done.stdout.strip().splitlines()[-1:]}"
    return [exactly("files: checked by their tools", int(bool(passed)), "", 1, how)]


def tree(folder):
    """Contents and modes of all files below a folder, by path."""
    paths = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mode) for p in paths}
