"""``streamlabel classify``: the same model and routing on a file, without a broker."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings
    from streamlabel.consumer.files.sink import Progress

__all__ = ["classify"]

# Records at the beginning of a file whose texts ``model.dtype: auto`` may be judged on.
_JUDGED_ON = 4096


def classify(
    file: Annotated[
        str,
        typer.Option(
            "--file",
            "-f",
            metavar="IN",
            help="File of texts: .jsonl, .csv or .tsv (with a header row; other columns become"
            " metadata), .parquet (the same), or .txt (one text per line). - reads JSON lines from"
            " standard input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="Output file: JSON lines, one object per text, in input order, or .parquet. - is"
            " standard output.",
        ),
    ] = "-",
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Classify the texts of a file with the configured model.

    Every output line is the record that the labels or review topic would receive. A line that
    cannot be read becomes an object with "route": "dead_letter" and the reason, and processing
    continues. A file is created only when all texts are done; standard output is written
    continuously.

    \b
    Examples:
      streamlabel classify -c streamlabel.yaml --file texts.jsonl --out labels.jsonl
      streamlabel classify -c streamlabel.yaml -f texts.csv | jq -r .label | sort | uniq -c
      tail -f log.jsonl | streamlabel classify -c streamlabel.yaml -f -
    """  # noqa: D301 \b keeps the lines as they are
    import asyncio
    import time

    from streamlabel.commands.terminal import say
    from streamlabel.errors import ConfigError

    settings = load_settings(config, overrides).settings
    if out != "-" and not out.lower().endswith((".jsonl", ".ndjson", ".parquet")):
        raise ConfigError(f"{out}: the output is JSON lines or Parquet; name it .jsonl or .parquet")
    began_s = time.monotonic()
    done, why = asyncio.run(_classify(settings, file, out))
    elapsed_s = time.monotonic() - began_s
    for line, reason, message in done.bad_lines:
        say(f"{file}, line {line}: {reason}: {message}")
    more = done.routes["dead_letter"] - len(done.bad_lines)
    if more > 0:
        say(f"... and {more} more; see the rows with route dead_letter")
    say(_summary(done, elapsed_s, out))
    if why:
        say(f"precision {why}")


def _summary(done: "Progress", elapsed_s: float, out: str) -> str:
    texts = sum(done.routes.values())
    bad = ", ".join(f"{reason} {count}" for reason, count in sorted(done.reasons.items()))
    return (
        f"{texts} outputs: {done.routes['labels']} labels, {done.routes['review']} for review,"
        f" {done.routes['dead_letter']} dead letters{f' ({bad})' if bad else ''};"
        f" {elapsed_s:.1f} s with loading the model" + ("" if out == "-" else f"; written to {out}")
    )


def _counts(done: "Progress") -> str:
    return f"review {done.routes['review']}, dead letters {done.routes['dead_letter']}"


def _first_texts(file: str, settings: "Settings") -> list[str]:
    """Return some texts of the file, to judge precisions on; none if it can be read only once."""
    from itertools import islice
    from pathlib import Path

    from streamlabel.consumer.core.records import Position, SourceRecord
    from streamlabel.consumer.decode.decoder import Decoder
    from streamlabel.consumer.files.text_files import format_of
    from streamlabel.errors import DecodeError
    from streamlabel.tools.files import open_input
    from streamlabel.tools.offline import open_records

    if not Path(file).is_file():
        return []
    texts = []
    with open_input(file) as stream:
        records, decoding = open_records(stream, format_of(file), settings)
        decoder = Decoder(decoding.input)
        for record in islice(records, _JUDGED_ON):
            source = SourceRecord(Position(file, 0, record.line), None, record.value, (), 0, 0.0)
            try:
                texts.append(decoder.decode(source).text)
            except DecodeError:  # it becomes a dead letter below
                continue
    return texts


async def _classify(settings: "Settings", file: str, out: str) -> "tuple[Progress, str]":
    import asyncio
    from pathlib import Path

    from streamlabel.commands.terminal import progress, quiet_logs, say
    from streamlabel.config.deployments import all_deployments, in_one_process, paths_of_models
    from streamlabel.config.places import refuse_missing
    from streamlabel.consumer.files.sink import FileSink
    from streamlabel.consumer.files.text_files import format_of
    from streamlabel.consumer.plans.opening import read_calibrations
    from streamlabel.consumer.workers import Workers
    from streamlabel.tools.files import count_lines, open_input, open_rows
    from streamlabel.tools.offline import classify_records, open_records

    settings = in_one_process(settings)
    refuse_missing(paths_of_models(settings))
    file_format = format_of(file)
    configure = quiet_logs(settings)
    with open_input(file) as stream, open_rows(out) as target:
        records, decoding = open_records(stream, file_format, settings)
        calibrations = await asyncio.to_thread(read_calibrations, settings)
        wants_texts = any(
            calibrations[each.id] is None and getattr(each.settings.model, "dtype", "") == "auto"
            for each in all_deployments(settings)
        )
        texts = _first_texts(file, settings) if wants_texts else []
        workers = Workers(
            settings,
            configure_worker=configure,
            on_wait=lambda what, waited_s: say(f"loading {what}: {waited_s:.0f} s so far"),
        )
        try:
            await workers.load(calibrations, texts)
            with progress(Path(file).name, total=count_lines(file)) as update:
                sink = FileSink(target, settings, lambda p: update(p.line, _counts(p)))
                name = "stdin" if file == "-" else Path(file).name
                await classify_records(
                    records, sink, name=name, classifiers=workers.classifiers, settings=decoding
                )
        finally:
            await workers.close()
    found = [each.identity.details.get("precision", "") for each in workers.classifiers.values()]
    return sink.progress, "; ".join(filter(None, found))
