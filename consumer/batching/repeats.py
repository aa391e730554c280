"""Identical texts are computed once: while they wait for the model, and for a while afterwards.

Unwanted messages come in waves of the same text. A text that is equal to one that is with the model
waits for that result; one whose result is still remembered gets it at once. The result is the one
that the model gave, bit for bit, and every record is routed, written and counted on its own.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from sys import getsizeof
from typing import Final

from streamlabel.config.settings import RepeatSettings
from streamlabel.consumer.core.ports import Metrics
from streamlabel.consumer.plans.job import Job, Reading
from streamlabel.errors import RecordError
from streamlabel.models.core.classifier import Prediction

__all__ = ["Repeats"]

# What an entry takes besides its text: the prediction and the dictionary; and for each label a
# probability and a score, which are a float and a reference to it each.
_ENTRY_BYTES: Final = 600
_LABEL_BYTES: Final = 64


class Repeats:
    """Finds texts that are equal to others. Not for several models: each has its own.

    Args:
        settings: how many results are kept, and in how much memory, which is estimated.
        metrics: counts repeats.
    """

    def __init__(self, settings: RepeatSettings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._max_items = settings.max_items
        self._max_bytes = settings.max_bytes
        self._bytes = 0
        self._known: OrderedDict[str, Prediction] = OrderedDict()
        self._pending: dict[str, Reading] = {}

    def sort(
        self, jobs: Sequence[Job], texts: Sequence[str]
    ) -> tuple[list[Reading], list[tuple[list[Job], Prediction]]]:
        """Return what the model has to read, and the jobs whose result is known.

        A job whose text is with the model already is in neither: it waits with the others.

        Args:
            jobs: those that were submitted.
            texts: of the jobs, as the model reads them.
        """
        fresh: list[Reading] = []
        known: list[tuple[list[Job], Prediction]] = []
        for job, text in zip(jobs, texts, strict=True):
            if self._max_items:
                prediction = self._known.get(text)
                if prediction is not None:
                    self._known.move_to_end(text)
                    known.append(([job], prediction))
                    continue
                pending = self._pending.get(text)
                # A text that nobody waits for may be given up at any moment: no job may join it.
                if pending is not None and pending.is_wanted():
                    pending.append(job)
                    continue
            reading = Reading((job,))
            reading.text = text
            fresh.append(reading)
            if self._max_items:
                self._pending[text] = reading
        if repeated := len(jobs) - len(fresh):
            self._metrics.increment("repeats", repeated)
        return fresh, known

    def ended(self, answered: Iterable[tuple[Reading, Prediction | RecordError]]) -> None:
        """Keep the results of texts that are with the model no longer, but no errors."""
        if not self._max_items:
            return
        for reading, answer in answered:
            text = reading.text
            if self._pending.get(text) is reading:
                del self._pending[text]
            if isinstance(answer, Prediction) and answer.probabilities and text not in self._known:
                self._known[text] = answer
                self._bytes += (
                    getsizeof(text) + _ENTRY_BYTES + _LABEL_BYTES * len(answer.probabilities)
                )
        while len(self._known) > self._max_items or self._bytes > self._max_bytes:
            text, dropped = self._known.popitem(last=False)
            labels = len(dropped.probabilities or ())
            self._bytes -= getsizeof(text) + _ENTRY_BYTES + _LABEL_BYTES * labels

    def forget_unwanted(self) -> None:
        """Drop texts that nobody waits for, because the partitions of their jobs were revoked."""
        pending = self._pending.items()
        self._pending = {text: each for text, each in pending if each.is_wanted()}
