"""Promises of the way from settings to a classifier."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import cast

import pytest

from streamlabel.config import installed
from streamlabel.config.model import FakeSettings, ModelSettings
from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models import registry
from streamlabel.models.core.classifier import Classifier
from tests.distributions import Install, install

__all__ = ["install"]


def _back_end(monkeypatch: pytest.MonkeyPatch, load: Callable[[FakeSettings], Classifier]) -> None:
    """Put a back end of the test in the place of the fake one."""
    module = ModuleType("streamlabel.models.core.fake")
    vars(module)["load"] = load
    monkeypatch.setitem(sys.modules, "streamlabel.models.core.fake", module)


def test_the_back_end_of_the_settings_is_loaded() -> None:
    assert registry.load(FakeSettings(labels=["x", "y"])).labels.names == ("x", "y")


def test_a_configuration_error_passes() -> None:
    with pytest.raises(ConfigError, match="distinct"):
        registry.load(FakeSettings(labels=["x", "x"]))


def test_what_a_library_raises_becomes_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_settings: FakeSettings) -> Classifier:
        raise OSError("no such file: model.safetensors\n\nPages of advice\n")

    _back_end(monkeypatch, load)
    with pytest.raises(ModelLoadError) as raised:
        registry.load(FakeSettings())
    assert str(raised.value) == (
        "the fake model cannot be loaded: OSError: no such file: model.safetensors"
    )


def test_an_error_without_a_message_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_settings: FakeSettings) -> Classifier:
        raise MemoryError

    _back_end(monkeypatch, load)
    with pytest.raises(ModelLoadError, match=r"MemoryError$"):
        registry.load(FakeSettings())


@pytest.mark.parametrize(("package", "extra"), [("torch.nn", "encoder"), ("vllm", "vllm")])
def test_a_missing_library_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    def load(_settings: FakeSettings) -> Classifier:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    _back_end(monkeypatch, load)
    with pytest.raises(ModelLoadError, match=rf"pip install 'streamlabel\[{extra}\]'"):
        registry.load(FakeSettings())


# Back ends of other distributions, see tests/unit/config/test_installed.py for their settings.

_OTHER = """
from types import SimpleNamespace
from typing import Literal
from streamlabel.config.section import BackendSettings
from streamlabel.config.model import FakeSettings
from streamlabel.models.core.fake import FakeClassifier

class Settings(BackendSettings):
    backend: Literal["other"] = "other"

class Named(FakeClassifier):
    identity = SimpleNamespace(backend="other")

def load(settings):
    {body}

backend = SimpleNamespace(settings=Settings, load=load)
"""


def _load_other(install: Install, body: str) -> Classifier:
    source = _OTHER.replace("{body}", body)
    install(
        "other-backend", {"streamlabel.backends": {"other": "other_one:backend"}}, other_one=source
    )
    settings = installed.find("back end", "other").settings()
    return registry.load(cast("ModelSettings", settings))


def test_the_back_end_of_another_distribution_is_loaded(install: Install) -> None:
    assert _load_other(install, "return Named(FakeSettings())").labels.names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("raise OSError('no weights\\n\\nAdvice')", "cannot load its model: OSError: no weights"),
        ("import far_away_library", "needs the Python package far_away_library, .* install other-"),
        ("return 7", "returned a int without labels, identity, hints, prepare, classify, close"),
        ("return FakeClassifier(FakeSettings())", "calls itself 'fake' .* set backend='other'"),
    ],
)
def test_what_is_wrong_with_it_names_the_distribution(
    install: Install, body: str, sentence: str
) -> None:
    match = rf"^the other back end of other-backend 1\.0 {sentence}"
    with pytest.raises(ModelLoadError, match=match) as raised:
        _load_other(install, body)
    assert "\n" not in str(raised.value)
