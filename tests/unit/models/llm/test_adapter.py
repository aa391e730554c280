"""The name and the id by which an engine knows a version of an adapter."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.models.llm.adapter import ADAPTER_WEIGHTS, adapter_version


def write(folder: Path, *, weights: bytes = b"weights", config: bytes = b"{}") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_bytes(config)
    (folder / ADAPTER_WEIGHTS).write_bytes(weights)
    return folder


def test_the_same_version_has_the_same_name_and_id_wherever_it_is(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one, other = (write(above / "spam") for above in (tmp_path, tmp_path / "elsewhere"))
    assert adapter_version(one) == adapter_version(other)
    name, number = adapter_version(one)
    assert name.startswith("spam-")
    assert len(name) == len("spam-") + 12
    assert 1 <= number < 2**31


@pytest.mark.parametrize("changed", [{"weights": b"weightz"}, {"config": b"{ }"}])
def test_another_version_in_the_same_folder_has_another_name_and_id(
    tmp_path: Path, changed: dict[str, bytes]
) -> None:
    name, number = adapter_version(write(tmp_path / "spam"))
    other_name, other_number = adapter_version(write(tmp_path / "spam", **changed))
    assert other_name != name
    assert other_number != number


@given(st.binary(max_size=40))
def test_an_id_is_one_that_engines_take(
    tmp_path_factory: pytest.TempPathFactory, weights: bytes
) -> None:
    folder = write(tmp_path_factory.getbasetemp() / "of any weights", weights=weights)
    _, number = adapter_version(folder)
    assert 1 <= number < 2**31
