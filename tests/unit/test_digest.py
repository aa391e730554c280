"""Equal digests mean equal models."""

from pathlib import Path

import pytest

from streamlabel.models.digest import model_digest
from streamlabel.models.labels import LabelSet

LABELS = LabelSet(("a", "b"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights" * 1000)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def test_it_is_the_same_for_the_same_model(folder: Path) -> None:
    digest = model_digest(folder, LABELS)
    assert len(digest) == 64
    (folder / "README.md").write_text("says nothing")
    (folder / "training_args.bin").write_bytes(b"neither")
    assert model_digest(folder, LabelSet(("a", "b"))) == digest


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "vocab.txt"]
)
def test_it_changes_with_every_file_that_matters(folder: Path, name: str) -> None:
    digest = model_digest(folder, LABELS)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert model_digest(folder, LABELS) != digest


@pytest.mark.parametrize(
    "labels", [("b", "a"), ("a", "b", "c"), ("a", "bc"), ("a\0", "b"), ("a", "\ud800")]
)
def test_it_changes_with_the_labels(folder: Path, labels: tuple[str, ...]) -> None:
    assert model_digest(folder, LabelSet(labels)) != model_digest(folder, LABELS)


def test_it_changes_with_the_problem_type(folder: Path) -> None:
    other = LabelSet(LABELS.names, "multi_label")
    assert model_digest(folder, other) != model_digest(folder, LABELS)


def test_bytes_that_move_between_files_change_it(folder: Path) -> None:
    (folder / "model-2.safetensors").write_bytes(b"weights")
    digest = model_digest(folder, LABELS)
    (folder / "model.safetensors").write_bytes(b"weights" * 1001)
    (folder / "model-2.safetensors").write_bytes(b"")
    assert model_digest(folder, LABELS) != digest
