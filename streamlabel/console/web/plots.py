"""Numbers of plots as attributes of SVG elements: no script, no style, no image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streamlabel.console.statistics.accepted_error import AuditPoint

__all__ = ["Plot", "Tick", "audit_plot"]

_WIDTH: Final = 720
_HEIGHT: Final = 260
_LEFT: Final = 56
_RIGHT: Final = 12
_TOP: Final = 12
_BOTTOM: Final = 32
# Between marks of error rates: numbers that are easy to read.
_STEPS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis, with its position and text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot of an audit.

    Attributes:
        line: points of the estimate, as SVG takes them.
        bound: of the upper bound.
        target_y: of the promise; None: unknown.
        xs: marks of the horizontal axis, numbers of audited records.
        ys: of the vertical one, error rates.
    """

    line: str
    bound: str
    target_y: float | None
    xs: Sequence[Tick]
    ys: Sequence[Tick]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


def audit_plot(points: Sequence[AuditPoint], *, promised: float | None) -> Plot | None:
    """Return the plot of an audit; None without points."""
    if not points:
        return None
    most = points[-1].audited
    # the first bounds are near 1 and would press everything else to the ground
    settled = [point.bound for point in points if point.audited * 10 >= most]
    highest = 1.05 * max(*settled, promised or 0.0)
    step = next((each for each in _STEPS if 4 * each >= highest), _STEPS[-1])
    top = 4 * step

    def x(audited: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * audited / most, 1)

    def y(rate: float) -> float:
        height = _HEIGHT - _TOP - _BOTTOM
        return round(_TOP + height * (1 - min(rate, top) / top), 1)

    return Plot(
        line=" ".join(f"{x(p.audited)},{y(p.rate)}" for p in points),
        bound=" ".join(f"{x(p.audited)},{y(p.bound)}" for p in points if p.bound <= top),
        target_y=None if promised is None else y(promised),
        # whole records: of a few, there are fewer marks
        xs=[Tick(x(each), f"{each:,}") for each in sorted({round(most * i / 4) for i in range(5)})],
        ys=[Tick(y(step * i), f"{step * i * 100:g} %") for i in range(5)],
    )
