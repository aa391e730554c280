"""A folder that cannot answer is refused with one sentence that names the field and the fix."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamlabel.config.model import EncoderSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.files.checkpoint import Checkpoint, open_checkpoint

NAMED = {"id2label": {"0": "ham", "1": "spam"}}


def settings(path: object, **changes: object) -> EncoderSettings:
    return EncoderSettings.model_validate({"path": str(path)} | changes)


def checkpoint(config: Mapping[str, Any], **tokenizer_config: object) -> Checkpoint:
    return Checkpoint(Path("models/m"), "m", dict(config), tokenizer_config)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(NAMED))
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def test_a_whole_folder_is_opened(folder: Path) -> None:
    found = open_checkpoint(settings(folder))
    assert found.name == folder.name
    assert found.config == NAMED
    assert found.tokenizer_config == {}


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match=r"only as \.bin.*convert them to model\.safetensors"):
        open_checkpoint(settings(folder))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_with_a_file_missing_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelLoadError, match=r"model\.path: .* has no "):
        open_checkpoint(settings(folder))


@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_a_broken_config_is_refused(folder: Path, content: str) -> None:
    (folder / "config.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ModelLoadError, match=r"model\.path: .*config\.json .*repair it"):
        open_checkpoint(settings(folder))


def test_labels_come_from_the_model_in_the_order_of_its_outputs() -> None:
    names = {str(i): f"name{i}" for i in reversed(range(12))}
    labels = checkpoint({"id2label": names}).label_set(settings("m"))
    assert labels.names == tuple(f"name{i}" for i in range(12))
    assert labels.problem_type == "single_label"


def test_labels_of_the_settings_win() -> None:
    assert checkpoint(NAMED).label_set(settings("m", labels=["x", "y"])).names == ("x", "y")


@pytest.mark.parametrize(
    "config", [{}, {"num_labels": 2}, {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}]
)
def test_placeholder_names_are_refused(config: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"model\.labels: .*LABEL_0 to LABEL_1; list 2 names"):
        checkpoint(config).label_set(settings("m"))
    assert len(checkpoint(config).label_set(settings("m", labels=["x", "y"]))) == 2


@pytest.mark.parametrize("labels", [["x"], ["x", "y", "z"]])
def test_a_wrong_number_of_names_is_refused(labels: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"model\.labels: \d names for a model with 2 outputs"):
        checkpoint(NAMED).label_set(settings("m", labels=labels))


def test_gaps_in_the_numbering_are_refused() -> None:
    with pytest.raises(ModelLoadError, match="none for class 1"):
        checkpoint({"id2label": {"0": "a", "2": "b"}}).label_set(settings("m"))


@pytest.mark.parametrize(
    ("own", "wanted", "expected"),
    [
        (None, "auto", "single_label"),
        ("single_label_classification", "auto", "single_label"),
        ("multi_label_classification", "auto", "multi_label"),
        ("multi_label_classification", "single_label", "single_label"),
        ("regression", "multi_label", "multi_label"),
        (None, "multi_label", "multi_label"),
    ],
)
def test_the_problem_type_is_the_settings_else_the_models(
    own: str | None, wanted: str, expected: str
) -> None:
    labels = checkpoint(NAMED | {"problem_type": own}).label_set(settings("m", problem_type=wanted))
    assert labels.problem_type == expected


@pytest.mark.parametrize(
    "config",
    [{"id2label": {"0": "quality"}}, NAMED | {"problem_type": "regression"}, {"num_labels": 1}],
)
def test_a_regression_is_refused(config: Mapping[str, Any]) -> None:
    with pytest.raises(ModelLoadError, match="regression"):
        checkpoint(config).label_set(settings("m"))


def test_one_output_can_only_be_multi_label() -> None:
    one = checkpoint({"id2label": {"0": "toxic"}})
    assert one.label_set(settings("m", problem_type="multi_label")).names == ("toxic",)
    with pytest.raises(ModelLoadError, match=r"model\.problem_type: .*set multi_label"):
        one.label_set(settings("m", problem_type="single_label"))


@pytest.mark.parametrize(
    ("positions", "tokenizer_config", "expected"),
    [
        (512, {}, 512),
        (512, {"model_max_length": 128}, 128),
        (512, {"model_max_length": 10**30}, 512),
        (512, {"model_max_length": 1e30}, 512),
        (512, {"model_max_length": "128"}, 512),
        (None, {"model_max_length": 300}, 300),
    ],
)
def test_the_longest_row_is_what_model_and_tokenizer_allow(
    positions: int | None, tokenizer_config: Mapping[str, Any], expected: int
) -> None:
    found = checkpoint({}, **tokenizer_config).max_tokens(settings("m"), positions=positions)
    assert found == expected


@pytest.mark.parametrize(
    ("config", "stated", "likely"),
    [
        ({}, None, None),
        ({"max_position_embeddings": 512}, 512, 512),
        ({"max_position_embeddings": -1}, None, None),
        ({"n_positions": 1024}, 1024, 1024),
        ({"text_config": {"max_position_embeddings": 256}}, 256, 256),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, 514, 512),
        ({"max_position_embeddings": 514, "model_type": "mpnet", "pad_token_id": 1}, 514, 512),
        ({"max_position_embeddings": 514, "model_type": "xlm-roberta"}, 514, 512),
        ({"max_position_embeddings": 66, "model_type": "roberta", "pad_token_id": 0}, 66, 65),
    ],
)
def test_the_configuration_says_a_limit_under_several_names(
    config: Mapping[str, Any], stated: int | None, likely: int | None
) -> None:
    assert checkpoint(config).stated_positions() == stated
    assert checkpoint(config).likely_positions() == likely


def test_the_longest_row_can_be_lowered_but_not_beyond_the_positions() -> None:
    model = checkpoint({}, model_max_length=128)
    assert model.max_tokens(settings("m", max_tokens=512), positions=512) == 512
    with pytest.raises(ConfigError, match=r"model\.max_tokens: 513 .*512; lower it"):
        model.max_tokens(settings("m", max_tokens=513), positions=512)


def test_a_model_without_a_limit_needs_one() -> None:
    with pytest.raises(ConfigError, match=r"model\.max_tokens: .*set it"):
        checkpoint({}).max_tokens(settings("m"), positions=None)
    assert checkpoint({}).max_tokens(settings("m", max_tokens=77), positions=None) == 77


@pytest.mark.parametrize("name", ["BertForTokenClassification", "BertForMultipleChoice"])
def test_a_model_of_another_task_is_refused(name: str) -> None:
    with pytest.raises(ModelLoadError, match=f"is a {name}"):
        checkpoint(NAMED | {"architectures": [name]}).label_set(settings("m"))


def test_a_problem_type_that_transformers_does_not_know_is_refused() -> None:
    with pytest.raises(ModelLoadError, match=r"problem_type in config\.json is 'multi_label'"):
        checkpoint(NAMED | {"problem_type": "multi_label"}).label_set(settings("m"))
