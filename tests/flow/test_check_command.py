"""``streamlabel check`` without brokers: what fails, in which order, with which exit code."""

import json

import pytest
from typer.testing import CliRunner, Result

from streamlabel.__main__ import app

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
        "configuration": True, "broker": False, "model": True, "routing": True, "probe": True
    }  # fmt: skip
    assert document["settings"]["model.backend"]["source"] == "--set model.backend"


def test_a_model_that_does_not_load_says_what_to_change() -> None:
    result = check(*NOWHERE, "--set", 'model={"backend": "encoder", "path": "./missing"}')
    assert "failed model" in result.stdout
    assert "missing" in result.stdout
