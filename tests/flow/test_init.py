"""``streamlabel init``: a file to begin with, that loads, explains itself and replaces nothing."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from typer.testing import CliRunner, Result

from streamlabel import __version__
from streamlabel.__main__ import app
from streamlabel.commands.init import Backend
from streamlabel.config.loading import load
from streamlabel.config.starter import BACKENDS, starter_file

# A port that nothing listens on: the answer comes at once.
NOWHERE = ("--bootstrap-servers", "127.0.0.1:1")


def starter(backend: str) -> str:
    key = "0123456789abcdef"
    return starter_file(backend, file="x.yaml", model=None, topic="t", brokers="h:1", audit_key=key)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_option_has_every_backend() -> None:
    assert set(get_args(Backend)) == set(BACKENDS)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_it_writes_loads_and_check_goes_on_to_the_brokers(
    backend: str, tmp_path: Path
) -> None:
    path = tmp_path / "my.yaml"
    (tmp_path / "my-model").mkdir()
    done = invoke("init", path, "--backend", backend, *NOWHERE)
    assert done.exit_code == 0, done.output
    assert f"streamlabel check -c {path}" in done.stderr
    # Nothing listens at the endpoint either: a second shows that as well as the default of 30 s.
    brief = ("request_timeout_s=1", "outage_timeout_s=2") if backend == "remote" else ()
    checked = invoke("check", "-c", path, *(f"--set=model.{each}" for each in brief))
    states = [line.split()[:2] for line in checked.stdout.splitlines() if line[:1] != " "]
    until = states.index(["failed", "broker"])
    assert {state for state, _ in states[:until]} == {"ok"}, checked.output
    assert checked.exit_code == 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_suggestion_works_when_its_mark_is_taken_away(backend: str, tmp_path: Path) -> None:
    content = starter(backend)
    suggested = re.sub(r"^( *)# ( *[a-z_]+:( |$))", r"\1\2", content, flags=re.MULTILINE)
    assert suggested.count("#") < content.count("#")
    for name in ("my-model", "adapter"):
        (tmp_path / name).mkdir()
    (tmp_path / "x.yaml").write_text(suggested)
    loaded = load(tmp_path / "x.yaml", overrides={}, environ={})
    assert loaded.settings.delivery.guarantee == "exactly_once"
    assert loaded.settings.kafka.security.protocol == "SSL"
    key = loaded.settings.audit.key
    assert key is not None
    assert key.get_secret_value() == "0123456789abcdef"


def test_each_file_gets_an_audit_key_of_its_own() -> None:
    first, second = (re.findall(r"key: ([0-9a-f]{32}) ", invoke("init", "-").stdout) for _ in "12")
    assert len(first) == len(second) == 1
    assert first != second


def test_every_line_explains_itself_or_is_plain() -> None:
    """A starter file teaches: most settings have a comment."""
    for backend in BACKENDS:
        lines = starter(backend).splitlines()
        explained = sum("#" in line for line in lines)
        assert explained > len(lines) / 2


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "streamlabel.yaml"
    path.write_text("mine")
    done = invoke("init", path)
    assert done.exit_code == 2
    assert done.stderr == (
        f"streamlabel: {path} already exists and was not changed; choose another file\n"
    )
    assert path.read_text() == "mine"
    assert invoke("init", tmp_path / "no" / "such.yaml").exit_code == 2


@pytest.mark.parametrize("model", ["./a model", "a/b", "C:\\models", "{x}", "yes", "5", "a: b #c"])
def test_what_is_given_is_read_back_as_given(model: str) -> None:
    done = invoke("init", "-", "--model", model, "--topic", "tickets", *NOWHERE)
    tree = yaml.safe_load(done.stdout)
    assert tree["model"]["path"] == model
    assert tree["input"]["topic"] == "tickets"
    assert tree["output"]["review_topic"] == "tickets.review"
    assert tree["kafka"]["bootstrap_servers"] == "127.0.0.1:1"


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_the_version_is_asked_for_in_both_ways(arguments: list[str]) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 0
    assert __version__ in done.stdout
