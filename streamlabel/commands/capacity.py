"""``streamlabel capacity``: how many processes, partitions and brokers a rate of texts takes."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.settings import Settings
    from streamlabel.consumer.files.text_files import FileRecord
    from streamlabel.tools.fleet_size import Measured, Wanted

__all__ = ["capacity"]

# Texts that are read again and again: enough for every length of a stream, few enough for memory.
_TEXTS = 10_000
_USUAL_S = 20.0


def capacity(
    texts_per_s: Annotated[
        float, typer.Option("--texts-per-s", min=0.001, help="Rate of texts to plan for.")
    ],
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="IN",
            help="File with texts of your stream (.jsonl, .csv, .tsv, .txt). Without it: the"
            " samples of the demo, which are short.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, help="Duration of the measurement.")
    ] = _USUAL_S,
    per_process: Annotated[
        float | None,
        typer.Option(
            "--per-process",
            min=0.001,
            help="Texts/s of one process, as measured before on the device; nothing is measured"
            " then.",
            show_default=False,
        ),
    ] = None,
    process_cores: Annotated[
        int | None,
        typer.Option(
            "--process-cores", min=1, help="Cores of one process. Default: as measured, or 1."
        ),
    ] = None,
    load: Annotated[
        float,
        typer.Option(
            "--load", min=0.01, max=1, help="Share of its capacity at which a process works."
        ),
    ] = 0.8,
    headroom: Annotated[
        float, typer.Option("--headroom", min=0, help="Share by which the peak exceeds the rate.")
    ] = 0.3,
    partitions: Annotated[
        int | None,
        typer.Option(
            "--partitions",
            min=1,
            help="Partitions of the input topic. Default: two for each process.",
        ),
    ] = None,
    replication: Annotated[
        int, typer.Option("--replication", min=1, help="Copies of each record.")
    ] = 3,
    lag_s: Annotated[
        float, typer.Option("--lag", min=1, help="Seconds of lag at which KEDA adds a process.")
    ] = 60.0,
    broker_cores: Annotated[
        int, typer.Option("--broker-cores", min=1, help="Cores of one broker.")
    ] = 8,
    price: Annotated[
        float | None,
        typer.Option(
            "--price",
            min=0,
            help="Price of the machine of one process for an hour, in any currency.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure one process with the configured model, and compute the deployment for a rate.

    The texts go through the pipeline for some seconds, on the device of the configuration and
    without a broker. Processes, partitions, memory, brokers, price and KEDA's thresholds follow
    from that rate. Run it on a machine that does nothing else.

    \b
    Examples:
      streamlabel capacity -c streamlabel.yaml --texts-per-s 500 --file texts.jsonl
      streamlabel capacity -c streamlabel.yaml --texts-per-s 500 -f texts.jsonl --price 1.2 --json
      streamlabel capacity --texts-per-s 500 --per-process 160 --process-cores 2
    """  # noqa: D301 \b keeps the lines as they are
    from dataclasses import replace

    from streamlabel.tools.fleet_size import Wanted

    wanted = Wanted(
        texts_per_s=texts_per_s,
        load=load,
        headroom=headroom,
        partitions=partitions,
        replication=replication,
        lag_s=lag_s,
        broker_cores=broker_cores,
        process_price=price,
    )
    if per_process is None:
        found = _measured(load_settings(config, overrides).settings, file, seconds)
    else:
        found = _given(per_process)
    if process_cores is not None:
        found = replace(found, process_cores=process_cores)
    _print(found, wanted, as_json=as_json)


def _given(per_process: float) -> "Measured":
    from streamlabel.tools.fleet_size import USUAL_BYTES, Measured

    inputs, outputs = USUAL_BYTES
    return Measured(per_process, 1, None, inputs, outputs)


def _measured(settings: "Settings", file: str | None, seconds: float) -> "Measured":
    import asyncio

    from streamlabel.commands.terminal import quiet_logs, say
    from streamlabel.models.core.system_clock import SystemClock
    from streamlabel.tools.capacity import measure

    configure = quiet_logs(settings)
    texts, decoding = _texts(settings, file)
    say(f"measuring one process for {seconds:g} s with {len(texts):,} texts, behind its start")
    return asyncio.run(
        measure(
            settings,
            texts,
            decoding=decoding,
            seconds=seconds,
            clock=SystemClock(),
            configure_worker=configure,
            on_wait=lambda what, waited_s: say(f"loading {what}: {waited_s:.0f} s so far"),
        )
    )


def _texts(settings: "Settings", file: str | None) -> "tuple[list[FileRecord], Settings]":
    """Return the texts to measure with, and the settings that decode them."""
    from importlib.resources import as_file, files
    from itertools import islice

    from streamlabel.config.kafka import InputSettings
    from streamlabel.consumer.files.text_files import format_of
    from streamlabel.errors import ConfigError
    from streamlabel.tools.files import open_input
    from streamlabel.tools.offline import open_records

    if file is None:
        # fields as the samples have them, whatever those of the topic are
        own = settings.model_copy(update={"input": InputSettings()})
        with as_file(files("streamlabel.demo") / "samples" / "unseen.jsonl") as path:
            return _texts(own, str(path))
    with open_input(file) as stream:
        records, decoding = open_records(stream, format_of(file), settings)
        texts = list(islice(records, _TEXTS))
    if not texts:
        raise ConfigError(f"{file}: there are no texts in it")
    return texts, decoding


def _print(found: "Measured", wanted: "Wanted", *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from streamlabel.errors import ConfigError
    from streamlabel.tools.fleet_size import bottleneck, fleet
    from streamlabel.tools.fleet_table import rows

    try:
        answer = fleet(found, wanted)
    except ValueError as error:
        raise ConfigError(f"--partitions: {error}") from error
    if as_json:
        document = {
            "measured": asdict(found),
            "wanted": asdict(wanted),
            "deployment": asdict(answer),
            "bottleneck": bottleneck(answer),
        }
        typer.echo(json.dumps(document, indent=2))
        return
    shown = rows(found, wanted)
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        typer.echo(f"{name:<{width}}  {value}")
