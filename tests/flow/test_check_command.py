"""``streamlabel check`` without brokers: what fails, in which order, with which exit code."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streamlabel.__main__ import app
from tests.endpoint import Endpoint, first_token

FAKE = ("--set", "model.backend=fake")
# a port that nothing listens on: the answer comes at once
NOWHERE = ("--set", "kafka.bootstrap_servers=127.0.0.1:1")


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", *arguments])


def test_every_part_is_tried_and_the_first_failure_is_the_exit_code() -> None:
    result = check(*FAKE, *NOWHERE, "--set", 'routing.thresholds={"zzz": 0.5}')
    states = [line.split()[:2] for line in result.stdout.splitlines() if line[:1] != " "]
    assert states == [
        ["ok", "configuration"],
        ["failed", "broker"],
        ["ok", "model"],
        ["failed", "routing"],
    ]
    assert result.exit_code == 4
    assert "check kafka.bootstrap_servers" in result.stdout
    assert "Traceback" not in result.output


def test_the_name_of_the_task_is_shown(tmp_path: Path) -> None:
    model = {
        "backend": "remote",
        "model": "m",
        "task": {"name": "spam filter", "labels": [{"name": "Yes"}, {"name": "No"}]},
    }
    with Endpoint(lambda _: first_token(Yes=0.6, No=0.4)) as endpoint:
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"model": {**model, "base_url": endpoint.url}}))
        result = check("-c", str(path), *NOWHERE)
    assert "task spam filter; labels Yes, No;" in result.stdout


def test_a_wrong_configuration_is_the_only_line() -> None:
    result = check("--set", "model.backend=fak")
    assert result.exit_code == 2
    assert result.stdout.startswith('failed configuration   model.backend: "fak"')


def test_the_settings_given_are_shown_with_their_source_and_all_with_verbose() -> None:
    brief, verbose = check(*FAKE, *NOWHERE), check(*FAKE, *NOWHERE, "--verbose")
    assert '"fake"  (--set model.backend)' in brief.stdout
    assert "http.port" not in brief.stdout
    assert "8080  (default)" in verbose.stdout


def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLABEL__KAFKA__SECURITY__PASSWORD", "geheim")
    result = check(*FAKE, *NOWHERE)
    assert "kafka.security.password" in result.stdout
    assert "geheim" not in result.output


def test_machines_get_one_json_document() -> None:
    result = check(*FAKE, *NOWHERE, "--json")
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert {c["name"]: c["ok"] for c in document["checks"]} == {
        "configuration": True, "broker": False, "model": True, "routing": True,
        "output size": True, "probe": True
    }  # fmt: skip
    assert document["settings"]["model.backend"]["source"] == "--set model.backend"


def test_a_model_that_does_not_load_says_what_to_change() -> None:
    result = check(*NOWHERE, "--set", 'model={"backend": "encoder", "path": "./missing"}')
    assert "failed model" in result.stdout
    assert "missing" in result.stdout


@pytest.mark.model
def test_a_full_batch_of_texts_at_the_limit_is_tried(tmp_path: Path) -> None:
    from tests.models.tiny import build_model

    folder = build_model(tmp_path)
    model = json.dumps({"backend": "encoder", "path": str(folder), "device": "cpu"})
    result = check(*NOWHERE, "--set", f"model={model}", "--set", "batching.max_batch_tokens=200")
    assert re.search(r"ok +full batch +3 texts of 64 tokens, \d", result.stdout), result.stdout


def test_outputs_that_no_topic_takes_are_found_before_the_first_record() -> None:
    names = json.dumps([f"{'label' * 20} {number}" for number in range(12_000)])
    labels = ("--set", f"model.labels={names}")
    result = check(*FAKE, *NOWHERE, *labels, "--json")
    checks = {each["name"]: each for each in json.loads(result.stdout)["checks"]}
    assert "output.probabilities: with 12000 labels" in checks["output size"]["failure"]
    result = check(*FAKE, *NOWHERE, *labels, "--set", "output.probabilities=10", "--json")
    checks = {each["name"]: each for each in json.loads(result.stdout)["checks"]}
    assert checks["output size"]["ok"]
