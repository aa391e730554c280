"""The plot of an audit: its marks stand where their numbers say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.console.statistics.accepted_error import AuditPoint
from streamlabel.console.web.plots import Plot, audit_plot


def plotted(audited: int, *, promised: float | None = 0.05) -> Plot:
    points = [
        AuditPoint(audited=n, wrong=0, rate=0.0, bound=1 / n, is_refuted=False)
        for n in range(1, audited + 1)
    ]
    found = audit_plot(points, promised=promised)
    assert found is not None
    return found


@given(audited=st.integers(1, 300))
def test_marks_are_whole_records_at_their_places(audited: int) -> None:
    plot = plotted(audited)
    numbers = [int(tick.text) for tick in plot.xs]
    assert (numbers[0], numbers[-1]) == (0, audited)
    assert len(set(numbers)) == len(numbers)
    for tick, number in zip(plot.xs, numbers, strict=True):
        place = plot.left + (plot.right - plot.left) * number / audited
        assert tick.at == pytest.approx(place, abs=0.06)


@pytest.mark.parametrize("promised", [None, 0.05])
def test_a_target_is_drawn_where_there_is_one(promised: float | None) -> None:
    assert (plotted(100, promised=promised).target_y is None) is (promised is None)


def test_without_audited_records_there_is_no_plot() -> None:
    assert audit_plot([], promised=0.05) is None
