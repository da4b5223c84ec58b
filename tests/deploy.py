#!/usr/bin/env python3
"""Checks what is deployed by copying it: compose.yaml, the Helm chart and Grafana's board.

The chart is rendered by Helm's own engine and held against Kubernetes' schemas where both are installed:
pip install helm-python-sdk==0.2.2 kubernetes-validate==1.37.0
"""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema
import yaml

TOP = pathlib.Path(__file__).resolve().parent.parent
DOCKER = TOP / "deploy/docker"
CHART = TOP / "deploy/helm/diffyne"
BOARD = TOP / "deploy/grafana/dashboards/diffyne.json"
# The oldest release of Kubernetes that the chart takes, and one of now.
KUBERNETES = ["1.30", "1.34"]
EVERYTHING = {
    "existingSecret": "diffyne",
    "gateway": {
        "autoscaling": {"enabled": True},
        "ingress": {"enabled": True, "host": "app.test", "className": "nginx", "tlsSecret": "tls"},
        "service": {"annotations": {"a": "b"}},
        "podAnnotations": {"a": "b"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
    },
    "worker": {
        "env": [{"name": "DB_HOST", "value": "db"}],
        "envFrom": [{"secretRef": {"name": "app"}}],
        "podAnnotations": {"a": "b"},
    },
    "networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "rules": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True},
    },
    "imagePullSecrets": [{"name": "registry"}],
}


def version():
    """The version of the programs."""
    text = (TOP / "Cargo.toml").read_text()
    return re.search(r'^version = "(.*)"$', text, re.MULTILINE)[1]


def settings():
    """The names of all settings."""
    return set(re.findall(r"^\| `([A-Z_]+)` \|", (TOP / "docs/settings.md").read_text(), re.MULTILINE))


def check_settings_exist(names, where):
    ours = {name for name in names if name.startswith("DIFFYNE_")}
    assert ours <= settings(), f"{where}: no such settings: {sorted(ours - settings())}"


def dockerfile():
    text = (DOCKER / "Dockerfile").read_text()
    check_settings_exist(re.findall(r"\b(DIFFYNE_[A-Z_]+)=", text), "Dockerfile")
    stages = re.findall(r"^FROM .* AS (\S+)$", text, re.MULTILINE)
    for stage in re.findall(r"COPY --from=(\S+)", text):
        assert stage in stages, f"Dockerfile: no stage {stage}"
    rust = re.search(r"rust:(\d+\.\d+)", text)[1]
    assert f'rust-version = "{rust}"' in (TOP / "Cargo.toml").read_text(), "Dockerfile: not the oldest Rust that we take"
    return stages


def compose(stages):
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = compose["services"]
    variables = dict(re.findall(r"^([A-Z_]+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    used = set(re.findall(r"\$\{([A-Z_]+)", (DOCKER / "compose.yaml").read_text()))
    assert used == set(variables), f"compose.yaml and .env.example differ: {sorted(used ^ set(variables))}"
    for name, service in services.items():
        check_settings_exist(service.get("environment", {}), f"compose.yaml, {name}")
        if "build" in service:
            assert service["build"]["target"] in stages, f"compose.yaml, {name}: no stage {service['build']['target']}"
        for needed in service.get("depends_on", {}):
            assert needed in services, f"compose.yaml, {name}: no service {needed}"
        for network in service.get("networks", []):
            assert network in compose["networks"], f"compose.yaml, {name}: no network {network}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), f"compose.yaml, {name}: {source} is not there"
    for job in yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"]:
        found = {target.split(":")[0] for config in job["static_configs"] for target in config["targets"]}
        kind = job["job_name"].removeprefix("diffyne-")
        assert found == {name for name in services if name.startswith(kind)}, f"prometheus.yml, {kind}: {found}"
    with tempfile.TemporaryDirectory() as folder:
        site = pathlib.Path(folder) / "site.conf"
        subprocess.run([DOCKER / "nginx-site.sh", TOP / "nginx/application.conf", site], check=True)
        left = re.findall(r"127\.0\.0\.1[^;]*", site.read_text())
        hosts = set(re.findall(r"server ([a-z0-9-]+):", site.read_text()))
    assert not left, f"nginx-site.sh leaves addresses of one host: {left}"
    assert hosts == {"app"} | {name for name in services if name.startswith("gateway-")}, f"nginx-site.sh: {hosts}"


def board():
    board = json.loads(BOARD.read_text())
    identities, places = set(), set()
    for panel in board["panels"]:
        assert panel["id"] not in identities, f"board: two panels {panel['id']}"
        identities.add(panel["id"])
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & places, f"board: no room for {panel['title']}"
        places |= cells
        if panel["type"] != "row":
            assert panel["description"].endswith(".") and panel["targets"], f"board: {panel['title']} explains nothing"
    for provider in (TOP / "deploy/grafana/provisioning").glob("*/*.yml"):
        assert yaml.safe_load(provider.read_text())["apiVersion"] == 1, provider


def chart_values():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version(), f"Chart.yaml: the programs are {version()}"
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    jsonschema.validate(EVERYTHING, schema)
    for part in (values, values["gateway"], values["worker"]):
        check_settings_exist(part["settings"], "values.yaml")
    wrong = [
        {"gatway": {}},
        {"gateway": {"replicas": "3"}},
        {"settings": {"DIFFYNE_WORKER_TOKEN": "in the open"}},
        {"worker": {"settings": {"DIFFYNE_WORKER_LISTEN": "127.0.0.1:1"}}},
    ]
    for values in wrong:
        try:
            jsonschema.validate(values, schema)
        except jsonschema.ValidationError:
            continue
        raise AssertionError(f"values.schema.json takes {values}")


def chart_rendered():
    """Renders the chart and holds it against Kubernetes' schemas. Says how much that was."""
    import kubernetes_validate
    from helm_python.chart import Chart, lint

    for values in ({"existingSecret": "diffyne"}, EVERYTHING):
        report = lint(CHART, values, strict=True)
        bad = [message for message in report["messages"] if message["severity"] > 1]
        assert not bad and not report["errors"], report
    chart = Chart.load(CHART)
    rendered = {}
    for name, values in (("small", {"existingSecret": "diffyne"}), ("everything", EVERYTHING)):
        templates = chart.render(values, name=name, namespace="test")
        texts = [text for path, text in templates.items() if path.endswith(".yaml")]
        rendered[name] = [thing for text in texts for thing in yaml.safe_load_all(text) if thing]
    for things in rendered.values():
        names = [(thing["kind"], thing["metadata"]["name"]) for thing in things]
        assert len(names) == len(set(names)), names
        for thing in things:
            if thing["apiVersion"].startswith("monitoring.coreos.com/"):
                continue
            for release in KUBERNETES:
                kubernetes_validate.validate(thing, release, strict=True)
            if thing["kind"] == "Deployment":
                pod = thing["spec"]["template"]
                assert thing["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
                (container,) = pod["spec"]["containers"]
                check_settings_exist([variable["name"] for variable in container["env"]], thing["metadata"]["name"])
    kinds = sorted(thing["kind"] for thing in rendered["everything"])
    expected = {"Deployment": 2, "Service": 3, "HorizontalPodAutoscaler": 1, "Ingress": 1, "PodDisruptionBudget": 2,
                "NetworkPolicy": 2, "ServiceMonitor": 2, "PrometheusRule": 1, "ConfigMap": 1}
    assert kinds == sorted(kind for kind, count in expected.items() for _ in range(count)), kinds
    (rules,) = [thing["spec"] for thing in rendered["everything"] if thing["kind"] == "PrometheusRule"]
    assert rules == yaml.safe_load((TOP / "deploy/prometheus/alerts.yml").read_text())
    (data,) = [thing["data"] for thing in rendered["everything"] if thing["kind"] == "ConfigMap"]
    assert json.loads(data["diffyne.json"]) == json.loads(BOARD.read_text())
    try:
        chart.render({})
    except Exception as error:  # Helm's words, whatever the class.
        assert "existingSecret" in str(error), error
    else:
        raise AssertionError("the chart is rendered without a Secret")


def main():
    compose(dockerfile())
    board()
    chart_values()
    if all(importlib.util.find_spec(module) for module in ("helm_python", "kubernetes_validate")):
        chart_rendered()
    else:
        print("deploy: the chart is not rendered here (pip install helm-python-sdk kubernetes-validate)", file=sys.stderr)


if __name__ == "__main__":
    main()
