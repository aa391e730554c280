"""Runs the cases of the alert rules in Prometheus' own promtool.

For each alert ``deploy/prometheus/cases.yaml`` has series with which it fires, and series with
which it stays quiet. What the rules say about the alert (severity, annotations) is added here,
because promtool compares all of it.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

__all__ = ["CASES", "RULES", "Outcome", "alerts", "cases", "find_promtool", "run_case", "wanted"]

_FOLDER = Path(__file__).parents[1] / "deploy" / "prometheus"
RULES = _FOLDER / "rules.yaml"
CASES = _FOLDER / "cases.yaml"

Outcome = Literal["fires", "quiet"]

_LABEL = re.compile(r"{{ \$labels\.(\w+) }}")


def find_promtool() -> str | None:
    """Return the path of promtool, which Debian's package ``prometheus`` contains; None: none."""
    return shutil.which("promtool")


def alerts(rules: Path = RULES) -> dict[str, dict[str, Any]]:
    """Return the alert rules by name, in their order."""
    groups = yaml.safe_load(rules.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def cases(file: Path = CASES) -> dict[str, dict[str, Any]]:
    """Return the cases by the name of their alert."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())
    return found


def wanted(rule: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """Return one alert as promtool expects it, with templates filled in."""
    filled = {
        name: _LABEL.sub(lambda match: str(labels[match[1]]), text)
        for name, text in rule["annotations"].items()
    }
    return {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": filled}


def run_case(
    name: str, outcome: Outcome, *, folder: Path, promtool: str, rules: Path = RULES
) -> str:
    """Run one case.

    Args:
        name: of the alert.
        outcome: which of its two cases.
        folder: where the file for promtool is written.
        promtool: the program.
        rules: the file of the rules.

    Returns:
        What promtool has against it; empty if it passes.
    """
    found = cases()[name]
    case = found[outcome]
    fired = case.get("labels", [{}]) if outcome == "fires" else []
    test = {
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in case["series"].items()],
        "alert_rule_test": [
            {
                "eval_time": found["at"],
                "alertname": name,
                "exp_alerts": [wanted(alerts(rules)[name], labels) for labels in fired],
            }
        ],
    }
    file = folder / f"{name}-{outcome}.yaml"
    content = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(yaml.safe_dump(content))
    return "".join(_told(promtool, "test", "rules", str(file)))


def _told(*command: str) -> Iterator[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        yield done.stdout
        yield done.stderr or f"exit code {done.returncode}"
