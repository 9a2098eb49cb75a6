"""A job, a database for its study, and what must come of a search, whoever carries it out."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 150


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(what, limit, ready):
    """What `ready` gives once it is true."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not in {limit} s")


@contextlib.contextmanager
def process(command, **options):
    """A process that ends with the block."""
    child = subprocess.Popen(command, **options)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Database:
    """A PostgreSQL server on loopback."""

    def __init__(self, folder):
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self.folder = Path(folder)
        self.port = free_port()

    def __enter__(self):
        # The server refuses to run as root.
        self.folder.mkdir()
        self.folder.parent.chmod(0o711)
        shutil.chown(self.folder, "postgres")
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        make = ["--no-sync", "--auth=trust", "--username=luthier", "--encoding=UTF8"]
        data = self.folder / "data"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        subprocess.run([*user, self.programs / "initdb", *make, "-D", data], check=True, **quiet)
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-c", "unix_socket_directories="]
        self.server = subprocess.Popen([*user, self.programs / "postgres", "-D", data, *options], **quiet)
        wait_for("PostgreSQL", 20, lambda: self.ask("SELECT 1"))
        return self

    def __exit__(self, *_):
        self.server.send_signal(signal.SIGQUIT)
        self.server.wait()

    @property
    def url(self):
        return f"postgres://luthier@127.0.0.1:{self.port}/postgres"

    def ask(self, query):
        """Rows of the first column; none where there is an error, as before there are tables."""
        command = [self.programs / "psql", "-XqAt", "-d", self.url, "-c", query]
        return subprocess.run(command, capture_output=True, text=True).stdout.split()

    def finished(self):
        done = "state IN ('complete', 'pruned', 'failed')"
        return int((self.ask(f"SELECT count(*) FROM luthier_trials WHERE {done}") or [0])[0])

    def workers(self):
        """Process numbers of the workers that evaluate a trial."""
        query = """SELECT DISTINCT pid FROM luthier_workers JOIN luthier_trials
                   ON luthier_workers.id = luthier_trials.worker AND state = 'running'"""
        return [int(pid) for pid in self.ask(query)]

    def empty(self):
        self.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def job(folder, settings=""):
    """A copy of the example without its results, with more settings."""
    folder = Path(folder)
    shutil.copytree(ROOT / "examples/sentiment", folder, ignore=shutil.ignore_patterns("run"))
    with open(folder / "luthier.toml", "a") as file:
        file.write(settings)
    return folder


def tune(luthier, job, *options, **settings):
    """The report of a search."""
    command = [luthier, "tune", job, "--trials", str(TRIALS), "--format", "json", *options]
    result = subprocess.run(command, stdout=subprocess.PIPE, **settings)
    assert result.returncode == 0, result.returncode
    return json.loads(result.stdout)


def alone(luthier, folder):
    """The trials of a search by one process."""
    return trials(tune(luthier, job(folder), "--workers", "2", stderr=subprocess.DEVNULL))


def trials(report):
    """What must be the same for any number of workers, by number."""
    keys = ["number", "values", "state", "score", "steps"]
    found = [{key: trial[key] for key in keys} for trial in report["tuning"]["trials"]]
    assert [trial["number"] for trial in found] == list(range(TRIALS))
    return found


def killed_on_the_way(database, searching):
    """Kills a worker that runs a trial, when a part of the search is done."""
    wait_for("the first trials", 120, lambda: database.finished() >= TRIALS // 10)
    killed = lambda: any(kill_at_work(database, worker) for worker in database.workers())
    wait_for("a worker with a trial", 60, killed)
    assert searching.poll() is None
    return database.finished()


def kill_at_work(database, worker):
    """Kills a worker if it has a trial, whose end it cannot tell any more."""
    os.kill(worker, signal.SIGSTOP)
    time.sleep(0.2)
    at_work = worker in database.workers()
    os.kill(worker, signal.SIGKILL if at_work else signal.SIGCONT)
    return at_work


def attempts(database):
    """How many times trials were taken up more than once."""
    return int(database.ask("SELECT sum(attempt - 1) FROM luthier_trials")[0])
