"""Controls which packages ``import torch`` loads automatically.

A package with an entry point of the group ``torch.backends`` is imported by ``import torch``.
torch_npu is one of them: on a machine without CANN its import raises, and then no device works, the
CPU included. So autoloading is off in all our processes, and ``models.devices.npu`` imports
torch_npu if the device needs it.
"""

import os
from collections.abc import MutableMapping
from typing import Final

__all__ = ["autoload", "no_autoload"]

_AUTOLOAD: Final = "TORCH_DEVICE_BACKEND_AUTOLOAD"


def no_autoload(environ: MutableMapping[str, str] = os.environ) -> None:
    """Disable torch's autoloading of packages in this process and in its child processes.

    Call it before torch is imported. A value that the operator has set is kept.
    """
    environ.setdefault(_AUTOLOAD, "0")


def autoload(environ: MutableMapping[str, str] = os.environ) -> None:
    """Enable autoloading for an engine's own processes, after it has worked in this one."""
    environ[_AUTOLOAD] = "1"
