"""The report of an evaluation: one self-contained page, and a JSON file with every number."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from streamlabel import __version__
from streamlabel.models.calibration.outcomes import share_of
from streamlabel.quality import plots
from streamlabel.quality.accepted import Accepted
from streamlabel.quality.evaluation import Estimate, Evaluation, Scored
from streamlabel.quality.label_lines import (
    ANSWER_COLUMNS,
    COLUMNS,
    accepted_line,
    answer_cells,
    label_cells,
    warnings_of,
)
from streamlabel.quality.labelled import LabelledText
from streamlabel.quality.page_templates import ACCEPTED, PAGE, STYLE
from streamlabel.quality.scoring import Answers
from streamlabel.quality.worst_slices import worse_slices

__all__ = ["document", "page"]

_TEXT_CHARACTERS = 400


def document(
    evaluation: Evaluation, answers: Answers, accepted: Accepted, *, about: dict[str, Any]
) -> dict[str, Any]:
    """Return every number in machine-readable form; texts are identified by line only."""
    numbers = dataclasses.asdict(evaluation)
    numbers["calibration"]["excess"] = evaluation.calibration.excess
    numbers["worst_lines"] = [answers.texts[i].line for i in numbers.pop("worst")]
    return {
        "streamlabel": __version__,
        "model": dataclasses.asdict(answers.identity) | dataclasses.asdict(answers.hints),
        "labels": list(answers.labels.names),
        "problem_type": answers.labels.problem_type,
        "failed": [{"line": line, "why": why} for line, why in answers.failed],
        "unanswered": answers.unanswered,
        **about,
        "evaluation": numbers,
        "accepted": {
            "texts": accepted.texts,
            "accepted": accepted.accepted,
            "wrong": accepted.wrong,
            "by_label": {name: each.model_dump() for name, each in accepted.by_label.items()},
            "slices": [dataclasses.asdict(each) for each in accepted.slices],
            "worse_slices": [dataclasses.asdict(each) for each in worse_slices(accepted)],
            "guarantees": [dataclasses.asdict(each) for each in accepted.guarantees],
            "answers": [dataclasses.asdict(each) for each in accepted.answers],
        },
    }


def page(
    evaluation: Evaluation,
    scored: Scored,
    answers: Answers,
    accepted: Accepted,
    *,
    title: str,
    about: dict[str, Any],
) -> str:
    """Return the HTML page."""
    figures = [
        plots.reliability(evaluation),
        plots.risk_coverage(evaluation),
        plots.confidences(scored),
    ]
    confusion = plots.confusion(evaluation)
    if len(evaluation.by_label) <= plots.MOST_NUMBERED:  # as wide as the others
        figures.append(confusion)
        confusion = ""
    model = answers.identity
    facts = [
        ("Model", f"{model.name} ({model.backend}, {model.device}, {model.dtype})"),
        ("Digest", model.digest[:16]),
        ("Texts", f"{evaluation.items:,}" + _lost(answers)),
        *((name.replace("_", " ").capitalize(), str(value)) for name, value in about.items()),
    ]
    return PAGE.format(
        style=STYLE,
        title=escape(title),
        facts=_rows(facts),
        headline=_rows(_headline(evaluation)),
        accepted=_accepted(accepted),
        optima=_rows(_optima(evaluation)),
        confusion=f"<figure>{confusion}</figure>" if confusion else "",
        labels=_rows(_labels(evaluation)),
        figures="\n".join(f"<figure>{svg}</figure>" for svg in figures if svg),
        worst=_rows(_worst(evaluation, scored, answers.texts)) or "<tr><td>none</td></tr>",
        version=__version__,
        data=json.dumps(document(evaluation, answers, accepted, about=about)).replace(
            "<", "\\u003c"
        ),
    )


def _lost(answers: Answers) -> str:
    if not answers.failed and not answers.unanswered:
        return ""
    return f"; {answers.unanswered} without a usable answer, {len(answers.failed)} failed"


def _headline(e: Evaluation) -> Iterable[tuple[str, str]]:
    c = e.calibration
    yield "Accuracy", _percent(e.accuracy)
    yield "Macro F1", _number(e.macro_f1)
    yield "Log loss", f"{e.log_loss:.4f}"
    yield "Brier score", f"{e.brier:.4f}"
    yield (
        "Calibration error",
        f"{c.value:.4f} ({c.low:.4f} to {c.high:.4f}); a perfectly calibrated model would have"
        f" {c.by_chance:.4f} by chance",
    )
    yield "AURC", f"{e.aurc:.5f}"


def _optima(e: Evaluation) -> Iterable[tuple[str, str]]:
    for risk, coverage in e.coverage_at.items():
        yield f"Coverage at {float(risk):.1%} error", f"{coverage:.1%}"


def _accepted(found: Accepted) -> str:
    """Return the section about what is accepted."""
    lines = [
        accepted_line(found),
        *map(str, found.guarantees),
        *warnings_of(found.by_label, several=bool(found.answers)),
    ]
    lines += map(str, worse_slices(found))
    slices = (
        (
            each.field,
            each.value,
            f"{each.texts:,}",
            share_of(each.accepted, each.texts),
            share_of(each.wrong, each.accepted),
            share_of(each.right, each.texts),
            f"{each.confidence:.1%}",
        )
        for each in found.slices
    )
    heads = "".join(f"<th>{escape(name)}" for name in COLUMNS)
    return ACCEPTED.format(
        lines="\n".join(f"<p>{escape(line)}</p>" for line in lines),
        heads=heads,
        labels=_rows(label_cells(found.by_label)),
        answers=_answers(found),
        slices=_rows(slices),
    )


def _answers(found: Accepted) -> str:
    """Return the table of the answers about each label, if a text may have several."""
    if not found.answers:
        return ""
    heads = "".join(f"<th>{escape(name)}" for name in ANSWER_COLUMNS)
    return f"<table>\n<tr>{heads}</tr>\n{_rows(answer_cells(found.answers))}\n</table>\n"


def _labels(e: Evaluation) -> Iterable[tuple[str, ...]]:
    for label in e.by_label:
        yield (
            label.name,
            f"{label.texts:,}",
            f"{label.chosen:,}",
            _percent(label.precision),
            _percent(label.recall),
            _number(label.f1),
            *("-" if v is None else f"{v:.3f}" for v in (label.average_precision, label.auroc)),
        )


def _worst(
    e: Evaluation, scored: Scored, texts: Sequence[LabelledText]
) -> Iterable[tuple[str, ...]]:
    names, decided, sure = scored.labels.names, scored.decided, scored.confidence
    for i in e.worst:
        chosen = ", ".join(name for name, on in zip(names, decided[i], strict=True) if on)
        text = texts[i].text
        shown = text[:_TEXT_CHARACTERS] + ("…" if len(text) > _TEXT_CHARACTERS else "")
        yield str(texts[i].line), f"{sure[i]:.3f}", chosen, ", ".join(texts[i].labels), shown


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _number(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
