"""``streamlabel demo``: the real service with an embedded broker, observed from outside."""

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from streamlabel.config.kafka import KafkaSettings
from streamlabel.config.model import EncoderSettings
from streamlabel.config.settings import HttpSettings, LoggingSettings, RoutingSettings, Settings
from streamlabel.consumer import service
from streamlabel.consumer.core.causes import first_cause
from streamlabel.consumer.observability.logs import configure_logging
from streamlabel.demo.broker import EmbeddedBroker
from streamlabel.demo.encoder import fitted_encoder, is_fitted
from streamlabel.demo.language_models import compare_llms
from streamlabel.demo.samples import stream_samples
from streamlabel.demo.screen import Screen
from streamlabel.demo.stream import Post, Posted, committed_records, read_answers
from streamlabel.demo.summary import Figures, print_summary
from streamlabel.demo.tally import Answer, Tally
from streamlabel.errors import StreamlabelError
from streamlabel.progress import progress

__all__ = ["main"]

# Time after the last input record within which all outputs must arrive.
_PATIENCE_S = 60.0
_START_S = 120.0
# Fractions of the samples with their rates in texts per second: slow enough to read, then faster;
# the rest is sent at once.
_PACES = ((0.35, 14.0), (0.3, 30.0))
_POLL_S = 0.1


class DemoError(StreamlabelError):
    """The demo did not finish."""


def main(*, folder: Path = Path(".demo"), live: bool | None = None, with_llms: bool = False) -> int:
    """Run the demo and return its exit code: 0 if every record came out exactly once.

    Args:
        folder: for the fitted encoder and the log of the service.
        live: redraw in place; None: only if standard output is a terminal.
        with_llms: then answer some of the texts with a small language model, too.

    Raises:
        StreamlabelError: a component could not start or had to stop.
    """
    console = Console(highlight=False)
    folder.mkdir(parents=True, exist_ok=True)
    encoder = _fit(console, folder)
    log = folder / "service.log"
    log.write_text("")
    _log_to(log)
    with EmbeddedBroker() as broker:
        console.print(
            f"Embedded broker at {broker.bootstrap_servers}: the Kafka protocol in memory, for"
            " trying out. It serves one at-least-once consumer; use a real cluster for anything"
            " else."
        )
        settings = _settings(broker.bootstrap_servers, encoder)
        outputs = settings.output
        topics = (
            settings.input.topic,
            outputs.labels_topic,
            outputs.review_topic,
            outputs.dead_letter_topic,
        )
        partitions = {topic: broker.create_topic(topic) for topic in topics}
        is_live = console.is_terminal if live is None else live
        code = asyncio.run(
            _Demo(console, settings, log, encoder=encoder, partitions=partitions).run(live=is_live)
        )
    if with_llms:
        compare_llms(console, folder, encoder=encoder)
    return code


def _fit(console: Console, folder: Path) -> Path:
    if is_fitted(folder):
        return fitted_encoder(folder)
    console.print("Fitting MiniLM to the sample texts, once: a minute or two; later runs reuse it.")
    with progress(
        "  fitting", total=None, stream=console.file, is_terminal=console.is_terminal, period_s=5
    ) as update:
        update(0, "loads MiniLM and runs its frozen layers")
        return fitted_encoder(
            folder, on_step=lambda done, total: update(done, "steps", total=total)
        )


def _settings(bootstrap_servers: str, encoder: Path) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(
        kafka=KafkaSettings(bootstrap_servers=bootstrap_servers, group_id="demo"),
        model=EncoderSettings(path=str(encoder), device="cpu"),
        routing=RoutingSettings(threshold=0.85, review_truncated=True),
        http=HttpSettings(host="127.0.0.1", port=port),
        logging=LoggingSettings(format="json"),
    )


def _log_to(log: Path, **static: str) -> None:
    """Send the log lines of this process to a file; also called in the worker process."""
    stream = log.open("a", encoding="utf-8", buffering=1)
    configure_logging(
        LoggingSettings(format="json"), environ=dict(os.environ), stream=stream, static=static
    )


class _Demo:
    def __init__(
        self,
        console: Console,
        settings: Settings,
        log: Path,
        *,
        encoder: Path,
        partitions: Mapping[str, int],
    ) -> None:
        self._partitions = partitions
        self._console = console
        self._settings = settings
        self._log = log
        self._encoder = encoder
        self._samples = stream_samples()
        self._posted = Posted(self._samples)
        self._tally = Tally()
        self._done = asyncio.Event()
        self._last_answer_s = 0.0

    async def run(self, *, live: bool) -> int:
        stop = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(
                    service.run(
                        self._settings,
                        start_timeout_s=_START_S,
                        stop=stop,
                        configure_worker=partial(_log_to, self._log, process="worker"),
                    )
                )
                began_s = await self._watch(group, live=live)
                stop.set()
                await serving
        except BaseExceptionGroup as errors:
            raise first_cause(errors) from errors
        figures = await self._figures(began_s)
        print_summary(self._console, self._tally, figures, next_steps=self._next_steps())
        return 1 if self._tally.imbalance(sent=figures.sent, read=figures.read) else 0

    async def _watch(self, group: asyncio.TaskGroup, *, live: bool) -> float:
        """Send all samples and wait for the outputs; return when the final burst began."""
        with self._console.status("Starting the service: loading the encoder, joining the group"):
            await _until_ready(self._settings.http.port)
        with Screen(self._console, self._tally, total=len(self._samples), live=live) as screen:
            reading = group.create_task(
                read_answers(
                    self._settings,
                    self._posted,
                    partial(self._take, screen),
                    partitions=self._partitions,
                )
            )
            async with Post.to(self._settings, self._posted) as post:
                left = self._samples
                for share, per_s in _PACES:
                    some = round(share * len(self._samples))
                    await post.at_a_pace(left[:some], per_s=per_s)
                    left = left[some:]
                began_s = time.monotonic()
                await post.at_once(left)
            try:
                await asyncio.wait_for(self._done.wait(), _PATIENCE_S)
            except TimeoutError:
                self._console.print(f"Outputs are missing; see {self._log}.", style="red")
            reading.cancel()
        return began_s

    def _take(self, screen: Screen, answer: Answer) -> None:
        self._tally.add(answer)
        self._last_answer_s = time.monotonic()
        screen.show(answer)
        if len(self._tally.answers) >= len(self._samples) and self._tally.answered(
            self._posted.samples
        ):
            self._done.set()

    async def _figures(self, began_s: float) -> Figures:
        burst = {i for i, at_s in self._posted.at_s.items() if at_s >= began_s}
        return Figures(
            sent=len(self._posted.at_s),
            read=await committed_records(self._settings, partitions=self._partitions),
            burst_items=len(burst),
            burst_s=self._last_answer_s - began_s,
            paced=[a for a in self._tally.answers if a.sample.id not in burst],
        )

    def _next_steps(self) -> str:
        return (
            "\nWhat to try next\n"
            "  streamlabel run --help       the service on your own Kafka\n"
            "  streamlabel demo --llm       the same texts answered by a small language model\n"
            " streamlabel classify --help the same for a file, without a broker\n"
            f"  {self._log.parent / 'model'}\n"
            "      the fitted encoder, an ordinary folder, for your own model.path\n"
            f"  {self._log}\n"
            " the log of the service"
        )


async def _until_ready(port: int) -> None:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        if await _is_ready(port):
            return
        await asyncio.sleep(_POLL_S)
    raise DemoError("the service did not become ready; see service.log in the demo's folder")


async def _is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
    status = await reader.readline()
    writer.close()
    return b" 200 " in status
