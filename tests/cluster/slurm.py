"""`luthier tune --on slurm`, on a Slurm of three nodes on this host. Usage: slurm.py LUTHIER"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from search import TRIALS, Database, alone, attempts, free_port, job, killed_on_the_way, process
from search import trials, wait_for

TASKS = 4
NODES = ["n1", "n2", "n3"]
SETTINGS = f"""
[tune.tasks]
count = {TASKS}
cpus = 1
memory_mb = 200
time_limit = "10m"
slurm = {{ partition = "main", options = ["--nice=1"] }}
"""


def main(luthier):
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = Path(folder)
        stack.enter_context(cluster(folder / "slurm"))
        database = stack.enter_context(Database(folder / "database"))
        expected = alone(luthier, folder / "alone")
        a_killed_task(luthier, folder, database, expected)
        an_interruption(luthier, folder, database)
        tasks_that_all_fail(luthier, folder, database)


def search(luthier, folder, database, *options):
    command = [luthier, "tune", folder, "--on", "slurm", "--storage", database.url]
    pipe = subprocess.PIPE
    return process([*command, "--trials", str(TRIALS), *options], stdout=pipe, stderr=pipe, text=True)


def a_killed_task(luthier, folder, database, expected):
    home = job(folder / "killed", SETTINGS)
    with search(luthier, home, database, "--format", "json") as searching:
        done = killed_on_the_way(database, searching)
        out, err = searching.communicate(timeout=300)
    assert searching.returncode == 0, err
    assert "1 failed" in err, err
    assert f"{TRIALS}/{TRIALS} trial " in err, err
    assert trials(json.loads(out)) == expected
    assert attempts(database) >= 1
    assert not list(home.glob("run/test*")) and not (home / "run/bundle").exists()
    logs = sorted((home / "run/tasks").iterdir())
    ended = [log for log in logs if "trials evaluated here" in log.read_text()]
    assert (len(logs), len(ended)) == (TASKS, TASKS - 1), logs
    print(f"killed after {done} of {TRIALS} trials, the same as alone: {err.splitlines()[1]}")


def an_interruption(luthier, folder, database):
    database.empty()
    with search(luthier, job(folder / "interrupted", SETTINGS), database) as searching:
        wait_for("trials", 120, lambda: database.finished() >= 3)
        searching.send_signal(signal.SIGINT)
        _, err = searching.communicate(timeout=60)
    assert searching.returncode == 130 and "interrupted" in err, (searching.returncode, err)
    wait_for("no task in the queue", 30, lambda: not queue("PENDING,RUNNING,COMPLETING"))
    # What they were at was put back, not taken from the dead.
    running = "SELECT count(*) FROM luthier_trials WHERE state = 'running'"
    assert wait_for("no trial", 10, lambda: database.ask(running) == ["0"])
    assert database.ask("SELECT sum(deaths) FROM luthier_trials") == ["0"]
    print(f"interrupted after {database.finished()} trials, all tasks cancelled")


def tasks_that_all_fail(luthier, folder, database):
    database.empty()
    settings = SETTINGS.replace("[tune.tasks]", '[tune.tasks]\njob = "/no/such/job"')
    with search(luthier, job(folder / "failed", settings), database) as searching:
        _, err = searching.communicate(timeout=60)
    assert searching.returncode == 3, (searching.returncode, err)
    assert f"all {TASKS} tasks have failed; the last lines of {folder}" in err, err
    assert "error: /no/such/job: " in err, err
    print("tasks that all fail end the search with a line of a log")


def queue(states):
    command = ["squeue", "--noheader", "--array", f"--states={states}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def cluster(folder):
    """Slurm with munge, all of it below `folder` and on loopback."""
    for name in ["run", "log", "state"]:
        (folder / name).mkdir(parents=True)
    configuration = folder / "slurm.conf"
    ports = "".join(
        f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=4 "
        "RealMemory=1000 State=UNKNOWN\n"
        for node in NODES
    )
    text = (Path(__file__).parent / "slurm.conf").read_text()
    text = text.replace("@{folder}", str(folder)).replace("@{port}", str(free_port()))
    configuration.write_text(text + ports + "PartitionName=main Nodes=ALL Default=YES State=UP\n")
    os.environ["SLURM_CONF"] = str(configuration)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    sbin = "/usr/sbin:" + os.environ["PATH"]
    run, log = folder / "run", folder / "log"

    def daemon(name, *options):
        output = open(log / f"{name}.out", "w")
        program = shutil.which(name.split(".")[0], path=sbin)
        return stack.enter_context(process([program, *options], stdout=output, stderr=output))

    with contextlib.ExitStack() as stack:
        paths = [
            f"--key-file={key}",
            f"--socket={run / 'munge.socket'}",
            f"--pid-file={run / 'munged.pid'}",
            f"--log-file={log / 'munged.log'}",
            f"--seed-file={run / 'munged.seed'}",
        ]
        daemon("munged", "-F", "-f", "--num-threads=2", *paths)
        wait_for("munge", 10, (run / "munge.socket").exists)
        daemon("slurmctld", "-D", "-i", "-f", str(configuration))
        for node in NODES:
            daemon(f"slurmd.{node}", "-D", "-N", node, "-f", str(configuration))
        wait_for("idle nodes", 60, lambda: idle_nodes() == len(NODES))
        yield


def idle_nodes():
    command = ["sinfo", "--noheader", "--Node", "--format=%T"]
    return subprocess.run(command, capture_output=True, text=True).stdout.split().count("idle")


if __name__ == "__main__":
    main(*sys.argv[1:])
