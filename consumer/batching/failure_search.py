"""Decides after a failure what to try next and which texts to give up. Pure.

A text becomes a dead letter only for failures of calls with this text alone, more than once, the
last time with nothing else on the device, and while the fixed text is classified. A failure
together with other texts, a single failure, or one while the fixed text fails too does not count.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

from streamlabel.errors import (
    DeviceMemoryError,
    ModelError,
    RecordError,
    WorkerError,
    WorkerHungError,
    WorkerStoppedError,
)

__all__ = ["Failure", "FailureKind", "Part", "Suspect", "next_parts", "still_wanted"]

FailureKind = Literal["died", "hung", "stopped", "memory", "error"]

# A text is at fault after this many crashes of the worker: one more than two kills by hand would
# cause. A hang has no such external cause, and each costs a whole deadline, so fewer are needed.
_DEATHS = 3
_HANGS = 2
_ERRORS = 2
# A part this small is tried text by text: each crash costs a restart, a call costs little.
_ONE_BY_ONE = 32


@dataclass(eq=False, slots=True)
class Suspect:
    """A text that is being tried.

    Attributes:
        item: the argument for the model.
        is_wanted: False once its result is no longer needed.
        attempts: number of calls with this text.
        deaths, hangs: of the worker, with this text alone, while the fixed text was classified.
        errors: of the model, in calls with this text alone.
        result: the result, or why there is none.
        did_not_fit: it does not fit into the memory even alone.
    """

    item: Any
    is_wanted: Callable[[], bool] = lambda: True
    attempts: int = 0
    deaths: int = 0
    hangs: int = 0
    errors: int = 0
    result: Any = None
    did_not_fit: bool = False

    def blame(self, reason: str, message: str) -> None:
        """Make it a dead letter."""
        self.result = RecordError(reason, message, self.attempts)


@dataclass(frozen=True, slots=True)
class Part:
    """Texts to try together.

    Attributes:
        alone: with nothing else on the device.
        again: this part failed before; if it fails again, it is split.
    """

    texts: Sequence[Suspect]
    alone: bool = False
    again: bool = False

    @property
    def items(self) -> list[Any]:
        """The arguments for the model."""
        return [text.item for text in self.texts]


@dataclass(frozen=True, slots=True)
class Failure:
    """How a part failed.

    Attributes:
        error: what was raised.
        is_theirs: the texts are at fault: the fixed text was classified, or was not tried.
    """

    error: ModelError
    is_theirs: bool = True

    @property
    def kind(self) -> FailureKind:
        """Which rule applies."""
        if isinstance(self.error, WorkerStoppedError):
            return "stopped"
        if isinstance(self.error, WorkerHungError):
            return "hung"
        if isinstance(self.error, WorkerError):
            return "died"
        return "memory" if isinstance(self.error, DeviceMemoryError) else "error"


def next_parts(part: Part, failure: Failure) -> list[Part]:
    """Return what to try next, in order; nothing if all of ``part`` has a result now."""
    if failure.kind == "stopped":
        return [part]
    if failure.kind in ("died", "hung"):
        return _after_loss(part, failure)
    if len(part.texts) > 1:
        if failure.kind == "error" and not part.again:
            return [Part(part.texts, part.alone, again=True)]
        return list(_split(part, -(-len(part.texts) // 2), alone=part.alone))
    return _after_error(part, failure)


def _after_loss(part: Part, failure: Failure) -> list[Part]:
    if not part.alone or not failure.is_theirs:
        return [Part(part.texts, alone=True)]
    if len(part.texts) > 1:
        size = isqrt(len(part.texts)) if len(part.texts) > _ONE_BY_ONE else 1
        return list(_split(part, size, alone=True))
    [text] = part.texts
    if failure.kind == "hung":
        text.hangs += 1
    else:
        text.deaths += 1
    if text.deaths < _DEATHS and text.hangs < _HANGS:
        return [part]
    losses = text.deaths + text.hangs
    text.blame(
        "crash_suspect",
        f"the worker was lost {losses} times while it had this text alone; the last time:"
        f" {failure.error}",
    )
    return []


def _after_error(part: Part, failure: Failure) -> list[Part]:
    [text] = part.texts
    text.errors += failure.is_theirs
    if not part.alone or not failure.is_theirs or text.errors < _ERRORS:
        return [Part(part.texts, alone=True)]  # concurrent batches may have used the memory
    text.did_not_fit = failure.kind == "memory"
    text.blame(
        "inference_error",
        f"{failure.error}{', with this text alone' if text.did_not_fit else ''}",
    )
    return []


def _split(part: Part, size: int, *, alone: bool) -> Iterator[Part]:
    for start in range(0, len(part.texts), size):
        yield Part(part.texts[start : start + size], alone, again=True)


def still_wanted(part: Part) -> Part:
    """Leave out texts whose partition was revoked: its new owner reads them."""
    wanted = []
    for text in part.texts:
        if text.is_wanted():
            wanted.append(text)
        else:
            text.blame("inference_error", "its partition was revoked while it was tried")
    return Part(wanted, part.alone, part.again)
