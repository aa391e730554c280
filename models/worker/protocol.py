"""The messages between the service and its worker process.

Batches are sent as columns (``packing``); ``frames`` has the wire format.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from streamlabel.config.model import ModelSettings
from streamlabel.errors import StreamlabelError
from streamlabel.models.core.classifier import BatchHints, ModelIdentity
from streamlabel.models.core.joint import Head
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.devices.device_memory import DeviceMemory
from streamlabel.models.worker.packing import PackedPredictions, PackedPrepared

__all__ = ["Answer", "Body", "Farewell", "Hello", "Kind", "Loaded", "Reply", "Request"]


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame, to the worker: the model to load. Not in arguments: it may have secrets.

    Attributes:
        configure_logging: called first in the worker; picklable. None: plain lines on stderr.
    """

    model: ModelSettings
    configure_logging: Callable[[], None] | None = None
    others: tuple[ModelSettings, ...] = ()  # computed with it


@dataclass(frozen=True, slots=True)
class Loaded:
    """The reply to Hello when the model is loaded; a StreamlabelError is sent if that fails."""

    labels: LabelSet
    identity: ModelIdentity
    hints: BatchHints
    heads: tuple[Head, ...] = ()  # of a joint classifier


@dataclass(frozen=True, slots=True)
class Farewell:
    """The last frame of a worker that ends because it can no longer serve requests.

    Attributes:
        why: a clause, such as "lost its device cuda:0".
        device_lost: the device context is lost.
    """

    why: str
    device_lost: bool = False


Body = list[str] | PackedPrepared | None
Kind = Literal["prepare", "classify", "ping", "memory", "close"]
Request = tuple[int, Kind, Body]
Answer = PackedPrepared | PackedPredictions | DeviceMemory | None | StreamlabelError
Reply = tuple[int, Answer]
