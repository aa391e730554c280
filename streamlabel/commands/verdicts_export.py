"""``streamlabel verdicts export``: verdicts, and what waits for one, for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streamlabel.commands.options import ConfigFile, Overrides

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamlabel.config.settings import Settings
    from streamlabel.console.store.items import Item
    from streamlabel.console.store.opening import SqlStore
    from streamlabel.consumer.output.verdict import VerdictMessage
    from streamlabel.exchange.statements import StatementRules

__all__ = ["export_verdicts"]

# Items that wait, at most, in one file.
_WAITING = 100_000


def export_verdicts(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    form: Annotated[
        Literal["jsonl", "label-studio", "dsa"],
        typer.Option(
            "--format",
            "-f",
            help="jsonl: verdicts as on the topic; label-studio: tasks with predictions and"
            " annotations; dsa: statements of reasons for the EU's transparency database.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="File to write. Default: standard output.",
            show_default=False,
        ),
    ] = None,
    waiting: Annotated[
        bool,
        typer.Option(
            "--waiting",
            help="label-studio: instead of verdicts, the items of the console that wait for one.",
        ),
    ] = False,
    rules: Annotated[
        Path | None,
        typer.Option(
            "--rules",
            metavar="FILE",
            help="dsa: by label, what was done and on which ground (YAML).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the verdicts of output.verdicts_topic for another tool.

    Texts come from the console's database: a task whose text is erased is left out. Statements of
    reasons have no text; each is validated before anything is written.

    \b
    Examples:
      streamlabel verdicts export -f jsonl -c streamlabel.yaml -o verdicts.jsonl
      streamlabel verdicts export -f label-studio --waiting -c streamlabel.yaml -o tasks.json
      streamlabel verdicts export -f dsa --rules dsa.yaml -c streamlabel.yaml -o statements.json
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.commands.console import console_settings
    from streamlabel.commands.console_database import with_store
    from streamlabel.commands.terminal import say
    from streamlabel.errors import ConfigError

    if (form == "dsa") is not (rules is not None):
        raise ConfigError("--format dsa and --rules FILE belong together")
    if waiting and form != "label-studio":
        raise ConfigError("--waiting is for --format label-studio")
    settings = console_settings(config, overrides)
    said = None if rules is None else _rules(rules)

    async def collect(store: "SqlStore") -> tuple[str, int, int]:
        if waiting:
            return await _tasks_waiting(store)
        verdicts = await _verdicts(settings)
        if form == "jsonl":
            lines = [f"{each.encoded().decode()}\n" for each in verdicts]
            return "".join(lines), len(lines), 0
        if said is not None:
            return await _statements(store, verdicts, said)
        return await _tasks(store, verdicts)

    text, written, left = with_store(settings, collect)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
    say(f"{written:,} written, {left:,} left out")


async def _verdicts(settings: "Settings") -> "Sequence[VerdictMessage]":
    from streamlabel.learning.ledger import verdicts_of_topic
    from streamlabel.models.core.system_clock import SystemClock

    topic = settings.output.verdicts_topic
    ledger = await verdicts_of_topic(settings.kafka, topic, SystemClock(), output=settings.output)
    return list(ledger.verdicts.values())


async def _tasks(store: "SqlStore", verdicts: "Iterable[VerdictMessage]") -> tuple[str, int, int]:
    from streamlabel.exchange.judgements import facts_of
    from streamlabel.exchange.label_studio import task_of

    tasks, left = [], 0
    for verdict in verdicts:
        item = await store.review(verdict.review_id)
        if item is None or item.text is None:
            left += 1
        else:
            tasks.append(task_of(facts_of(verdict), item.text, verdicts=[verdict]))
    return _json(tasks), len(tasks), left


async def _tasks_waiting(store: "SqlStore") -> tuple[str, int, int]:
    from streamlabel.console.store.items import Search
    from streamlabel.console.store.verdicts import undecided
    from streamlabel.exchange.judgements import facts_of
    from streamlabel.exchange.label_studio import task_of

    found: Sequence[Item] = await store.search(Search(state="open"), limit=_WAITING)
    tasks = [
        task_of(facts_of(undecided(item)), item.text, is_blind=item.is_blind)
        for item in found
        if item.text is not None and item.purpose not in {"gold", "appeal"}
    ]
    return _json(tasks), len(tasks), len(found) - len(tasks)


async def _statements(
    store: "SqlStore", verdicts: "Iterable[VerdictMessage]", rules: "StatementRules"
) -> tuple[str, int, int]:
    from datetime import UTC, datetime

    from streamlabel.exchange.statements import statement_of

    statements, left = [], 0
    for verdict in verdicts:
        if verdict.look != 1 or verdict.purpose == "gold":
            left += 1
            continue
        item = await store.review(verdict.review_id)
        posted = (
            None if item is None else datetime.fromtimestamp(item.event_time_ms / 1000, UTC).date()
        )
        statement = statement_of(verdict, rules, content_date=posted)
        if statement is None:
            left += 1
        else:
            statements.append(statement.sent())
    return _json({"statements": statements}), len(statements), left


def _json(value: Any) -> str:  # noqa: ANN401 any JSON
    import json

    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _rules(file: Path) -> "StatementRules":
    import yaml
    from pydantic import ValidationError

    from streamlabel.errors import ConfigError
    from streamlabel.exchange.statements import StatementRules

    try:
        return StatementRules.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not YAML") from error
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise ConfigError(f"{file}: {place}: {fault['msg']}") from error
