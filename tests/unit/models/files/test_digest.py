"""Equal digests mean equal models."""

from pathlib import Path

import pytest

from streamlabel.models.core.labels import LabelSet
from streamlabel.models.files.digest import model_digest
from streamlabel.models.files.weight_files import find_weights

LABELS = LabelSet(("a", "b"))


def digest_of(folder: Path, labels: LabelSet) -> str:
    return model_digest(folder, labels, weights=find_weights(folder, {}).paths)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights" * 1000)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def test_it_is_the_same_for_the_same_model(folder: Path) -> None:
    digest = digest_of(folder, LABELS)
    assert len(digest) == 64
    (folder / "README.md").write_text("says nothing")
    (folder / "training_args.bin").write_bytes(b"neither")
    assert digest_of(folder, LabelSet(("a", "b"))) == digest


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "vocab.txt"]
)
def test_it_changes_with_every_file_that_matters(folder: Path, name: str) -> None:
    digest = digest_of(folder, LABELS)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert digest_of(folder, LABELS) != digest


@pytest.mark.parametrize(
    "labels", [("b", "a"), ("a", "b", "c"), ("a", "bc"), ("a\0", "b"), ("a", "\ud800")]
)
def test_it_changes_with_the_labels(folder: Path, labels: tuple[str, ...]) -> None:
    assert digest_of(folder, LabelSet(labels)) != digest_of(folder, LABELS)


def test_it_changes_with_the_problem_type(folder: Path) -> None:
    other = LabelSet(LABELS.names, "multi_label")
    assert digest_of(folder, other) != digest_of(folder, LABELS)


def test_weights_that_are_not_read_do_not_change_it(folder: Path) -> None:
    digest = digest_of(folder, LABELS)
    (folder / "model_old.safetensors").write_bytes(b"weights")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safetensors"}}')
    assert digest_of(folder, LABELS) == digest


def test_bytes_that_move_between_files_change_it(folder: Path) -> None:
    parts = [folder / "model-1.safetensors", folder / "model-2.safetensors"]
    parts[0].write_bytes(b"weights" * 1000)
    parts[1].write_bytes(b"weights")
    digest = model_digest(folder, LABELS, weights=parts)
    parts[0].write_bytes(b"weights" * 1001)
    parts[1].write_bytes(b"")
    assert model_digest(folder, LABELS, weights=parts) != digest
