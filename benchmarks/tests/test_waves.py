"""The stream in which the benchmark of repeats measures has the repeats that it says."""

import pytest

from benchmarks.plans_repeats import in_waves


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_stream_is_as_long_and_has_the_share_of_repeats(share: float) -> None:
    stream = in_waves([str(number) for number in range(2000)], share)
    assert len(stream) == 2000
    assert 1 - len(set(stream)) / len(stream) == pytest.approx(share, abs=0.001)


def test_a_repeat_comes_after_its_first_and_soon() -> None:
    stream = in_waves([str(number) for number in range(2000)])
    first: dict[str, int] = {}
    distances = []
    for place, text in enumerate(stream):
        if text in first:
            distances.append(place - first[text])
        first.setdefault(text, place)
    assert len(distances) == 600
    assert max(distances) < 600
