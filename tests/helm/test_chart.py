from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from bessai.config import FleetConfig
from bessai.config.load import parse
from tests.helm.chart import CHART, ROOT, Helm, Manifest, dig, only

PRODUCTION = ROOT / "serve_configs" / "production.yaml"
SCHEMA = json.loads((Path(__file__).parent / "rayservice.schema.json").read_text(encoding="utf-8"))
CLUSTER = ("spec", "rayClusterConfig")
FULL = """
state: {claimName: store}
gcsFaultTolerance: {enabled: true, redisAddress: "redis://r:6379", passwordSecretName: redis}
workers:
  - name: edge-7
    replicas: 1
    minReplicas: 1
    maxReplicas: 1
    rayResources: {edge-7: 1}
    resources: {requests: {cpu: "2"}, limits: {cpu: "2"}}
networkPolicy:
  apiFrom: [{ipBlock: {cidr: 10.0.0.0/8}}]
  metricsFrom: [{namespaceSelector: {}}]
  sitePorts: [502, 6607]
"""


@pytest.fixture(scope="module")
def full(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    values = tmp_path_factory.mktemp("values") / "full.yaml"
    values.write_text(FULL, encoding="utf-8")
    return helm.template("--values", str(values))


def containers(manifests: list[Manifest]) -> list[object]:
    service, job = only(manifests, "RayService"), only(manifests, "Job")
    groups = [dig(service, *CLUSTER, "headGroupSpec")]
    workers = dig(service, *CLUSTER, "workerGroupSpecs")
    assert isinstance(workers, list)
    pods = [dig(group, "template", "spec") for group in [*groups, *workers]]
    pods.append(dig(job, "spec", "template", "spec"))
    found: list[object] = []
    for pod in pods:
        assert isinstance(pod, dict)
        assert dig(pod, "securityContext", "runAsNonRoot") is True
        assert dig(pod, "automountServiceAccountToken") is False
        found += [*pod["containers"], *pod.get("initContainers", [])]
    return found


def environment(container: object) -> dict[str, object]:
    env = dig(container, "env")
    assert isinstance(env, list)
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in env}


def test_lint_has_nothing_to_say(helm: Helm) -> None:
    result = helm.run("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout


def test_defaults_render_one_of_each_kind(manifests: list[Manifest]) -> None:
    assert sorted(str(m["kind"]) for m in manifests) == [
        "ConfigMap",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "RayService",
        "ServiceAccount",
    ]


def test_rayservice_matches_the_crd(manifests: list[Manifest], full: list[Manifest]) -> None:
    for rendered in (manifests, full):
        jsonschema.validate(dig(only(rendered, "RayService"), "spec"), SCHEMA)


def test_crd_schema_refuses_a_field_kuberay_does_not_know(manifests: list[Manifest]) -> None:
    spec = json.loads(json.dumps(dig(only(manifests, "RayService"), "spec")))
    spec["rayClusterConfig"]["headGroupSpec"]["rayStartParam"] = {}
    with pytest.raises(jsonschema.ValidationError, match="rayStartParam"):
        jsonschema.validate(spec, SCHEMA)


def test_serve_config_is_the_one_of_the_repository(manifests: list[Manifest]) -> None:
    rendered = dig(only(manifests, "RayService"), "spec", "serveConfigV2")
    assert yaml.safe_load(str(rendered)) == yaml.safe_load(PRODUCTION.read_text(encoding="utf-8"))
    assert (CHART / "files" / "production.yaml").read_bytes() == PRODUCTION.read_bytes()


def test_package_carries_the_serve_config(helm: Helm, tmp_path: Path) -> None:
    packed = helm.run("package", str(CHART), "--destination", str(tmp_path))
    assert packed.returncode == 0, packed.stderr
    rendered = helm.template(chart=next(tmp_path.glob("bessai-*.tgz")))
    text = str(dig(only(rendered, "RayService"), "spec", "serveConfigV2"))
    assert "actors.serve.api:app" in text


def test_ray_version_is_the_locked_one(manifests: list[Manifest]) -> None:
    locked = (ROOT / "requirements" / "core.lock").read_text(encoding="utf-8").splitlines()
    version = dig(only(manifests, "RayService"), *CLUSTER, "rayVersion")
    assert f"ray=={version}" in locked


def test_every_ray_node_outlives_the_head(full: list[Manifest]) -> None:
    nodes = [c for c in containers(full) if str(dig(c, "name")).startswith("ray-")]
    assert len(nodes) == 2
    for node in nodes:
        env = environment(node)
        assert env["RAY_gcs_rpc_server_reconnect_timeout_s"] == "86400"
        assert env["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
        assert dig(env["BESSAI_API_KEY"], "secretKeyRef", "name") == "bessai-api-key"


def test_no_container_runs_with_privileges(manifests: list[Manifest]) -> None:
    for container in containers(manifests):
        context = dig(container, "securityContext")
        assert dig(context, "allowPrivilegeEscalation") is False
        assert dig(context, "capabilities", "drop") == ["ALL"]
        assert dig(container, "resources", "limits", "memory")


def test_ray_asks_for_a_token(manifests: list[Manifest]) -> None:
    options = dig(only(manifests, "RayService"), *CLUSTER, "authOptions")
    assert options == {"mode": "token", "secretName": "bessai-ray-token"}
    submit = dig(only(manifests, "Job"), "spec", "template", "spec", "containers", 0)
    token = environment(submit)["RAY_AUTH_TOKEN"]
    assert dig(token, "secretKeyRef") == {"name": "bessai-ray-token", "key": "auth_token"}


def test_job_hands_over_exactly_this_fleet_file(helm: Helm, tmp_path: Path) -> None:
    text = "# ünicode, and no newline at the end\nid: x"
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(text, encoding="utf-8")
    rendered = helm.template("--set-file", f"fleet={fleet}")
    assert dig(only(rendered, "ConfigMap"), "data", "fleet.yaml") == text
    arguments = dig(only(rendered, "Job"), "spec", "template", "spec", "containers", 0, "args")
    assert isinstance(arguments, list)
    assert arguments[-1] == hashlib.sha256(text.encode()).hexdigest()
    assert arguments[0] == "--address=http://prod-bessai-head-svc:8265"


def test_example_fleet_is_a_valid_fleet_file(manifests: list[Manifest]) -> None:
    text = str(dig(only(manifests, "ConfigMap"), "data", "fleet.yaml"))
    fleet = parse(FleetConfig, yaml.safe_load(text), "values.yaml")
    assert [site.id for site in fleet.sites] == ["site-1"]


def test_site_node_offers_its_resource(full: list[Manifest]) -> None:
    group = dig(only(full, "RayService"), *CLUSTER, "workerGroupSpecs", 0)
    quoted = dig(group, "rayStartParams", "resources")
    assert json.loads(json.loads(str(quoted))) == {"edge-7": 1}


def test_the_store_lives_where_every_node_finds_it(full: list[Manifest]) -> None:
    cluster = dig(only(full, "RayService"), *CLUSTER)
    for group in (dig(cluster, "headGroupSpec"), dig(cluster, "workerGroupSpecs", 0)):
        pod = dig(group, "template", "spec")
        assert environment(dig(pod, "containers", 0))["BESSAI_STATE_DIR"] == "/var/lib/bessai"
        assert {"name": "state", "mountPath": "/var/lib/bessai"} in list_at(
            pod, "containers", 0, "volumeMounts"
        )
        volume = {"name": "state", "persistentVolumeClaim": {"claimName": "store"}}
        assert volume in list_at(pod, "volumes")


def list_at(value: object, *path: str | int) -> list[object]:
    found = dig(value, *path)
    assert isinstance(found, list)
    return found


def test_fault_tolerance_is_optional(manifests: list[Manifest], full: list[Manifest]) -> None:
    without = dig(only(manifests, "RayService"), *CLUSTER)
    assert isinstance(without, dict)
    assert "gcsFaultToleranceOptions" not in without
    options = dig(only(full, "RayService"), *CLUSTER, "gcsFaultToleranceOptions")
    assert dig(options, "redisAddress") == "redis://r:6379"
    assert dig(options, "redisPassword", "valueFrom", "secretKeyRef", "name") == "redis"


def test_network_policy_selects_every_pod(manifests: list[Manifest]) -> None:
    selector = dig(only(manifests, "NetworkPolicy"), "spec", "podSelector", "matchLabels")
    assert selector == {"bessai-release": "prod-bessai"}
    cluster = dig(only(manifests, "RayService"), *CLUSTER)
    templates = [
        dig(cluster, "headGroupSpec", "template"),
        dig(cluster, "workerGroupSpecs", 0, "template"),
        dig(only(manifests, "Job"), "spec", "template"),
    ]
    for template in templates:
        assert dig(template, "metadata", "labels", "bessai-release") == "prod-bessai"


def test_network_policy_opens_only_named_ports(
    manifests: list[Manifest], full: list[Manifest]
) -> None:
    assert opened_ports(manifests) == {8000, 8265}
    assert opened_ports(full) == {8000, 8265, 8080}
    sites = dig(only(full, "NetworkPolicy"), "spec", "egress", 2, "ports")
    assert isinstance(sites, list)
    assert [port["port"] for port in sites] == [502, 6607]


def opened_ports(manifests: list[Manifest]) -> set[int]:
    rules = dig(only(manifests, "NetworkPolicy"), "spec", "ingress")
    assert isinstance(rules, list)
    return {port["port"] for rule in rules for port in rule.get("ports", [])}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("image.repositroy=x", "repositroy"),
        ("head.resources.requests=3", "/head/resources/requests"),
        ("gcsFaultTolerance.enabled=true", "/gcsFaultTolerance"),
        ("upgradeStrategy=Rolling", "/upgradeStrategy"),
        ("rayVersion=latest", "/rayVersion"),
        ("fleet=", "/fleet"),
    ],
)
def test_a_wrong_value_is_named(helm: Helm, option: str, message: str) -> None:
    result = helm.run("template", "prod", str(CHART), "--set", option)
    assert result.returncode != 0
    assert message in result.stderr


def test_parts_can_be_left_out(helm: Helm) -> None:
    kinds = [
        m["kind"]
        for m in helm.template(
            "--set", "networkPolicy.enabled=false,podDisruptionBudget.enabled=false"
        )
    ]
    assert "NetworkPolicy" not in kinds
    assert "PodDisruptionBudget" not in kinds
