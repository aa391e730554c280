"""``streamlabel thresholds``: the effect of other thresholds on recorded outputs."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["thresholds"]


def thresholds(
    recorded: Annotated[
        Path,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Recorded outputs as JSON lines, from the labels and review topics or from"
            " streamlabel classify.",
            show_default=False,
        ),
    ],
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="[LABEL=]THRESHOLD",
            help="Threshold for one label (LABEL=THRESHOLD) or for all other labels"
            " (THRESHOLD). May be repeated.",
            show_default=False,
        ),
    ],
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="FILE",
            help="True labels of some of the records: .jsonl or .csv with the fields id, text"
            " and label.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the effect of other thresholds on recorded outputs. Nothing is written.

    \b
    Examples:
      streamlabel thresholds --from outputs.jsonl --set 0.92
      streamlabel thresholds --from outputs.jsonl --set spam=0.95 --set ham=0.8 --truth dev.jsonl
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.extras import require
    from streamlabel.quality.labelled import true_labels
    from streamlabel.quality.recorded import dry_run

    if truth is not None:
        require("thresholds --truth", "scipy", extra="evaluate")
    known = {} if truth is None else true_labels(truth)
    found = dry_run(recorded, _parsed(settings), known)
    typer.echo(
        f"review {found.review_before:.1%} -> {found.review_after:.1%} of {found.texts:,} texts"
    )
    bounds = found.bounds(0.95)
    if bounds is not None:
        seen = [
            wrong / judged if judged else 0.0
            for wrong, judged in (
                (found.wrong_before, found.judged_before),
                (found.wrong_after, found.judged_after),
            )
        ]
        typer.echo(
            f"error of accepted labels: observed {seen[0]:.1%} -> {seen[1]:.1%}, at most"
            f" {bounds[0]:.1%} -> {bounds[1]:.1%} (95 %); the true label is known for"
            f" {found.judged_before:,} -> {found.judged_after:,} of them"
        )
    for name, label in sorted(found.by_label.items()):
        before, after = label.review_before / label.texts, label.review_after / label.texts
        typer.echo(f"  {name}: review {before:.1%} -> {after:.1%} of {label.texts:,}")
    if found.unread:
        typer.echo(f"{found.unread:,} line(s) without a decision were left out")


def _parsed(settings: list[str]) -> dict[str, float]:
    from streamlabel.errors import ConfigError

    found: dict[str, float] = {}
    for setting in settings:
        name, _, value = setting.rpartition("=")
        try:
            threshold = float(value)
        except ValueError:
            threshold = -1.0
        if not 0 < threshold <= 1:
            raise ConfigError(
                f"--set {setting}: write LABEL=THRESHOLD or THRESHOLD, above 0 and at most 1"
            )
        found[name or "*"] = threshold
    return found
