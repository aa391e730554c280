"""The public interface: only the names in this module follow semantic versioning.

To embed: ``load_settings``, then ``classify`` or ``run``, or the asynchronous ``aclassify``,
``Model`` and ``arun``. For your own model: ``Backend``, ``BackendSettings`` and ``Classifier``. For
your own format: ``Format``, ``FormatSettings`` and ``ValueDecoder``.

``streamlabel`` exports the same names, and imports them on first use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from streamlabel.config.places import FileName
from streamlabel.config.section import BackendSettings, FormatSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.output.formats import Format, ValueDecoder, ValueEncoder
from streamlabel.errors import (
    ConfigError,
    DecodeError,
    DeviceLostError,
    DeviceMemoryError,
    InferenceError,
    ModelError,
    ModelLoadError,
    StreamlabelError,
)
from streamlabel.models.core.classifier import (
    BatchHints,
    Classifier,
    ModelIdentity,
    Prediction,
    PreparedText,
)
from streamlabel.models.core.labels import LabelSet

if TYPE_CHECKING:
    from streamlabel.tools.in_process import (
        Model,
        Result,
        aclassify,
        arun,
        classify,
        load_settings,
        run,
    )

__all__ = [
    "Backend",
    "BackendSettings",
    "BatchHints",
    "Classifier",
    "ConfigError",
    "DecodeError",
    "DeviceLostError",
    "DeviceMemoryError",
    "FileName",
    "Format",
    "FormatSettings",
    "InferenceError",
    "LabelSet",
    "Model",
    "ModelError",
    "ModelIdentity",
    "ModelLoadError",
    "Position",
    "Prediction",
    "PreparedText",
    "Result",
    "Settings",
    "SourceRecord",
    "StreamlabelError",
    "TextRecord",
    "ValueDecoder",
    "ValueEncoder",
    "aclassify",
    "arun",
    "classify",
    "load_settings",
    "run",
]

# These import the whole service, which a back end, which also imports this module, does not need.
_EMBEDDING = frozenset({"Model", "Result", "aclassify", "arun", "classify", "load_settings", "run"})

S = TypeVar("S", bound=BackendSettings)


@dataclass(frozen=True, slots=True)
class Backend(Generic[S]):
    """What a distribution registers to bring a back end: its settings, and how to load its model.

    It is the value of an entry point in the group ``streamlabel.backends``, whose name is the
    value of ``model.backend``.

    Attributes:
        settings: the section ``model``: its fields, their limits and descriptions.
        load: returns the loaded classifier; called in the worker process, and may take as long as
            ``worker.load_timeout_s``. Import large libraries inside this function: the module
            itself is imported wherever settings are read. It raises ``ConfigError`` if settings do
            not fit the model, and ``ModelLoadError`` with a one-sentence message for every other
            failure.
    """

    settings: type[S]
    load: Callable[[S], Classifier]


def __getattr__(name: str) -> Any:  # noqa: ANN401 any of the names
    if name in _EMBEDDING:
        return getattr(import_module("streamlabel.tools.in_process"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
