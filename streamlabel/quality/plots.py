"""Plots of an evaluation as SVG elements for a page, without external resources."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from streamlabel.quality.evaluation import Evaluation, Scored

__all__ = [
    "MOST_NUMBERED",
    "confidences",
    "confusion",
    "reliability",
    "risk_coverage",
    "svg_figure",
]

_RIGHT, _WRONG, _PLAIN = "#2a7f62", "#c8553d", "#33658a"
# With more classes the numbers in the cells are not legible.
MOST_NUMBERED = 20

_STYLE = {
    "svg.fonttype": "none",  # keep text as text: the browser has glyphs for every script
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
}


def reliability(evaluation: Evaluation) -> str:
    """Plot accuracy against confidence, in bins with equal numbers of texts."""
    with svg_figure("reliability") as (figure, out):
        axes = figure.add_subplot()
        bins = [b for b in evaluation.calibration.bins if b.items]
        axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", label="perfectly calibrated")
        x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
        half = [1.96 * np.sqrt(max(b.accuracy * (1 - b.accuracy), 0.25 / b.items) / b.items)
                for b in bins]  # fmt: skip
        axes.errorbar(x, y, yerr=half, fmt="o", color=_PLAIN, ecolor="#b7c7d6", label="measured")
        low = max(0.0, min([*x, *y]) - 0.1)
        axes.set(xlim=(low, 1.02), ylim=(low, 1.02), xlabel="confidence", ylabel="share right")
        axes.set_title("Reliability")
        axes.legend(frameon=False, loc="upper left")
    return out.getvalue()


def risk_coverage(evaluation: Evaluation) -> str:
    """Plot the error rate of the most confident texts against their fraction."""
    with svg_figure("risk") as (figure, out):
        axes = figure.add_subplot()
        coverage, risk = zip(*evaluation.curve, strict=True)
        axes.plot([100 * c for c in coverage], [100 * r for r in risk], color=_PLAIN)
        axes.set(xlabel="coverage, %", ylabel="error rate of accepted texts, %")
        axes.set(xlim=(0, 100), ylim=(0, None))
        axes.set_title("Risk and coverage")
    return out.getvalue()


def confidences(scored: Scored) -> str:
    """Plot the distributions of the confidences of correct and of wrong predictions."""
    with svg_figure("confidences") as (figure, out):
        axes = figure.add_subplot()
        sure, right = scored.confidence, scored.is_right
        edges = np.linspace(min(0.5, float(sure.min())), 1, 31)
        look: Any = {"bins": edges, "histtype": "stepfilled", "alpha": 0.65}
        axes.hist(sure[right], color=_RIGHT, label="right", **look)
        axes.hist(sure[~right], color=_WRONG, label="wrong", **look)
        axes.set(yscale="log", xlabel="confidence", ylabel="texts (log scale)")
        axes.set_title("Confidences")
        # beside the title: inside, it would lie on the bars
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return out.getvalue()


def confusion(evaluation: Evaluation) -> str:
    """Plot the confusion matrix with normalised rows; empty for a multi-label task."""
    if evaluation.confusion is None:
        return ""
    counts = np.array(evaluation.confusion)
    names = [label.name for label in evaluation.by_label]
    # with many labels, an inch for five names, and names that do not overlap
    inches = max(5.2, 2 + len(names) / 5)
    with svg_figure("confusion", size=(inches, 0.8 * inches)) as (figure, out):
        axes = figure.add_subplot()
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        if len(names) <= MOST_NUMBERED:
            for (row, column), count in np.ndenumerate(counts):
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=color)
        turned = 45 if len(names) <= MOST_NUMBERED else 90
        axes.set_xticks(
            range(len(names)), names, rotation=turned, ha="right" if turned == 45 else "center"
        )
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="chosen", ylabel="right")
        axes.set_title("Confusion")
    return out.getvalue()


@contextmanager
def svg_figure(
    name: str, *, size: tuple[float, float] = (5.2, 3.8), transparent: bool = True
) -> Iterator[tuple[Any, io.StringIO]]:
    """Yield an empty figure, and an object that contains the SVG element at the end.

    Args:
        name: makes its ids different from those of other plots in the same page.
        size: width and height, inches.
        transparent: without a background.
    """
    out = io.StringIO()
    # a separate salt, because ids must be unique within the page
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style), warnings.catch_warnings():
        # the browser supplies glyphs that matplotlib's font lacks
        warnings.filterwarnings("ignore", message=".*missing from font.*")
        figure = Figure(figsize=size, layout="constrained")
        yield figure, out
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=transparent)
    svg = out.getvalue()
    out.seek(0)
    out.truncate()
    out.write(svg[svg.index("<svg") :])
