"""The same answer of the broker has the same outcome at both guarantees, whatever the answer."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest
from aiokafka.errors import (
    BrokerResponseError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    for_code,
)
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Outbound, RecordSink
from streamlabel.consumer.core.records import Position, SourceRecord, TopicPartition
from streamlabel.consumer.delivery.deliverer import Deliverer, delivery_pace
from streamlabel.consumer.delivery.offset_tracker import Release
from streamlabel.consumer.kafka.error_codes import meaning
from streamlabel.consumer.kafka.open_ports import KafkaSink, TransactionalSink
from streamlabel.consumer.kafka.refusals import refused_among
from streamlabel.consumer.output.outcome import Outcome
from streamlabel.consumer.output.outcome_builder import OutcomeBuilder
from streamlabel.consumer.routing.dead_letter_guard import DeadLetterGuard
from streamlabel.errors import BrokerError, DeadLetterGuardError, PartitionLostError
from streamlabel.models.core.system_clock import SystemClock
from tests.doubles import RecordingMetrics
from tests.protocol_broker import ProtocolBroker

P0 = TopicPartition("texts", 0)
SIZES = (MessageSizeTooLargeError.errno, RecordListTooLargeError.errno)
BAD = b"bad"
Answer = Callable[[str, list[tuple[bytes | None, bytes | None]]], int]


@dataclass
class Result:
    """What readers find, and how it ended."""

    labels: list[bytes | None]
    review: list[bytes | None]
    dead: list[bytes | None]
    offset: int
    reasons: list[str]
    ended: str


def outcome(offset: int, *, is_bad: bool, route: str = "label") -> Outcome:
    """One whose output has its offset as value."""
    key = BAD if is_bad else None
    position = Position(*P0, offset)
    source = SourceRecord(position, key, b"%d" % offset, (), 0, 0.0)
    topics = {"label": ["labels"], "review": ["review"], "copy": ["labels", "review"]}[route]
    outbounds = tuple(Outbound(topic, key, b"%d" % offset, (), position) for topic in topics)
    return Outcome(source, outbounds, route, label="yes")  # type: ignore[arg-type]


@pytest.fixture
def delivered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[Result]]:
    async def deliver(
        guarantee: str,
        answer: Answer,
        outcomes: Sequence[Outcome],
        *,
        writes: bool = False,
        most: int = 0,
    ) -> Result:
        broker = ProtocolBroker(answer, writes=writes)
        monkeypatch.setattr("aiokafka.producer.producer.AIOKafkaClient", broker.client)
        settings = Settings.model_validate(
            {
                "model": {"backend": "fake"},
                "delivery": {"guarantee": guarantee, "delivery_timeout_s": 10},
            }
        )
        sink: RecordSink = KafkaSink(KafkaSettings(), [])
        if guarantee == "exactly_once":
            sink = TransactionalSink(KafkaSettings(), [], transaction_timeout_ms=10_000)
        guard = DeadLetterGuard(max_consecutive=most, max_ratio=1, window_items=1000)
        clock = SystemClock()
        reasons, ended = list[str](), ""
        deliverer = Deliverer(
            P0,
            sink=sink,
            outcome_builder=OutcomeBuilder(
                dead_letter_topic="dead-letters", limit_bytes=sink.limit_bytes
            ),
            settings=settings.delivery,
            clock=clock,
            metrics=RecordingMetrics(),
            guard=guard,
            owns=owns,
            pace=delivery_pace(settings.delivery),
        )
        guard.judge(P0, [each.source.position.offset for each in outcomes], {})
        await sink.assigned([P0])
        while True:
            try:
                done = await deliverer.deliver(
                    Release(tuple((each,) for each in outcomes), len(outcomes), 0)
                )
                reasons = [part.reason for each in done.results for part in each]
            except PartitionLostError:
                assert broker.offset == 0  # else it would be done
                await sink.assigned([P0])
                continue
            except (BrokerError, DeadLetterGuardError) as error:
                ended = f"{type(error).__name__}: {error}"
            break
        await sink.stop()
        offset = broker.offset if guarantee == "exactly_once" else len(outcomes)
        labels, review, dead = map(broker.values, ("labels", "review", "dead-letters"))
        return Result(labels, review, dead, offset, reasons, ended)

    return deliver


async def owns(_: TopicPartition) -> bool:
    return True


Deliver = Callable[..., Awaitable[Result]]


def refusing(code: int, topics: Sequence[str] = ("labels", "review")) -> Answer:
    """Answer with ``code`` to batches that hold a record with the key BAD."""

    def answer(topic: str, records: list[tuple[bytes | None, bytes | None]]) -> int:
        return code if topic in topics and any(key == BAD for key, _ in records) else 0

    return answer


CODES = [-1, 2, 32, 42, 43, 44, 87, 99, 109, 134, 500, -3, 32_767, -32_768, 10, 18]


@pytest.fixture(params=["at_least_once", "exactly_once"])
def guarantee(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("code", CODES)
async def test_what_is_about_a_record_costs_that_record(
    delivered: Deliver, guarantee: str, code: int
) -> None:
    assert meaning(code) == "record"
    bad = {0, 3, 4, 11}
    outcomes = [outcome(n, is_bad=n in bad) for n in range(12)]
    result = await delivered(guarantee, refusing(code), outcomes)
    good = [b"%d" % n for n in range(12) if n not in bad]
    assert (result.ended, result.labels, result.offset) == ("", good, 12)
    assert result.dead == [b"%d" % n for n in sorted(bad)]
    reason = "output_too_large" if code in SIZES else "output_refused"
    assert result.reasons == [reason if n in bad else "" for n in range(12)]


@pytest.mark.parametrize("code", [17, 29, 31, 53, 76])
async def test_what_an_operator_has_to_change_ends_both(
    delivered: Deliver, guarantee: str, code: int
) -> None:
    assert meaning(code) == "final"
    outcomes = [outcome(n, is_bad=n == 1) for n in range(3)]
    result = await delivered(guarantee, refusing(code), outcomes)
    assert result.ended.startswith("BrokerError: delivering")
    assert f"({code})" in result.ended
    assert (result.dead, result.labels) == ([], [])


@pytest.mark.parametrize(
    ("code", "items"),
    # a rule of the topic, said about one record alone, is believed at once: not 87 with 1
    [*((code, items) for code in (3, 7, 19, 47, 45, 500, -1) for items in (1, 5)), (87, 5)],
)
async def test_an_answer_that_passes_refuses_nothing(
    delivered: Deliver, guarantee: str, code: int, items: int
) -> None:
    answers = iter([code])
    outcomes = [outcome(n, is_bad=False) for n in range(items)]
    result = await delivered(guarantee, lambda *_: next(answers, 0), outcomes)
    assert (result.ended, result.dead) == ("", [])
    assert result.labels == [b"%d" % n for n in range(items)]


async def test_a_batch_that_is_written_and_refused_is_not_there_twice_exactly_once(
    delivered: Deliver,
) -> None:
    outcomes = [outcome(n, is_bad=n in {2, 3}) for n in range(8)]
    result = await delivered("exactly_once", refusing(-1), outcomes, writes=True)
    assert result.labels == [b"%d" % n for n in range(8) if n not in {2, 3}]
    assert result.dead == [b"2", b"3"]


@pytest.mark.parametrize("topic", ["labels", "review"])
async def test_a_refused_half_of_a_copy_is_one_dead_letter(
    delivered: Deliver, guarantee: str, topic: str
) -> None:
    outcomes = [outcome(n, is_bad=n == 1, route="copy") for n in range(3)]
    result = await delivered(guarantee, refusing(87, [topic]), outcomes)
    assert (result.dead, result.reasons) == ([b"1"], ["", "output_refused", ""])
    other = result.review if topic == "labels" else result.labels
    refused = result.labels if topic == "labels" else result.review
    assert refused == [b"0", b"2"]
    # at least once, the other half may be written before anybody knows
    assert other in ([b"0", b"2"], *([[b"0", b"1", b"2"]] if guarantee == "at_least_once" else []))


async def test_both_halves_refused_are_one_dead_letter(delivered: Deliver, guarantee: str) -> None:
    outcomes = [outcome(n, is_bad=n == 1, route="copy") for n in range(3)]
    result = await delivered(guarantee, refusing(87), outcomes)
    assert (result.labels, result.review, result.dead) == ([b"0", b"2"], [b"0", b"2"], [b"1"])


async def test_a_topic_that_refuses_everything_stops_the_service_and_says_why(
    delivered: Deliver, guarantee: str
) -> None:
    outcomes = [outcome(n, is_bad=True) for n in range(60)]
    result = await delivered(guarantee, refusing(32), outcomes, most=20)
    assert result.ended.startswith("DeadLetterGuardError: 21 dead letters in a row in texts-0")
    assert "x output_refused: labels refuses its output: INVALID_TIMESTAMP (32); " in result.ended
    assert (result.labels, result.dead) == ([], [])


async def test_a_dead_letter_that_is_refused_in_full_keeps_its_key(
    delivered: Deliver, guarantee: str
) -> None:
    def answer(topic: str, records: list[tuple[bytes | None, bytes | None]]) -> int:
        bad = any(key == BAD for key, _ in records)
        full = any(value is not None for _, value in records)
        return 44 if bad and (topic == "labels" or full) else 0

    result = await delivered(guarantee, answer, [outcome(n, is_bad=n == 1) for n in range(3)])
    assert (result.ended, result.labels, result.dead) == ("", [b"0", b"2"], [None])


async def test_a_dead_letter_topic_that_takes_nothing_ends_both_with_what_to_change(
    delivered: Deliver, guarantee: str
) -> None:
    answer = refusing(32, ["labels", "dead-letters"])
    result = await delivered(guarantee, answer, [outcome(n, is_bad=n == 1) for n in range(3)])
    assert result.ended.startswith("BrokerError: even a dead letter without the record's value")
    assert "dead-letters refuses its output: INVALID_TIMESTAMP (32); its time" in result.ended
    assert "Change the settings of dead-letters" in result.ended
    assert result.dead == []


@given(
    bad=st.sets(st.integers(0, 199), max_size=60),
    items=st.integers(1, 200),
    accidents=st.sets(st.integers(0, 30), max_size=3),
)
async def test_a_search_names_outputs_that_are_refused_and_only_those(
    bad: set[int], items: int, accidents: set[int]
) -> None:
    unknown = for_code(500)()
    probes = 0

    async def probe(part: Sequence[int]) -> BrokerResponseError | None:
        nonlocal probes
        probes += 1
        return unknown if bad.intersection(part) or probes in accidents else None

    indexes = range(items)
    found = await refused_among(indexes, unknown, probe=probe)
    among = bad.intersection(indexes)
    if not accidents:
        assert set(found) == set(sorted(among)[:32])
        assert probes <= 2 + 2 * (len(found) + 1) * (items.bit_length() + 1)
    assert len(set(found) - among) <= len(accidents) // 2  # an accident twice to the same one
    assert bool(found) == bool(among) or accidents
