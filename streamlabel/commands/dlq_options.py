"""The options of the ``streamlabel dlq`` commands that select dead letters."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlabel.consumer.output.dead_letter_reader import Selection

__all__ = ["AsJson", "Partitions", "Reasons", "Since", "Until", "selection_of"]

Reasons = Annotated[
    list[str] | None,
    typer.Option(
        "--reason",
        metavar="REASON",
        help="Select dead letters with this reason. May be repeated.",
        show_default=False,
    ),
]
Partitions = Annotated[
    list[int] | None,
    typer.Option(
        "--partition",
        min=0,
        metavar="N",
        help="Select this partition of the dead-letter topic. May be repeated.",
        show_default=False,
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Select dead letters written at or after this time (2026-11-30T12:00Z) or no"
        " longer ago than this age (30m, 6h, 2d).",
        show_default=False,
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="Select dead letters written before this time or age, in the same format as --since.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def selection_of(
    reasons: "Sequence[str] | None",
    partitions: "Sequence[int] | None",
    since: str | None,
    until: str | None,
) -> "Selection":
    """Return the selection of the options.

    Raises:
        BadParameter: an unknown reason, or not a time.
    """
    from streamlabel.consumer.output.dead_letter_reader import REASONS, Selection
    from streamlabel.models.core.system_clock import SystemClock

    for reason in reasons or ():
        if reason not in REASONS:
            raise typer.BadParameter(f"{reason!r} is none of {', '.join(REASONS)}")
    now_ms = SystemClock().epoch_ms()
    return Selection(
        reasons=frozenset(reasons or ()),
        partitions=frozenset(partitions or ()),
        since_ms=None if since is None else _epoch_ms("--since", since, now_ms),
        until_ms=None if until is None else _epoch_ms("--until", until, now_ms),
    )


def _epoch_ms(option: str, text: str, now_ms: int) -> int:
    """Return the time of a date or an age."""
    from datetime import datetime

    units_s = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    if text[:-1].isascii() and text[:-1].isdigit() and text[-1] in units_s:
        return now_ms - int(text[:-1]) * units_s[text[-1]] * 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None:
        raise typer.BadParameter(f"{option}: write 2026-11-30T12:00Z, or an age: 30m, 6h, 2d")
    return int(moment.astimezone().timestamp() * 1000)  # without an offset: this machine's zone
