"""`luthier tune --on ray`, on a Ray of this host. Usage: ray_jobs.py LUTHIER

To be run in a network and a process namespace of its own (`unshare -n -p -f --mount-proc
--kill-child`), where Ray is alone on all addresses.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from search import TRIALS, Database, alone, attempts, job, killed_on_the_way, process, trials, wait_for

TASKS = 3
ADDRESS = "http://127.0.0.1:28265"
SETTINGS = f"""
[tune.tasks]
count = {TASKS}
memory_mb = 200
"""


def main(luthier):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = Path(folder)
        database = stack.enter_context(Database(folder / "database"))
        stack.enter_context(cluster(folder))
        expected = alone(luthier, folder / "alone")
        a_killed_task(luthier, folder, database, expected)
        an_interruption(luthier, folder, database)
        tasks_that_all_fail(luthier, folder, database)


def search(luthier, folder, database, *options):
    command = [luthier, "tune", folder, "--on", "ray", "--storage", database.url]
    command += ["--address", ADDRESS, "--trials", str(TRIALS), *options]
    return process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def a_killed_task(luthier, folder, database, expected):
    with search(luthier, job(folder / "killed", SETTINGS), database, "--format", "json") as searching:
        done = killed_on_the_way(database, searching)
        out, err = searching.communicate(timeout=300)
    assert searching.returncode == 0, err
    assert "1 failed" in err, err
    assert trials(json.loads(out)) == expected
    assert attempts(database) >= 1
    ended = [status["status"] for status in jobs()]
    assert sorted(ended) == ["FAILED", "SUCCEEDED", "SUCCEEDED"], ended
    print(f"killed after {done} of {TRIALS} trials, the same as alone: {err.splitlines()[1]}")


def an_interruption(luthier, folder, database):
    database.empty()
    with search(luthier, job(folder / "interrupted", SETTINGS), database) as searching:
        wait_for("trials", 120, lambda: database.finished() >= 3)
        searching.send_signal(2)
        _, err = searching.communicate(timeout=60)
    assert searching.returncode == 130 and "interrupted" in err, (searching.returncode, err)
    live = lambda: [status for status in jobs() if status["status"] in ("PENDING", "RUNNING")]
    wait_for("no job", 30, lambda: not live())
    running = "SELECT count(*) FROM luthier_trials WHERE state = 'running'"
    assert wait_for("no trial", 10, lambda: database.ask(running) == ["0"])
    print(f"interrupted after {database.finished()} trials, all jobs stopped")


def tasks_that_all_fail(luthier, folder, database):
    database.empty()
    settings = SETTINGS.replace("[tune.tasks]", '[tune.tasks]\njob = "/no/such/job"')
    with search(luthier, job(folder / "failed", settings), database) as searching:
        _, err = searching.communicate(timeout=120)
    assert searching.returncode == 3, (searching.returncode, err)
    assert f"all {TASKS} tasks have failed; the last lines of raysubmit_" in err, err
    assert "error: /no/such/job: " in err, err
    print("jobs that all fail end the search with a line of a log")


def jobs():
    with urllib.request.urlopen(f"{ADDRESS}/api/jobs/", timeout=30) as answer:
        return json.load(answer)


@contextlib.contextmanager
def cluster(folder):
    """Ray with four processors, all of its files below `folder`."""
    home = folder / "home"
    home.mkdir()
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(home)}
    options = [
        "--head",
        "--node-ip-address=127.0.0.1",
        "--port=26379",
        "--dashboard-host=127.0.0.1",
        "--dashboard-port=28265",
        "--num-cpus=4",
        "--object-store-memory=100000000",
        f"--temp-dir={folder / 'ray'}",
        "--disable-usage-stats",
    ]
    ray = Path(sys.executable).parent / "ray"
    log = open(folder / "ray.log", "w")
    subprocess.run([ray, "start", *options], check=True, stdout=log, stderr=log)
    try:
        wait_for("Ray's API", 120, is_up)
        yield
    finally:
        # Ends every Ray of the namespace, of which there is one.
        subprocess.run([ray, "stop"], stdout=log, stderr=log)


def is_up():
    try:
        return jobs() == []
    except OSError:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
