"""What of a release is still to be written, and the dead letters that take the place of refusals.

Nearly every release is written at once and as a whole. So nothing is kept for each output that only
a failure needs: which record it belongs to is looked up after the first one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from operator import attrgetter

from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.output.outcome import Outcome, Outcomes
from streamlabel.errors import RecordError

__all__ = ["Pending"]

_OUTBOUNDS = attrgetter("outbounds")
_SIZE = attrgetter("size_bytes")
_TOPIC = attrgetter("topic")

# Of an output: number of its record in the release, and of its part of the outcome.
_Place = tuple[int, int]


class Pending:
    """The outputs of a release that are not acknowledged, in order.

    Attributes:
        results: the outcomes; records whose output was refused are dead letters in them.
    """

    def __init__(self, results: tuple[Outcomes, ...]) -> None:
        self.results = results
        self._left = list(chain.from_iterable(map(_OUTBOUNDS, chain.from_iterable(results))))
        self._places: list[_Place] | None = None

    def __len__(self) -> int:
        return len(self._left)

    def all(self) -> Sequence[int]:
        """Return the numbers of all outputs that are left."""
        return range(len(self._left))

    def stage(self, *, room_bytes: int, last_topic: str) -> Sequence[int]:
        """Return the numbers of the outputs to write now: as many as fit, one at least.

        Those for ``last_topic`` follow when all others are written.
        """
        first = self.all()
        if last_topic in set(map(_TOPIC, self._left)):
            others = [key for key in first if self._left[key].topic != last_topic]
            first = others or first
        if sum(map(_SIZE, self._left)) <= room_bytes:
            return first
        stage: list[int] = []
        for key in first:
            room_bytes -= self._left[key].size_bytes
            if stage and room_bytes < 0:
                break
            stage.append(key)
        return stage

    def outbounds(self, stage: Sequence[int]) -> Sequence[Outbound]:
        """Return the outputs with these numbers."""
        return self._left if len(stage) == len(self) else [self._left[key] for key in stage]

    def take_out(self, stage: Sequence[int], written: Collection[int]) -> None:
        """Drop outputs of the stage that are acknowledged; ``written`` are their indexes in it."""
        if len(written) == len(self):
            self._left, self._places = [], []
        else:
            self._keep(gone={stage[index] for index in written})

    def replace(
        self,
        stage: Sequence[int],
        refused: Mapping[int, RecordError],
        instead_of: Callable[[Outcome, Outbound, RecordError], Outcome],
        *,
        written: Collection[int],
    ) -> None:
        """Put a dead letter in the place of each record, or task of one, with a refused output.

        A task has one outcome for a record: its other outputs are removed with the refused one,
        unless they are written already. Those of other tasks stay.

        Args:
            stage: that was tried.
            refused: index in the stage -> why.
            instead_of: returns the new outcome for an outcome, its refused output, and the reason.
            written: indexes in the stage of outputs that are acknowledged.
        """
        places, outcomes = self._placed(), list(self.results)
        replaced: dict[_Place, Outbound] = {}
        for index, why in sorted(refused.items()):
            place = record, part = places[stage[index]]
            if place in replaced:
                continue  # label and review both refused: one dead letter
            parts = list(outcomes[record])
            parts[part] = instead_of(parts[part], self._left[stage[index]], why)
            replaced[place] = parts[part].outbounds[0]
            outcomes[record] = tuple(parts)
        self.results = tuple(outcomes)
        gone = {key for key, place in enumerate(places) if place in replaced}
        self._keep(gone=gone.union(stage[index] for index in written), instead=replaced)

    def _placed(self) -> list[_Place]:
        if self._places is None:
            self._places = [
                (record, part)
                for record, outcomes in enumerate(self.results)
                for part, outcome in enumerate(outcomes)
                for _ in outcome.outbounds
            ]
        return self._places

    def _keep(
        self, *, gone: Collection[int], instead: Mapping[_Place, Outbound] | None = None
    ) -> None:
        pairs = zip(self._placed(), self._left, strict=True)
        kept = [pair for key, pair in enumerate(pairs) if key not in gone]
        kept = sorted([*kept, *(instead or {}).items()], key=lambda pair: pair[0][0])
        self._places = [place for place, _ in kept]
        self._left = [outbound for _, outbound in kept]
