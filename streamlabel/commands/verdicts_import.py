"""``streamlabel verdicts import``: what people decided in another tool becomes verdicts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streamlabel.commands.options import ConfigFile, Overrides

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlabel.config.settings import Settings
    from streamlabel.console.store.opening import SqlStore
    from streamlabel.consumer.output.verdict import VerdictMessage
    from streamlabel.exchange.judgements import Fault, Judgement

__all__ = ["import_verdicts"]

# Messages of one transaction.
_BATCH = 500


def import_verdicts(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What the other tool exported.")],
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    form: Annotated[
        Literal["label-studio", "argilla", "jsonl"],
        typer.Option("--format", "-f", help="Who wrote the file; jsonl: verdicts as on the topic."),
    ],
    control: Annotated[
        str, typer.Option("--control", metavar="NAME", help="Label Studio: the Choices tag.")
    ] = "label",
    question: Annotated[
        str | None,
        typer.Option(
            "--question",
            metavar="NAME",
            help="Argilla: the question whose answers are the labels. Default: the only one.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also write verdicts of reviews that have one.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and compare; write none.")
    ] = False,
) -> None:
    """Write the verdicts of a file to output.verdicts_topic.

    What was reviewed is looked up by review id in the console's database, else on the topic; of
    other reviews only the id is known, and they count in no weighted fit. A review that has a
    verdict is left out, unless --replace is given. Writing the same file again changes nothing.
    Items of the console that are decided by this wait there no longer.

    \b
    Exit codes:
      0  all of it
      1  a part could not become verdicts; each is named
    \b
    Examples:
      streamlabel verdicts import project-1.json -f label-studio -c streamlabel.yaml
      streamlabel verdicts import verdicts.jsonl -f jsonl -c streamlabel.yaml --dry-run
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.commands.console import console_settings
    from streamlabel.commands.console_database import with_store
    from streamlabel.commands.terminal import say

    settings = console_settings(config, overrides)
    judgements, verdicts, faults = _read(file, form, control, question)

    async def write(store: "SqlStore") -> tuple[int, int, int]:
        from streamlabel.console.topics.loops import now_of
        from streamlabel.exchange.judgements import verdicts_of
        from streamlabel.models.core.system_clock import SystemClock

        topic = await _on_topic(settings)
        known = await _known(store, {each.review_id for each in judgements}, topic)
        made, refused = verdicts_of(judgements, known, pseudonym=store.rules.pseudonym)
        faults.extend(refused)
        every = [*verdicts, *made]
        fresh = [each for each in every if replace or each.review_id not in topic]
        settled = 0
        if not dry_run:
            await _write(settings, fresh)
            # also those that an earlier import wrote, in case it ended before this
            hold = {each.review_id: topic.get(each.review_id, each) for each in every}
            hold |= {each.review_id: each for each in fresh}
            settled = await store.settle(list(hold.values()), now=now_of(SystemClock()))
        return len(fresh), len(every) - len(fresh), settled

    written, left, settled = with_store(settings, write)
    for fault in faults:
        say(f"{file}: {fault.place}: {fault.why}")
    what = "would be written" if dry_run else "written"
    say(f"{written:,} {what}, {left:,} of decided reviews left out, {len(faults):,} faults")
    if settled:
        say(f"{settled:,} items of the console are decided by this")
    if faults:
        raise typer.Exit(1)


def _read(
    file: Path, form: str, control: str, question: str | None
) -> "tuple[list[Judgement], list[VerdictMessage], list[Fault]]":
    """Return what a file holds, by its format."""
    from datetime import UTC, datetime

    from streamlabel.exchange import argilla, label_studio

    if form == "jsonl":
        return [], *_lines(file)
    found = _listed(file)
    if form == "label-studio":
        judgements, faults = label_studio.judgements_of(found, control=control)
    else:
        at: datetime = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        judgements, faults = argilla.judgements_of(found, at=at, question=question)
    return judgements, [], faults


def _lines(file: Path) -> "tuple[list[VerdictMessage], list[Fault]]":
    from streamlabel.consumer.output.verdict import read_verdict
    from streamlabel.errors import VerdictError
    from streamlabel.exchange.judgements import Fault

    verdicts: dict[str, VerdictMessage] = {}
    faults = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                verdict = read_verdict(line)
            except VerdictError as error:
                faults.append(Fault(f"line {number}", str(error)))
            else:
                verdicts[verdict.review_id] = verdict  # the last one of a review holds
    return list(verdicts.values()), faults


def _listed(file: Path) -> list[Any]:
    import json

    from streamlabel.errors import ConfigError

    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{file}: is not JSON; export it as JSON, not as CSV") from error
    if not isinstance(found, list):
        raise ConfigError(f"{file}: is not a list of tasks or records")
    return found


async def _on_topic(settings: "Settings") -> "Mapping[str, VerdictMessage]":
    """Return the verdicts that the topic has; it may not exist yet."""
    from streamlabel.consumer.kafka.topics import find_topics
    from streamlabel.learning.ledger import verdicts_of_topic
    from streamlabel.models.core.system_clock import SystemClock

    topic = settings.output.verdicts_topic
    if topic not in await find_topics(settings.kafka, [topic]):
        return {}
    return (
        await verdicts_of_topic(settings.kafka, topic, SystemClock(), output=settings.output)
    ).verdicts


async def _known(
    store: "SqlStore", review_ids: set[str], topic: "Mapping[str, VerdictMessage]"
) -> dict[str, "Mapping[str, Any]"]:
    from streamlabel.console.store.verdicts import undecided
    from streamlabel.exchange.judgements import facts_of

    known: dict[str, Mapping[str, Any]] = {}
    for review_id in review_ids:
        item = await store.review(review_id)
        verdict = topic.get(review_id) if item is None else undecided(item)
        if verdict is not None:
            known[review_id] = facts_of(verdict)
    return known


async def _write(settings: "Settings", verdicts: "Sequence[VerdictMessage]") -> None:
    from streamlabel.console.topics.verdict_encoder import VerdictEncoder
    from streamlabel.consumer.kafka.keyed_writer import KeyedWriter
    from streamlabel.models.core.system_clock import SystemClock

    encoder = VerdictEncoder(settings.output, SystemClock())
    await encoder.prefetch()
    topic = settings.output.verdicts_topic
    writer = KeyedWriter(
        settings.kafka, topic, name=f"{settings.kafka.group_id}/verdicts/import/{topic}"
    )
    await writer.start()
    try:
        for first in range(0, len(verdicts), _BATCH):
            await writer.write(
                [
                    encoder.keyed(each.review_id, each.encoded())
                    for each in verdicts[first : first + _BATCH]
                ]
            )
    except BaseException:
        await writer.close(at_once=True)
        raise
    await writer.close()
