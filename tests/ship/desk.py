"""What the checks share: a scratch folder with bundles, commands that must succeed or fail."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
LUTHIER = os.environ["LUTHIER"]
TOOLS = Path(os.environ["SHIP_TOOLS"])
SETTINGS = [
    *["--image", "registry.example:5000/team/mood", "--namespace", "models"],
    *["--webhook", "https://alerts.example/hook?team=a&kind=b", "--job", "jobs/mood"],
    *["--target-p99-ms", "7.5", "--error-rate", "0.002", "--min-accuracy", "0.71"],
    *["--max-psi", "0.4", "--gate-text", "title,评论 (body)", "--gate-label", "stars", "--allow-undecidable"],
]
passed = 0


def run(*command, check=True, **options):
    """Runs a command; where it must succeed and does not, all that it said is shown."""
    command = [str(word) for word in command]
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if check and result.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ends with {result.returncode}:\n{result.stdout}{result.stderr}")
    return result


def tool(name):
    """A Python tool of the tests."""
    return TOOLS / "python/bin" / name


def expect(condition, what):
    """Counts a check, or ends the run."""
    global passed
    if not condition:
        raise SystemExit(f"FAILED: {what}")
    passed += 1


def bundle(folder, name="sentiment", trials=2):
    """A bundle of the example's rows under that name."""
    job = Path(folder, f"job-{name}")
    shutil.copytree(ROOT / "examples/sentiment", job, ignore=shutil.ignore_patterns("run"))
    text = (job / "luthier.toml").read_text()
    text = re.sub(r'(?m)^name = .*$', f'name = "{name}"', text)
    (job / "luthier.toml").write_text(text)
    # A missed target is no matter here.
    run(LUTHIER, "run", job, "--trials", trials, check=False)
    return job / "run/bundle"


def ship(bundle, out, *options):
    run(LUTHIER, "ship", bundle, "--out", out, "--program", LUTHIER, *options)
    return Path(out)


def tree(folder):
    """Contents and modes of all files below a folder, by path."""
    files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mode) for p in files}


def manifest(bundle):
    return json.loads((Path(bundle) / "manifest.json").read_text())
