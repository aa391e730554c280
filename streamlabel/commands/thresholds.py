"""``streamlabel thresholds``: what other thresholds would have done, before anyone is asked."""

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
            help="Recorded outputs, JSON lines: of the labels and review topics, or of streamlabel"
            " classify.",
            show_default=False,
        ),
    ],
    settings: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="[LABEL=]THRESHOLD",
            help="For one label, or for all others. Repeat as needed.",
            show_default=False,
        ),
    ],
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="FILE",
            help="Right labels of some of them: .jsonl or .csv with id, text and label.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say what other thresholds would change; nothing is written.

    \b
    Examples:
      streamlabel thresholds --from outputs.jsonl --set 0.92
      streamlabel thresholds --from outputs.jsonl --set spam=0.95 --set ham=0.8 --truth dev.jsonl
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.quality.recorded import dry_run

    found = dry_run(recorded, _parsed(settings), _truth(truth))
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
            f"accepted error, seen {seen[0]:.1%} -> {seen[1]:.1%}, at most {bounds[0]:.1%} ->"
            f" {bounds[1]:.1%} (95 %), {found.judged_before:,} -> {found.judged_after:,} of the"
            " accepted have a right label to compare with"
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


def _truth(path: Path | None) -> dict[str, tuple[str, ...]]:
    from streamlabel.errors import ConfigError
    from streamlabel.quality.labelled import read_labelled

    if path is None:
        return {}
    texts = read_labelled(path, several=True)
    found = {text.id: text.labels for text in texts if text.id is not None}
    if not found:
        raise ConfigError(f"{path}: no ids in it; they tell which output is which text")
    return found
