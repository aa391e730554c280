"""Models with thousands of labels: what their outputs take, and what is kept of them."""

import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.config.kafka import OutputSettings
from streamlabel.config.settings import RoutingSettings
from streamlabel.consumer.core.records import Position, SourceRecord, TextRecord
from streamlabel.consumer.output.message_encoder import MessageEncoder
from streamlabel.consumer.output.output_size import described, output_sizes, refuse_too_large
from streamlabel.consumer.output.schemas import ReviewMessage
from streamlabel.consumer.output.timings import Timings
from streamlabel.consumer.routing.router import routing_policy
from streamlabel.errors import ConfigError
from streamlabel.models.core.classifier import ModelIdentity, Prediction
from streamlabel.models.core.labels import LabelSet
from streamlabel.models.core.probabilities import softmax

MODEL = ModelIdentity("tiny", "fake", "cpu", "none", "abc")
TOPICS = OutputSettings()
TAXONOMY = LabelSet(
    tuple(f"Home & Garden > Kitchen & Dining > Containers, variant {i:06d}" for i in range(12_000))
)
RECORD = TextRecord(SourceRecord(Position("texts", 0, 1), None, None, (), 0, 0.0), "r-1", "x", 0)
TIMINGS = Timings(0, 1.5, 2.5)


def encoder(labels: LabelSet, top: int | None = None) -> MessageEncoder:
    return MessageEncoder(labels=labels, model=MODEL, top=top)


def prediction(labels: LabelSet) -> Prediction:
    numbers = random.Random(3)
    import numpy as np

    logits = np.array([numbers.gauss(0, 1) for _ in labels.names])
    return Prediction(tuple(softmax(logits).tolist()), tuple(logits.tolist()))


def test_outputs_that_never_fit_are_refused_with_the_remedy() -> None:
    sizes = output_sizes(encoder(TAXONOMY), TAXONOMY, TOPICS, is_calibrated=False)
    with pytest.raises(ConfigError, match=r"output.probabilities.*12000 labels.*max.message.bytes"):
        refuse_too_large(sizes, TAXONOMY, lambda _: 1_000_000)
    refuse_too_large(sizes, TAXONOMY, lambda _: 2_000_000)


@pytest.mark.parametrize("top", [1, 10, 1000])
def test_a_large_label_set_fits_with_its_most_probable_labels(top: int) -> None:
    sizes = output_sizes(encoder(TAXONOMY, top), TAXONOMY, TOPICS, is_calibrated=False)
    refuse_too_large(sizes, TAXONOMY, lambda _: 200_000)
    assert max(size.every_bytes for size in sizes) < 1000 + 200 * top


def test_an_output_that_lists_all_labels_and_does_not_fit_is_said() -> None:
    labels = LabelSet(TAXONOMY.names, "multi_label")
    sizes = output_sizes(encoder(labels, 10), labels, TOPICS, is_calibrated=False)
    refuse_too_large(sizes, labels, lambda _: 100_000)
    assert "one that lists all labels" in described(sizes[0], lambda _: 100_000)
    assert "one that lists" not in described(sizes[0], lambda _: 10_000_000)


@pytest.mark.parametrize("top", [None, 5])
@pytest.mark.parametrize("count", [2, 300])
@pytest.mark.parametrize("is_calibrated", [False, True])
def test_no_real_output_is_much_larger_than_was_said(
    top: int | None, count: int, is_calibrated: bool
) -> None:
    labels = LabelSet(TAXONOMY.names[:count])
    write = encoder(labels, top)
    said = output_sizes(write, labels, TOPICS, is_calibrated=is_calibrated)
    answer = prediction(labels)
    decision = routing_policy(labels, RoutingSettings(threshold=1)).choose(answer)
    label = write.label(RECORD, answer, decision, TIMINGS, topic="labels")
    review = write.review(RECORD, answer, decision, TIMINGS, topic="review", limit_bytes=2**60)
    assert label.size_bytes <= said[0].every_bytes + 100
    assert review.size_bytes <= said[1].every_bytes + 100
    if not is_calibrated:
        assert label.size_bytes >= 0.8 * said[0].every_bytes


@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3).map(tuple),
    st.lists(st.floats(0, 1), min_size=3, max_size=3).map(tuple),
    st.integers(1, 4),
)
def test_the_most_probable_labels_are_kept_and_the_rest_is_counted(
    raw: tuple[float, ...], calibrated: tuple[float, ...], top: int
) -> None:
    labels = LabelSet(("a", "b", "c"), "multi_label")
    decision = routing_policy(labels, RoutingSettings()).choose(Prediction(calibrated))
    outbound = encoder(labels, top).review(
        RECORD, Prediction(raw), decision, TIMINGS, topic="review", limit_bytes=10**6
    )
    message = json.loads(outbound.value or b"")
    ReviewMessage.model_validate_json(outbound.value or b"")
    kept = message["probabilities"]
    assert len(kept) == min(top, 3)
    assert message.get("probabilities_left_out", 0) == 3 - len(kept)
    assert all(
        p <= min(kept.values())
        for name, p in zip(labels.names, calibrated, strict=True)
        if name not in kept
    )
    if raw != calibrated:
        assert message["raw_probabilities"].keys() == kept.keys()


def test_names_are_compared_in_linear_time_and_errors_name_a_few() -> None:
    names = [f"label {i}" for i in range(100_000)]
    started_s = time.thread_time()
    labels = LabelSet(tuple(names))
    assert time.thread_time() - started_s < 2, "quadratic takes minutes"
    with pytest.raises(ConfigError, match=r"repeated: label 0, .* and 99990 more") as caught:
        LabelSet(tuple(names * 2))
    assert len(str(caught.value)) < 300
    with pytest.raises(ConfigError, match="nothing") as caught:
        routing_policy(labels, RoutingSettings(thresholds={"nothing": 0.5}))
    assert len(str(caught.value)) < 400
