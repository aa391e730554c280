"""Which functions of consumer/ a record passes on its way through the pipeline."""

import sys
from collections import Counter
from types import FrameType

from streamlabel.consumer.plans.job import JobWatch
from tests.flow.rig import rig

__all__ = ["calls", "calls_per_record"]

_RECORD = b'{"id": "a-%d", "text": "0.95 hello %d"}'
# The world of the rig, which Kafka's ports take the place of.
_WORLD = "testing/"


async def calls(
    count: int, *, transactional: bool = False, watch: JobWatch | None = None
) -> Counter[tuple[str, str]]:
    """Count calls, by file and function, while so many records come at once and are delivered."""
    seen: Counter[tuple[str, str]] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and "/consumer/" in path:
            file = path.rpartition("/consumer/")[2]
            if not file.startswith(_WORLD):
                seen[file, frame.f_code.co_qualname] += 1

    defaults: dict[str, object] = {"repeats": {}}
    async with rig(transactional=transactional, settings=defaults) as r:
        if watch is not None:
            r.pipeline.watch_jobs(watch)
        await r.send_raw(_RECORD % (0, 0))  # what happens once is over
        await r.clock.advance(1)
        sys.setprofile(note)
        try:
            await r.send_raw(*(_RECORD % (number, number) for number in range(1, count + 1)))
        finally:
            sys.setprofile(None)
        assert len(r.sources("labels")) == count + 1
    return seen


async def calls_per_record(
    *, transactional: bool = False, watch: JobWatch | None = None
) -> dict[tuple[str, str], float]:
    """Return the calls that one record more causes, by file and function.

    What happens once a poll, a batch or a delivery does not count: the same for any number of
    records.
    """
    few = await calls(100, transactional=transactional, watch=watch)
    many = await calls(200, transactional=transactional, watch=watch)
    more = {call: (number - few[call]) / 100 for call, number in many.items()}
    return {call: number for call, number in more.items() if number >= 0.5}
