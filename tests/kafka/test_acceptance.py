"""Every bad record in one run of the real service: one outcome each, neighbours untouched.

Lines are those of the table in docs/guarantees.md. The service runs as users run it, exactly once,
with TLS-less SASL so that a secret is really in use; its worker process is killed by texts.
"""

import json
import re
from dataclasses import dataclass, field

import pytest
import yaml
from confluent_kafka import Message, Producer
from typer.testing import CliRunner

from streamlabel.__main__ import app
from testing.chaos.processes import ServiceProcess
from testing.kafka_broker import LocalCluster, wait_until
from tests.kafka.test_service import scrape
from tests.kafka_bytes import batch, produce_bytes

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

# Stands in every text, key, header and metadata; must never stand in a log, metric or message.
PLANTED = "planted-4711-text"
MEGABYTE = 1024 * 1024


def document(text: str, **more: object) -> bytes:
    return json.dumps({"text": f"{text} {PLANTED}", **more}).encode()


@dataclass(frozen=True)
class Sent:
    """One record, and what must become of it."""

    line: int
    value: bytes | None
    dead: str | None = None  # reason of the dead letter; None: a label or a review
    key: bytes | None = PLANTED.encode()
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)
    name: str = ""


GOOD = Sent(0, document("good"))
SENT = [
    Sent(1, None, "empty_text", name="tombstone"),
    Sent(1, None, "empty_text", key=None, name="tombstone without a key"),
    Sent(2, b"", "empty_text"),
    Sent(2, b" \n\t ", "empty_text"),
    Sent(2, json.dumps({"text": " \u3000\u200b\u2060\ufeff"}).encode(), "empty_text"),
    Sent(3, b'{"text": "\xff\xfe' + PLANTED.encode() + b'"}', "bad_encoding"),
    Sent(3, b'{"text": "\\ud800 ' + PLANTED.encode() + b'"}', "bad_encoding"),
    Sent(4, b"no json " + PLANTED.encode(), "not_json"),
    Sent(4, json.dumps([PLANTED]).encode(), "schema"),
    Sent(4, json.dumps({"body": PLANTED}).encode(), "schema"),
    Sent(4, json.dumps({"text": 4711, "note": PLANTED}).encode(), "schema"),
    Sent(5, b'{"text": "a", "text": "' + PLANTED.encode() + b'"}', "schema"),
    Sent(5, b"[" * 10_000, "not_json"),
    Sent(5, b'{"text": 1' + b"0" * 400 + b"}", "not_json"),
    Sent(5, b'{"text": NaN}', "not_json"),
    Sent(
        7,
        document("header values are bytes"),
        headers=[("traceparent", b"\xff\xfe"), ("ce_id", b"\xff"), ("none", None), ("none", b"2")],
    ),
    Sent(
        7,
        document("5,000 headers"),
        headers=[*((f"h{n}", b"v") for n in range(5000)), ("traceparent", b"00-1-2-01")],
        name="many headers",
    ),
    Sent(8, document("long " * 150_000), name="750 kB of text"),
    Sent(9, b"x" * (MEGABYTE - 2000), "not_json", name="as large as a record may be"),
    Sent(9, document("y" * (MEGABYTE - 2000)), name="the same, and good"),
    Sent(11, document("\u202eabc\u2066 \u0430\u0435\u043e \uff46\uff55\uff4c\uff4c"), name="bidi"),
    Sent(11, document("e" + "\u0301\u0316" * 50_000), name="100,000 combining marks"),
    Sent(11, document("\U0001f469\u200d\U0001f469\u200d\U0001f467 " * 50), name="joined emoji"),
    Sent(11, document("\u00e9 \u212b"), name="composed"),
    Sent(11, document("e\u0301 A\u030a"), name="decomposed"),
    Sent(13, document("raises"), "inference_error"),
    Sent(14, document("kills"), "crash_suspect"),
    Sent(13, document("rejected"), "inference_error"),
]
UNDECODABLE = 2  # offset: the third record has a header name that is not UTF-8


@dataclass
class Aftermath:
    """What one run of the service left."""

    sent: dict[int, Sent]  # by offset
    labels: list[Message]
    reviews: list[Message]
    dead: list[Message]
    lines: list[dict[str, object]]
    log: str
    metrics: str
    config: str
    secret: str
    exit_code: int

    def of(self, line: int) -> list[tuple[Sent, list[Message]]]:
        """Records of a line with their outcomes."""
        found = [(s, self.outcomes(o)) for o, s in self.sent.items() if s.line == line]
        assert found, f"nothing was sent for line {line}"
        return found

    def outcomes(self, offset: int) -> list[Message]:
        """All records of all topics that the record caused."""
        return [m for m in (*self.labels, *self.reviews, *self.dead) if source_of(m) == offset]


def source_of(message: Message) -> int:
    headers = dict(message.headers() or [])
    if "streamlabel-source-offset" in headers:
        return int(headers["streamlabel-source-offset"] or b"")
    return int(json.loads(message.value() or b"")["source"]["offset"])


def header(message: Message, name: str) -> bytes:
    return dict(message.headers() or []).get(name) or b""


@pytest.fixture(scope="module")
def aftermath(secure_kafka: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    """Send everything, run the service until all is committed, ask it to drain."""
    folder = tmp_path_factory.mktemp("acceptance")
    secured = secure_kafka.secured
    assert secured is not None
    topics = {name: secure_kafka.topic(name) for name in ("texts", "labels", "review", "dead")}
    sent = send(secure_kafka, topics["texts"])
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "STREAMLABEL__KAFKA__SECURITY__PASSWORD").write_text(secured.password)
    config = folder / "service.yaml"
    config.write_text(yaml.safe_dump(settings(secure_kafka, secured.username, topics)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STREAMLABEL_SECRETS_DIR", str(secrets))
        shown = CliRunner().invoke(app, ["config", "show", "-c", str(config), "--json"])
        assert shown.exit_code == 0, shown.output
        service = ServiceProcess(config, folder / "service.log")
        try:
            wait_until(
                lambda: (
                    not service.is_running
                    or secure_kafka.committed(topics["texts"], topics["texts"]) == len(sent)
                ),
                what="all is committed",
                timeout_s=240,
                every_s=0.5,
            )
            assert service.is_running, service.log.read_text()[-3000:]
            metrics = scrape(service.log.read_text())
            service.terminate()
            exit_code = service.wait()
        finally:
            service.close()
    log = service.log.read_text()
    return Aftermath(
        sent=sent,
        labels=secure_kafka.read(topics["labels"]),
        reviews=secure_kafka.read(topics["review"]),
        dead=secure_kafka.read(topics["dead"]),
        lines=[json.loads(row) for row in log.splitlines()],
        log=log,
        metrics=metrics,
        config=shown.stdout,
        secret=secured.password,
        exit_code=exit_code,
    )


def send(cluster: LocalCluster, topic: str) -> dict[int, Sent]:
    """Write everything, good records in between; return it by offset."""
    import asyncio

    good = document("beside a broken header")
    asyncio.run(produce_bytes(cluster.bootstrap, topic, batch([good] * 4, bad=UNDECODABLE)))
    sent = {offset: Sent(6, good) for offset in range(4)}
    sent[UNDECODABLE] = Sent(6, None, "undecodable_record", name="undecodable")
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "message.max.bytes": 2 * MEGABYTE})
    for record in (each for one in SENT for each in (one, GOOD)):
        sent[len(sent)] = record
        producer.produce(
            topic, value=record.value, key=record.key, headers=record.headers, partition=0
        )
        assert producer.flush(30) == 0  # one at a time: offsets are as counted here
    return sent


def settings(cluster: LocalCluster, user: str, topics: dict[str, str]) -> dict[str, object]:
    return {
        "kafka": {
            "bootstrap_servers": cluster.address("SASL_PLAINTEXT"),
            "group_id": topics["texts"],
            "security": {
                "protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "PLAIN",
                "username": user,
                "allow_insecure": True,
            },
        },
        "input": {"topic": topics["texts"], "normalise": "nfc"},
        "output": {
            "labels_topic": topics["labels"],
            "review_topic": topics["review"],
            "dead_letter_topic": topics["dead"],
        },
        "delivery": {"guarantee": "exactly_once"},
        "repeats": {"max_items": 0},  # the model is asked about every text
        "guard": {"max_consecutive": 0, "max_ratio": 1},
        "batching": {"max_batch_items": 8},
        "worker": {"restart_backoff_s": 0.1, "max_restarts": 100, "restart_window_s": 1},
        "model": {
            "backend": "fake",
            "fail_on": "raises",
            "crash_on": "kills",
            "reject_on": "rejected",
        },
        "http": {"host": "127.0.0.1", "port": 0},
        "logging": {"format": "json", "level": "DEBUG"},
    }


def test_every_record_has_exactly_one_outcome_of_the_right_kind(aftermath: Aftermath) -> None:
    for offset, sent in aftermath.sent.items():
        [outcome] = aftermath.outcomes(offset)
        assert header(outcome, "streamlabel-error-reason").decode() == (sent.dead or ""), sent.name


def test_outcomes_stand_in_input_order(aftermath: Aftermath) -> None:
    for topic in (aftermath.labels, aftermath.reviews, aftermath.dead):
        offsets = [source_of(message) for message in topic]
        assert len(offsets) > 1
        assert offsets == sorted(offsets)


def test_the_service_is_asked_to_leave_and_leaves_with_0(aftermath: Aftermath) -> None:
    assert aftermath.exit_code == 0
    assert "service_stopped" in aftermath.log


@pytest.mark.parametrize("line", [1, 2, 3, 4, 5])
def test_bad_values_are_kept_byte_for_byte(aftermath: Aftermath, line: int) -> None:
    for sent, [outcome] in aftermath.of(line):
        assert (outcome.value(), outcome.key()) == (sent.value, sent.key)
        assert PLANTED not in header(outcome, "streamlabel-error-message").decode()


def test_no_exception_is_logged_about_a_record(aftermath: Aftermath) -> None:
    assert [line for line in aftermath.lines if "exception" in line] == []


def test_the_model_is_asked_about_texts_only(aftermath: Aftermath) -> None:
    """Empty and broken records never reach it."""
    batches = [ln for ln in aftermath.lines if ln["event"] == "batch_classified"]
    batched = sum(int(str(line["items"])) for line in batches)
    texts = [s for s in aftermath.sent.values() if s.dead in {None, "crash_suspect"}]
    texts += [s for s in aftermath.sent.values() if s.dead == "inference_error"]
    assert batched == len(texts) - 1  # the rejected text could not be prepared


def test_outputs_are_always_utf8_json(aftermath: Aftermath) -> None:
    assert aftermath.labels
    assert aftermath.reviews
    for message in (*aftermath.labels, *aftermath.reviews):
        assert isinstance(json.loads((message.value() or b"").decode("utf-8")), dict)


def test_an_undecodable_record_costs_itself_only(aftermath: Aftermath) -> None:
    for sent, [outcome] in aftermath.of(6):
        if sent.dead:
            assert (outcome.key(), outcome.value()) == (None, None)
            assert source_of(outcome) == UNDECODABLE


def test_headers_that_nobody_can_read_travel_and_many_are_cut(aftermath: Aftermath) -> None:
    (_, [odd]), (_, [many]) = aftermath.of(7)
    assert dict(odd.headers() or [])["traceparent"] == b"\xff\xfe"
    assert [value for name, value in odd.headers() or [] if name == "none"] == [None, b"2"]
    assert "ce_id" not in dict(odd.headers() or [])
    assert len(many.headers() or []) <= 66  # 64, content type, and how many were dropped
    assert header(many, "traceparent") == b"00-1-2-01"
    assert int(header(many, "streamlabel-headers-dropped")) == 5001 - 64


def test_an_output_never_outgrows_its_topic(aftermath: Aftermath) -> None:
    (bad, [dead]), (_, [good]) = aftermath.of(9)
    assert dead.value() is None
    assert header(dead, "streamlabel-value-omitted").startswith(
        b"size=%d; sha256=" % len(bad.value or b"")
    )
    if good.topic().startswith("review"):
        assert json.loads(good.value() or b"")["text_truncated"] is True
    assert "partition_restarted" not in aftermath.log  # no transaction failed over it


def test_two_spellings_of_a_text_have_the_same_label(aftermath: Aftermath) -> None:
    pair = {
        sent.name: json.loads(outcome.value() or b"")
        for sent, [outcome] in aftermath.of(11)
        if "composed" in sent.name
    }
    one, two = pair["composed"], pair["decomposed"]
    assert one["probabilities"] == two["probabilities"]


def test_a_text_that_kills_is_found_with_few_restarts(aftermath: Aftermath) -> None:
    restarts = sum(line["event"] == "worker_lost" for line in aftermath.lines)
    assert 4 <= restarts <= 6  # in company, with its whole batch, perhaps a part, three times alone


def test_neither_secret_nor_text_is_in_logs_metrics_or_settings(aftermath: Aftermath) -> None:
    assert '"level": "debug"' in aftermath.log.lower() or '"level":"debug"' in aftermath.log
    for place in (aftermath.log, aftermath.metrics, aftermath.config):
        assert PLANTED not in place
        assert aftermath.secret not in place
    assert re.search(r"password.*\*\*\*", aftermath.config.replace("\n", " "))
    assert aftermath.dead
    for message in aftermath.dead:
        assert aftermath.secret.encode() not in (message.value() or b"")
