"""What thresholds do to each label, as lines for a terminal and cells for the page."""

from collections.abc import Iterable, Mapping

from streamlabel.consumer.observability.terminal_format import printable
from streamlabel.models.calibration.calibration_sections import LabelOutcome
from streamlabel.models.calibration.outcomes import share_of
from streamlabel.quality.accepted import Accepted
from streamlabel.quality.answer_outcomes import AnswerOutcome

__all__ = [
    "ANSWER_COLUMNS",
    "COLUMNS",
    "accepted_line",
    "answer_cells",
    "answer_table",
    "label_cells",
    "label_lines",
    "warnings_of",
]

ANSWER_COLUMNS = ("label", "sure of texts", "wrong of accepted texts", "target error")
COLUMNS = ("label", "texts", "predicted", "accepted", "wrong of accepted", "missed of texts")

# A label of which a larger share is accepted under another one is named; so is any label that is
# always reviewed.
_MANY_MISSED = 0.1
# With many labels the table has them all.
_SHOWN = 10


def accepted_line(found: Accepted) -> str:
    """Return what is accepted over all labels, with 95 % intervals."""
    return (
        f"accepted {share_of(found.accepted, found.texts)} of {found.texts:,} texts; wrong"
        f" {share_of(found.wrong, found.accepted)} of those accepted"
    )


def label_cells(outcomes: Mapping[str, LabelOutcome]) -> Iterable[tuple[str, ...]]:
    """Yield a row for each label, with 95 % intervals."""
    for label, found in outcomes.items():
        yield (
            printable(label),
            f"{found.texts:,}",
            f"{found.predicted:,}",
            share_of(found.accepted, found.predicted),
            share_of(found.wrong, found.accepted),
            share_of(found.missed, found.texts),
        )


def label_lines(outcomes: Mapping[str, LabelOutcome], *, several: bool = False) -> list[str]:
    """Return an aligned table, and a line for each label that one number for all would hide.

    Args:
        outcomes: by label.
        several: a text may have several labels.
    """
    table = _aligned([COLUMNS, *label_cells(outcomes)])
    return [*table, *warnings_of(outcomes, several=several)] if outcomes else []


def answer_table(outcomes: Iterable[AnswerOutcome]) -> list[str]:
    """Return an aligned table of the answers about each label; empty for a single-label task."""
    rows = list(answer_cells(outcomes))
    return _aligned([ANSWER_COLUMNS, *rows]) if rows else []


def answer_cells(outcomes: Iterable[AnswerOutcome]) -> Iterable[tuple[str, ...]]:
    """Yield a row for each label: what happened to its answers, with 95 % intervals."""
    for found in outcomes:
        target = "none" if found.target is None else f"{_percent(found.target)}: {found.result}"
        yield (
            printable(found.label),
            share_of(found.sure, found.texts),
            share_of(found.wrong, found.accepted),
            target,
        )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def warnings_of(outcomes: Mapping[str, LabelOutcome], *, several: bool = False) -> list[str]:
    """Return sentences about labels that are always reviewed, or often missed, worst first."""
    how = "without it" if several else "under another label"
    found: list[tuple[float, str]] = []
    for label, each in outcomes.items():
        name = printable(label)
        if each.predicted and not each.accepted:
            found.append((2.0, f"{name}: every text with this prediction goes to review"))
        if each.missed > _MANY_MISSED * each.texts:
            found.append(
                (
                    each.missed / each.texts,
                    f"{name}: {each.missed:,} of {each.texts:,} texts are accepted {how};"
                    f" --missed {name}=SHARE limits that",
                )
            )
    lines = [line for _, line in sorted(found, key=lambda row: -row[0])]
    more = len(lines) - _SHOWN
    return lines[:_SHOWN] + ([f"and {more} more labels like these"] if more > 0 else [])
