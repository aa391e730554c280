"""Promises about what crosses the border between the service and its worker."""

import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.errors import (
    ConfigError,
    DeviceMemoryError,
    InferenceError,
    ModelError,
    ModelLoadError,
    StreamlabelError,
)
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.worker import frames, packing

_NUMBERS = st.floats(allow_nan=False)
_ROWS = st.one_of(
    st.none(),
    st.tuples(_NUMBERS, _NUMBERS, _NUMBERS),
    st.tuples(_NUMBERS, _NUMBERS),
    st.just(()),
)
_PREDICTIONS = st.builds(
    Prediction,
    probabilities=_ROWS,
    log_scores=_ROWS,
    truncated=st.booleans(),
    review_reasons=st.sampled_from([(), ("unparseable",)]),
    off_label_mass=st.none() | _NUMBERS,
    argmax_is_label=st.none() | st.booleans(),
    first_token_probability=st.none() | _NUMBERS,
    off_label_token=st.none() | st.text(max_size=3),
    sum_error=st.none() | _NUMBERS,
    unknown_share=st.none() | _NUMBERS,
    is_unreadable=st.booleans(),
)
_ERRORS = st.text(max_size=5).map(InferenceError)
_PREPARED = st.builds(
    PreparedText,
    tokens=st.integers(1, 10**6),
    payload=st.none() | st.lists(st.integers(), max_size=3) | st.text(max_size=3),
    rows=st.integers(1, 64),
    truncated=st.booleans(),
    unknown_share=st.none() | _NUMBERS,
    is_unreadable=st.booleans(),
)


def _comparable(outcomes: list[Any]) -> list[Any]:
    """Return exceptions as values: two equal ones do not compare equal."""
    return [
        (type(outcome), outcome.args) if isinstance(outcome, Exception) else outcome
        for outcome in outcomes
    ]


def _across(message: object) -> Any:  # noqa: ANN401 whatever went in comes out
    return frames.decode(frames.encode(message)[frames.HEADER.size :])


@given(outcomes=st.lists(_PREDICTIONS | _ERRORS, max_size=8))
def test_predictions_arrive_as_they_left(outcomes: list[Prediction | InferenceError]) -> None:
    arrived = packing.unpack_predictions(_across(packing.pack_predictions(outcomes)))
    assert _comparable(arrived) == _comparable(outcomes)


@given(outcomes=st.lists(_PREPARED | _ERRORS, max_size=8))
def test_prepared_texts_come_back_with_their_payload(
    outcomes: list[PreparedText | InferenceError],
) -> None:
    seen = packing.unpack_prepared(_across(packing.seal_prepared(outcomes)))
    assert [type(one) for one in seen] == [type(one) for one in outcomes]
    prepared = [one for one in seen if isinstance(one, PreparedText)]
    opened = packing.open_prepared(_across(packing.pack_prepared(prepared)))
    assert opened == [one for one in outcomes if isinstance(one, PreparedText)]


def test_the_service_never_opens_a_payload() -> None:
    sealed = _across(packing.seal_prepared([PreparedText(3, [1, 2, 3])]))
    (prepared,) = packing.unpack_prepared(sealed)
    assert isinstance(prepared, PreparedText)
    assert isinstance(prepared.payload, bytes)


def test_a_block_of_probabilities_is_one_run_of_doubles() -> None:
    predictions = [Prediction((0.25, 0.75), (-1.4, -0.3))] * 500
    packed = packing.pack_predictions(predictions)
    assert packed.columns == {}
    assert len(frames.encode(packed)) < 500 * 2 * 2 * 8 + 500


@pytest.mark.parametrize(
    "kind", [ConfigError, ModelLoadError, InferenceError, DeviceMemoryError, ModelError]
)
def test_what_a_back_end_raises_arrives_as_itself(kind: type[StreamlabelError]) -> None:
    arrived = _across(kind("why"))
    assert type(arrived) is kind
    assert str(arrived) == "why"


def test_a_frame_larger_than_the_socket_buffer_arrives_whole() -> None:
    here, there = socket.socketpair()
    with here, there:
        message = b"x" * 5_000_000
        sender = threading.Thread(target=here.sendall, args=(frames.encode(message),))
        sender.start()
        assert frames.receive(there) == message
        sender.join()


@pytest.mark.parametrize("cut", [0, 1, 8, 12])
def test_a_frame_that_is_cut_off_is_the_end(cut: int) -> None:
    here, there = socket.socketpair()
    with there:
        with here:
            here.sendall(frames.encode("message")[:cut])
        with pytest.raises(EOFError):
            frames.receive(there)


def test_a_lone_surrogate_crosses_the_border() -> None:
    assert _across((1, "prepare", ["\ud800"])) == (1, "prepare", ["\ud800"])
