"""The demo's bookkeeping: what does not add up is said, not hidden."""

import math

from streamlabel.demo.samples import Sample
from streamlabel.demo.tally import Answer, Route, Tally, quantile


def answer(number: int, route: Route = "label", *, label: str = "ok") -> Answer:
    sample = Sample(f"text-{number}", "unseen", b"", "a text", label="ok")
    return Answer(sample, route, None if route == "dead letter" else label, 0.9, "", 0.01)


def tally_of(*answers: Answer) -> Tally:
    tally = Tally()
    for one in answers:
        tally.add(one)
    return tally


def test_each_record_once_is_balanced() -> None:
    tally = tally_of(answer(1), answer(2, "review"), answer(3, "dead letter"))
    assert tally.imbalance(sent=3, read=3) == ""


def test_an_output_that_comes_twice_is_named() -> None:
    tally = tally_of(answer(1), answer(1))
    assert "duplicate" in tally.imbalance(sent=2, read=2)


def test_a_lost_record_is_named() -> None:
    tally = tally_of(answer(1))
    assert tally.imbalance(sent=2, read=2) == "2 sent, 2 read and committed, 1 outputs"


def test_an_uncommitted_record_is_named() -> None:
    tally = tally_of(answer(1), answer(2))
    assert "1 read" in tally.imbalance(sent=2, read=1)


def test_accuracy_counts_reviews_and_leaves_out_dead_letters() -> None:
    tally = tally_of(
        answer(1), answer(2, label="spam"), answer(3, "review"), answer(4, "dead letter")
    )
    assert tally.accuracy() == (2, 3)
    assert tally.accuracy(["label"]) == (1, 2)


def test_quantiles_are_values_that_occurred() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert quantile([1.0], 0.5) == 1.0
    assert math.isnan(quantile([], 0.5))
