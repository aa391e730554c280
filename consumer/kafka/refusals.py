"""Finds the outputs of a refused batch that violate a rule of their topic.

Brokers report the record from version 8 of Produce on; aiokafka 0.14.0 uses 7 at most, so that the
record can only be found by trying smaller batches.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiokafka.errors import BrokerResponseError

from streamlabel.consumer.kafka.error_codes import is_doubtful, name_of
from streamlabel.errors import RecordError

__all__ = ["BatchRefusedError", "refused_among", "refused_output"]

# Maximum number found in one search: enough if many records violate a rule, without delaying the
# transaction for long.
_MAX_FOUND: Final = 32
_KEYLESS: Final = "a compacted topic accepts no record without a key"
_ADVICE: Final = {
    2: _KEYLESS,  # of brokers before 2.4
    32: "its time is too far from the broker's: check the clocks of this machine and of the"
    " brokers, and message.timestamp.before.max.ms and message.timestamp.after.max.ms of the topic",
    87: _KEYLESS,
}


class BatchRefusedError(Exception):
    """A broker answers that a record of a batch violates a rule of its topic; none is written.

    Attributes:
        answer: aiokafka's error.
    """

    def __init__(self, answer: BrokerResponseError) -> None:
        super().__init__(name_of(answer))
        self.answer = answer


def refused_output(topic: str, answer: BrokerResponseError) -> RecordError:
    """Return why the record of a refused output becomes a dead letter."""
    advice = _ADVICE.get(answer.errno)
    message = f"{topic} refuses its output: {name_of(answer)}"
    return RecordError("output_refused", message + (f"; {advice}" if advice else ""))


async def refused_among(
    indexes: Sequence[int],
    answer: BrokerResponseError,
    *,
    probe: Callable[[Sequence[int]], Awaitable[BrokerResponseError | None]],
) -> dict[int, BrokerResponseError]:
    """Return the outputs of a refused batch that are also refused alone, up to a limit.

    Empty if its parts are accepted when tried again.

    Args:
        indexes: of the outputs.
        answer: to all of them together.
        probe: returns the broker's error for some of them; None: it would accept them.
    """
    found: dict[int, BrokerResponseError] = {}

    async def look(part: Sequence[int], answer: BrokerResponseError | None) -> None:
        if len(part) == 1 and answer is not None and is_doubtful(answer.errno):
            answer = await probe(part)
        if answer is None or len(found) >= _MAX_FOUND:
            return
        if len(part) == 1:
            found[part[0]] = answer
            return
        middle = len(part) // 2
        for half in (part[:middle], part[middle:]):
            if len(found) < _MAX_FOUND:
                await look(half, await probe(half))

    await look(indexes, answer)
    return found
