"""`luthier tune --on kubernetes`, beside a `kubectl` that runs pods as processes (`kubectl.py`).

Usage: kubernetes.py LUTHIER. What is printed and created fits the schemas of Kubernetes, and a real
kubectl, where there is one, knows all options that are used.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

from search import TRIALS, Database, alone, attempts, job, killed_on_the_way, process, trials, wait_for

TASKS = 4
VERSIONS = ["1.29", "1.31", "1.34"]
ALL = """
[tune.tasks]
count = 7
cpus = 3
memory_mb = 900
time_limit = "90s"
program = "/usr/bin/luthier"
job = "/data/a 'job'"

[tune.tasks.kubernetes]
image = "registry.example/ml/luthier:1.0"
namespace = "ml"
secret = "study"
claim = "jobs"
"""


def main(luthier):
    real = shutil.which("kubectl")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        what_is_printed(luthier, folder)
        with Database(folder / "database") as database:
            calls = stand_in(folder, database)
            settings = f"""
[tune.tasks]
count = {TASKS}
program = {json.dumps(luthier)}
kubernetes = {{ image = "none", namespace = "ml" }}
"""
            a_killed_pod(luthier, folder, database, settings)
            an_interruption(luthier, folder, database, settings)
            pods_that_all_fail(luthier, folder, database, settings)
        if real:
            what_kubectl_knows(real, calls)


def what_is_printed(luthier, folder):
    for name, settings in {"all": ALL, "few": '[tune.tasks]\nkubernetes.image = "luthier"\n'}.items():
        command = [luthier, "tune", job(folder / name, settings), "--on", "kubernetes", "--print"]
        command += ["--storage", "postgres://me:secret@database/study"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "secret@" not in text
        manifest = yaml.safe_load(text)
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)
        if name == "all":
            check(manifest)
    print(f"the manifests fit Kubernetes {', '.join(VERSIONS)}")


def check(manifest):
    spec = manifest["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert (spec["completions"], spec["parallelism"], spec["activeDeadlineSeconds"]) == (7, 7, 90)
    words = ["/usr/bin/luthier", "worker", "/data/a 'job'", "--workers", "3", "--trials", "30"]
    assert container["command"] == [*words, "--seed", "0"], container["command"]
    assert container["resources"] == {
        "requests": {"cpu": "3", "memory": "900M"},
        "limits": {"memory": "900M"},
    }
    secret = container["env"][0]["valueFrom"]["secretKeyRef"]
    assert secret == {"name": "study", "key": "storage"}
    assert container["volumeMounts"][1]["mountPath"] == "/data/a 'job'"
    assert pod["volumes"][1]["persistentVolumeClaim"] == {"claimName": "jobs"}
    assert pod["securityContext"]["runAsNonRoot"] and manifest["metadata"]["namespace"] == "ml"


def stand_in(folder, database):
    """Puts the `kubectl` of the test ahead of others, with a Secret; gives the file of its calls."""
    (folder / "bin").mkdir()
    kubectl = folder / "bin/kubectl"
    script = Path(__file__).parent / "kubectl.py"
    kubectl.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)
    state = folder / "kubernetes"
    state.mkdir()
    secrets = {"luthier-storage": {"storage": database.url}}
    (state / "secrets.json").write_text(json.dumps(secrets))
    os.environ |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "KUBECTL_STATE": str(state)}
    return state / "calls"


def search(luthier, folder, database, *options):
    command = [luthier, "tune", folder, "--on", "kubernetes", "--storage", database.url]
    pipe = subprocess.PIPE
    return process([*command, "--trials", str(TRIALS), *options], stdout=pipe, stderr=pipe, text=True)


def a_killed_pod(luthier, folder, database, settings):
    expected = alone(luthier, folder / "alone")
    home = job(folder / "killed", with_job(settings, folder / "killed"))
    with search(luthier, home, database, "--format", "json") as searching:
        done = killed_on_the_way(database, searching)
        out, err = searching.communicate(timeout=300)
    assert searching.returncode == 0, err
    assert trials(json.loads(out)) == expected
    assert attempts(database) >= 1
    # The pod was started again.
    assert f"{TASKS} done" in err and "failed" not in err.replace("0 failed", ""), err
    print(f"killed after {done} of {TRIALS} trials, the same as alone: {err.splitlines()[1]}")


def an_interruption(luthier, folder, database, settings):
    database.empty()
    home = job(folder / "interrupted", with_job(settings, folder / "interrupted"))
    with search(luthier, home, database) as searching:
        wait_for("trials", 120, lambda: database.finished() >= 3)
        searching.send_signal(signal.SIGINT)
        _, err = searching.communicate(timeout=60)
    assert searching.returncode == 130 and "interrupted" in err, (searching.returncode, err)
    running = "SELECT count(*) FROM luthier_trials WHERE state = 'running'"
    assert wait_for("no trial", 10, lambda: database.ask(running) == ["0"])
    print(f"interrupted after {database.finished()} trials, the Job deleted")


def pods_that_all_fail(luthier, folder, database, settings):
    database.empty()
    home = job(folder / "failed", with_job(settings, "/no/such/job"))
    with search(luthier, home, database) as searching:
        _, err = searching.communicate(timeout=60)
    assert searching.returncode == 3, (searching.returncode, err)
    assert f"all {TASKS} tasks have failed; the last lines of job.batch/sentiment-3:" in err, err
    assert "/worker] error: /no/such/job: " in err, err
    print("pods that all fail end the search with a line of a log")


def with_job(settings, home):
    return settings.replace("[tune.tasks]", f"[tune.tasks]\njob = {json.dumps(str(home))}")


def what_kubectl_knows(kubectl, calls):
    """Without a server, a known option ends with its being refused, an unknown one before that."""
    lines = {tuple(json.loads(line)) for line in calls.read_text().splitlines()}
    for words in lines:
        command = [kubectl, "--server=http://127.0.0.1:1", "--request-timeout=2s", *words]
        result = subprocess.run(command, input="", capture_output=True, text=True)
        assert "unknown flag" not in result.stderr, (words, result.stderr)
        assert result.returncode != 0, words
    print(f"kubectl knows {', '.join(sorted({words[0] for words in lines}))} with their options")


if __name__ == "__main__":
    main(*sys.argv[1:])
