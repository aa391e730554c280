"""``streamlabel demo --example NAME``: an example from its first record to what it is for.

Each runs the service with the example's own file, sends its texts, and reads all outputs. The
example ``review-queue`` goes on: people's verdicts, and a calibration that is learned from them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from streamlabel.config.settings import LoggingSettings, Settings
from streamlabel.consumer import service
from streamlabel.consumer.core.causes import first_cause
from streamlabel.consumer.files.text_files import headers_of
from streamlabel.consumer.observability.logs import configure_logging
from streamlabel.demo.broker import EmbeddedBroker
from streamlabel.demo.example_files import ExampleName, Post, models_of, posts_of, settings_of
from streamlabel.demo.example_outputs import Answers, read_answers
from streamlabel.demo.example_review import calibrate, learn_from_people
from streamlabel.demo.stream import send_all
from streamlabel.errors import StreamlabelError

__all__ = ["main", "run_example"]

# Returns the number of partitions of topics, which exist then.
OpenTopics = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]

_PATIENCE_S: Final = 120.0


class ExampleError(StreamlabelError):
    """An example did not finish."""


def main(name: ExampleName, *, folder: Path = Path(".demo")) -> int:
    """Run an example on an embedded broker; return its exit code: 0 if nothing is missing.

    Args:
        name: of the example.
        folder: for its models, its files and the log of the service.

    Raises:
        StreamlabelError: a part could not start or had to stop.
    """
    screen = Console(highlight=False)
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()  # relative paths in a configuration start at its own folder
    screen.print("Fitting its model, once; later runs reuse it.")
    models = models_of(name, folder)
    log = folder / name / "service.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    _log_to(log)
    with EmbeddedBroker() as broker:

        async def open_topics(topics: Sequence[str]) -> Mapping[str, int]:
            return {topic: broker.create_topic(topic) for topic in topics}

        running = run_example(
            name,
            bootstrap_servers=broker.bootstrap_servers,
            folder=folder,
            variables=models,
            open_topics=open_topics,
            say=screen.print,
            configure_worker=partial(_log_to, log, process="worker"),
        )
        try:
            problems = asyncio.run(running)
        except BaseExceptionGroup as errors:
            raise first_cause(errors) from errors
    for problem in problems:
        screen.print(problem, style="red")
    return 1 if problems else 0


async def run_example(
    name: ExampleName,
    *,
    bootstrap_servers: str,
    folder: Path,
    variables: Mapping[str, str],
    open_topics: OpenTopics,
    say: Callable[[str], None],
    change: Callable[[Settings], Settings] | None = None,
    configure_worker: Callable[[], None] | None = None,
    target_error: float = 0.1,
) -> list[str]:
    """Run an example on any broker; return what is wrong with its outputs.

    Args:
        name: of the example.
        bootstrap_servers: of the brokers.
        folder: for its files.
        variables: that its file refers to: where the models are.
        open_topics: creates topics.
        say: prints a line.
        change: of its settings; None: as in the file.
        configure_worker: called first in the worker processes.
        target_error: that ``learn`` is asked for; some two hundred verdicts can prove 0.1.

    Raises:
        StreamlabelError: a part could not start or had to stop.
    """
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    known = {
        **variables,
        "CALIBRATION": str(own / "calibration.yaml"),
        "CONSOLE_DATABASE": str(own / "console.db"),
    }
    quiet = {"http.enabled": "false", "logging.format": "json"}
    settings = settings_of(
        name, bootstrap_servers=bootstrap_servers, variables=known, overrides=quiet
    )
    if change is not None:
        settings = change(settings)
    if name == "review-queue":
        await calibrate(settings, own, say)
    topics = [*settings.input.weights, *settings.output_topics]
    if name == "review-queue":
        topics.append(settings.output.verdicts_topic)
    partitions = await open_topics(topics)
    posts = posts_of(name)
    say(f"{len(posts)} records go to the topic {settings.input.topic}")
    answers = Answers(posts, tasks=[*settings.tasks] or [""])
    await _serve(settings, _answered(settings, posts, answers, partitions), configure_worker)
    for line in answers.lines():
        say(line)
    problems = answers.problems()
    if name == "review-queue" and not problems:
        problems = await learn_from_people(
            settings, own, answers, partitions, say, target_error=target_error
        )
    return problems


async def _serve(
    settings: Settings, doing: Awaitable[None], configure_worker: Callable[[], None] | None
) -> None:
    """Run the service while something is done, then let it drain."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(
            service.run(
                settings,
                start_timeout_s=_PATIENCE_S,
                stop=stop,
                configure_worker=configure_worker,
            )
        )
        await doing
        stop.set()
        await serving


def _log_to(log: Path, **static: str) -> None:
    stream = log.open("a", encoding="utf-8", buffering=1)
    configure_logging(LoggingSettings(format="json"), environ={}, stream=stream, static=static)


async def _answered(
    settings: Settings, posts: Sequence[Post], answers: Answers, partitions: Mapping[str, int]
) -> None:
    """Send the records, and read outputs until each record has those that it must have."""
    headers = headers_of(settings.input)
    await send_all(
        settings,
        [(post.value, [*headers, (Answers.HEADER, post.id.encode())]) for post in posts],
    )
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await read_answers(settings, answers, partitions)
    except TimeoutError as error:
        raise ExampleError(
            f"outputs are missing after {_PATIENCE_S:g} s; see service.log in the example's folder"
        ) from error
