"""torch_npu, the library of Ascend NPUs: imported if the device needs it, hidden otherwise.

If it is installed, transformers and peft import it for every device, and that import fails on a
machine without CANN. So if it is not needed, or does not work, it is hidden from imports as if it
were not installed.
"""

import sys
from importlib import import_module
from typing import Any, Final

import structlog

from streamlabel.errors import ConfigError
from streamlabel.extras import is_installed, require
from streamlabel.foreign import first_line
from streamlabel.models.devices.torch_import import no_autoload

__all__ = ["load_npu", "require_npu"]

logger = structlog.get_logger(__name__)

_NAME: Final = "torch_npu"


def load_npu(wanted: str) -> dict[str, str]:
    """Import torch_npu if the device may need it; call this before torch is imported.

    Args:
        wanted: ``model.device``; with ``npu`` the import must succeed, with ``auto`` it may fail.

    Returns:
        ``{"torch_npu": version}``; empty if it is not needed or does not work.

    Raises:
        ConfigError: an NPU was requested, and torch_npu is missing or cannot be imported.
    """
    no_autoload()
    kind = wanted.partition(":")[0]
    try:
        if kind not in {"auto", "npu"}:
            return {}
        _show()
        return _import(required=kind == "npu")
    finally:
        _hide_unless_imported()


def require_npu() -> None:
    """Raise ConfigError where torch_npu is not installed."""
    require(
        "model.device: npu",
        _NAME,
        extra="ascend",
        otherwise="torch_npu alone (docs/platforms/ascend.md), or set cpu, cuda or auto",
    )


def _import(*, required: bool) -> dict[str, str]:
    if required:
        require_npu()
    elif not is_installed(_NAME):
        return {}
    try:
        module = import_module(_NAME)
    # Without CANN's libraries, or built for another version of torch, it may raise anything.
    except Exception as error:
        said = first_line(error)
        if required:
            raise ConfigError(
                f"model.device: npu: torch_npu is installed but cannot be imported ({said}); source"
                " CANN's set_env.sh, compare the versions with docs/platforms.md, or set cpu, cuda"
                " or auto"
            ) from error
        logger.warning("torch_npu_unusable", error=said)
        return {}
    return {_NAME: str(module.__version__)}


def _show() -> None:
    if _modules().get(_NAME, _NAME) is None:
        del sys.modules[_NAME]


def _hide_unless_imported() -> None:
    # None in sys.modules marks a module as missing: import raises ModuleNotFoundError, and
    # find_spec finds nothing
    _modules().setdefault(_NAME, None)


def _modules() -> dict[str, Any]:  # typeshed does not know about None
    return sys.modules
