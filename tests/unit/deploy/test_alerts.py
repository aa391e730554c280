"""Alerts: each fires in its case, stays quiet in the other, and has a section in the runbook."""

import re
from pathlib import Path

import pytest
import yaml

from testing import alerts
from testing.alerting.prometheus import DAYS, MINUTES, divisor, scaled
from testing.metric_series import exported, problems
from tests.requirements import missing

ROOT = Path(__file__).parents[3]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
RULES = alerts.alerts()
CASES = alerts.cases()
by_alert = pytest.mark.parametrize("name", RULES)


@pytest.fixture(scope="session")
def promtool() -> str:
    found = alerts.find_promtool()
    if found is None:
        missing("promtool is not installed: apt-get install prometheus, or Prometheus' release")
    return found


def test_there_are_at_least_14_alerts_and_each_has_its_cases() -> None:
    assert len(RULES) >= 14
    assert list(CASES) == list(RULES)
    assert all(case.keys() == {"at", "fires", "quiet"} for case in CASES.values())


@by_alert
@pytest.mark.parametrize("outcome", ["fires", "quiet"])
def test_the_alert_does_what_its_case_says(
    name: str, outcome: alerts.Outcome, promtool: str, tmp_path: Path
) -> None:
    assert alerts.run_case(name, outcome, folder=tmp_path, promtool=promtool) == ""


@by_alert
def test_a_quiet_case_has_the_series_that_could_fire(name: str) -> None:
    """Without them any alert would stay quiet."""
    used = set(re.findall(r"\b(?:streamlabel|process)_\w+", RULES[name]["expr"]))
    given = {re.split(r"[{ ]", series)[0] for series in CASES[name]["quiet"]["series"]}
    assert used & given
    assert "labels" not in CASES[name]["quiet"]


def test_a_case_that_expects_the_wrong_thing_fails(promtool: str, tmp_path: Path) -> None:
    broken = yaml.safe_load(alerts.RULES.read_text())
    for rule in broken["groups"][0]["rules"]:
        if rule["alert"] == "StreamlabelStuck":
            rule["expr"] = rule["expr"].replace("> 300", "> 1e9")
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(broken))
    said = alerts.run_case(
        "StreamlabelStuck", "fires", folder=tmp_path, promtool=promtool, rules=rules
    )
    assert "FAILED" in said


@by_alert
def test_every_name_in_the_query_is_exported(name: str) -> None:
    assert list(problems(RULES[name]["expr"])) == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("rate(streamlabel_result_total[5m])", "streamlabel_result_total is not exported"),
        ('streamlabel_worker_up{pid="1"}', "streamlabel_worker_up has no label pid"),
        ("sum by (topic) (streamlabel_worker_up)", "streamlabel_worker_up has no label topic"),
        ("streamlabel_confidence", "streamlabel_confidence is not exported"),
        ("max(streamlabel_worker_up > on (job) (other))", "other is not exported"),
    ],
)
def test_a_name_that_is_not_exported_is_found(query: str, problem: str) -> None:
    assert list(problems(query)) == [problem]


def test_what_is_not_a_query_is_found() -> None:
    assert [problem.partition(":")[0] for problem in problems("sum(")] == ["not a query"]


def test_a_gauge_of_the_registry_is_exported_under_its_name() -> None:
    assert exported()["streamlabel_consumer_lag_records"] == {"topic", "partition"}


@by_alert
def test_the_alert_names_its_severity_and_its_section_of_the_runbook(name: str) -> None:
    rule = RULES[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    section = RUNBOOK.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    assert len(section.split()) > 40, "a section says what it means, where to look, what to do"


def test_the_runbook_has_no_section_without_an_alert() -> None:
    assert sorted(re.findall(r"^### (\w+)$", RUNBOOK, flags=re.MULTILINE)) == sorted(RULES)


def test_a_scaled_rule_has_shorter_durations_and_the_same_thresholds() -> None:
    rule = {
        "alert": "X",
        "expr": "sum(a) > 1000 and deriv(sum(b)[15m:1m]) > 0 or rate(c[10m] offset 1h) > 300",
        "for": "5m",
    }
    assert divisor(rule) == MINUTES
    assert scaled(rule) == {
        "alert": "X",
        "expr": "sum(a) > 1000 and deriv(sum(b)[15000ms:1000ms]) > 0"
        " or rate(c[10000ms] offset 60000ms) > 300",
        "for": "5000ms",
    }
    days = {"alert": "X", "expr": "changes(a[1d]) == 0"}
    assert (divisor(days), scaled(days)["expr"]) == (DAYS, "changes(a[144000ms]) == 0")


@by_alert
def test_every_duration_of_a_rule_is_scaled(name: str) -> None:
    expression = scaled(RULES[name])["expr"]
    assert not re.search(r"(\[|:|offset )\d+[smhd]\b", expression)
    assert list(problems(expression)) == []


def test_every_alert_is_made_to_fire_by_its_fault_in_a_story() -> None:
    stories = "".join(path.read_text() for path in (ROOT / "testing/alerting").glob("*_stories.py"))
    tried = re.findall(r'\.alert\(\s*"(\w+)"', stories)
    assert sorted(tried) == sorted(RULES)


def metrics() -> set[str]:
    """What the pages may name: series, and histograms by their name."""
    return {name.removesuffix("_bucket") for name in exported()} | exported().keys()


def test_metrics_named_in_the_runbook_are_exported() -> None:
    named = set(re.findall(r"`((?:streamlabel|process)_[a-z_]+)", RUNBOOK))
    assert named <= metrics()


def test_events_and_reasons_named_in_the_runbook_are_in_the_code() -> None:
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", RUNBOOK)) - metrics()
    rooms = ("consumer", "config", "models")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    source = "".join(path.read_text() for path in files)
    assert {word for word in words if word not in source} == set()
    assert "deployment_refused" in words
