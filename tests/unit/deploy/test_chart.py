"""The Helm chart, rendered with each set of values and checked against the schemas of its kinds."""

import copy
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart, HelmError

from streamlabel.config.settings import DeliverySettings, Settings
from streamlabel.consumer.kafka.needed_rights import replay_rights, service_rights
from streamlabel.consumer.kafka.rights import Right
from testing.chart import CHART, VALUES, problems, rendered, set_problems

ROOT = Path(__file__).parents[3]


def values_of(name: str) -> dict[str, Any]:
    """Return one of the sets of values."""
    found: dict[str, Any] = yaml.safe_load((VALUES[0].parent / f"{name}.yaml").read_text())
    return found


def kinds(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in manifests if each["kind"] == kind]


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [found] = kinds(manifests, kind)
    return found


def test_there_are_twelve_sets_of_values() -> None:
    assert len(VALUES) >= 12


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.stem)
def test_nothing_is_wrong_with_a_set_of_values(path: Path) -> None:
    assert list(set_problems(path)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": {"digest": "latest"}}, "digest"),
        ({"image": {"repository": "registry.example.com/streamlabel:1"}}, "repository"),
        ({"replica": 3}, "replica"),
        ({"config": {"kafka": {"security": {"password": "x"}}}}, "config"),
        ({"kind": "DaemonSet"}, "kind"),
        ({"secrets": [{"name": "s", "items": [{"key": "a", "path": "password"}]}]}, "path"),
        ({"keda": {"lagThreshold": 0}}, "lagThreshold"),
    ],
)
def test_values_that_cannot_work_are_refused(change: dict[str, Any], said: str) -> None:
    values = values_of("encoder")
    for key, value in change.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    with pytest.raises(HelmError, match=said):
        rendered(values)


@pytest.mark.parametrize(
    ("without", "said"),
    [("digest", "image.digest: set it"), ("repository", "image.repository: set it")],
)
def test_an_image_that_is_not_named_is_refused_with_what_to_set(without: str, said: str) -> None:
    values = values_of("encoder")
    del values["image"][without]
    with pytest.raises(HelmError, match=said):
        rendered(values)


def test_a_tag_is_taken_only_when_allowed() -> None:
    values = values_of("encoder")
    values["image"] = {"repository": "local/streamlabel", "allowTag": True, "tag": "cpu"}
    manifests = rendered(values)
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "local/streamlabel:cpu"
    assert {problem.rpartition(": ")[2] for problem in problems(manifests)} == {
        "local/streamlabel:cpu is not pinned by digest"
    }


@cache
def fullest() -> list[dict[str, Any]]:
    """Return manifests of every kind."""
    return rendered(values_of("keda")) + rendered(values_of("strimzi-tls"), name="other")


def broken(kind: str, path: str, value: object) -> list[str]:
    """Return what is found wrong with a manifest after one field of it was changed."""
    manifest = copy.deepcopy(kinds(fullest(), kind)[0])
    at: Any = manifest
    *above, last = path.split("/")
    for name in above:
        at = at[int(name)] if name.isdigit() else at[name]
    at[int(last) if last.isdigit() else last] = value
    return list(problems([manifest]))


@pytest.mark.parametrize(
    ("kind", "path", "value", "said"),
    [
        ("Deployment", "spec/replica", 2, "replica"),
        ("Deployment", "spec/template/spec/hostNetwork", True, "hostNetwork is set"),
        (
            "Deployment",
            "spec/template/spec/containers/0/securityContext/capabilities",
            {"drop": ["NET_RAW"]},
            "keeps capabilities",
        ),
        ("Deployment", "spec/template/spec/containers/0/image", "a:1", "not pinned by digest"),
        ("Deployment", "spec/template/spec/securityContext/runAsUser", 0, "runs as root"),
        (
            "Deployment",
            "spec/template/spec/volumes/0",
            {"name": "config", "hostPath": {"path": "/"}},
            "hostPath",
        ),
        ("ConfigMap", "data/config.yaml", "routing: {thresh: 1}", "routing.thresh"),
        ("ScaledObject", "spec/triggers/0/metadata/excludePersistentLag", "true", "'false'"),
        ("ScaledObject", "spec/triggers/0/metadata/lagThreshold", 5, "not of type 'string'"),
        ("ScaledObject", "spec/maxReplicas", 5, "maxReplicas"),
        ("KafkaUser", "spec/authentication/type", "oauth", "'oauth' is not one of"),
        ("KafkaTopic", "spec/partitions", 0, "less than the minimum"),
        ("KafkaTopic", "metadata/labels", {}, "strimzi.io/cluster"),
    ],
)
def test_a_fault_in_a_manifest_is_found(kind: str, path: str, value: object, said: str) -> None:
    assert any(said in problem for problem in broken(kind, path, value))


def test_the_pod_has_time_to_drain() -> None:
    values = values_of("encoder")
    pod = one(rendered(values), "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == DeliverySettings().drain_timeout_s + 15
    values["config"]["delivery"] = {"drain_timeout_s": 99.5}
    pod = one(rendered(values), "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 115


def test_a_pod_of_a_stateful_set_keeps_its_name_in_the_group() -> None:
    pod = one(rendered(values_of("static-membership")), "StatefulSet")["spec"]["template"]["spec"]
    [name] = [
        variable
        for variable in pod["containers"][0]["env"]
        if variable["name"] == "STREAMLABEL__KAFKA__GROUP_INSTANCE_ID"
    ]
    assert name["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_another_device_is_not_needed_for_a_roll_out() -> None:
    for name, resource in (("gpu", "nvidia.com/gpu"), ("npu", "huawei.com/Ascend910")):
        spec = one(rendered(values_of(name)), "Deployment")["spec"]
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
        limits = spec["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert limits[resource] == 1
        assert "memory" in limits


def test_a_scaler_decides_alone_how_many_pods_there_are() -> None:
    manifests = rendered(values_of("keda"))
    assert "replicas" not in one(manifests, "Deployment")["spec"]
    [trigger] = one(manifests, "ScaledObject")["spec"]["triggers"]
    assert trigger["metadata"]["excludePersistentLag"] == "false"
    assert trigger["metadata"]["topic"] == "messages"
    assert trigger["metadata"]["consumerGroup"] == "moderation"


def test_a_changed_configuration_restarts_the_pods() -> None:
    values = values_of("encoder")
    before = one(rendered(values), "Deployment")["spec"]["template"]["metadata"]["annotations"]
    values["config"]["routing"]["threshold"] = 0.9
    after = one(rendered(values), "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert before != after


def test_service_and_console_do_not_select_each_others_pods() -> None:
    manifests = rendered(values_of("console"))
    selectors = [service["spec"]["selector"].items() for service in kinds(manifests, "Service")]
    labels = [
        workload["spec"]["template"]["metadata"]["labels"].items()
        for workload in kinds(manifests, "Deployment")
    ]
    assert len(selectors) == len(labels) == 2
    for selector in selectors:
        assert sum(selector <= each for each in labels) == 1


def test_the_metrics_of_the_console_are_scraped_from_the_port_that_it_serves() -> None:
    values = values_of("console")
    values["config"]["http"] = {"port": 9091}
    values["monitoring"] = {"serviceMonitor": {"enabled": True}}
    manifests = rendered(values)
    name = next(
        each["metadata"]["name"]
        for each in kinds(manifests, "Deployment")
        if each["metadata"]["name"].endswith("-console")
    )
    [config] = [each for each in kinds(manifests, "ConfigMap") if each["metadata"]["name"] == name]
    assert yaml.safe_load(config["data"]["config.yaml"])["console"]["metrics_port"] == 9091
    selector = one(manifests, "ServiceMonitor")["spec"]["selector"]
    [listed] = selector["matchExpressions"]
    services = kinds(manifests, "Service")
    for service in services:
        labels = service["metadata"]["labels"]
        assert selector["matchLabels"].items() <= labels.items()
        assert labels[listed["key"]] in listed["values"]
        ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
        assert ports["http"] == 9091
    assert len(services) == 2


NAMES = {"topic": "topic", "group": "group", "transactionalId": "transactional id"}


def granted(acls: list[dict[str, Any]], right: Right) -> bool:
    for acl in acls:
        resource = acl["resource"]
        fits = (
            right.name.startswith(resource["name"])
            if resource["patternType"] == "prefix"
            else right.name == resource["name"]
        )
        kind = NAMES[resource["type"]]
        if fits and kind == right.kind and right.operation in acl["operations"]:
            return True
    return False


@pytest.mark.parametrize("name", ["strimzi-scram", "strimzi-tls", "tasks"])
def test_the_user_has_the_rights_that_the_service_needs_and_no_others(name: str) -> None:
    values = values_of(name)
    manifests = rendered(values)
    config = yaml.safe_load(kinds(manifests, "ConfigMap")[0]["data"]["config.yaml"])
    config.setdefault("control", {}).update(key="of sixteen characters")
    settings = Settings.model_validate(config)
    acls = one(manifests, "KafkaUser")["spec"]["authorization"]["acls"]
    needed = set(service_rights(settings, partitions=2))
    if name == "strimzi-tls":
        needed |= set(replay_rights(settings, partitions=2, execute=True))
    assert {right for right in needed if not granted(acls, right)} == set()
    for acl in acls:  # each is needed, but for DescribeConfigs, which the docs recommend
        resource = acl["resource"]
        if resource["name"] == settings.control.topic:
            continue
        for operation in set(acl["operations"]) - {"DescribeConfigs"}:
            only = [{**acl, "operations": [operation]}]
            assert any(granted(only, right) for right in needed), f"{operation} on {resource}"


def test_topics_have_the_names_of_the_configuration_and_equal_partitions() -> None:
    manifests = rendered(values_of("tasks"))
    topics = {each["spec"]["topicName"]: each["spec"] for each in kinds(manifests, "KafkaTopic")}
    data = {"live", "imported", "topics", "labels", "review", "dead-letters"}
    assert topics.keys() == data | {"deployments"}
    assert {topics[name]["partitions"] for name in data} == {12}
    assert topics["deployments"]["partitions"] == 1
    assert topics["deployments"]["config"]["cleanup.policy"] == "compact"


def test_without_names_in_the_configuration_topics_have_the_names_of_the_service() -> None:
    values = values_of("strimzi-scram")
    del values["config"]["input"], values["config"]["output"]
    manifests = rendered(values)
    usual = Settings.model_validate({"model": {"backend": "fake"}})
    assert {each["spec"]["topicName"] for each in kinds(manifests, "KafkaTopic")} == {
        *usual.input.weights,
        *usual.output_topics,
    }


def test_secrets_are_files_and_in_no_manifest() -> None:
    manifests = rendered(values_of("strimzi-scram"))
    assert kinds(manifests, "Secret") == []
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    [volume] = [each for each in pod["volumes"] if each["name"] == "secrets"]
    [source] = volume["projected"]["sources"]
    assert source["secret"]["items"] == [{"key": "password", "path": "kafka-password"}]
    [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "secrets"]
    config = yaml.safe_load(one(manifests, "ConfigMap")["data"]["config.yaml"])
    security = config["kafka"]["security"]
    # read again when Strimzi changes it; a variable would need another pod
    assert security["password_file"] == f"{mount['mountPath']}/kafka-password"


def test_the_alerts_and_the_dashboard_are_those_that_were_tested() -> None:
    """If this fails, run scripts/generate."""
    for name, original in (
        ("rules.yaml", "prometheus/rules.yaml"),
        ("streamlabel.json", "grafana/streamlabel.json"),
    ):
        assert (CHART / "files" / name).read_text() == (ROOT / "deploy" / original).read_text()
    manifests = rendered(values_of("monitoring"))
    spec = one(manifests, "PrometheusRule")["spec"]
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yaml").read_text())
    assert [rule["expr"] for rule in spec["groups"][0]["rules"]] == [
        rule["expr"] for rule in rules["groups"][0]["rules"]
    ]
    runbooks = {rule["annotations"]["runbook"] for rule in spec["groups"][0]["rules"]}
    assert all(each.startswith("https://docs.example.com/streamlabel/") for each in runbooks)


def test_a_chart_that_does_not_render_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "streamlabel"
    shutil.copytree(CHART, folder)
    (folder / "templates" / "service.yaml").write_text("a: {{ include }}")
    with Chart.load(folder) as chart, pytest.raises(HelmError, match="include"):
        chart.render(values_of("encoder"), name="demo")
