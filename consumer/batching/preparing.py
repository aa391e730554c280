"""Prepares each text once for all models that read it in the same way.

Tasks and stages with the same tokenizer and limits make the same tokens of a text, although their
models differ. The first of them that gets a text prepares it, and the others take the result.
"""

import asyncio
from collections.abc import Sequence

from streamlabel.consumer.batching.failure_isolation import FailureIsolation
from streamlabel.consumer.plans.job import Reading
from streamlabel.errors import RecordError
from streamlabel.models.core.classifier import Classifier, PreparedText

__all__ = ["Preparing"]

_Outcome = PreparedText | RecordError


class Preparing:
    """Prepares the texts of one model.

    What is prepared stays with the job until its outcome is complete: no memory outlives the
    records in flight. What another model has failed to prepare is tried here, too.

    Args:
        classifier: prepares.
        isolation: recovers from failures of its calls.
        shared: whether other models of the service read in the same way.
    """

    def __init__(
        self, classifier: Classifier, isolation: FailureIsolation, *, shared: bool
    ) -> None:
        self._prepare = classifier.prepare
        self._isolation = isolation
        self._way = classifier.hints.prepared_by if shared else None

    async def prepare(self, readings: Sequence[Reading]) -> list[_Outcome]:
        """Return what the model gets of each text, or why it gets nothing of it; in order."""
        if self._way is None:
            return await self._isolation.run(self._prepare, [each.text for each in readings])
        begun = [self._begun(each, self._way) for each in readings]
        found = await self._prepared(
            [each for each, other in zip(readings, begun, strict=True) if other is None]
        )
        own = iter(found)
        outcomes = [next(own) if other is None else await _taken(other) for other in begun]
        again = [at for at, outcome in enumerate(outcomes) if outcome is None]
        retried = await self._isolation.run(self._prepare, [readings[at].text for at in again])
        for at, outcome in zip(again, retried, strict=True):
            outcomes[at] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    @staticmethod
    def _begun(reading: Reading, way: str) -> "asyncio.Future[_Outcome] | None":
        prepared = reading[0].prepared
        return None if prepared is None else prepared.get(way)

    async def _prepared(self, readings: Sequence[Reading]) -> list[_Outcome | None]:
        """Prepare texts, and let other models wait for it."""
        waited: list[asyncio.Future[_Outcome]] = []
        for reading in readings:
            future = asyncio.get_running_loop().create_future()
            waited.append(future)
            for job in reading:
                job.prepared = job.prepared or {}
                job.prepared[self._way or ""] = future
        try:
            outcomes = await self._isolation.run(self._prepare, [each.text for each in readings])
        except BaseException:
            for future in waited:
                future.cancel()
            raise
        for future, outcome in zip(waited, outcomes, strict=True):
            future.set_result(outcome)
        return [*outcomes]


async def _taken(other: "asyncio.Future[_Outcome]") -> PreparedText | None:
    """Return what another model has prepared; None if it could not."""
    await asyncio.wait([other])
    if other.cancelled():
        return None
    outcome = other.result()
    return outcome if isinstance(outcome, PreparedText) else None
