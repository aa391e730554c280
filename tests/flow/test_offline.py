"""A file through the real pipeline: order, bad lines, bounds."""

import asyncio
from collections.abc import Iterator, Sequence
from io import BytesIO

import orjson
import pytest

from streamlabel.config.model import FakeSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.files.sink import FileSink, Progress
from streamlabel.consumer.files.text_files import FileFormat, FileRecord
from streamlabel.errors import ConfigError, InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.fake import FakeClassifier
from streamlabel.tools.offline import classify_records, open_records

FAKE = FakeSettings(labels=["a", "b", "c"], fail_on="poison")


def settings(**sections: object) -> Settings:
    return Settings.model_validate({"model": FAKE.model_dump(), **sections})


async def classified(
    content: bytes, file_format: FileFormat = "jsonl", **sections: object
) -> tuple[list[dict[str, object]], Progress]:
    chosen = settings(**sections)
    records, decoding = open_records(BytesIO(content), file_format, chosen)
    target = BytesIO()
    sink = FileSink(target, chosen)
    classifier = FakeClassifier(FAKE)
    try:
        await classify_records(
            records, sink, name="in", classifiers={"model": classifier}, settings=decoding
        )
    finally:
        await classifier.close()
    return [orjson.loads(line) for line in target.getvalue().splitlines()], sink.progress


def jsonl(*texts: str) -> bytes:
    return b"".join(orjson.dumps({"text": text, "id": text}) + b"\n" for text in texts)


async def test_outputs_are_in_the_order_of_the_file() -> None:
    texts = [f"{i} " + "x" * (i * 37 % 200) for i in range(3000)]
    rows, progress = await classified(jsonl(*texts))
    assert [row["id"] for row in rows] == texts
    assert progress.line == 3000
    assert progress.routes.total() == 3000


async def test_bad_lines_are_rows_with_a_reason_and_a_number() -> None:
    content = b'nonsense\n\n{"text": 1}\n' + jsonl("poison", "good") + b"\xff\n"
    rows, progress = await classified(content)
    dead = [row for row in rows if row["route"] == "dead_letter"]
    assert [(row["reason"], row["source"]) for row in dead] == [
        (reason, {"topic": "in", "partition": 0, "offset": line})
        for reason, line in [
            ("not_json", 1), ("schema", 3), ("inference_error", 4), ("bad_encoding", 6)
        ]
    ]  # fmt: skip
    assert progress.routes["dead_letter"] == 4
    assert [line for line, _, _ in progress.bad_lines] == [1, 3, 4, 6]
    assert "good" not in str(dead)


async def test_no_number_of_bad_lines_stops_it() -> None:
    rows, progress = await classified(b"nonsense\n" * 1500)
    assert len(rows) == 1500
    assert len(progress.bad_lines) == 20


async def test_a_copy_to_review_is_two_rows() -> None:
    routing = {"threshold": 1.0, "review": "copy"}
    rows, progress = await classified(jsonl("x"), routing=routing)
    assert [row["schema"] for row in rows] == ["streamlabel.label/v1", "streamlabel.review/v1"]
    assert progress.routes == {"labels": 1, "review": 1}


async def test_plain_text_and_csv_give_the_same_labels() -> None:
    plain, _ = await classified(b"one\ntwo\n", "text")
    table, _ = await classified(b"text\none\ntwo\n", "csv")
    assert [row["probabilities"] for row in plain] == [row["probabilities"] for row in table]


async def test_json_lines_may_be_cloudevents() -> None:
    event = {"specversion": "1.0", "id": "7", "source": "x", "type": "y", "data": {"text": "one"}}
    rows, _ = await classified(orjson.dumps(event), input={"format": "cloudevents"})
    assert [(row["id"], row["route"]) for row in rows] == [("7", "label")]


async def test_an_empty_file_gives_an_empty_result() -> None:
    rows, progress = await classified(b"")
    assert rows == []
    assert progress.routes.total() == 0


async def test_no_more_of_the_file_is_held_than_the_limits_say() -> None:
    """A file larger than memory is read as it is written."""
    written, read_at_most_ahead = 0, 0
    limit = 50

    def records() -> Iterator[FileRecord]:
        nonlocal read_at_most_ahead
        for line in range(1, 20_001):
            read_at_most_ahead = max(read_at_most_ahead, line - written)
            yield FileRecord(line, b'{"text": "x"}')

    def count(progress: Progress) -> None:
        nonlocal written
        written = progress.line

    chosen = settings(batching={"max_in_flight_items": limit})
    sink = FileSink(BytesIO(), chosen, count)
    await classify_records(
        records(), sink, name="in", classifiers={"model": FakeClassifier(FAKE)}, settings=chosen
    )
    assert written == 20_000
    # 4096 are read ahead, and one delivery may be under way
    assert read_at_most_ahead <= 4096 + 2 * limit + 2


async def test_an_error_while_reading_ends_it() -> None:
    with pytest.raises(ConfigError, match="no column"):
        await classified(b"a,b\n1,2\n", "csv")


async def test_thresholds_for_unknown_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown label"):
        await classified(jsonl("x"), routing={"thresholds": {"zzz": 0.5}})


class Stuck(FakeClassifier):
    """Never answers, and says when it was asked."""

    def __init__(self) -> None:
        super().__init__(FakeSettings(batch_s=3600))
        self.asked = asyncio.Event()

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Say so, then wait."""
        self.asked.set()
        return await super().classify(prepared)


async def test_cancelling_leaves_no_task_behind() -> None:
    chosen = settings()
    records, decoding = open_records(BytesIO(jsonl("x")), "jsonl", chosen)
    stuck, sink = Stuck(), FileSink(BytesIO(), chosen)
    running = asyncio.ensure_future(
        classify_records(records, sink, name="in", classifiers={"model": stuck}, settings=decoding)
    )
    async with asyncio.timeout(10):
        await stuck.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == {asyncio.current_task()}
