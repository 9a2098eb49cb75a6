"""check.py <luthier> <example> all|document: the API document of one model, and of several.

The several are two versions of the example's model with labels, a model of three classes, and one
whose name and labels are markup.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Cases of each operation. More find nothing else, and take longer.
CASES = {"one model": 100, "several models": 25}
HOSTILE = "<img src=x onerror=alert(1)> {x} 100% 好 `a`"
HOSTILE_LABEL = "<script>alert(1)</script> `"


def luthier(binary, *arguments):
    result = subprocess.run([binary, *arguments], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"luthier {' '.join(map(str, arguments))} fails:\n{result.stdout}{result.stderr}")


def trained(binary, job, trials):
    """The bundle of a job folder; made where it is absent."""
    bundle = job / "run/bundle"
    if not bundle.exists():
        luthier(binary, "run", str(job), "--trials", str(trials))
    return bundle


def example_bundle(binary, example, scratch):
    if (example / "run/bundle").exists():
        return example / "run/bundle"
    copy = scratch / "example"
    shutil.copytree(example, copy, ignore=shutil.ignore_patterns("run"))
    return trained(binary, copy, 4)


def small_bundle(binary, folder, classes):
    """A model of these classes, each with words of its own."""
    folder.mkdir()
    words = ["tide boat harbour gull", "kiln glaze clay wheel", "chess rook pawn gambit"]
    rows = ["text,label"]
    for i in range(120 * len(classes)):
        at = i % len(classes)
        word = words[at].split()[i // len(classes) % 4]
        label = classes[at].replace('"', '""')
        rows.append(f'"a note on the {word}, number {i}","{label}"')
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    (folder / "luthier.toml").write_text(
        'name = "small"\ntask = "text-classification"\n'
        '[data]\ntrain = "rows.csv"\ntext = "text"\nlabel = "label"\n'
        "split = { valid = 0.2, test = 0.2, seed = 1 }\n"
    )
    return trained(binary, folder, 2)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def served(binary, scratch, *arguments):
    """A running server; gives its address."""
    rest, grpc = free_port(), free_port()
    store = scratch / f"feedback-{rest}.db"
    log = (scratch / f"serve-{rest}.log").open("w")
    ports = ["--rest-port", str(rest), "--grpc-port", str(grpc)]
    command = [binary, "serve", *arguments, *ports, "--feedback-store", str(store)]
    process = subprocess.Popen(command, stderr=log, stdout=log)
    url = f"http://127.0.0.1:{rest}"
    try:
        wait_until_ready(process, url, log.name)
        yield url
        if process.poll() is not None:
            sys.exit(f"the server ended by itself:\n{Path(log.name).read_text()[-2000:]}")
    finally:
        process.terminate()
        process.wait()
        log.close()


def wait_until_ready(process, url, log):
    for _ in range(300):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/readyz")
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"the server does not get ready:\n{Path(log).read_text()[-2000:]}")


def check(name, url, scratch, mode):
    """Whether validator, schemathesis and browser find nothing; what they find is printed."""
    document = scratch / "openapi.json"
    document.write_bytes(urllib.request.urlopen(f"{url}/openapi.json").read())
    count = sum(len(item) for item in json.loads(document.read_text())["paths"].values())
    print(f"{name}: {count} operations", flush=True)
    valid = subprocess.run(["openapi-spec-validator", "--schema", "3.1", str(document)])
    options = ["--seed", "1", "--workers", "1", "--continue-on-failure", "--no-color"]
    # From the server itself, schemathesis would leave out the route that it has it from. What it
    # writes beside goes to the scratch folder.
    asked = subprocess.run(
        ["schemathesis", "--config-file", str(HERE / "schemathesis.toml"), "run", str(document),
         "--url", url, *options, "--max-examples", str(CASES[name])],
        cwd=scratch,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
    )
    found = asked.returncode != 0 or f"Tested: {count}" not in asked.stdout
    print(asked.stdout[-6000:] + asked.stderr[-2000:] if found else summary(asked.stdout))
    problems = [] if mode == "document" else problems_of_page(url)
    for problem in problems:
        print(f"page: {problem}")
    return valid.returncode == 0 and not found and not problems


def problems_of_page(url):
    import page

    return page.problems(url)


def summary(output):
    lines = [line.strip() for line in output.splitlines()]
    return "\n".join(line for line in lines if " generated, " in line or " passed" in line)


def main():
    binary, example, mode = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        bundle = example_bundle(binary, example, scratch)
        topics = small_bundle(binary, scratch / "topics", ["sea", "clay", "chess"])
        hostile = small_bundle(binary, scratch / "hostile", ["plain", HOSTILE_LABEL])
        base = scratch / "base"
        for model, source in [("sentiment", bundle)] * 2 + [("topics", topics), (HOSTILE, hostile)]:
            luthier(binary, "bundle", "publish", str(source), str(base / model))
        labels = {"stable": 1, "canary": 2}
        (base / "sentiment/labels.json").write_text(json.dumps(labels))
        with served(binary, scratch, str(bundle)) as url:
            fine = check("one model", url, scratch, mode)
        with served(binary, scratch, str(base), "--version-policy", "all") as url:
            fine &= check("several models", url, scratch, mode)
    print("the API document: nothing found" if fine else "the API document: see above")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
