"""The worked examples: their settings, their texts and their models.

Each has a folder in ``examples``: ``streamlabel.yaml``, ``compose.yaml``, and ``texts.jsonl`` with
the values of the input topic, each with what is expected. The texts are written for the project.
"""

import json
import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final, Literal, get_args

from streamlabel.config.loading import load
from streamlabel.config.settings import Settings
from streamlabel.demo.encoder import fitted_encoder, pretrained
from streamlabel.models.core.labels import LabelSet
from streamlabel.training.head import Example, FitSettings, fit_head

__all__ = ["NAMES", "ExampleName", "Post", "folder_of", "models_of", "posts_of", "settings_of"]

ExampleName = Literal["moderation", "tagging", "review-queue"]
NAMES: Final[tuple[ExampleName, ...]] = get_args(ExampleName)

_TASKS: Final = {"topic": "TOPIC_MODEL", "urgency": "URGENCY_MODEL"}


@dataclass(frozen=True, slots=True)
class Post:
    """A record of the input topic.

    Attributes:
        id: travels in a header, also where the value cannot be read.
        text: in it; empty if there is none.
        expected: the right label by task; the task of a stream with one is ``""``.
    """

    id: str
    value: bytes
    text: str
    expected: Mapping[str, str]


def folder_of(name: ExampleName) -> AbstractContextManager[Path]:
    """Return the folder of an example, for as long as the context lasts."""
    return as_file(files("streamlabel.demo") / "examples" / name)


def settings_of(
    name: ExampleName,
    *,
    bootstrap_servers: str,
    variables: Mapping[str, str],
    overrides: Mapping[str, str],
) -> Settings:
    """Return the settings of an example's file.

    Args:
        name: of the example.
        bootstrap_servers: of the brokers.
        variables: that its file refers to, such as where the models are.
        overrides: as after ``--set``.

    Raises:
        ConfigError: a variable is missing.
    """
    environ = {"KAFKA": bootstrap_servers, "AUDIT_KEY": secrets.token_hex(16), **variables}
    with folder_of(name) as folder:
        return load(folder / "streamlabel.yaml", overrides=overrides, environ=environ).settings


def posts_of(name: ExampleName) -> list[Post]:
    """Return the records of the input topic, in order."""
    lines = _lines(name, "texts.jsonl") if name != "review-queue" else _lines("", "unseen.jsonl")
    return [_post(f"{name}-{number}", line) for number, line in enumerate(lines, start=1)]


def _post(name: str, line: str) -> Post:
    row: dict[str, Any] = json.loads(line)
    held = row.get("metadata") or row.get("data") or row
    expected = held.get("expected") or row.get("label") or {}
    by_task = expected if isinstance(expected, dict) else {"": expected}
    if "label" in row:  # a sample of the demo, without what it is for
        line = json.dumps({"text": row["text"]}, ensure_ascii=False)
    text = str(held.get("message") or row.get("text") or "")
    return Post(name, line.encode(), text, by_task)


def _lines(example: ExampleName | Literal[""], file: str) -> list[str]:
    where = files("streamlabel.demo")
    folder = where / "examples" / example if example else where / "samples"
    return [line for line in (folder / file).read_text(encoding="utf-8").split("\n") if line]


def models_of(name: ExampleName, folder: Path) -> dict[str, str]:
    """Fit the models of an example, once; return the variables that name them.

    Blocks: about a minute the first time.

    Args:
        name: of the example.
        folder: of the demo, in which they are kept.

    Raises:
        ConfigError: the package with the pretrained encoder is not installed.
    """
    if name != "tagging":
        return {"MODEL_DIR": str(fitted_encoder(folder).resolve())}
    rows = [json.loads(line) for line in _lines("tagging", "train.jsonl")]
    return {
        variable: str(_fitted_for(task, rows, folder / "tagging" / task))
        for task, variable in _TASKS.items()
    }


def _fitted_for(task: str, rows: list[dict[str, str]], folder: Path) -> Path:
    """Fit an encoder to one of the two answers; few texts need many passes."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fit_head(
            [Example(row["text"], row[task]) for row in rows],
            LabelSet(tuple(dict.fromkeys(row[task] for row in rows))),
            encoder=pretrained(),
            folder=folder,
            settings=FitSettings(trained_layers=2, epochs=20, learning_rate=4e-4),
        )
    return folder.resolve()
