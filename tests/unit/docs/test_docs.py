"""The pages in docs/ say what the code does."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from streamlabel import errors
from streamlabel.config.kafka import InputSettings, KafkaSettings, OutputSettings
from streamlabel.config.presets import PRESETS
from streamlabel.config.settings import (
    DeliverySettings,
    HttpSettings,
    LoggingSettings,
    RoutingSettings,
)
from streamlabel.config.worker import WorkerSettings
from streamlabel.consumer.core.metric_names import METRICS
from streamlabel.consumer.observability import metric_reference
from streamlabel.consumer.observability.health import Health
from streamlabel.tools import guard_pages

ROOT = Path(__file__).parents[3]
PAGES = sorted((ROOT / "docs").glob("*.md"))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


GENERATED = metric_reference.files() | guard_pages.files()


@pytest.mark.parametrize("name", GENERATED)
def test_the_generated_page_is_up_to_date(name: str) -> None:
    """If this fails, run scripts/generate."""
    assert (ROOT / name).read_text() == GENERATED[name]


def test_every_preset_has_a_page() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "guards").glob("*.md")}
    assert pages == {*guard_pages.FAMILIES}
    shown = [name for family in guard_pages.FAMILIES.values() for name in family.presets]
    assert sorted(shown) == sorted(PRESETS)


@pytest.mark.parametrize("page", [ROOT / "CHANGELOG.md", *PAGES], ids=lambda page: page.name)
def test_a_page_says_nothing_twice_and_parts_its_headings(page: Path) -> None:
    """Both happen when two branches that grow the same list are merged."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
    headings = re.findall(r"(?m)^##+ .*$", text)
    if page.name != "CHANGELOG.md":  # has the same headings for each version
        assert sorted(set(headings)) == sorted(headings)
    assert re.findall(r"(?m)^(?=.).*\n##+ .*$", text) == []
    entries = re.findall(r"(?m)^- .*(?:\n  .*)*", text)
    long = [entry for entry in entries if len(entry) > 80]
    assert sorted(set(long)) == sorted(long)


def test_every_exit_code_is_explained_once_with_its_errors() -> None:
    table = OPERATIONS.partition("## Exit codes")[2].partition("## ")[0]
    rows = dict(re.findall(r"^\| ([\d, ]+) \| (.*?) \|", table, flags=re.MULTILINE))
    for name in errors.__all__:
        kind = getattr(errors, name)
        declared = "exit_code" in vars(kind)
        if declared and kind is not errors.StreamlabelError:
            assert f"`{name}`" in rows[str(kind.exit_code)]
    explained = {int(code) for codes in rows for code in codes.split(",")}
    assert {getattr(errors, name).exit_code for name in errors.__all__} <= explained


def test_metrics_named_in_operations_exist() -> None:
    full = {
        f"streamlabel_{name}" + ("_total" if metric.kind == "counter" else "")
        for name, metric in METRICS.items()
    }
    assert set(re.findall(r"streamlabel_[a-z_]+", OPERATIONS)) <= full


def test_numbers_in_operations_are_the_defaults() -> None:
    assert f"(`http.port`, {HttpSettings().port})" in OPERATIONS
    assert f"`http.live_after_s` ({HttpSettings().live_after_s:.0f} s)" in OPERATIONS
    assert f"`http.broker_grace_s` ({HttpSettings().broker_grace_s:.0f} s)" in OPERATIONS
    assert f"`logging.period_s` ({LoggingSettings().period_s:.0f} s)" in OPERATIONS
    drain_s = DeliverySettings().drain_timeout_s
    assert f"`delivery.drain_timeout_s` ({drain_s:.0f} s)" in OPERATIONS
    assert f"terminationGracePeriodSeconds: {drain_s + 15:.0f}" in OPERATIONS
    assert f"TimeoutStopSec={drain_s + 15:.0f}" in OPERATIONS


def test_the_verbose_answer_shown_is_the_real_one() -> None:
    health = Health(live_after_s=900.0, broker_grace_s=15.0)
    health.model_loaded()
    health.assigned(4)
    shown = yaml.safe_load(re.findall(r"^\{.*\}$", OPERATIONS, flags=re.MULTILINE)[0])
    real = {c.name: {"ok": c.ok, "detail": c.detail} for c in health.ready().checks}
    assert shown == {"ok": True, "checks": real}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_named_in_a_page_exist(page: Path) -> None:
    sections = {
        "http": HttpSettings.model_fields,
        "delivery": DeliverySettings.model_fields,
        "kafka": KafkaSettings.model_fields,
        "input": InputSettings.model_fields,
        "output": OutputSettings.model_fields,
        "logging": LoggingSettings.model_fields,
        "routing": RoutingSettings.model_fields,
        "worker": WorkerSettings.model_fields,
    }
    for section, name in re.findall(r"`(\w+)\.(\w+)`", page.read_text()):
        if section in sections:
            assert name in sections[section], f"{section}.{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_in_a_page_is_yaml(page: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL):
        assert isinstance(yaml.safe_load(block), dict)


def test_the_supported_versions_of_python_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    started = (ROOT / "docs" / "getting-started.md").read_text()
    least = project["requires-python"].removeprefix(">=")
    assert f"Python {least} to " in started
    matrix = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert matrix["jobs"]["test"]["strategy"]["matrix"]["python"][0] == least
