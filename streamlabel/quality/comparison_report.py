"""Everything that a comparison found as JSON values, and the sentences about what was judged."""

from collections.abc import Iterator
from typing import Any, Final

from streamlabel.quality.comparing import holm
from streamlabel.quality.judging import AcceptedError, Judgement
from streamlabel.quality.label_records import Joined
from streamlabel.quality.truth import Truth

__all__ = ["SIDES", "comparison_report", "judgement_lines"]

SIDES: Final = ("first", "second")


def comparison_report(
    joined: Joined, judgement: Judgement | None, truth: Truth, *, margin: float | None
) -> dict[str, Any]:
    """Return everything as JSON values.

    Args:
        joined: both sides.
        judgement: by the true labels; None: there are none, or none can be used.
        truth: where they are from.
        margin: by how much the second side may be worse; None: nobody asked.
    """
    found = joined.comparison
    by_label = [found.of_label(label) for label in found.labels]
    together = holm(each.p for each in by_label)
    report: dict[str, Any] = {
        "records": found.records,
        "agreed": found.agreed,
        "agreement": found.agreed / found.records,
        "alone": dict(zip(SIDES, joined.alone, strict=True)),
        "changed": dict(zip(SIDES, joined.changed, strict=True)),
        "unread": dict(zip(SIDES, joined.unread, strict=True)),
        "labels": [
            {
                "label": label,
                **{side: found.said[n][label] for n, side in enumerate(SIDES)},
                "only_first": each.first,
                "only_second": each.second,
                "p": p,
            }
            for label, each, p in zip(found.labels, by_label, together, strict=True)
        ],
        "disagreements": [
            {"first": sorted(first), "second": sorted(second), "records": count}
            for (first, second), count in sorted(
                found.pairs.items(), key=lambda item: (-item[1], *map(sorted, item[0]))
            )
        ],
    }
    if found.judged:
        report["truth"] = {
            "records": found.judged,
            "right": dict(zip(SIDES, found.right, strict=True)),
            "only_right": dict(zip(SIDES, found.right_alone, strict=True)),
            "p": found.of_truth.p,
        }
    if judgement is not None:
        report["judgement"] = _judgement(judgement, truth, margin)
    return report


def _judgement(judgement: Judgement, truth: Truth, margin: float | None) -> dict[str, Any]:
    return {
        "records": judgement.records,
        "left_out": judgement.left_out,
        "undecided": truth.undecided,
        "known_before": truth.chosen,
        "saw_model_answer": truth.saw_answer,
        "is_weighted": judgement.is_weighted,
        "confidence": judgement.confidence,
        "difference": judgement.difference,
        "lower": judgement.lower[-1],
        "upper": judgement.upper[-1],
        **(
            {}
            if margin is None
            else {"margin": margin, "is_not_worse": judgement.is_not_worse_by(margin)}
        ),
        "accepted": {
            side: {"records": each.records, "wrong": each.wrong, "share": each.share,
                   "upper": each.upper}
            for side, each in zip(SIDES, judgement.accepted, strict=True)
        },
    }  # fmt: skip


def judgement_lines(judgement: Judgement, truth: Truth, *, margin: float | None) -> Iterator[str]:
    """Yield what was judged, in sentences for people."""
    sure = f"{judgement.confidence:.0%}"
    weighted = ", weighted by how they were drawn" if judgement.is_weighted else ""
    yield (
        f"judged by {judgement.records:,} records{weighted}: the second side's share of wrong"
        f" labels is {_points(judgement.difference)} that of the first; at any time, with {sure}"
        f" each, at most {_signed(judgement.upper[-1])} and at least"
        f" {_signed(judgement.lower[-1])}"
    )
    if margin is not None:
        is_proven = judgement.is_not_worse_by(margin)
        yield (
            f"the second side is {'NOT WORSE' if is_proven else 'not proven to be not worse'} by"
            f" more than {100 * margin:g} percentage point{'' if margin == 0.01 else 's'}"
            + ("" if is_proven else ": judge more records, or choose a larger margin")
        )
    for side, each in zip(SIDES, judgement.accepted, strict=True):
        yield f"accepted by the {side}: {accepted_line(each, sure)}"
    for count, what in (
        (judgement.left_out, "left out, because the probability of their review is not known"),
        (truth.undecided, "without a decision"),
        (truth.chosen, "about records whose answer was known before, which are not used"),
        (truth.saw_answer, "given with the model's answer in view, which may favour that model"),
    ):
        if count:
            yield f"{count:,} verdicts {what}"


def accepted_line(each: AcceptedError, sure: str) -> str:
    """Return what a side accepts of the judged records, and how much of it is wrong."""
    if each.share is None:
        return "none of the judged records"
    return (
        f"{each.records:,} of the judged records, {each.wrong:,} wrong: {each.share:.2%}, at most"
        f" {each.upper:.2%} with {sure}"
    )


def _points(difference: float) -> str:
    if difference == 0:
        return "equal to"
    return f"{abs(100 * difference):.2f} points {'above' if difference > 0 else 'below'}"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f} points"
