"""From settings to a classifier, inside the process that owns the device."""

from importlib import import_module
from typing import Final, cast

from streamlabel.config.model import ModelSettings
from streamlabel.errors import ModelLoadError, StreamlabelError
from streamlabel.models.base import Classifier

__all__ = ["load"]

# Which extra brings a library; every other one comes with "encoder".
_EXTRAS: Final = {"vllm": "vllm", "openai": "remote"}
# Back ends whose module has another name: ``import vllm`` must mean the library to every reader.
_MODULES: Final = {"vllm": "vllm_engine"}


def load(settings: ModelSettings) -> Classifier:
    """Load the configured model; blocks for as long as that takes.

    A back end is the module of ``streamlabel.models`` that has its name (else see _MODULES), with a
    function ``load(settings)``. It is imported here and not before: none may cost another one's
    libraries.

    Raises:
        ConfigError: the settings do not fit the model; the message names the field.
        ModelLoadError: anything else; one sentence for the operator.
    """
    try:
        name = _MODULES.get(settings.backend, settings.backend)
        module = import_module(f"streamlabel.models.{name}")
        return cast("Classifier", module.load(settings))
    except StreamlabelError:
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = _EXTRAS.get(package, "encoder")
        raise ModelLoadError(
            f"the {settings.backend} back end needs the Python package {package!r}, which is not"
            f" installed: pip install 'streamlabel[{extra}]'"
        ) from error
    except Exception as error:  # libraries raise anything: the outermost guard of loading
        raise ModelLoadError(
            f"the {settings.backend} model cannot be loaded: {_sentence(error)}"
        ) from error


def _sentence(error: Exception) -> str:
    """Return the type and the first line: libraries append pages of advice."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
