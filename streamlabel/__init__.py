"""Streamlabel: classifies texts from Kafka into labels with confidences, or sends them to review.

The public interface is ``streamlabel.api``; this package exports its names, imported on first use.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlabel.api import (
        Backend,
        BackendSettings,
        BatchHints,
        Classifier,
        ConfigError,
        DecodeError,
        DeviceLostError,
        DeviceMemoryError,
        FileName,
        Format,
        FormatSettings,
        InferenceError,
        LabelSet,
        Model,
        ModelError,
        ModelIdentity,
        ModelLoadError,
        Position,
        Prediction,
        PreparedText,
        Result,
        Settings,
        SourceRecord,
        StreamlabelError,
        TextRecord,
        ValueDecoder,
        ValueEncoder,
        aclassify,
        arun,
        classify,
        load_settings,
        run,
    )

try:
    __version__ = version("streamlabel")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

# The same as in streamlabel.api; a test compares them.
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
    "__version__",
    "aclassify",
    "arun",
    "classify",
    "load_settings",
    "run",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 any of the names
    if name in __all__:
        return getattr(import_module("streamlabel.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
