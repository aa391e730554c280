"""Plots of results as SVG files next to the pages: bars, and lines over a quantity."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from streamlabel.quality.plots import svg_figure

__all__ = ["bars", "lines"]

_OURS, _THEIRS = "#33658a", "#b7c7d6"


def bars(
    path: Path,
    title: str,
    rows: Sequence[tuple[str, float]],
    *,
    unit: str = "texts/s",
    ours: Sequence[str] = (),
) -> None:
    """Write horizontal bars, the first row at the top, each with its value.

    Args:
        path: of the SVG file.
        title: above the plot.
        rows: name and value, in this order.
        unit: of the values.
        ours: names of the highlighted rows.
    """
    with svg_figure(path.stem, size=(7.0, 1.0 + 0.36 * len(rows)), transparent=False) as (
        figure,
        out,
    ):
        axes = figure.add_subplot()
        names, values = [name for name, _ in rows], [value for _, value in rows]
        colors = [_OURS if name in ours else _THEIRS for name in names]
        drawn = axes.barh(range(len(rows)), values, color=colors)
        axes.bar_label(drawn, [f"{value:,.4g}" for value in values], padding=4)
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()  # matplotlib counts from below
        axes.margins(x=0.12)  # room for the numbers
        axes.set(xlabel=unit)
        figure.suptitle(title)  # over the whole figure, because names may take half of it
    path.write_text(out.getvalue())


def lines(
    path: Path,
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    logarithmic: bool = False,
) -> None:
    """Write one line per series, with a point at every pair of x and y.

    Args:
        path: of the SVG file.
        title: over the plot.
        x_label: quantity and unit.
        y_label: quantity and unit.
        series: name -> points, in the order of x.
        logarithmic: scale of y; otherwise y begins at 0.
    """
    with svg_figure(path.stem, size=(7.0, 4.2), transparent=False) as (figure, out):
        axes = figure.add_subplot()
        for name, points in series.items():
            axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
        axes.set(xlabel=x_label, ylabel=y_label)
        if logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, None)
        axes.set_title(title)
        axes.legend(frameon=False)
    path.write_text(out.getvalue())
