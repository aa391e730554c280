"""The service and its model inside another program, for ``streamlabel.api``.

Texts go through the same pipeline as with Kafka, so a result is what a topic would receive.
"""

import asyncio
import io
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import orjson

from streamlabel.config.catalog import paths_in
from streamlabel.config.loading import load
from streamlabel.config.places import refuse_missing
from streamlabel.config.settings import Settings
from streamlabel.consumer import service
from streamlabel.consumer.files.sink import FileSink
from streamlabel.consumer.files.text_files import FileRecord, settings_of
from streamlabel.consumer.observability.logs import configure_logging
from streamlabel.consumer.routing.calibrated_router import read_calibration
from streamlabel.consumer.routing.proven_precision import hinted_model
from streamlabel.errors import ModelError
from streamlabel.models.worker.worker_classifier import WorkerClassifier
from streamlabel.tools.offline import classify_records, without_guard

__all__ = ["Model", "Result", "aclassify", "arun", "classify", "load_settings", "run"]

T = TypeVar("T")

# Topic name in the outputs; these texts come from no topic.
_NAME = "texts"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one text.

    Attributes:
        route: ``label``: accepted; ``review``: for review; ``copy``: accepted and also for review
            (``routing.review: copy``, ``routing.audit_share``); ``dead_letter``: it could not be
            classified.
        label: the most probable label; None without a prediction.
        confidence: in [0, 1], the calibrated probability of ``label``; None without a prediction.
        probabilities: by label, in [0, 1]; empty without a prediction.
        reasons: of the review or the dead letter; empty for an accepted label.
        record: the complete output record as a JSON object: margin, model, timings; for a dead
            letter, ``reason`` and ``message``. docs/records.md describes its fields.
    """

    route: Literal["label", "review", "copy", "dead_letter"]
    label: str | None
    confidence: float | None
    probabilities: Mapping[str, float]
    reasons: tuple[str, ...]
    record: Mapping[str, Any]


def load_settings(
    file: Path | str | None = None,
    *,
    overrides: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return settings from the same sources as the program: file, secrets, environment, overrides.

    Args:
        file: a YAML file; None: use the other sources only.
        overrides: dotted name -> text, as after ``--set``: ``{"model.backend": "fake"}``; lists
            and mappings as JSON.
        environ: the variables; None: those of this process.

    Raises:
        ConfigError: one line per error, with the name of the setting and its source.
    """
    variables = os.environ if environ is None else environ
    path = None if file is None else Path(file)
    return load(path, overrides=overrides or {}, environ=variables).settings


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
        self._settings = without_guard(settings).model_copy(update={"input": decoding})
        self._classifier: WorkerClassifier | None = None

    async def __aenter__(self) -> Self:
        """Load the model.

        Raises:
            ConfigError: the settings do not fit the model, or a file is missing.
            ModelLoadError: any other failure.
        """
        settings = self._settings
        for name, section in (("model", settings.model), ("routing", settings.routing)):
            await asyncio.to_thread(refuse_missing, paths_in(section, (name,)))
        calibration = await asyncio.to_thread(read_calibration, settings.routing)
        model = hinted_model(settings.model, calibration)
        self._classifier = await WorkerClassifier.start(model, settings.worker)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Release the device."""
        if self._classifier is not None:
            await self._classifier.close()

    async def classify(self, texts: Iterable[str]) -> list[Result]:
        """Return one result per text, in the order of the texts. May be called at any time.

        Raises:
            ConfigError: the routing does not fit the model's labels.
            ModelError: the model failed too often, or is not open.
        """
        if self._classifier is None:
            raise ModelError("the model is not loaded; use it as: async with Model(settings)")
        if isinstance(texts, str):
            raise TypeError("texts: give a list of texts, not one text")
        written = io.BytesIO()
        await classify_records(
            _records(texts),
            FileSink(written, self._settings.output),
            name=_NAME,
            classifier=self._classifier,
            settings=self._settings,
        )
        # A copy is written twice, to labels and review, with the same route.
        rows = (orjson.loads(line) for line in written.getvalue().splitlines())
        by_place = {row["source"]["offset"]: _result(row) for row in rows}
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


def _result(row: dict[str, Any]) -> Result:
    is_dead = row["route"] == "dead_letter"
    return Result(
        route=row["route"],
        label=row.get("label"),
        confidence=row.get("confidence"),
        probabilities=row.get("probabilities") or {},
        reasons=(row["reason"],) if is_dead else tuple(row["reasons"]),
        record=row,
    )
