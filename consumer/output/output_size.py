"""Compares the size of outputs with the limits of their topics at start. Pure.

With thousands of labels the probabilities alone can exceed the limit of a topic. Every record would
then become a dead letter, which is reported before the first one is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from streamlabel.config.kafka import OutputSettings
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.output.dead_letters import dead_letter
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.routing.decision import Decision
from streamlabel.errors import ConfigError, RecordError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.labels import LabelSet

__all__ = [
    "OutputSize",
    "described",
    "output_sizes",
    "refuse_too_large",
    "smallest_dead_letter_bytes",
]

# A typical probability among thousands: nearly the longest that a number can be as text.
_IMPROBABLE: Final = 1.2345678901234567e-05
_PROBABLE: Final = 2.3456789012345678e-05
_SOME_ID: Final = "0" * 36
_SOME_SET_ID: Final = "0" * 16
# A number of labels per output that certainly fits, for the advice.
_FEW: Final = 10


@dataclass(frozen=True, slots=True)
class OutputSize:
    """Sizes of outputs on one topic, without the input's key, headers, metadata and text.

    Attributes:
        every_bytes: size of an ordinary output.
        largest_bytes: size of one that lists all labels (multi-label, or a prediction set).
    """

    topic: str
    every_bytes: int
    largest_bytes: int


def output_sizes(
    encoder: MessageEncoder, labels: LabelSet, topics: OutputSettings, *, is_calibrated: bool
) -> tuple[OutputSize, OutputSize]:
    """Return the sizes of labels and reviews.

    Args:
        encoder: of the outputs.
        labels: of the model.
        topics: their names.
        is_calibrated: outputs also have the raw probabilities, and may have prediction sets.
    """
    # If not all labels are kept, the longest names may be those that are.
    longest = set(sorted(range(len(labels)), key=lambda i: -len(labels.names[i]))[:1000])
    probabilities = tuple(_PROBABLE if i in longest else _IMPROBABLE for i in range(len(labels)))
    raw = tuple(reversed(probabilities)) if is_calibrated else probabilities
    if is_calibrated and raw == probabilities:
        raw = (0.5, *raw[1:])
    source = SourceRecord(Position(topics.labels_topic, 0, 2**40), None, None, (), 0, 0.0)
    record = TextRecord(source, _SOME_ID, "x", 0)
    prediction = Prediction(raw)
    longest_name = max(labels.names, key=len)
    timings = Timings(0, 1000.0, 1000.0)

    def size(*, lists_all: bool) -> tuple[int, int]:
        names = labels.names if lists_all else (longest_name,)
        decision = Decision(
            "copy", longest_name, names, _PROBABLE, _PROBABLE, _PROBABLE, ("low_confidence",),
            probabilities, names if is_calibrated else None,
            threshold_set_id=_SOME_SET_ID if is_calibrated else None,
            threshold_change="tightened" if is_calibrated else None,
            unsure_labels=names if lists_all else (),
        )  # fmt: skip
        label = encoder.label(record, prediction, decision, timings, topic=topics.labels_topic)
        review = encoder.review(
            record, prediction, decision, timings, topic=topics.review_topic, limit_bytes=2**60
        )
        return label.size_bytes, review.size_bytes

    every, largest = size(lists_all=False), size(lists_all=True)
    return (
        OutputSize(topics.labels_topic, every[0], largest[0]),
        OutputSize(topics.review_topic, every[1], largest[1]),
    )


def refuse_too_large(
    sizes: tuple[OutputSize, ...], labels: LabelSet, limit_bytes: Callable[[str], int]
) -> None:
    """Refuse a model whose every output would become a dead letter.

    Raises:
        ConfigError: an output is larger than its topic accepts.
    """
    for size in sizes:
        limit = limit_bytes(size.topic)
        if size.every_bytes > limit:
            raise ConfigError(
                f"output.probabilities: with {len(labels)} labels an output takes about"
                f" {size.every_bytes} bytes, and {size.topic} accepts {limit}: every record would"
                f" become a dead letter. Set it to the number of most probable labels to keep, for"
                f" example {_FEW}, or raise max.message.bytes of the topic and"
                " kafka.max_request_bytes"
            )


def described(size: OutputSize, limit_bytes: Callable[[str], int]) -> str:
    """Return a line about one topic, with a warning if some outputs would not fit."""
    limit = limit_bytes(size.topic)
    line = (
        f"{size.topic} {size.every_bytes} bytes plus what is copied from the input, accepts {limit}"
    )
    if size.largest_bytes > limit:
        line += (
            f"; one that lists all labels has {size.largest_bytes} and would be a dead letter"
            " (output_too_large)"
        )
    return line


def smallest_dead_letter_bytes(input_topic: str, dead_letter_topic: str, version: str) -> int:
    """Return the size of a dead letter without all the parts that may be left out."""
    record = SourceRecord(
        Position(input_topic, 2**31 - 1, 2**63 - 1), b"k", b"v", (("h", b""),), 2**63 - 1, 0.0
    )
    smallest = dead_letter(
        record,
        topic=dead_letter_topic,
        error=RecordError("output_too_large", ""),
        version=version,
        limit_bytes=0,
    )
    return smallest.size_bytes
