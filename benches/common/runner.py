"""What every bench does around its figures: options, peers, the machine, the table, the file."""

import argparse
import datetime
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import figures
from product import CHECKOUT, TARGET, say

PEERS = TARGET / "bench-peers"


def options(description, groups, more=lambda parser: None):
    """The options of a bench with these groups of figures, and those that `more` adds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="less of everything, in a minute")
    parser.add_argument("--only", action="append", choices=groups, help="a group; may be repeated")
    parser.add_argument("--rounds", type=int, help="repeats of each timing")
    parser.add_argument("--out", type=Path, help="file for the JSON, instead of the dated one")
    more(parser)
    return parser.parse_args()


def inside_peers(requirements):
    """Goes on in a virtual environment with the Python peers, made where it is absent or old."""
    if Path(sys.prefix) == PEERS:
        return
    installed = PEERS / requirements.name
    if not installed.exists() or installed.read_text() != requirements.read_text():
        say("installing the Python peers")
        shutil.rmtree(PEERS, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
        subprocess.run([PEERS / "bin/pip", "install", "-q", "-r", requirements], check=True)
        shutil.copy(requirements, installed)
    os.execv(PEERS / "bin/python", [PEERS / "bin/python", *sys.argv])


def machine(*peers):
    """What all the other figures were measured on, and against which packages of Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processors = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = processors[0] if processors else platform.machine()
    versions = [f"{peer} {version(peer)}" for peer in peers]
    how = f"{processor}; {', '.join(['Python ' + platform.python_version(), *versions])}"
    return figures.told("machine", len(os.sched_getaffinity(0)), "cores", how)


def report(found, chosen, name):
    """Shows the figures, keeps those of a whole run, and ends with 1 where a target is missed."""
    print(figures.table(found))
    if path := chosen.out or dated(chosen, name):
        figures.write(found, path)
        say(f"written: {path}")
    missed = [f.figure for f in found if f.met is False]
    if missed and not chosen.quick:
        sys.exit(f"missed: {'; '.join(missed)}")


def dated(chosen, name):
    """Where results are kept; a part of the figures or a quick look is not."""
    today = datetime.date.today().isoformat()
    whole = not chosen.quick and not chosen.only
    return CHECKOUT / "benches" / "runs" / today / f"{name}.json" if whole else None
