"""Weights come from the files that transformers reads, and from no others."""

import json
from pathlib import Path

import pytest

from streamlabel.errors import ModelLoadError
from streamlabel.models.files.weight_files import find_weights, refuse_adapter

INDEX = "model.safetensors.index.json"


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")


def index(folder: Path, *names: str) -> None:
    content = {"metadata": {}, "weight_map": {f"weight.{i}": name for i, name in enumerate(names)}}
    (folder / INDEX).write_text(json.dumps(content))


def read(folder: Path, **config: object) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_weights(folder, config).paths]


def test_one_file_wins_over_an_index_and_over_every_other_file(tmp_path: Path) -> None:
    put(tmp_path, "model.safetensors", "model2.safetensors", "model_old.safetensors")
    index(tmp_path, "model2.safetensors")
    assert read(tmp_path) == ["model.safetensors"]
    others = find_weights(tmp_path, {}).others
    assert [path.name for path in others] == ["model2.safetensors", "model_old.safetensors"]


def test_an_index_names_the_files_and_their_order(tmp_path: Path) -> None:
    put(tmp_path, "b.safetensors", "a.safetensors", "c.safetensors", "sub/d.safetensors")
    index(tmp_path, "b.safetensors", "a.safetensors", "b.safetensors", "sub/d.safetensors")
    assert read(tmp_path) == ["a.safetensors", "b.safetensors", "sub/d.safetensors"]


def test_the_configuration_may_name_a_file(tmp_path: Path) -> None:
    put(tmp_path, "model.safetensors", "other.safetensors")
    assert read(tmp_path, transformers_weights="other.safetensors") == ["other.safetensors"]
    assert read(tmp_path, transformers_weights=None) == ["model.safetensors"]


@pytest.mark.parametrize("name", ["../x.safetensors", "/x.safetensors", "", 7, "weights.bin"])
def test_no_file_outside_the_folder_or_of_another_format_is_read(
    tmp_path: Path, name: object
) -> None:
    folder = tmp_path / "m"
    put(folder.parent, "x.safetensors")
    put(folder, "model.safetensors", "weights.bin")
    with pytest.raises(ModelLoadError, match=r"model\.path: .*names"):
        read(folder, transformers_weights=name)
    (folder / "model.safetensors").unlink()
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": name}}))
    with pytest.raises(ModelLoadError, match=r"model\.path: .*names"):
        read(folder)


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.safetensors")
    index(tmp_path, "a.safetensors", "b.safetensors")
    with pytest.raises(ModelLoadError, match=r"b\.safetensors, a part .* is missing"):
        read(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"weight_map": {"a": "b"}}', '{"weight_map": {}, "metadata": {}}',
     '{"weight_map": ["a"], "metadata": {}}', '{"weight_map": {"a": ["b"]}, "metadata": {}}'],
)  # fmt: skip
def test_a_broken_index_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(ModelLoadError, match=r"model\.path: .*index\.json .*save the model again"):
        read(tmp_path)


def test_files_that_transformers_does_not_read_are_no_model(tmp_path: Path) -> None:
    put(tmp_path, "model.fp16.safetensors", "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match=r"model\.fp16\.safetensors would not be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"]
)
def test_an_adapter_is_refused_alone_and_beside_its_base(tmp_path: Path, name: str) -> None:
    refuse_adapter(tmp_path)
    put(tmp_path, name)
    with pytest.raises(ModelLoadError, match=rf"only an adapter \({name}\): merge it"):
        refuse_adapter(tmp_path)
    put(tmp_path, "config.json", "model.safetensors")
    with pytest.raises(ModelLoadError, match=rf"adapter beside its model \({name}\): merge it"):
        refuse_adapter(tmp_path)


def test_a_reader_of_every_file_is_refused_files_that_are_not_the_models(tmp_path: Path) -> None:
    put(tmp_path, "model.safetensors")
    find_weights(tmp_path, {}).refuse_others("vLLM")
    put(tmp_path, "old.safetensors")
    with pytest.raises(ModelLoadError, match=r"has old\.safetensors beside .* vLLM would read"):
        find_weights(tmp_path, {}).refuse_others("vLLM")
    (tmp_path / "model.safetensors").rename(tmp_path / "a.safetensors")
    index(tmp_path, "a.safetensors")
    find_weights(tmp_path, {}).refuse_others("vLLM")  # it reads the index, too
    put(tmp_path, "model.safetensors")  # which transformers prefers
    with pytest.raises(ModelLoadError, match="vLLM would read"):
        find_weights(tmp_path, {}).refuse_others("vLLM")
