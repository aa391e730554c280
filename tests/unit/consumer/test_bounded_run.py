"""The count of a bounded run: every acknowledged output, and none that is not."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest

from streamlabel.config.settings import Settings
from streamlabel.consumer.bounded_run import Counted, CountingSink
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.testing.memory_broker import MemoryBroker
from streamlabel.consumer.testing.memory_ports import MemorySink
from streamlabel.errors import (
    BrokerError,
    OutputRefusedError,
    PartlyDeliveredError,
    RecordError,
)

P0 = TopicPartition("texts", 0)
SETTINGS = Settings.model_validate({"model": {"backend": "fake"}})
REFUSED = RecordError("output_too_large", "larger than 10 bytes")


def outbounds(*topics: str) -> Sequence[Outbound]:
    return [Outbound(topic, None, b"{}", (), Position(*P0, n)) for n, topic in enumerate(topics)]


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (None, {"labels": 2, "review": 1, "dead_letters": 1}),
        (BrokerError("no answer", True), {}),
        (PartlyDeliveredError("one is missing", {0, 1, 3}), {"labels": 2, "dead_letters": 1}),
        (OutputRefusedError({2: REFUSED}, {0}), {"labels": 1}),
        (OutputRefusedError({2: REFUSED}), {}),
    ],
)
async def test_acknowledged_outputs_are_counted(
    error: BrokerError | None, counted: dict[Counted, int]
) -> None:
    counts: dict[TopicPartition, Counter[Counted]] = defaultdict(Counter)
    inner = MemorySink(MemoryBroker())
    sink = CountingSink(inner, SETTINGS, counts)
    outputs = outbounds("labels", "labels", "review", "dead-letters")
    if error is None:
        await sink.deliver(P0, outputs, 4)
    else:
        inner.faults.fail("deliver", error)
        with pytest.raises(type(error)):
            await sink.deliver(P0, outputs, 4)
    assert counts[P0] == counted
