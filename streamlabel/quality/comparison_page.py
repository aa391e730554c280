"""The page of a comparison: one self-contained HTML file with plots."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

from streamlabel import __version__
from streamlabel.quality.comparison_report import SIDES, judgement_lines
from streamlabel.quality.judging import Judgement
from streamlabel.quality.page_templates import STYLE
from streamlabel.quality.plots import svg_figure
from streamlabel.quality.truth import Truth

__all__ = ["comparison_page"]

_FIRST, _SECOND, _BAND = "#33658a", "#c8553d", "#b7c7d6"
_SHOWN_PAIRS: Final = 30
# With more labels the names on the axis would overlap.
_SHOWN_LABELS: Final = 20


def comparison_page(
    report: dict[str, Any],
    judgement: Judgement | None,
    truth: Truth,
    *,
    names: Sequence[str],
    margin: float | None,
) -> str:
    """Return the HTML page.

    Args:
        report: as ``comparison_report`` returns it.
        judgement: by the true labels; None: there is none.
        truth: where they are from.
        names: of the sides, as the user gave them.
        margin: by how much the second side may be worse; None: nobody asked.
    """
    facts = [
        *((f"{side.capitalize()} side", name) for side, name in zip(SIDES, names, strict=True)),
        ("Records on both sides", f"{report['records']:,}"),
        ("Agreement", f"{report['agreement']:.2%} ({report['agreed']:,})"),
    ]
    lines = [] if judgement is None else list(judgement_lines(judgement, truth, margin=margin))
    figures = [_labels(report["labels"])]
    if judgement is not None:
        figures.insert(0, _bounds(judgement, margin))
    return _PAGE.format(
        style=STYLE,
        title=escape(f"Comparison of {names[0]} and {names[1]}"),
        facts=_rows(facts),
        judged="".join(f"<p>{escape(line[0].upper() + line[1:])}.</p>\n" for line in lines)
        or "<p>No true labels.</p>\n",
        figures="\n".join(f"<figure>{svg}</figure>" for svg in figures if svg),
        labels=_rows(
            (each["label"], *(f"{each[key]:,}" for key in _COUNTS), f"{each['p']:.3g}")
            for each in report["labels"]
        ),
        pairs=_rows(
            (_said(each["first"]), _said(each["second"]), f"{each['records']:,}")
            for each in report["disagreements"][:_SHOWN_PAIRS]
        )
        or "<tr><td>none</td></tr>",
        version=__version__,
        data=json.dumps(report).replace("<", "\\u003c"),
    )


_COUNTS: Final = ("first", "second", "only_first", "only_second")


def _bounds(judgement: Judgement, margin: float | None) -> str:
    """Plot the bounds of the difference against the number of judged records."""
    with svg_figure("bounds") as (figure, out):
        axes = figure.add_subplot()
        numbers = range(1, judgement.records + 1)
        upper, lower = (
            [100 * each for each in side] for side in (judgement.upper, judgement.lower)
        )
        axes.fill_between(numbers, lower, upper, color=_BAND, alpha=0.6, step="post")
        axes.step(numbers, upper, where="post", color=_SECOND, label="at most")
        axes.step(numbers, lower, where="post", color=_FIRST, label="at least")
        axes.axhline(0, color="#999999", linewidth=0.8)
        if margin is not None:
            axes.axhline(100 * margin, color="#2a7f62", linestyle="--", label="margin")
        widest = 3 * max(abs(upper[-1]), abs(lower[-1]), 100 * (margin or 0), 0.1)
        axes.set(xlim=(0, judgement.records), ylim=(-widest, widest), xlabel="judged records")
        axes.set_ylabel("second less first, points of wrong labels")
        axes.set_title("Is the second side worse?")
        axes.legend(frameon=False, loc="upper right")
    return out.getvalue()


def _labels(labels: Sequence[dict[str, Any]]) -> str:
    """Plot how often each side says each label."""
    shown = labels[:_SHOWN_LABELS][::-1]
    if not shown:
        return ""
    with svg_figure("labels", size=(5.2, max(2.2, 1.2 + 0.32 * len(shown)))) as (figure, out):
        axes = figure.add_subplot()
        for side, color, shift in zip(SIDES, (_FIRST, _SECOND), (0.2, -0.2), strict=True):
            places = [place + shift for place in range(len(shown))]
            axes.barh(places, [each[side] for each in shown], height=0.38, color=color, label=side)
        # a dollar sign would begin a formula
        axes.set_yticks(range(len(shown)), [each["label"].replace("$", r"\$") for each in shown])
        axes.set_xlabel("records")
        axes.set_title("Labels")
        axes.legend(frameon=False, loc="lower right")
    return out.getvalue()


def _paragraph(line: str) -> str:
    return f"<p>{escape(line[0].upper() + line[1:])}.</p>\n"


def _said(answer: Sequence[str]) -> str:
    return ", ".join(answer) or "(no label)"


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{style}
</style>
<h1>{title}</h1>
<table class="names">
{facts}
</table>
<h2>Judged by true labels</h2>
{judged}<h2>Plots</h2>
<div class="figures">
{figures}
</div>
<h2>By label</h2>
<table>
<tr><th>label<th>first<th>second<th>only first<th>only second<th>p</tr>
{labels}
</table>
<p>p: McNemar's exact test, corrected for all labels together (Holm).</p>
<h2>Most frequent disagreements</h2>
<table>
<tr><th>first says<th>second says<th>records</tr>
{pairs}
</table>
<footer>streamlabel {version}</footer>
<script type="application/json" id="numbers">{data}</script>
</html>
"""
