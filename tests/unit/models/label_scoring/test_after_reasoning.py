"""An answer after reasoning is the mean over the reasonings, and says what happened."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.errors import InferenceError
from streamlabel.models.label_scoring.after_reasoning import (
    Reasoned,
    Thought,
    mean_answer,
    predict_reasoned,
    thought,
)
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.label_scoring.label_tokens import LabelTokens

NO, YES, OTHER, STOP, END = 1, 2, 3, 8, 9
READS = LabelTokens(((NO,), (YES,)))
SHARES = st.tuples(st.floats(0.01, 0.6), st.floats(0.01, 0.39))


def first(no: float, yes: float) -> FirstToken:
    rest = 1 - no - yes
    token, chance = max(((NO, no), (YES, yes), (OTHER, rest)), key=lambda each: each[1])
    return FirstToken({NO: math.log(no), YES: math.log(yes)}, token, math.log(chance))


def reasoned(samples: int = 1, cut_reasons: tuple[str, ...] = ()) -> Reasoned:
    return Reasoned((STOP, 4), READS, 5, (0.6,) * samples, cut_reasons)


@given(st.lists(SHARES, min_size=1, max_size=6))
def test_the_mean_is_over_probabilities_with_the_off_label_mass(
    shares: list[tuple[float, ...]],
) -> None:
    answer = mean_answer([READS.read([first(*each)]) for each in shares])
    means = [sum(column) / len(shares) for column in zip(*shares, strict=True)]
    assert [math.exp(score) for score in answer.log_scores] == pytest.approx(means)
    assert answer.off_label_mass == pytest.approx(1 - sum(means))
    assert sum(answer.probabilities) == pytest.approx(1)
    assert answer.probabilities == pytest.approx([each / sum(means) for each in means])


@given(
    st.lists(st.sampled_from([NO, YES, OTHER]), max_size=9), st.sampled_from(["stop", "end", ""])
)
def test_a_reasoning_is_cut_unless_it_ended_by_itself(tokens: list[int], ending: str) -> None:
    written = [*tokens, *({"stop": [STOP], "end": [END]}.get(ending, []))]
    found = thought(written, stop=STOP, ends=[END])
    assert found == Thought(tuple(tokens), is_cut=ending != "stop")


def test_the_rows_are_prompt_reasoning_end_and_path() -> None:
    assert reasoned().rows([6, 7], Thought((3, 3), is_cut=True)) == [[6, 7, 3, 3, STOP, 4]]
    assert reasoned().extra_tokens == 5 + 2


def test_one_cut_sample_is_said_and_routed_as_wished() -> None:
    thoughts = [Thought((3, 3), is_cut=False), Thought((3,) * 5, is_cut=True)]
    firsts = [[first(0.6, 0.1)], [first(0.1, 0.1)]]
    for reasons in ((), ("reasoning_cut",)):
        found = predict_reasoned(
            reasoned(2, reasons),
            thoughts,
            firsts,
            truncated=True,
            review_reasons=("truncated",),
            decode=lambda ids: f"<{ids[0]}>",
        )
        assert found.after_reasoning is True
        assert (found.reasoning_tokens, found.reasoning_cut) == (5, True)
        assert found.review_reasons == ("truncated", *reasons)
        assert (found.argmax_is_label, found.off_label_token) == (False, f"<{OTHER}>")


def test_a_number_that_is_missing_is_an_error() -> None:
    with pytest.raises(InferenceError, match="no finite log-probability for token 2"):
        predict_reasoned(
            reasoned(), [Thought((), is_cut=True)], [[FirstToken({NO: -1.0}, NO, -1.0)]],
            truncated=False, decode=str,
        )  # fmt: skip
