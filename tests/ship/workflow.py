"""Executes the `run:` steps of the shipped workflow, in order, as a runner would.

`docker` is podman, the registry is docker-registry on a folder, and `helm` is `cluster.py`: Helm's
own renderer over containers of podman. What the actions do between the steps (a cache, artifacts
without modes) is done here. Expressions are looked up, not evaluated: one that is not known here
fails the test.
"""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import yaml

from desk import HERE, LUTHIER, ROOT, TOOLS, expect, run, ship

PORT = 25000
IMAGE = f"127.0.0.1:{PORT}/team/sentiment"
COMMIT = ["0123456789abcdef" * 2 + digit * 8 for digit in "abcd"]


def check(folder):
    runner = Runner(Path(folder) / "runner")
    try:
        check_releases(runner)
    finally:
        runner.close()


def check_releases(runner):
    first = runner.release(COMMIT[0], first_release=True)
    expect(first is None, f"the first release is rolled out, {first} fails")
    expect("Gate" not in runner.done, "the first release does without the gate")
    expect(runner.serving() == f"{IMAGE}:{COMMIT[0]}", "it runs")
    tags = {path.name for path in runner.registry.rglob("_manifests/tags/*") if path.is_dir()}
    expect(tags == {COMMIT[0], "production"}, f"tags in the registry's folder: {tags}")

    second = runner.release(COMMIT[1])
    expect(second is None, f"an equal model passes the gate, {second} fails")
    expect("Gate" in runner.done and (runner.checkout / "gate.xml").is_file(), "it was measured")
    expect(runner.serving() == f"{IMAGE}:{COMMIT[1]}", "the second runs")

    runner.shuffle_labels()
    third = runner.release(COMMIT[2])
    expect(third == "Gate", f"a model of shuffled labels is refused by the gate, not {third}")
    expect(runner.serving() == f"{IMAGE}:{COMMIT[1]}", "the second still runs")

    runner.restore_labels()
    runner.environment["CLUSTER_BREAKS"] = "test"
    fourth = runner.release(COMMIT[3])
    expect(fourth == "Smoke test", f"a failed smoke test fails the release, not {fourth}")
    expect(runner.serving() == f"{IMAGE}:{COMMIT[1]}", "it is rolled back")

    runner.environment["CLUSTER_BREAKS"] = "start"
    fifth = runner.release(COMMIT[3])
    expect(fifth == "Roll out", f"a server that does not start fails the release, not {fifth}")
    expect(runner.serving() == f"{IMAGE}:{COMMIT[1]}", "the roll-out is atomic")


class Runner:
    def __init__(self, folder):
        self.folder = folder
        self.checkout = folder / "checkout"
        self.registry = folder / "registry"
        self.done = []
        shutil.copytree(ROOT / "examples/sentiment", self.checkout, ignore=shutil.ignore_patterns("run"))
        text = (self.checkout / "luthier.toml").read_text()
        (self.checkout / "luthier.toml").write_text(text.replace("trials = 30", "trials = 4"))
        self.workflow = self.shipped_workflow()
        self.environment = self.set_up()
        self.server = self.start_registry()

    def shipped_workflow(self):
        """As it is after the first `luthier ship` of a repository."""
        run(LUTHIER, "run", self.checkout)
        out = ship(self.checkout / "run/bundle", self.folder / "written", "--image", IMAGE)
        return yaml.safe_load((out / ".github/workflows/release.yml").read_text())

    def set_up(self):
        programs = self.folder / "programs"
        programs.mkdir()
        registries = self.folder / "registries.conf"
        registries.write_text(f'[[registry]]\nlocation = "127.0.0.1:{PORT}"\ninsecure = true\n')
        python = TOOLS / "python/bin/python"
        for name, command in [("docker", "podman"), ("helm", f"{python} {HERE}/cluster.py")]:
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        return {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
            "CLUSTER_STATE": str(self.folder / "cluster.json"),
            "GITHUB_ACTOR": "someone",
        }

    def start_registry(self):
        config = self.folder / "registry.yml"
        config.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {self.registry}}}}}\n"
            f"http: {{addr: '127.0.0.1:{PORT}'}}\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        )
        server = subprocess.Popen(
            ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(1)
        expect(server.poll() is None, "the registry runs")
        return server

    def close(self):
        self.server.terminate()
        self.server.wait()

    def release(self, commit, first_release=False):
        """Runs both jobs; the name of the step that fails, if one does."""
        self.done = []
        self.environment |= {"GITHUB_SHA": commit}
        program = Path(LUTHIER)
        lookup = {
            "vars.LUTHIER_URL": program.as_uri(),
            "vars.LUTHIER_SHA256": hashlib.sha256(program.read_bytes()).hexdigest(),
            "secrets.REGISTRY_TOKEN || github.token": "token",
            "secrets.KUBE_CONFIG": "a: 1",
            "!inputs.first_release": not first_release,
            "!cancelled() && hashFiles('gate.xml') != ''": True,
        }
        for name in ["run", "production", "gate.xml", "ship"]:
            # A fresh checkout; `run` comes back from the cache.
            path = self.checkout / name
            if name != "run":
                shutil.rmtree(path, ignore_errors=True)
        failed = self.job("model", self.checkout, lookup)
        if failed:
            return failed
        other = self.folder / "other-machine"
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(self.checkout / "ship", other / "ship")
        # Artifacts keep no modes.
        for path in (other / "ship").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        return self.job("release", other, lookup)

    def job(self, name, folder, lookup):
        """Runs the steps of a job; the name of the one that fails, if one does."""
        temporary = self.folder / "temporary"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        files = {"GITHUB_ENV": temporary / "env", "GITHUB_PATH": temporary / "path"}
        for path in files.values():
            path.touch()
        environment = {**self.environment, "RUNNER_TEMP": str(temporary)}
        environment |= {key: str(path) for key, path in files.items()}
        environment |= values(self.workflow["env"], lookup)
        for step in self.workflow["jobs"][name]["steps"]:
            if "if" in step and not expression(step["if"], lookup) or "run" not in step:
                continue
            added = [line for line in files["GITHUB_PATH"].read_text().splitlines() if line]
            step_environment = {**environment, **dict(pairs(files["GITHUB_ENV"]))}
            step_environment |= values(step.get("env", {}), lookup)
            step_environment["PATH"] = ":".join([*added, environment["PATH"]])
            # As GitHub's runners start bash.
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(command, cwd=folder, env=step_environment, capture_output=True, text=True)
            self.done.append(step["name"])
            if done.returncode != 0:
                last = (done.stdout + done.stderr).strip().splitlines()[-6:]
                print(f"step {step['name']!r} ends with {done.returncode}:", *last, sep="\n    ")
                return step["name"]
        return None

    def serving(self):
        """The image that answers now, asked for a prediction."""
        state = json.loads(Path(self.environment["CLUSTER_STATE"]).read_text())
        container = f"cluster-{state['release']}"
        run("podman", "exec", container, "/luthier", "probe", "http://127.0.0.1:8501/readyz")
        return run("podman", "inspect", "--format", "{{.ImageName}}", container).stdout.strip()

    def shuffle_labels(self):
        """Labels that have nothing to do with their texts: moved on by one row within the file."""
        path = self.checkout / "data/train.csv"
        self.kept = path.read_text()
        rows = list(csv.DictReader(io.StringIO(self.kept)))
        # Not random, but no text says what the label seven rows on is.
        labels = [row["label"] for row in rows]
        for row, label in zip(rows, labels[7:] + labels[:7], strict=True):
            row["label"] = label
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        shutil.rmtree(self.checkout / "run")

    def restore_labels(self):
        (self.checkout / "data/train.csv").write_text(self.kept)
        shutil.rmtree(self.checkout / "run")


def pairs(path):
    return (line.split("=", 1) for line in path.read_text().splitlines() if line)


def expression(text, lookup):
    match = re.fullmatch(r"\s*(?:\$\{\{)?\s*(.*?)\s*(?:\}\})?\s*", text)
    expect(match and match[1] in lookup, f"an expression that is known: {text}")
    return lookup[match[1]]


def values(environment, lookup):
    """Values with their expressions looked up."""
    found = lambda match: str(expression(match[0], lookup))
    return {key: re.sub(r"\$\{\{.*?\}\}", found, str(value)) for key, value in environment.items()}
