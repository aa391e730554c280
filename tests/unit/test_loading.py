"""Promises of the way from settings to a classifier."""

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from streamlabel.config.model import FakeSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models import loading
from streamlabel.models.base import Classifier


def _back_end(monkeypatch: pytest.MonkeyPatch, load: Callable[[FakeSettings], Classifier]) -> None:
    """Put a back end of the test in the place of the fake one."""
    module = ModuleType("streamlabel.models.fake")
    vars(module)["load"] = load
    monkeypatch.setitem(sys.modules, "streamlabel.models.fake", module)


def test_the_back_end_of_the_settings_is_loaded() -> None:
    assert loading.load(FakeSettings(labels=["x", "y"])).labels.names == ("x", "y")


def test_a_configuration_error_passes() -> None:
    with pytest.raises(ConfigError, match="distinct"):
        loading.load(FakeSettings(labels=["x", "x"]))


def test_what_a_library_raises_becomes_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_settings: FakeSettings) -> Classifier:
        raise OSError("no such file: model.safetensors\n\nPages of advice\n")

    _back_end(monkeypatch, load)
    with pytest.raises(ModelLoadError) as raised:
        loading.load(FakeSettings())
    assert str(raised.value) == (
        "the fake model cannot be loaded: OSError: no such file: model.safetensors"
    )


def test_an_error_without_a_message_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_settings: FakeSettings) -> Classifier:
        raise MemoryError

    _back_end(monkeypatch, load)
    with pytest.raises(ModelLoadError, match=r"MemoryError$"):
        loading.load(FakeSettings())


@pytest.mark.parametrize(("package", "extra"), [("torch.nn", "encoder"), ("vllm", "vllm")])
def test_a_missing_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    def load(_settings: FakeSettings) -> Classifier:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    _back_end(monkeypatch, load)
    with pytest.raises(ModelLoadError, match=rf"pip install 'streamlabel\[{extra}\]'"):
        loading.load(FakeSettings())
