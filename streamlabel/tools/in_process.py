"""The service and its model inside another program, for ``streamlabel.api``.

Texts go through the same pipeline as with Kafka, so a result is what a topic would receive.
"""

import asyncio
import io
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson

from streamlabel.config.deployments import for_deployment, paths_of_models
from streamlabel.config.loading import load
from streamlabel.config.places import refuse_missing
from streamlabel.config.settings import Settings
from streamlabel.consumer import service
from streamlabel.consumer.files.sink import FileSink
from streamlabel.consumer.files.text_files import FileRecord, settings_of
from streamlabel.consumer.observability.logs import configure_logging
from streamlabel.consumer.plans.opening import read_calibrations
from streamlabel.consumer.workers import Workers
from streamlabel.errors import ConfigError, ModelError
from streamlabel.tools.offline import classify_records, for_files
from streamlabel.tools.result import Result, result_of

__all__ = ["Model", "Result", "aclassify", "arun", "classify", "load_settings", "run"]

T = TypeVar("T")

# Topic name in the outputs; these texts come from no topic.
_NAME = "texts"


def load_settings(
    file: Path | str | None = None,
    *,
    overrides: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    deployment: str | None = None,
) -> Settings:
    """Return settings from the same sources as the program: file, secrets, environment, overrides.

    Args:
        file: a YAML file; None: use the other sources only.
        overrides: dotted name -> text, as after ``--set``: ``{"model.backend": "fake"}``; lists
            and mappings as JSON.
        environ: the variables; None: those of this process.
        deployment: of a configuration with several models, the one to load: a task, a stage, or
            ``task/stage``. None: all of them.

    Raises:
        ConfigError: one line per error, with the name of the setting and its source.
    """
    variables = os.environ if environ is None else environ
    path = None if file is None else Path(file)
    settings = load(path, overrides=overrides or {}, environ=variables).settings
    return settings if deployment is None else for_deployment(settings, deployment)


def run(settings: Settings, *, start_timeout_s: float | None = None) -> None:
    """Run the service like ``streamlabel run``, until it has drained after SIGTERM or SIGINT.

    Configures logging from ``settings.logging`` in this process and its worker process. Call it in
    the main thread, which receives signals.

    Args:
        settings: the result of ``load_settings``.
        start_timeout_s: maximum wait for brokers at the start; None: unlimited.

    Raises:
        StreamlabelError: the service could not start or had to stop; ``exit_code`` is the exit code
            of the program.
    """
    configure = partial(configure_logging, settings.logging, environ=dict(os.environ))
    configure()
    worker = partial(configure, static={"process": "worker"})
    _asyncio_run(
        service.run(settings, start_timeout_s=start_timeout_s, configure_worker=worker), "arun"
    )


async def arun(
    settings: Settings,
    *,
    stop: asyncio.Event | None = None,
    start_timeout_s: float | None = None,
    configure_worker: Callable[[], None] | None = None,
) -> None:
    """Run the service in the event loop of another program. Does not configure logging.

    Args:
        settings: as for ``run``.
        stop: starts the drain when it is set; None: SIGTERM and SIGINT do.
        start_timeout_s: as for ``run``.
        configure_worker: called first in the worker process, to configure its logging; a
            module-level function, or a ``functools.partial`` of one. None: plain lines on standard
            error.

    Raises:
        StreamlabelError: as for ``run``.
    """
    await service.run(
        settings, stop=stop, start_timeout_s=start_timeout_s, configure_worker=configure_worker
    )


class Model:
    """A loaded model with its routing, for repeated calls. No broker.

    Use it as ``async with Model(settings) as model: results = await model.classify(texts)``. The
    model is in a worker process, as in the service: the event loop is never blocked.

    Args:
        settings: of the model and its routing; brokers and topics are not used.
    """

    def __init__(self, settings: Settings) -> None:
        decoding = settings_of("text", settings.input)
        # every text gets a result
        decoding = decoding.model_copy(update={"empty_text": "dead_letter"})
        self._settings = for_files(settings).model_copy(update={"input": decoding})
        self._workers: Workers | None = None

    async def __aenter__(self) -> Self:
        """Load the model.

        Raises:
            ConfigError: the settings do not fit the model, or a file is missing.
            ModelLoadError: any other failure.
        """
        settings = self._settings
        if settings.tasks:
            raise ConfigError("tasks: choose one by load_settings(file, deployment=TASK)")
        await asyncio.to_thread(refuse_missing, paths_of_models(settings))
        workers = Workers(settings, configure_worker=None)
        try:
            await workers.load(await asyncio.to_thread(read_calibrations, settings))
        except BaseException:
            await workers.close()
            raise
        self._workers = workers
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Release the device."""
        if self._workers is not None:
            await self._workers.close()

    async def classify(self, texts: Iterable[str]) -> list[Result]:
        """Return one result per text, in the order of the texts. May be called at any time.

        Raises:
            ConfigError: the routing does not fit the model's labels.
            ModelError: the model failed too often, or is not open.
        """
        if self._workers is None:
            raise ModelError("the model is not loaded; use it as: async with Model(settings)")
        if isinstance(texts, str):
            raise TypeError("texts: give a list of texts, not one text")
        written = io.BytesIO()
        await classify_records(
            _records(texts),
            FileSink(written, self._settings),
            name=_NAME,
            classifiers=self._workers.classifiers,
            settings=self._settings,
        )
        # A copy is written twice, to labels and review, with the same route.
        rows = (orjson.loads(line) for line in written.getvalue().splitlines())
        by_place = {row["source"]["offset"]: result_of(row) for row in rows}
        return [by_place[place] for place in sorted(by_place)]


async def aclassify(settings: Settings, texts: Iterable[str]) -> list[Result]:
    """Load the model, classify the texts and release it; see ``Model`` for more than one call.

    Raises:
        ConfigError: the settings do not fit the model, or a file is missing.
        ModelError: the model cannot be loaded, or failed too often.
    """
    async with Model(settings) as model:
        return await model.classify(texts)


def classify(settings: Settings, texts: Iterable[str]) -> list[Result]:
    """The blocking form of ``aclassify``, for scripts.

    Raises:
        RuntimeError: an event loop runs in this thread (a notebook); await ``aclassify`` there.
        StreamlabelError: as for ``aclassify``.
    """
    return _asyncio_run(aclassify(settings, texts), "aclassify")


def _asyncio_run(coroutine: Coroutine[Any, Any, T], other: str) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    coroutine.close()
    raise RuntimeError(f"an event loop is already running in this thread; await {other} instead")


def _records(texts: Iterable[str]) -> Iterator[FileRecord]:
    for place, text in enumerate(texts, start=1):
        try:
            yield FileRecord(place, text.encode())
        except UnicodeEncodeError:
            yield FileRecord(place, None, "the text has a lone surrogate, which is not a character")
