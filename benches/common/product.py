"""The program under measurement, driven as its user drives it: by `luthier.toml` and commands."""

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TARGET = (CHECKOUT / os.environ.get("CARGO_TARGET_DIR", "target")).resolve()
BINARY = TARGET / "release" / "luthier"
EXAMPLES = TARGET / "release" / "examples"
DATA = Path(os.environ.get("LUTHIER_DATA", CHECKOUT.parent / "shared" / "data")).resolve()
EXAMPLE = CHECKOUT / "examples" / "sentiment"
PARTS = ("train", "valid", "test")


@dataclass
class Parts:
    """The files of a data set with columns `text` and `label`."""

    train: Path
    valid: Path
    test: Path


@dataclass
class Run:
    """A finished `luthier run`."""

    folder: Path
    seconds: float
    """From start to exit."""
    searched: float
    """From start to the end of the search."""

    def read(self, name):
        return json.loads((self.folder / name).read_text())


def build():
    subprocess.run(["cargo", "build", "--release", "-q"], cwd=CHECKOUT, check=True)


def build_example(package, name):
    command = ["cargo", "build", "--release", "-q", "-p", package, "--example", name]
    subprocess.run(command, cwd=CHECKOUT, check=True)


def data_set(name):
    """The parts of a data set, or `None`, with a word, where it is absent."""
    parts = Parts(*(DATA / name / f"{part}.csv" for part in PARTS))
    if all(path.exists() for path in vars(parts).values()):
        return parts
    say(f"skipped: data set {name} is not in the data folder (LUTHIER_DATA names another)")
    return None


def job(folder, name, parts, metric, tune="", compress=True):
    """Writes a fresh job folder and gives its path."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = "\n".join(f"{part} = {json.dumps(str(path))}" for part, path in vars(parts).items())
    (folder / "luthier.toml").write_text(f"""
name = "{name}"
task = "text-classification"
[data]
{files}
text = "text"
label = "label"
positive = "1"
[objective]
metric = "{metric}"
[tune]
workers = 2
{tune}
[compress]
enabled = {str(compress).lower()}
""")
    return folder


def example_job(folder):
    """A copy of the shipped example without its results."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("run"))
    return folder


def run(folder, trials, seed=0):
    """`luthier run` from start to exit; the line that sums the search up tells when that ended."""
    arguments = ["run", folder, "--workers", "2", "--trials", str(trials), "--seed", str(seed)]
    start, searched, said = time.perf_counter(), None, []
    with subprocess.Popen(
        [BINARY, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            said.append(line)
            if line.startswith("tune") and " trials (" in line:
                searched = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit(f"luthier run failed ({process.returncode}):\n{''.join(said)}")
    return Run(folder / "run", time.perf_counter() - start, searched)


def predict(bundle, rows):
    """The label of each row of a file."""
    answers = luthier("predict", bundle, "--input", rows, "--format", "json").splitlines()
    return [json.loads(line)["label"] for line in answers]


def luthier(*arguments):
    """Runs a command and gives its standard output; what it says is shown only if it fails."""
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"luthier {arguments[0]} failed ({done.returncode}):\n{done.stderr}")
    return done.stdout


def linear_space(run_folder):
    """The dimensions of learner `linear` as the study of a run has stored them."""
    with closing(sqlite3.connect(run_folder / "study.db")) as database:
        (spec,) = database.execute("SELECT spec FROM studies").fetchone()
    space = json.loads(spec)["space"]
    own = [dimension for dimension in space if dimension["name"].startswith("linear.")]
    return [
        {
            "name": dimension["name"].removeprefix("linear."),
            "distribution": dimension["distribution"],
            "when": condition(space, dimension),
        }
        for dimension in own
    ]


def condition(space, dimension):
    """Name and value of the parameter that a dimension hangs on, other than the learner."""
    parent = space[dimension["condition"]["parent"]]
    if parent["name"] == "learner":
        return None
    value = parent["distribution"]["options"][dimension["condition"]["option"]]
    return parent["name"].removeprefix("linear."), value


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def join(paths, target):
    """All rows of several files with the same columns, in one."""
    write([row for path in paths for row in rows(path)], target)
    return target


def write(every, target):
    with open(target, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(every[0]))
        writer.writeheader()
        writer.writerows(every)


def say(text):
    print(text, file=sys.stderr, flush=True)
