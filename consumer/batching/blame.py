"""Tells faulty texts from a broken model: a broken model also fails on a fixed text."""

from collections.abc import Awaitable, Callable

import structlog

from streamlabel.errors import (
    DeviceMemoryError,
    InferenceError,
    ModelError,
    WorkerError,
    WorkerGaveUpError,
)
from streamlabel.models.core.classifier import Classifier, Supervised
from streamlabel.models.core.probes import PROBE

__all__ = ["FixedText", "ask_fixed_text"]

# If a new worker also fails on the fixed text, another restart would not help.
_RENEWALS = 2
# Losses in a row on the fixed text. If loading is quick, ``worker.max_restarts`` is reached first.
_LOSSES = 10

_log = structlog.get_logger(__name__)


class FixedText:
    """Has the model classify a fixed text, with nothing else on the device.

    Args:
        ask: classifies it; None: this is not possible, and the texts always count as faulty.
        supervised: the worker process; None: there is none.
        on_step: called after each wait and each try.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[None]] | None,
        *,
        supervised: Supervised | None,
        on_step: Callable[[], None],
    ) -> None:
        self._ask = ask
        self._supervised = supervised
        self._on_step = on_step
        self._renewals = 0

    async def until_up(self) -> None:
        """Wait for a worker that is being restarted."""
        if self._supervised is not None and not self._supervised.is_up:
            await self._supervised.until_up()
            self._on_step()

    async def is_answered(self, *, after_loss: bool) -> bool:
        """Return whether the model classifies the fixed text: then the texts caused the failure.

        A crash of the worker on the fixed text counts towards ``worker.max_restarts``. A worker
        that fails without a crash is replaced, because it would fail on the next texts as well.

        Args:
            after_loss: the failure was a loss of the worker.

        Raises:
            WorkerGaveUpError: the model still fails on it after a restart of the worker.
        """
        if self._ask is None:
            return True
        for is_first in (True, *[False] * _LOSSES):
            await self.until_up()
            try:
                await self._ask()
            except WorkerGaveUpError:
                raise
            except WorkerError as error:
                _log.warning("fixed_text_failed", error=str(error))
                self._on_step()
            except (InferenceError, DeviceMemoryError) as error:
                return is_first and (after_loss or self._has_been_renewed(error))
            else:
                self._renewals = 0
                return is_first
        raise WorkerGaveUpError("the worker process was lost repeatedly on a fixed text")

    def _has_been_renewed(self, error: ModelError) -> bool:
        """Replace the worker; return True if that was tried already and did not help."""
        if self._supervised is None:
            return True
        why = f"fails on a fixed text: {error}"
        if self._renewals < _RENEWALS:
            self._renewals += 1
            self._supervised.renew(why)
            return False
        if isinstance(error, DeviceMemoryError):
            raise WorkerGaveUpError(f"the model {why}, also after a restart of the worker")
        return True


async def ask_fixed_text(classifier: Classifier) -> None:
    """Have the model classify a fixed text.

    Raises:
        ModelError: it fails on that text.
    """
    for prepared in await classifier.prepare([PROBE]):
        if isinstance(prepared, InferenceError):
            raise prepared
        for answer in await classifier.classify([prepared]):
            if isinstance(answer, InferenceError):
                raise answer
