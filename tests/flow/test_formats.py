"""A format may fetch before a batch is decoded; whatever happens meanwhile, nothing is lost."""

import asyncio
from collections.abc import Sequence

import pytest

from streamlabel.config.kafka import InputSettings
from streamlabel.consumer.core.records import SourceRecord, TextRecord, TopicPartition
from streamlabel.consumer.decode.decoder import Decoder
from tests.flow.rig import Rig, rig

P0 = TopicPartition("texts", 0)


class FetchingDecoder(Decoder):
    """Decodes JSON, once a registry that the test opens has answered."""

    def __init__(self) -> None:
        super().__init__(InputSettings())
        self.registry = asyncio.Event()
        self.fetched: set[int] = set()
        self.asked = 0

    async def prefetch(self, records: Sequence[SourceRecord]) -> None:
        """Wait for the registry."""
        self.asked += 1
        await self.registry.wait()
        self.fetched |= {record.position.offset for record in records}

    def decode(self, record: SourceRecord) -> TextRecord:
        """Decode what was fetched for."""
        assert record.position.offset in self.fetched
        return super().decode(record)


def check(r: Rig, count: int) -> None:
    """Every record has one outcome, in order, and no commit passes one that has none."""
    assert r.sources("labels") == list(range(count))
    r.check_no_commit_passes_an_undelivered_record()
    assert r.committed() == count
    assert r.pipeline.in_flight.items == 0


async def test_records_are_decoded_after_the_format_has_fetched() -> None:
    decoder = FetchingDecoder()
    async with rig(decoder=decoder) as r:
        await r.send("0.9 a", "0.9 b")
        assert decoder.asked == 1
        assert r.pipeline.in_flight.items == 0
        decoder.registry.set()
        await r.drain()
        check(r, 2)


@pytest.mark.parametrize("transactional", [False, True])
async def test_a_partition_that_goes_and_comes_back_while_a_format_fetches(
    transactional: bool,
) -> None:
    """Its records are read again; those of before belong to nobody."""
    decoder = FetchingDecoder()
    async with rig(decoder=decoder, transactional=transactional) as r:
        await r.send("0.9 a", "0.9 b", "0.9 c")
        await r.source.revoke([P0])
        await r.source.assign([P0])
        decoder.registry.set()
        await r.clock.advance(1)
        await r.send("0.9 d")
        await r.drain()
        check(r, 4)


async def test_a_drain_leaves_what_was_not_fetched_to_the_next_reader() -> None:
    decoder = FetchingDecoder()
    decoder.registry.set()
    async with rig(decoder=decoder) as r:
        await r.send("0.9 a")
        await r.clock.advance(1)
        decoder.registry.clear()
        await r.send("0.9 never fetched for")
        await r.drain()
        check(r, 1)
