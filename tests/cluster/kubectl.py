"""A cluster of one Indexed Job whose pods are processes, for the calls that luthier makes of kubectl.

    kubectl create --filename=- --output=name | get JOB --output=json | delete JOB … | logs …

A Job is checked against the schema of Kubernetes. Each pod runs the command of its container with the
environment from Secrets, and is started again as `backoffLimitPerIndex` and `podFailurePolicy` have it.
`kubectl.py pod STATE INDEX` is what looks after a pod.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml


def main():
    if sys.argv[1] == "pod":
        return pod(Path(sys.argv[2]), sys.argv[3])
    state = Path(os.environ["KUBECTL_STATE"])
    with open(state / "calls", "a") as calls:
        print(json.dumps(sys.argv[1:]), file=calls)
    # What luthier does not use is unknown here, so that it is seen when it comes to be used.
    parser = argparse.ArgumentParser(allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    values = {
        "create": ["--filename", "--output"],
        "get": ["job", "--output"],
        "delete": ["job", "--wait"],
        "logs": ["--selector", "--tail"],
    }
    for command, names in values.items():
        subparser = commands.add_parser(command, allow_abbrev=False)
        for name in [*names, "--namespace"]:
            subparser.add_argument(name, **({"required": True} if name.startswith("-") else {}))
        for flag in {"delete": ["--ignore-not-found"], "logs": ["--prefix"]}.get(command, []):
            subparser.add_argument(flag, action="store_true")
    args = parser.parse_args()
    {"create": create, "get": get, "delete": delete, "logs": logs}[args.command](state, args)


def create(state, args):
    job = yaml.safe_load(sys.stdin)
    kubernetes_validate.validate(job, "1.31", strict=True)
    assert job["metadata"]["namespace"] == args.namespace
    number = len(list(state.glob("*.job"))) + 1
    name = f"{job['metadata']['generateName']}{number}"
    (state / f"{name}.job").write_text(json.dumps(job))
    folder = state / name
    folder.mkdir()
    for index in range(job["spec"]["completions"]):
        nothing = subprocess.DEVNULL
        command = [sys.executable, __file__, "pod", str(folder), str(index)]
        subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
    print(f"job.batch/{name}")


def pod(folder, index):
    """Runs a pod, again where it has failed, and leaves how it ended."""
    job = json.loads(folder.with_suffix(".job").read_text())
    container = job["spec"]["template"]["spec"]["containers"][0]
    secrets = json.loads((folder.parent / "secrets.json").read_text())
    environment = {"PATH": os.environ["PATH"]}
    for variable in container["env"]:
        key = variable["valueFrom"]["secretKeyRef"]
        environment[variable["name"]] = secrets[key["name"]][key["key"]]
    for _ in range(1 + job["spec"]["backoffLimitPerIndex"]):
        with open(folder / f"{index}.log", "a") as log:
            child = subprocess.Popen(container["command"], env=environment, stdout=log, stderr=log)
            (folder / f"{index}.pid").write_text(str(child.pid))
            code = child.wait()
        if code in (0, 2) or (folder / "deleted").exists():
            break
    (folder / f"{index}.code").write_text(str(code))


def get(state, args):
    folder = state / args.job.removeprefix("job.batch/")
    if not folder.exists() or (folder / "deleted").exists():
        sys.exit(f'Error from server (NotFound): jobs.batch "{folder.name}" not found')
    job = json.loads(folder.with_suffix(".job").read_text())
    codes = {path.stem: int(path.read_text()) for path in folder.glob("*.code")}
    active = job["spec"]["completions"] - len(codes)
    job["status"] = {
        "active": active,
        "ready": active,
        "succeeded": sum(code == 0 for code in codes.values()),
        "failedIndexes": ",".join(index for index, code in codes.items() if code != 0),
    }
    print(json.dumps(job))


def delete(state, args):
    folder = state / args.job.removeprefix("job.batch/")
    (folder / "deleted").touch()
    for path in folder.glob("*.pid"):
        if not path.with_suffix(".code").exists():
            os.kill(int(path.read_text()), signal.SIGTERM)


def logs(state, args):
    folder = state / args.selector.removeprefix("job-name=")
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text().splitlines()[-int(args.tail):]:
            print(f"[pod/{folder.name}-{path.stem}/worker] {line}")


if __name__ == "__main__":
    main()
