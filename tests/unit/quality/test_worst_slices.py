"""The worst slices are found by themselves, and chance among many names none."""

import numpy as np

from streamlabel.quality.accepted import Accepted, Slice
from streamlabel.quality.worst_slices import worse_slices


def evaluated(*slices: Slice, wrong: int = 30, accepted: int = 1000) -> Accepted:
    return Accepted(
        texts=accepted, accepted=accepted, wrong=wrong, by_label={}, slices=slices, guarantees=()
    )


def part(value: str, accepted: int, wrong: int) -> Slice:
    return Slice("lang", value, accepted, accepted, wrong, accepted - wrong, 0.9)


def test_a_slice_with_more_errors_is_named_with_the_rate_of_the_rest() -> None:
    [found] = worse_slices(evaluated(part("de", 100, 12), part("en", 900, 18)))
    assert found.slice.value == "de"
    assert found.compared == 2
    assert str(found).startswith(
        "lang de: 12.0 % of 100 accepted labels are wrong, 2.0 % elsewhere (p "
    )


def test_the_same_slice_among_many_is_not_named() -> None:
    alone = worse_slices(evaluated(part("de", 50, 5)))
    among = worse_slices(evaluated(part("de", 50, 5), *(part(str(i), 50, 1) for i in range(40))))
    assert len(alone) == 1
    assert among == []


def test_slices_without_accepted_texts_and_the_whole_are_not_compared() -> None:
    assert worse_slices(evaluated(part("de", 0, 0), part("en", 1000, 30))) == []


def test_by_chance_any_slice_is_named_in_few_evaluations() -> None:
    rng = np.random.default_rng(1)
    named = 0
    for _ in range(200):
        group = rng.integers(12, size=600)
        wrong = rng.random(600) < 0.1
        slices = [
            part(str(g), int((group == g).sum()), int((wrong & (group == g)).sum()))
            for g in range(12)
        ]
        named += bool(worse_slices(evaluated(*slices, wrong=int(wrong.sum()), accepted=600)))
    assert named <= 18  # 5 % allowed: 19 or more happen in less than 1 % of the runs
