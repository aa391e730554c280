"""Renders the Helm chart with sets of values, and says what is wrong with what comes out.

Checked: Helm's strict lint; the schemas of Kubernetes for its own kinds, and ``crds.yaml`` for
those of KEDA, Strimzi and Prometheus' operator; the restricted Pod Security Standard; images by
digest; and that the service accepts the configuration. Nothing is installed: that needs a cluster.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import yaml
from helm_python import Chart, HelmError, lint
from pydantic import ValidationError

from streamlabel.config.settings import Settings

__all__ = ["CHART", "VALUES", "VERSIONS", "problems", "rendered", "set_problems"]

_ROOT = Path(__file__).parents[1] / "deploy" / "helm"
CHART: Final = _ROOT / "streamlabel"
VALUES: Final = sorted((_ROOT / "values").glob("*.yaml"))
# The oldest that the chart accepts, and the newest that there are schemas of.
VERSIONS: Final = ("1.27.0", kubernetes_validate.latest_version())
_CRDS: Final = Path(__file__).parent / "crds.yaml"

Manifest = dict[str, Any]


def rendered(values: Mapping[str, Any], *, name: str = "demo") -> list[Manifest]:
    """Return the manifests of a release with these values.

    Raises:
        HelmError: the values are refused, or a template fails.
    """
    with Chart.load(CHART) as chart:
        values = dict(values)
        chart.validate_schema(values)
        files = chart.render(values, name=name, namespace="texts")
    return [
        document
        for path, text in sorted(files.items())
        if not path.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document is not None
    ]


def set_problems(path: Path) -> Iterator[str]:
    """Yield what is wrong with the chart with one set of values."""
    values = yaml.safe_load(path.read_text())
    report = lint(CHART, values, strict=True)
    for message in report["messages"]:
        if message["severity"] > 1:
            yield f"lint: {message['path']}: {message['error']}"
    yield from (f"lint: {error}" for error in report["errors"])
    try:
        manifests = rendered(values)
    except HelmError as error:
        yield f"{error}"
        return
    yield from problems(manifests)


def problems(manifests: list[Manifest]) -> Iterator[str]:
    """Yield what is wrong with manifests, each with kind and name before it."""
    crds = yaml.safe_load(_CRDS.read_text())
    for manifest in manifests:
        found = [*_against_schema(manifest, crds)]
        pod = _pod(manifest)
        if pod is not None:
            found += _not_restricted(pod)
            found += _not_pinned(pod)
        if manifest["kind"] == "ConfigMap" and "config.yaml" in manifest["data"]:
            found += _not_accepted(manifest["data"]["config.yaml"])
        for each in found:
            yield f"{manifest['kind']} {manifest['metadata']['name']}: {each}"


def _against_schema(manifest: Manifest, crds: Mapping[str, Any]) -> Iterator[str]:
    kind = f"{manifest['apiVersion']}/{manifest['kind']}"
    if kind in crds:
        checker = jsonschema.Draft202012Validator(crds[kind])
        for error in checker.iter_errors(manifest):
            yield f"{error.json_path}: {error.message}"
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{error.message}"


def _pod(manifest: Manifest) -> dict[str, Any] | None:
    if manifest["kind"] == "Pod":
        return dict(manifest["spec"])
    template = manifest.get("spec", {}).get("template", {})
    return template.get("spec") if isinstance(template, dict) else None


# Volumes that the restricted standard allows.
_VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def _not_restricted(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield what breaks the restricted Pod Security Standard."""
    whole = pod.get("securityContext", {})
    yield from (f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    if whole.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "no seccomp profile"
    if whole.get("runAsUser", 0) == 0:
        yield "runs as root"
    if whole.get("runAsNonRoot") is not True:
        yield "may run as root"
    for volume in pod.get("volumes", ()):
        if (kinds := set(volume) - {"name"}) - _VOLUMES:
            yield f"volume {volume['name']} is {kinds}"
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        yield from (f"{container['name']} {problem}" for problem in _not_limited(container))


def _not_limited(container: Mapping[str, Any]) -> Iterator[str]:
    """Yield what breaks the standard, or two rules of our own: the last two."""
    own = container.get("securityContext", {})
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield "may gain privileges"
    if own.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if any("hostPort" in port for port in container.get("ports", ())):
        yield "takes a port of the host"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image"
    if any("secretKeyRef" in each.get("valueFrom", {}) for each in container.get("env", ())):
        yield "has a secret in its environment"


def _not_pinned(pod: Mapping[str, Any]) -> Iterator[str]:
    for container in pod["containers"]:
        if "@sha256:" not in container["image"]:
            yield f"{container['image']} is not pinned by digest"


def _not_accepted(text: str) -> Iterator[str]:
    """Yield why the service would refuse a configuration; its secrets are elsewhere."""
    config = yaml.safe_load(text)
    security = config.get("kafka", {}).get("security", {})
    has_password = security.get("sasl_mechanism") in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
    if has_password and "password_file" not in security:
        security["password"] = "from a secret"
    if "topic" in config.get("control", {}):
        config["control"]["key"] = "from a secret, too"
    try:
        Settings.model_validate(config)
    except ValidationError as error:
        yield f"the service refuses the configuration: {error}"
