"""``streamlabel compare``: the answers of two models to the same records."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.quality.label_records import Joined

__all__ = ["compare"]

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
            " and label, or verdicts (streamlabel.verdict/v1) as .jsonl. Shows which side is right"
            " more often.",
            show_default=False,
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Say whether it is proven that the second side's share of wrong labels is larger"
            " by at most this, for example 0.01. Needs --truth.",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[
        float,
        typer.Option(min=0.5, max=0.9999, help="Confidence of each bound that --truth gives."),
    ] = 0.95,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page with plots.", show_default=False),
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

    With --truth there are bounds of the difference between both shares of wrong labels, and of what
    each side accepts. They hold however often they are looked at, so judging may end as soon as
    they suffice. Verdicts count by the inverse of the probability of their review.

    \b
    Examples:
      streamlabel compare labels,review labels.backfill,review.backfill -c streamlabel.yaml
      streamlabel compare live.jsonl shadow.jsonl --truth dev.jsonl
      streamlabel compare live.jsonl shadow.jsonl --truth verdicts.jsonl --margin 0.01
      streamlabel compare labels labels.backfill -c streamlabel.yaml --json | jq .agreement
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio

    from streamlabel.errors import ConfigError
    from streamlabel.extras import require
    from streamlabel.quality.comparison_report import SIDES, comparison_report, judgement_lines
    from streamlabel.quality.judging import judge
    from streamlabel.quality.label_records import join
    from streamlabel.quality.truth import Truth, read_truth

    require("compare", "scipy", extra="evaluate")
    if html is not None:
        require("compare --html", "matplotlib", extra="evaluate")
    if truth is None and margin is not None:
        raise ConfigError("--margin needs --truth: a file with true labels or verdicts")
    known = Truth() if truth is None else read_truth(truth)
    one, other = (_sources(names.split(","), config, overrides) for names in (first, second))
    joined = asyncio.run(join(one, other, known))
    if joined.comparison.records == 0:
        alone = (f"{joined.alone[side]} record(s) in the {SIDES[side]}" for side in (0, 1))
        raise ConfigError(
            f"no record id is on both sides: {', '.join(alone)}. Both have to be labels or reviews"
            " of the same input records"
        )
    if truth is not None and joined.comparison.judged == 0:
        raise ConfigError(f"{truth}: none of its ids is on both sides")
    judgement = judge(joined.judged, confidence=confidence)
    if margin is not None and judgement is None:
        raise ConfigError(f"{truth}: no verdict says with what probability its record was reviewed")
    report = comparison_report(joined, judgement, known, margin=margin)
    if html is not None:
        from streamlabel.quality.comparison_page import comparison_page

        page = comparison_page(report, judgement, known, names=(first, second), margin=margin)
        _write(html, page)
    if as_json:
        import json

        typer.echo(json.dumps(report))
    else:
        judged = () if judgement is None else judgement_lines(judgement, known, margin=margin)
        _show(report, joined, judged)


def _write(path: Path, page: str) -> None:
    from streamlabel.errors import ConfigError

    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--html: {path} cannot be written ({error.strerror})") from error


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
        sources.append(records_of_topic(settings.kafka, name, SystemClock(), settings.output))
    return sources


def _show(report: dict[str, Any], joined: "Joined", judged: "Iterable[str]") -> None:
    from streamlabel.quality.comparison_report import SIDES

    typer.echo(
        f"{report['records']:,} records on both sides, agreement {report['agreement']:.2%}"
        f" ({report['agreed']:,})"
    )
    for counts, what in (
        (joined.alone, "have no partner"),
        (joined.changed, "came again with other labels; the last ones count"),
        (joined.unread, "are neither labels nor reviews"),
    ):
        for side, count in zip(SIDES, counts, strict=True):
            if count:
                typer.echo(f"{count:,} of the {side} side {what}")
    if "truth" in report:
        truth = report["truth"]
        right = (f"{side} {truth['right'][side] / truth['records']:.2%}" for side in SIDES)
        alone = (f"{side} {truth['only_right'][side]:,}" for side in SIDES)
        typer.echo(
            f"{truth['records']:,} with a true label: right {', '.join(right)};"
            f" alone right {', '.join(alone)}; p {truth['p']:.3g}"
        )
    for line in judged:
        typer.echo(line)
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
