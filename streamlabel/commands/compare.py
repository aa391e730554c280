"""``streamlabel compare``: the answers of two models to the same records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.quality.label_records import Joined

__all__ = ["compare"]

_SIDES: Final = ("first", "second")
_PAIRS_SHOWN: Final = 20

_HELP: Final = (
    "Topic of labels or reviews, or file of such records (.jsonl). Several, separated by commas,"
    " are one side."
)


def compare(
    first: Annotated[str, typer.Argument(help=_HELP, show_default=False)],
    second: Annotated[
        str,
        typer.Argument(
            help="The other side, likewise. The smaller one: its labels are kept in memory.",
            show_default=False,
        ),
    ],
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="FILE",
            help="True labels of some of the records: .jsonl or .csv with the fields id, text"
            " and label. Shows which side is right more often.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare the labels that two models gave the same records: agreement, and where they differ.

    Records are joined by id, and by task if there are several. Topics are read up to their present
    end; no consumer group is joined, nothing is committed. Labels that went to review are on the
    review topic: name it, too.

    P is that of McNemar's test, exact: the probability that records of which one side says yes and
    the other no are split as unevenly, if both say yes equally often. Those of labels are corrected
    together (Holm).

    \b
    Examples:
      streamlabel compare labels,review labels.backfill,review.backfill -c streamlabel.yaml
      streamlabel compare live.jsonl shadow.jsonl --truth dev.jsonl
      streamlabel compare labels labels.backfill -c streamlabel.yaml --json | jq .agreement
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.errors import ConfigError
    from streamlabel.extras import require
    from streamlabel.quality.label_records import join
    from streamlabel.quality.labelled import true_labels

    require("compare", "scipy", extra="evaluate")
    known = {} if truth is None else true_labels(truth)
    one, other = (_sources(names.split(","), config, overrides) for names in (first, second))
    joined = asyncio.run(join(one, other, known))
    if joined.comparison.records == 0:
        alone = (f"{joined.alone[side]} record(s) in the {_SIDES[side]}" for side in (0, 1))
        raise ConfigError(
            f"no record id is on both sides: {', '.join(alone)}. Both have to be labels or reviews"
            " of the same input records"
        )
    if truth is not None and joined.comparison.judged == 0:
        raise ConfigError(f"{truth}: none of its ids is on both sides")
    report = _report(joined)
    if as_json:
        import json

        typer.echo(json.dumps(report))
    else:
        _show(report, joined)


def _sources(names: Sequence[str], config: Path | None, overrides: list[str] | None) -> list[Any]:
    from streamlabel.commands.terminal import quiet_logs
    from streamlabel.models.core.system_clock import SystemClock
    from streamlabel.quality.label_records import records_of_file, records_of_topic

    sources: list[Any] = []
    for name in names:
        if name.endswith((".jsonl", ".json", ".ndjson")) or "/" in name:
            sources.append(records_of_file(Path(name)))
            continue
        settings = load_settings(config, overrides).settings
        quiet_logs(settings)
        sources.append(records_of_topic(settings.kafka, name, SystemClock()))
    return sources


def _report(joined: "Joined") -> dict[str, Any]:
    """Return everything as JSON values."""
    from streamlabel.quality.comparing import holm

    found = joined.comparison
    by_label = [found.of_label(label) for label in found.labels]
    together = holm(each.p for each in by_label)
    report: dict[str, Any] = {
        "records": found.records,
        "agreed": found.agreed,
        "agreement": found.agreed / found.records,
        "alone": dict(zip(_SIDES, joined.alone, strict=True)),
        "changed": dict(zip(_SIDES, joined.changed, strict=True)),
        "unread": dict(zip(_SIDES, joined.unread, strict=True)),
        "labels": [
            {
                "label": label,
                **{side: found.said[n][label] for n, side in enumerate(_SIDES)},
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
            "right": dict(zip(_SIDES, found.right, strict=True)),
            "only_right": dict(zip(_SIDES, found.right_alone, strict=True)),
            "p": found.of_truth.p,
        }
    return report


def _show(report: dict[str, Any], joined: "Joined") -> None:
    typer.echo(
        f"{report['records']:,} records on both sides, agreement {report['agreement']:.2%}"
        f" ({report['agreed']:,})"
    )
    for counts, what in (
        (joined.alone, "have no partner"),
        (joined.changed, "came again with other labels; the last ones count"),
        (joined.unread, "are neither labels nor reviews"),
    ):
        for side, count in zip(_SIDES, counts, strict=True):
            if count:
                typer.echo(f"{count:,} of the {side} side {what}")
    if "truth" in report:
        truth = report["truth"]
        right = (f"{side} {truth['right'][side] / truth['records']:.2%}" for side in _SIDES)
        alone = (f"{side} {truth['only_right'][side]:,}" for side in _SIDES)
        typer.echo(
            f"{truth['records']:,} with a true label: right {', '.join(right)};"
            f" alone right {', '.join(alone)}; p {truth['p']:.3g}"
        )
    _show_labels(report["labels"])
    if report["disagreements"]:
        _show_pairs(report["disagreements"])


def _show_labels(labels: "Sequence[dict[str, Any]]") -> None:
    from streamlabel.consumer.observability.columns import Column, Columns
    from streamlabel.consumer.observability.terminal_format import printable

    names = [printable(each["label"]) for each in labels]
    titles = ("FIRST", "SECOND", "ONLY FIRST", "ONLY SECOND")
    numbers = [Column(title, 8, is_number=True) for title in titles]
    longest = max(map(len, names), default=0)
    table = Columns([Column("LABEL", longest), *numbers, Column("P")], width=None)
    typer.echo(f"\n{table.header()}")
    for name, each in zip(names, labels, strict=True):
        values = (str(each[key]) for key in ("first", "second", "only_first", "only_second"))
        typer.echo(table.row([name, *values, f"{each['p']:.3g}"]))


def _show_pairs(pairs: "Sequence[dict[str, Any]]") -> None:
    from streamlabel.consumer.observability.columns import Column, Columns

    rows = [
        [_said(each["first"]), _said(each["second"]), str(each["records"])]
        for each in pairs[:_PAIRS_SHOWN]
    ]
    widths = [max(len(row[side]) for row in rows) for side in (0, 1)]
    table = Columns(
        [Column("FIRST SAYS", widths[0]), Column("SECOND SAYS", widths[1]), Column("RECORDS")],
        width=None,
    )
    typer.echo(f"\n{table.header()}")
    for row in rows:
        typer.echo(table.row(row))
    if rest := pairs[_PAIRS_SHOWN:]:
        records = sum(each["records"] for each in rest)
        typer.echo(f"... and {len(rest)} more pairs with {records:,} records; see --json")


def _said(answer: "Sequence[str]") -> str:
    from streamlabel.consumer.observability.terminal_format import printable

    return printable(", ".join(answer)) or "(no label)"
