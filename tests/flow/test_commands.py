"""The program from outside: help, exit codes, one sentence instead of a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from streamlabel import __version__
from streamlabel.__main__ import app
from streamlabel.commands.program import Program
from streamlabel.config.reference import json_schema
from streamlabel.errors import BrokerError, ModelError

COMMANDS = [
    "run", "check", "classify", "produce", "tail", "train encoder", "train llm", "evaluate",
    "calibrate", "thresholds", "compare", "demo", "dlq list", "dlq replay", "config show",
    "config schema", "version", "init",
]  # fmt: skip


def invoke(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), env=env)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = invoke(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout or command == "version"


def test_version_is_the_packages() -> None:
    assert invoke("version").stdout == f"{__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom streamlabel.__main__ import app\n"
        "heavy = {'torch', 'transformers', 'aiokafka', 'pydantic', 'numpy', 'structlog', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_a_wrong_configuration_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "streamlabel.yaml"
    path.write_text("kafka: {grup_id: x}\nmodel: {backend: fake}\n")
    for command in ("run", "config show"):
        result = invoke(*command.split(), "-c", str(path))
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr == (
            "streamlabel: kafka.grup_id: unknown setting; did you mean kafka.group_id?"
            f" ({path}:1)\n"
        )


def test_the_configuration_file_may_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "streamlabel.yaml"
    path.write_text("model: {backend: fake}\nkafka: {group_id: from-file}\n")
    result = invoke("config", "show", "--changed", env={"STREAMLABEL_CONFIG": str(path)})
    assert "kafka.group_id" in result.stdout
    assert f"{path}:2" in result.stdout


def test_config_show_masks_secrets_and_says_where_each_value_is_from() -> None:
    result = invoke(
        "config", "show", "--json", "--set", "model.backend=fake", "--set",
        'routing.thresholds={"a.b": 0.7}',
        env={"STREAMLABEL__KAFKA__SECURITY__PASSWORD": "geheim"},
    )  # fmt: skip
    assert result.exit_code == 0
    assert "geheim" not in result.output
    settings = json.loads(result.stdout)
    assert settings["kafka.security.password"] == {
        "value": "**********",
        "source": "STREAMLABEL__KAFKA__SECURITY__PASSWORD",
    }
    assert settings["routing.thresholds.a.b"] == {
        "value": 0.7,
        "source": "--set routing.thresholds",
    }
    assert settings["http.port"] == {"value": 8080, "source": "default"}


def test_config_schema_prints_the_schema() -> None:
    assert json.loads(invoke("config", "schema").stdout) == json_schema()


def test_a_set_without_a_name_is_refused_without_showing_it() -> None:
    result = invoke("config", "show", "--set", "geheim")
    assert result.exit_code == 2
    assert "NAME=VALUE" in result.stderr
    assert "geheim" not in result.output


def test_an_unknown_command_is_a_usage_error() -> None:
    assert invoke("rnu").exit_code == 2


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m streamlabel config schema | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_debug_lets_the_traceback_through() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streamlabel", "config", "show", "-c", "missing.yaml"],
        env={**os.environ, "STREAMLABEL_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr


def classify(folder: Path, content: bytes, *more: str, name: str = "in.jsonl") -> Result:
    (folder / name).write_bytes(content)
    fake = ["--set", "model.backend=fake", "--set", "logging.format=json"]
    return invoke("classify", "--file", str(folder / name), *fake, *more)


def test_classify_writes_json_lines_and_says_which_lines_are_bad(tmp_path: Path) -> None:
    result = classify(tmp_path, b'{"text": "one"}\nnonsense\n{"text": "two"}\n')
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["source"]["offset"] for row in rows] == [1, 2, 3]
    assert "line 2: not_json" in result.stderr
    assert "3 outputs" in result.stderr


def test_classify_puts_the_result_in_place_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = classify(tmp_path, b"one\ntwo\n", "--out", str(out), name="in.txt")
    assert result.exit_code == 0, result.output
    assert len(out.read_text().splitlines()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--file", "missing.jsonl"], "missing.jsonl: cannot be read (No such file or directory)"),
        (
            ["--file", "texts.xlsx"],
            "texts.xlsx: unknown file extension; name the file .jsonl",
        ),
        (["--file", "-", "--out", "labels.csv"], "labels.csv: the output is JSON lines"),
        (["--file", "-", "--out", "no/such.jsonl"], "no/such.jsonl: cannot be written"),
    ],
)
def test_classify_refuses_what_cannot_work_before_it_starts(
    arguments: list[str], sentence: str
) -> None:
    result = invoke("classify", *arguments, "--set", "model.backend=fake")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"streamlabel: {sentence}")


def test_an_interrupted_classify_leaves_no_half_result(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("slow\n" * 100)
    command = [sys.executable, "-m", "streamlabel", "classify", "-f", "in.txt", "-o", "out.jsonl"]
    slow = ["--set", "model.backend=fake", "--set", "model.batch_s=60"]
    process = subprocess.Popen(
        [*command, *slow], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline_s = time.monotonic() + 30
    while not list(tmp_path.glob(".out.jsonl.*.part")):
        assert time.monotonic() < deadline_s, "it never began"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (BrokerError("no broker"), 4, "streamlabel: no broker\n"),
        (ExceptionGroup("tasks", [ValueError(), ModelError("gone")]), 3, "streamlabel: gone\n"),
        (KeyboardInterrupt(), 130, ""),
        (BaseExceptionGroup("tasks", [KeyboardInterrupt()]), 130, ""),
        (FileNotFoundError(2, "No such file", "x.pem"), 1, "streamlabel: x.pem: No such file\n"),
        (typer.BadParameter("wrong"), 2, "Usage: "),
        (typer.Exit(7), 7, ""),
        (KeyError("text of a record"), 1, "streamlabel: internal error: KeyError in test_commands"),
    ],
)
def test_every_error_is_an_exit_code_and_at_most_one_sentence(
    error: BaseException, code: int, sentence: str
) -> None:
    failing = typer.Typer(cls=Program, rich_markup_mode=None, pretty_exceptions_enable=False)

    @failing.command()
    def fail() -> None:
        raise error

    @failing.command()
    def other() -> None: ...

    result = CliRunner().invoke(failing, ["fail"])
    assert result.exit_code == code
    assert result.stderr.startswith(sentence)
    assert "text of a record" not in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--topic: name one of the input topics: live, bulk"),
        (["--topic", "x"], "x is no input"),
    ],
)
def test_produce_does_not_choose_one_of_several_topics(
    tmp_path: Path, options: list[str], says: str
) -> None:
    path = tmp_path / "streamlabel.yaml"
    path.write_text("model: {backend: fake}\ninput: {topics: [{name: live}, {name: bulk}]}\n")
    result = invoke("produce", "-c", str(path), "--file", "-", *options)
    assert result.exit_code == 2
    assert says in result.stderr
