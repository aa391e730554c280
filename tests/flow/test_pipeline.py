"""What happens to a record, end to end, with everything that can go wrong in the ports."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from streamlabel.consumer.core.records import TopicPartition
from streamlabel.errors import (
    BrokerError,
    DeadLetterGuardError,
    DeviceMemoryError,
    DrainTimeoutError,
    InferenceError,
    PartitionLostError,
    WorkerGaveUpError,
    WorkerHungError,
)
from streamlabel.models.core.classifier import BatchHints, Prediction, PreparedText
from tests.doubles import settle
from tests.flow.rig import Rig, ScriptedClassifier, rig

P0, P1 = TopicPartition("texts", 0), TopicPartition("texts", 1)

FOUR_TOKENS = {"batching": {"max_batch_tokens": 4}}


def packing(*, max_in_flight: int = 1, queued: int = 0) -> ScriptedClassifier:
    """Return a model that does not pad."""
    hints = BatchHints(max_in_flight=max_in_flight, queued=queued, pads=False)
    return ScriptedClassifier(hints=hints)


async def test_every_record_has_exactly_one_outcome() -> None:
    async with rig() as r:
        await r.send("0.9 sure", "0.6 unsure", "poison", "0.95 sure")
        await r.send_raw(None, b"\xff", b"{}", b'{"text": 3}', b'{"text": " "}')
        await r.drain()
        assert r.sources("labels") == [0, 3]
        assert r.sources("review") == [1]
        assert r.sources("dead-letters") == [2, 4, 5, 6, 7, 8]
        assert r.committed() == 9
        r.check_no_commit_passes_an_undelivered_record()


async def test_a_free_device_gets_its_first_texts_soon() -> None:
    async with rig() as r:
        await r.send("0.9 a")
        for i in range(300):
            r.broker.append("texts", orjson.dumps({"text": f"0.9 t{i}"}), partition=0)
        await r.clock.advance(1)
        assert r.classifier.prepared[:2] == [1, 32]  # the others wait no longer for these
        await r.drain()
        assert sum(r.classifier.prepared) == len(r.sources("labels")) == 301
        assert len(r.classifier.prepared) < 6


async def test_outputs_leave_in_input_order_whatever_the_batches() -> None:
    classifier = ScriptedClassifier(hints=BatchHints(max_in_flight=3))
    lengths = [1, 200, 3, 150, 2, 180, 1, 2, 190]
    async with rig(classifier=classifier, settings={"batching": {"max_batch_tokens": 400}}) as r:
        await r.send(*("0.9 " + "word " * n for n in lengths))
        await r.drain()
        assert len(classifier.batches) > 1
        assert r.sources("labels") == list(range(len(lengths)))


async def test_nothing_is_committed_before_it_is_acknowledged() -> None:
    async with rig() as r:
        r.sink.hold()
        await r.send("0.9 a", "0.9 b")
        await r.clock.advance(5)
        assert r.committed() is None
        r.sink.release()
        await r.clock.advance(1.1)
        assert r.committed() == 2


async def test_a_slow_record_holds_back_the_commit_of_its_partition_only() -> None:
    classifier = ScriptedClassifier(hints=BatchHints(max_in_flight=2))
    async with rig(partitions=2, classifier=classifier) as r:
        classifier.open.clear()
        await r.send("0.9 slow", partition=0)
        classifier.open = asyncio.Event()
        classifier.open.set()
        await r.send("0.9 quick", partition=1)
        await r.clock.advance(2)
        assert r.committed(1) == 1
        assert r.committed(0) is None


async def test_drain_finishes_what_was_read_and_reads_no_more() -> None:
    async with rig() as r:
        r.classifier.open.clear()
        await r.send("0.9 a")
        r.pipeline.drain()
        await r.clock.advance(1)
        await r.send("0.9 too late")
        r.classifier.open.set()
        await r.drain()
        assert r.sources("labels") == [0]
        assert r.committed() == 1
        assert r.source.stopped


async def test_drain_does_not_wait_for_the_linger() -> None:
    async with rig(settings={"batching": {"linger_s": 1000}}) as r:
        await r.send("0.9 a")
        assert r.sources("labels") == []
        r.pipeline.drain()
        await r.clock.advance(1)
        assert r.task.done()
        assert r.sources("labels") == [0]


async def test_drain_past_its_deadline_commits_nothing_unfinished() -> None:
    async with rig() as r:
        await r.send("0.9 done")
        r.classifier.open.clear()
        await r.send("0.9 stuck")
        with pytest.raises(DrainTimeoutError) as caught:
            await r.drain()
        assert caught.value.in_flight == 1
        assert r.committed() == 1


async def test_a_commit_that_fails_at_the_drain_is_tried_again() -> None:
    async with rig(settings={"delivery": {"commit_interval_s": 1000}}) as r:
        await r.send("0.9 a")
        r.source.faults.fail("commit", BrokerError("rebalancing", True), times=3)
        await r.drain()
        assert r.committed() == 1


async def test_offsets_that_cannot_be_committed_at_the_drain_are_an_error() -> None:
    async with rig(settings={"delivery": {"commit_interval_s": 1000}}) as r:
        await r.send("0.9 a")
        r.source.faults.fail("commit", BrokerError("gone", True), times=1000)
        with pytest.raises(BrokerError, match="could not be committed"):
            await r.drain()


async def test_a_drain_takes_no_longer_than_its_deadline_when_commits_fail() -> None:
    settings = {"delivery": {"commit_interval_s": 1000, "drain_timeout_s": 30}}
    async with rig(settings=settings) as r:
        r.sink.hold()
        await r.send("0.9 a")
        r.source.faults.fail("commit", BrokerError("gone", True), times=10_000)
        r.pipeline.drain()
        await r.clock.advance(20)
        r.sink.release()
        await r.clock.advance(11)
        assert r.task.done()
        with pytest.raises(BrokerError, match="could not be committed"):
            await r.task


async def test_a_drain_ends_the_wait_for_a_broker_that_never_comes() -> None:
    async with rig(unreachable=True) as r:
        await r.clock.advance(100)
        assert not r.task.done()
        r.pipeline.drain()
        await settle()
        assert r.task.done()
        await r.task
        assert r.source.stopped


async def test_a_partition_that_comes_during_the_last_steps_of_a_drain_is_not_taken() -> None:
    async with rig(partitions=2) as r:
        await r.source.revoke([P1])
        r.pipeline.assignment.stop()
        await r.source.assign([P1])
        assert P1 not in r.pipeline.assignment.deliveries
        await r.drain()


async def test_a_revoke_that_is_cut_off_leaves_nothing_behind() -> None:
    """The group waits only so long; a delivery that went on would write beside the next owner."""
    async with rig(partitions=2, transactional=True) as r:
        r.classifier.open.clear()
        await r.send("0.9 a", partition=0)
        await r.send("0.9 b", partition=1)
        revoke = asyncio.create_task(r.source.revoke([P0, P1]))
        await settle()
        revoke.cancel()
        await settle()
        assert r.pipeline.in_flight.items == 0
        await r.source.assign([P0, P1])
        await r.clock.advance(0.3)
        r.classifier.open.set()
        await r.drain()
        assert r.sources("labels", 0) == [0]
        assert r.sources("labels", 1) == [0]


async def test_a_revoked_partition_is_finished_and_committed_first() -> None:
    async with rig(partitions=2) as r:
        r.classifier.open.clear()
        await r.send("0.9 a", partition=0)
        await r.send("0.9 b", partition=1)
        revoke = asyncio.create_task(r.source.revoke([P0]))
        await settle()
        assert not revoke.done()
        r.classifier.open.set()
        await revoke
        assert r.committed(0) == 1
        assert len(r.pipeline.assignment) == 1


async def test_what_does_not_finish_in_the_revoke_budget_is_dropped_and_read_again() -> None:
    async with rig(partitions=2, settings={"delivery": {"revoke_timeout_s": 5}}) as r:
        r.classifier.open.clear()
        await r.send("0.9 a", "0.9 b", partition=0)
        revoke = asyncio.create_task(r.source.revoke([P0]))
        await r.clock.advance(5.1)
        await revoke
        assert r.pipeline.in_flight.items == 0
        assert r.committed(0) is None
        r.classifier.open.set()  # the late results of the old assignment arrive now
        await settle()
        assert r.outcomes() == {}
        await r.source.assign([P0])
        await r.drain()
        assert r.sources("labels", 0) == [0, 1]
        assert r.metrics.total("discarded") == 2


async def test_a_partition_that_comes_back_does_not_take_old_results() -> None:
    async with rig(settings={"delivery": {"revoke_timeout_s": 1}}) as r:
        r.classifier.open.clear()
        await r.send("0.9 a")
        revoke = asyncio.create_task(r.source.revoke([P0]))
        await r.clock.advance(1.1)
        await revoke
        await r.source.assign([P0])
        await r.clock.advance(0.3)
        r.classifier.open.set()
        await r.drain()
        assert r.sources("labels") == [0]
        r.check_no_commit_passes_an_undelivered_record()


async def test_a_delivery_that_fails_is_tried_again_in_order() -> None:
    async with rig() as r:
        r.sink.faults.fail("deliver", BrokerError("leader moved", True), times=3)
        await r.send("0.9 a", "0.9 b", "0.9 c")
        await r.clock.advance(2)
        assert r.sources("labels") == [0, 1, 2]
        assert r.metrics.total("delivery_retries") == 3


async def test_a_broker_that_never_answers_ends_the_service_at_the_deadline() -> None:
    async with rig(settings={"delivery": {"delivery_timeout_s": 60}}) as r:
        r.sink.faults.fail("deliver", BrokerError("no leader", True), times=10_000)
        await r.send("0.9 a")
        await r.clock.advance(61)
        with pytest.raises(BrokerError, match=r"no delivery within 60 s.*no leader"):
            await r.task
        assert r.committed() is None


async def test_a_partition_that_is_lost_for_ever_ends_the_service_at_the_deadline() -> None:
    settings = {"delivery": {"delivery_timeout_s": 60, "guarantee": "exactly_once"}}
    async with rig(transactional=True, settings=settings) as r:
        r.sink.faults.fail("deliver", PartitionLostError("texts", 0, "fenced"), times=10_000)
        await r.send("0.9 a")
        for _ in range(65):
            await r.clock.advance(1)
        with pytest.raises(BrokerError, match=r"no delivery within 60 s.*fenced"):
            await r.task
        assert r.committed() is None
        assert r.sources("labels") == []


async def test_a_partition_that_is_lost_now_and_then_goes_on() -> None:
    async with rig(transactional=True, settings={"delivery": {"delivery_timeout_s": 5}}) as r:
        for number in range(10):
            r.sink.faults.fail("deliver", PartitionLostError("texts", 0, "fenced"))
            await r.send(f"0.9 t{number}")
            await r.clock.advance(3)
        await r.drain()
        assert r.sources("labels") == list(range(10))


async def test_a_refused_output_becomes_a_dead_letter_and_its_neighbours_stay() -> None:
    async with rig(limits={"labels": 900}) as r:
        await r.send("0.9 a")
        big = b'{"text": "0.9 b", "metadata": {"x": "' + b"x" * 2000 + b'"}}'
        await r.send_raw(big)
        await r.send("0.9 c")
        await r.drain()
        assert r.sources("labels") == [0, 2]
        assert r.sources("dead-letters") == [1]


@pytest.mark.parametrize("transactional", [False, True])
async def test_a_refusal_that_is_learned_late_keeps_the_order_of_dead_letters(
    transactional: bool,
) -> None:
    async with rig(transactional=transactional) as r:
        r.sink.hold()
        big = b'{"text": "0.9 b", "metadata": {"x": "' + b"x" * 2000 + b'"}}'
        await r.send("0.9 a")  # under way, so that the next ones are one delivery
        await r.send_raw(b"no JSON", big, b"no JSON", big)
        await r.send("0.9 c")
        r.sink.limit("labels", 900)
        r.sink.release()
        await r.drain()
        assert r.sources("labels") == [0, 5]
        assert r.sources("dead-letters") == [1, 2, 3, 4]


@pytest.mark.parametrize("transactional", [False, True])
async def test_a_record_whose_output_is_refused_is_counted_as_the_dead_letter_it_is(
    transactional: bool,
) -> None:
    settings = {"routing": {"threshold": 0.8, "review": "copy"}}
    with capture_logs() as lines:
        async with rig(transactional=transactional, settings=settings) as r:
            r.sink.refuse(lambda o: "labels answers 87" if b"0.61" in (o.value or b"") else None)
            await r.send("0.6 unsure", "0.61 refused", "0.9 sure")
            await r.drain()
            assert r.sources("labels") == [0, 2]
            assert r.sources("review") == [0]
            assert r.sources("dead-letters") == [1]
            assert r.metrics.total("results", route="dead_letter", reason="output_refused") == 1
            assert r.metrics.total("results") == 3
            assert r.metrics.total("labels") == 2
            assert r.pipeline.in_flight.items == 0
    [line] = [line for line in lines if line["event"] == "dead_letter"]
    assert (line["reason"], line["why"]) == ("output_refused", "labels answers 87")


async def test_the_in_flight_limit_stops_reading_and_keeps_membership() -> None:
    async with rig(settings={"batching": {"max_in_flight_items": 4}}) as r:
        r.classifier.open.clear()
        await r.send(*(f"0.9 t{i}" for i in range(20)))
        assert r.pipeline.in_flight.items == 4
        polls = r.source.faults.calls["poll"]
        await r.clock.advance(90)
        assert r.pipeline.in_flight.items == 4
        assert r.source.faults.calls["poll"] == polls + 3
        r.classifier.open.set()
        await r.drain()
        assert r.committed() == len(r.sources("labels"))


@pytest.mark.parametrize("transactional", [False, True])
async def test_what_is_being_written_leaves_its_room_to_what_waits(
    transactional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"batching": {"max_in_flight_items": 4}}
    async with rig(settings=settings, transactional=transactional) as r:
        deliver, acknowledges = r.sink.deliver, asyncio.Event()

        async def delivering(*arguments: Any) -> Any:  # noqa: ANN401 what the sink's own has
            await acknowledges.wait()
            return await deliver(*arguments)

        monkeypatch.setattr(r.sink, "deliver", delivering)
        await r.send(*["0.9 a"] * 20)
        await r.clock.advance(60)
        assert r.pipeline.in_flight.items == 8
        acknowledges.set()
        await r.clock.advance(1)
        assert r.sources("labels") == list(range(20))
        assert r.pipeline.in_flight.items == 0


async def two_full_batches_wait(r: Rig) -> None:
    """Let the device be busy, and the poll that was under way be over."""
    r.classifier.open.clear()
    await r.send(*["0.9 a"] * 6)  # of two tokens each
    await r.send("0.9 a")
    assert r.pipeline.in_flight.items == 7


async def test_texts_are_read_many_at_once_while_full_batches_wait() -> None:
    async with rig(settings=FOUR_TOKENS, classifier=packing()) as r:
        await two_full_batches_wait(r)
        polls = r.source.faults.calls["poll"]
        for _ in range(4):
            await r.send("0.9 a")
            await r.clock.advance(0.1)
        assert r.source.faults.calls["poll"] == polls
        assert r.pipeline.in_flight.items == 7
        await r.clock.advance(0.2)
        assert r.source.faults.calls["poll"] == polls + 1
        assert r.pipeline.in_flight.items == 11
        await r.send("0.9 a")
        r.classifier.open.set()  # the device takes what waits: there is no time to lose
        await settle()
        assert r.sources("labels") == list(range(12))


async def test_a_busy_device_is_read_for_ten_times_a_second() -> None:
    async with rig() as r:
        r.classifier.open.clear()
        await r.send("0.9 on the device")
        polls = r.source.faults.calls["poll"]
        for _ in range(5):
            await r.send("0.9 a")
            await r.clock.advance(0.05)
        assert r.source.faults.calls["poll"] == polls + 2
        r.classifier.open.set()
        await settle()
        assert r.sources("labels") == list(range(6))


async def test_what_queues_for_a_busy_device_is_a_full_batch() -> None:
    model = packing(max_in_flight=2, queued=1)
    async with rig(settings=FOUR_TOKENS, classifier=model) as r:
        r.classifier.open.clear()
        await r.send("0.9 a")
        await r.send("0.9 a")
        await r.clock.advance(0.1)
        assert len(r.classifier.batches) == 1  # the second text waits for company
        await r.send("0.9 a")
        await r.clock.advance(0.1)
        assert [len(batch) for batch in r.classifier.batches] == [1, 2]
        await r.send("0.9 a")
        r.classifier.open.set()
        await r.drain()
        assert r.sources("labels") == list(range(4))


@pytest.mark.parametrize("queued", [0, 1])
async def test_batches_become_as_large_as_the_measured_times_say(queued: int) -> None:
    """A call costs ten tokens' time. Without a queue of its own the model computes side by side."""
    model = packing(max_in_flight=1 + queued, queued=queued)
    async with rig(settings={"batching": {"max_batch_tokens": 100}}, classifier=model) as r:
        for number in range(40):
            words = 1 + 30 * (number % 3)
            r.classifier.open.clear()
            await r.send("0.9 a" + " a" * words)
            await r.clock.advance(0.01 + 0.001 * (words + 2))
            r.classifier.open.set()
            await settle()
        r.classifier.open.clear()
        await r.send("0.9 a")  # what follows has to wait, and is read meanwhile
        await r.send(*["0.9 a"] * 100)
        r.classifier.open.set()
        await r.drain()
        sizes = [2 * len(batch) for batch in r.classifier.batches[41:]]
        assert max(sizes) == 100 if queued == 0 else 60 <= max(sizes) <= 80
        assert r.sources("labels") == list(range(141))


@pytest.mark.parametrize("linger_s", [0.0, 0.05])
async def test_a_text_that_does_not_fill_a_batch_goes_when_the_device_is_free(
    linger_s: float,
) -> None:
    settings = {"batching": {"max_batch_tokens": 4, "linger_s": linger_s}}
    async with rig(settings=settings, classifier=packing(max_in_flight=2, queued=1)) as r:
        r.classifier.open.clear()
        await r.send("0.9 a", "0.9 a")
        await r.send("0.9 a")
        await r.clock.advance(1)
        assert len(r.classifier.batches) == 1
        r.classifier.open.set()
        await r.clock.advance(0.1)
        assert r.sources("labels") == [0, 1, 2]


async def test_a_drain_does_not_wait_for_an_unhurried_poll() -> None:
    async with rig(settings=FOUR_TOKENS, classifier=packing()) as r:
        await two_full_batches_wait(r)
        began_s = r.clock.now_s()
        r.pipeline.drain()
        await settle()
        r.classifier.open.set()
        await settle()
        assert r.task.done()
        assert r.clock.now_s() == began_s
        assert r.committed() == 7


async def test_out_of_memory_lowers_the_budget_once_and_it_comes_back() -> None:
    async with rig(settings={"batching": {"max_batch_tokens": 1000}}) as r:
        r.classifier.failures += [DeviceMemoryError("full")] * 2  # also the first half
        await r.send(*(f"0.9 t{i}" for i in range(8)))
        assert r.metrics.gauges["token_budget", (("deployment", "model"),)] == 8
        assert r.metrics.gauges["token_budget_limit", (("deployment", "model"),)] == 1000
        for _ in range(400):
            r.broker.append("texts", orjson.dumps({"text": "0.9 again"}), partition=0)
            await r.clock.advance(0.3)
        await r.drain()
        assert r.sources("labels") == list(range(408))
        assert r.metrics.gauges["token_budget", (("deployment", "model"),)] == 1000


@dataclass
class HangingClassifier(ScriptedClassifier):
    """Is killed at a deadline, which the test sets, whenever a text hangs."""

    deadlines: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Wait for the deadline, or answer."""
        if any("hangs" in item.payload for item in prepared):
            await self.deadlines.acquire()
            raise WorkerHungError("the worker process did not answer")
        return await super().classify(prepared)


async def test_a_search_for_a_bad_text_is_progress_and_lets_others_pass() -> None:
    model = HangingClassifier()
    async with rig(partitions=2, classifier=model) as r:
        await r.send("0.9 hangs", partition=0)
        await r.send("0.9 a", "0.9 b", partition=1)
        for _ in range(3):
            await r.clock.advance(600)
            assert r.sources("dead-letters") == []
            model.deadlines.release()
            await settle()
            assert r.pipeline.last_progress_s == r.clock.now_s()
            assert r.sources("labels", 1) == [0, 1]
        await r.drain()
        assert r.sources("dead-letters", 0) == [0]
        [letter] = r.broker.written("dead-letters")
        assert dict(letter.headers)["streamlabel-attempts"] == b"3"


async def test_a_bad_text_whose_partition_went_away_is_left_to_its_new_owner() -> None:
    model = HangingClassifier()
    settings = {"delivery": {"revoke_timeout_s": 5}}
    async with rig(partitions=2, classifier=model, settings=settings) as r:
        await r.send("0.9 hangs", partition=0)
        revoke = asyncio.create_task(r.source.revoke([P0]))
        await r.clock.advance(5.1)
        await revoke
        model.deadlines.release()
        await r.send("0.9 a", partition=1)
        await r.drain()
        assert r.sources("labels", 1) == [0]
        assert model.deadlines.locked()  # it was not asked again


async def test_a_worker_that_gave_up_stops_the_service_without_a_commit() -> None:
    async with rig() as r:
        r.classifier.failures.append(WorkerGaveUpError("died 6 times"))
        await r.send("0.9 a")
        with pytest.raises(WorkerGaveUpError, match="died 6 times"):
            await r.task
        assert r.committed() is None
        assert r.source.stopped


async def test_the_guard_stops_before_the_topic_is_drained() -> None:
    async with rig(settings={"guard": {"max_consecutive": 5}}) as r:
        await r.send_raw(*[b"not json"] * 5)
        await r.clock.advance(1.1)
        assert r.committed() == 5
        await r.send_raw(*[b"not json"] * 50)
        said = r"dead letters in a row.*of the last 6: 6 x not_json: "
        with pytest.raises(DeadLetterGuardError, match=said):
            await r.task
        assert len(r.sources("dead-letters")) == 5
        assert r.committed() == 5


async def test_a_dead_letter_says_in_header_and_log_what_happened() -> None:
    with capture_logs() as lines:
        async with rig() as r:
            await r.send("0.9 good", "a secret poison")
            await r.drain()
    [letter] = r.broker.written("dead-letters")
    headers = dict(letter.headers)
    assert headers["streamlabel-error-message"] == b"the model cannot take this"
    # the batch twice, two halves, the text once more
    assert headers["streamlabel-attempts"] == b"4"
    [line] = [line for line in lines if line["event"] == "dead_letter"]
    assert (line["position"], line["reason"]) == ("texts-0-1", "inference_error")
    assert line["why"] == "the model cannot take this"
    assert "secret" not in str(lines)


async def test_dead_letters_between_good_records_do_not_trip_the_guard() -> None:
    """Decoding fails at once, the model takes its time: only the order of the records counts."""
    settings = {"guard": {"max_consecutive": 3, "max_ratio": 1.0}}
    async with rig(settings=settings) as r:
        r.classifier.open.clear()
        for i in range(20):
            await r.send_raw(b"not json")
            await r.send(f"0.9 t{i}")
        await r.clock.advance(0.2)
        r.classifier.open.set()
        await r.drain()
        assert len(r.sources("dead-letters")) == 20


async def test_one_dead_letter_that_is_delivered_again_and_again_does_not_trip_the_guard() -> None:
    async with rig(transactional=True, settings={"guard": {"max_consecutive": 2}}) as r:
        r.sink.faults.fail("deliver", PartitionLostError("texts", 0, "no leader"), times=10)
        await r.send_raw(b"not json")
        for _ in range(10):
            await r.clock.advance(1)
        await r.drain()
        assert r.sources("dead-letters") == [0]


async def test_blank_texts_are_skipped_and_counted_by_setting() -> None:
    async with rig(settings={"input": {"empty_text": "skip"}}) as r:
        await r.send("0.9 a", " ", "0.9 b")
        await r.drain()
        assert r.sources("labels") == [0, 2]
        assert r.sources("dead-letters") == []
        assert r.committed() == 3
        assert r.metrics.total("skipped") == 1


async def test_two_spellings_are_one_to_the_model_and_stay_two_in_outputs() -> None:
    async with rig(settings={"input": {"normalise": "nfc"}}) as r:
        await r.send("0.6 caf\u00e9", "0.6 cafe\u0301")
        await r.drain()
        assert [text for batch in r.classifier.batches for text in batch] == ["0.6 caf\u00e9"] * 2
        reviews = [orjson.loads(out.value or b"")["text"] for out in r.broker.written("review")]
        assert reviews == ["0.6 caf\u00e9", "0.6 cafe\u0301"]


async def test_copy_writes_doubts_to_both_topics() -> None:
    async with rig(settings={"routing": {"threshold": 0.8, "review": "copy"}}) as r:
        await r.send("0.6 unsure", "0.9 sure")
        await r.drain()
        assert r.sources("labels") == [0, 1]
        assert r.sources("review") == [0]


async def test_a_lost_transaction_starts_the_partition_again_without_doubles() -> None:
    async with rig(transactional=True) as r:
        await r.send("0.9 a")
        assert r.committed() == 1
        r.broker.owners[P0] = object()  # somebody else fenced us
        await r.send("0.9 b", "0.9 c")
        await r.clock.advance(1)
        await r.drain()
        assert r.sources("labels") == [0, 1, 2]
        assert r.committed() == 3


async def test_transactions_keep_their_interval_and_carry_what_came_meanwhile() -> None:
    settings = {"delivery": {"transaction_interval_s": 5}}
    async with rig(transactional=True, settings=settings) as r:
        await r.clock.advance(1)
        await r.send("0.9 a")
        assert r.committed() == 1
        await r.send("0.9 b")
        await r.clock.advance(2)
        await r.send("0.9 c")
        assert r.committed() == 1
        delivered = r.sink.faults.calls["deliver"]
        await r.clock.advance(3)
        assert r.committed() == 3
        assert r.sink.faults.calls["deliver"] == delivered + 1


@pytest.mark.parametrize("transactional", [False, True])
async def test_markers_on_an_idle_partition_are_committed_and_written_nowhere(
    transactional: bool,
) -> None:
    async with rig(transactional=transactional) as r:
        await r.send("0.9 a")
        await r.clock.advance(1.1)
        assert r.committed() == 1
        for _ in range(3):
            r.broker.mark("texts")
        await r.clock.advance(6)
        assert r.committed() == 4
        assert r.sources("labels") == [0]
        commits = len(r.broker.journal)
        await r.clock.advance(60)
        assert len(r.broker.journal) == commits  # nothing moved, nothing is committed


async def test_markers_that_come_without_end_cost_few_transactions() -> None:
    async with rig(transactional=True) as r:
        for _ in range(100):
            r.broker.mark("texts")
            await r.clock.advance(0.3)
        assert r.sink.faults.calls["deliver"] <= 6  # one in 5 s
        await r.clock.advance(6)
        assert r.committed() == 100


async def test_markers_ride_along_with_the_record_before_them() -> None:
    async with rig(transactional=True) as r:
        r.classifier.open.clear()
        await r.send("0.9 a")
        r.broker.mark("texts")
        await r.clock.advance(1)
        r.classifier.open.set()
        await r.clock.advance(0.5)
        assert (r.committed(), r.sink.faults.calls["deliver"]) == (2, 1)


async def test_markers_behind_unfinished_records_are_not_committed() -> None:
    async with rig() as r:
        r.classifier.open.clear()
        await r.send("0.9 a")
        r.broker.mark("texts")
        await r.clock.advance(30)
        assert r.committed() is None


async def test_a_lost_transaction_for_markers_begins_again() -> None:
    async with rig(transactional=True) as r:
        r.broker.mark("texts")
        r.sink.faults.fail("deliver", PartitionLostError(*P0, "a test"))
        await r.clock.advance(20)
        assert r.committed() == 1
        await r.send("0.9 a")
        await r.clock.advance(1)
        assert r.sources("labels") == [1]


async def misfortune(r: Rig, rng: random.Random, *, transactional: bool) -> None:
    """Let one thing go wrong, or none."""
    draw = rng.random()
    if draw < 0.1:
        effect = rng.random() < 0.5 and not transactional  # written, but the answer was lost
        r.sink.faults.fail("deliver", BrokerError("again", True), effect=effect)
    elif draw < 0.2:
        r.source.faults.fail("commit", BrokerError("again", True))
    elif draw < 0.3:
        partition = rng.choice([P0, P1])
        revoke = asyncio.create_task(r.source.revoke([partition]))
        await r.clock.advance(rng.choice([0.1, 20]))
        await revoke
        await r.source.assign([partition])
    await r.clock.advance(rng.random())


@pytest.mark.parametrize("seed", range(12))
async def test_random_faults_lose_nothing_and_never_commit_too_far(seed: int) -> None:
    rng = random.Random(seed)
    transactional = seed % 2 == 0
    classifier = ScriptedClassifier(hints=BatchHints(max_in_flight=rng.randint(1, 3)))
    settings = {"batching": {"max_batch_items": 5, "max_in_flight_items": 16}}
    async with rig(
        partitions=2, transactional=transactional, classifier=classifier, settings=settings
    ) as r:
        sent = []
        for i in range(40):
            text = rng.choice(["0.9 sure", "0.5 unsure", "poison"]) + " w" * rng.randint(0, 9)
            sent += await r.send(f"{text} {i}", partition=rng.randint(0, 1))
            if rng.random() < 0.2:
                r.broker.mark("texts", partition=rng.randint(0, 1))
            await misfortune(r, rng, transactional=transactional)
        await r.drain()
        outcomes = r.outcomes()
        assert set(outcomes) == set(sent)
        assert all(len(set(topics)) == 1 for topics in outcomes.values())
        if transactional:
            assert all(len(topics) == 1 for topics in outcomes.values())
        else:
            r.check_no_commit_passes_an_undelivered_record()
        for partition in (P0, P1):
            assert r.broker.committed[partition] == len(r.broker.logs[partition])
