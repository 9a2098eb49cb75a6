"""A cluster of one pod, for the commands of Helm that the workflow uses.

The chart is rendered by Helm's own code and its objects validated; the Deployment's first container
runs under podman as it says: user, capabilities, read-only root, memory, arguments. Like a real
roll-out, an upgrade that does not become ready is taken back. CLUSTER_BREAKS says what goes wrong:
`start` (the server does not become ready) or `test` (the test's pod fails).

    helm upgrade NAME CHART --install --atomic … | helm test NAME … | helm rollback NAME …
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml
from helm_python.chart import Chart

NETWORK = "cluster"
STATE = Path(os.environ["CLUSTER_STATE"])
BREAKS = os.environ.get("CLUSTER_BREAKS", "")


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    upgrade = commands.add_parser("upgrade")
    upgrade.add_argument("name")
    upgrade.add_argument("chart")
    for flag in ["--install", "--atomic", "--create-namespace"]:
        upgrade.add_argument(flag, action="store_true", required=True)
    upgrade.add_argument("--set-string", action="append", default=[])
    test = commands.add_parser("test")
    test.add_argument("name")
    test.add_argument("--logs", action="store_true")
    rollback = commands.add_parser("rollback")
    rollback.add_argument("name")
    rollback.add_argument("--wait", action="store_true", required=True)
    for command in [upgrade, test, rollback]:
        command.add_argument("--namespace", required=True)
        command.add_argument("--timeout", required=True)
    args = parser.parse_args()
    if not os.environ.get("KUBECONFIG"):
        sys.exit("Error: Kubernetes cluster unreachable")
    state = json.loads(STATE.read_text()) if STATE.exists() else {"revisions": []}
    {"upgrade": do_upgrade, "test": do_test, "rollback": do_rollback}[args.command](args, state)


def do_upgrade(args, state):
    objects = render(args)
    state["release"] = args.name
    podman("network", "create", NETWORK, check=False)
    try:
        start(args.name, objects["Deployment"], objects["Service"], BREAKS == "start")
    except NotReady as reason:
        if state["revisions"]:
            start(args.name, state["revisions"][-1]["Deployment"], state["revisions"][-1]["Service"])
        sys.exit(f"Error: UPGRADE FAILED: release {args.name} failed, and has been rolled back: {reason}")
    state["revisions"].append(objects)
    STATE.write_text(json.dumps(state))


def render(args):
    values = {}
    for assignment in args.set_string:
        path, value = assignment.split("=", 1)
        place = values
        *parents, last = path.split(".")
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = value
    chart = Chart.load(args.chart)
    chart.validate_schema(chart.merge_values(values))
    texts = chart.render(values, name=args.name, namespace=args.namespace, is_upgrade=True)
    documents = [d for path, text in texts.items() if path.endswith(".yaml") for d in yaml.safe_load_all(text)]
    return {document["kind"]: document for document in documents if document}


def do_test(args, state):
    pod = state["revisions"][-1]["Pod"]["spec"]
    container = pod["containers"][0]
    arguments = ["--data", "not JSON"] if BREAKS == "test" else []
    done = podman(*confined(pod, container), "--rm", container["image"], *container["args"], *arguments, check=False)
    print(done.stdout, done.stderr)
    sys.exit(done.returncode)


def do_rollback(args, state):
    if len(state["revisions"]) < 2:
        sys.exit("Error: release has no 0 version")
    state["revisions"].pop()
    start(args.name, state["revisions"][-1]["Deployment"], state["revisions"][-1]["Service"])
    STATE.write_text(json.dumps(state))


class NotReady(Exception):
    pass


def start(name, deployment, service, breaks=False):
    """Replaces the pod, and waits until its readiness probe passes."""
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    podman("rm", "--force", "--volumes", f"cluster-{name}", check=False)
    alias = ["--network-alias", service["metadata"]["name"], "--name", f"cluster-{name}", "--detach"]
    arguments = ["--no-such-option"] if breaks else []
    podman(*confined(pod, container), *alias, container["image"], *container["args"], *arguments)
    probe = container["readinessProbe"]["httpGet"]
    port = next(p["containerPort"] for p in container["ports"] if p["name"] == probe["port"])
    url = f"http://127.0.0.1:{port}{probe['path']}"
    end = time.monotonic() + 15
    while podman("exec", f"cluster-{name}", "/luthier", "probe", url, check=False).returncode != 0:
        if time.monotonic() > end:
            raise NotReady(podman("logs", f"cluster-{name}", check=False).stderr[-300:])
        time.sleep(0.2)


def confined(pod, container):
    """`podman run` with what the pod's and the container's security contexts say."""
    security = {**pod["securityContext"], **container["securityContext"]}
    limit = container["resources"]["limits"]["memory"].replace("Mi", "m")
    flags = ["run", "--network", NETWORK, "--memory", limit]
    flags += ["--user", f"{security['runAsUser']}:{security['runAsGroup']}"]
    flags += [f"--cap-drop={capability}" for capability in security["capabilities"]["drop"]]
    if security["readOnlyRootFilesystem"]:
        flags.append("--read-only")
    if not security["allowPrivilegeEscalation"]:
        flags.append("--security-opt=no-new-privileges")
    return flags


def podman(*arguments, check=True):
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True)
    if check and done.returncode != 0:
        sys.exit(f"Error: podman {arguments[0]}: {done.stderr}")
    return done


if __name__ == "__main__":
    main()
