"""Classifies a file with the same pipeline as with Kafka, without a broker."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from prometheus_client import CollectorRegistry

from streamlabel.config.deployments import in_one_process, metric_labels
from streamlabel.config.registry import RegistrySettings
from streamlabel.config.settings import GuardSettings, Settings
from streamlabel.consumer.core.causes import first_cause
from streamlabel.consumer.files.sink import FileSink
from streamlabel.consumer.files.source import FileSource
from streamlabel.consumer.files.text_files import (
    FileFormat,
    FileRecord,
    headers_of,
    read_records,
    settings_of,
)
from streamlabel.consumer.observability.telemetry import PrometheusMetrics
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.plans.job import JobWatch
from streamlabel.consumer.plans.opening import deploy_all, plan_for, read_calibrations
from streamlabel.models.core.classifier import Classifier
from streamlabel.models.core.system_clock import SystemClock

__all__ = ["classify_records", "for_files", "open_records"]

_AS_JSON = {
    "format": "json",
    "registry": RegistrySettings(),
    "auto_register": False,
    "key": "input",
    "cloudevents_source": None,
}
# Bad lines are reported and counted at the end, however many there are.
_NO_GUARD = GuardSettings(max_consecutive=0, max_ratio=1)


def open_records(
    stream: BinaryIO, file_format: FileFormat, settings: Settings
) -> tuple[Iterator[FileRecord], Settings]:
    """Return the records of a file, and the settings with which they are decoded."""
    decoding = settings_of(file_format, settings.input)
    records = read_records(stream, file_format, decoding)
    return records, for_files(settings).model_copy(update={"input": decoding})


def for_files(settings: Settings) -> Settings:
    """Return the settings without the dead-letter guard and with outputs as JSON.

    The caller gets all dead letters, and files have no schema registry and no keys.
    """
    output = settings.output.model_copy(update=_AS_JSON)
    return in_one_process(settings).model_copy(update={"guard": _NO_GUARD, "output": output})


async def classify_records(
    records: Iterator[FileRecord],
    sink: FileSink,
    *,
    name: str,
    classifiers: Mapping[str, Classifier],
    settings: Settings,
    watch: JobWatch | None = None,
) -> None:
    """Write an output for every record, in order.

    Args:
        records: the file, read lazily.
        sink: receives the outputs.
        name: of the file, for ``source.topic`` of the outputs.
        classifiers: the models by the id of their deployment; the caller closes them.
        settings: the result of ``open_records``.
        watch: follows the records; None: nothing does.

    Raises:
        ConfigError: the routing does not fit the labels, or the file has no text column.
        StreamlabelError: the model gave up.
    """
    clock = SystemClock()
    calibrations = await asyncio.to_thread(read_calibrations, settings)
    source = FileSource(records, name=name, clock=clock, headers=headers_of(settings.input))
    deployments = deploy_all(
        settings, classifiers, limit_bytes=sink.limit_bytes, calibrations=calibrations
    )
    pipeline = Pipeline(
        source=source,
        sink=sink,
        plan=plan_for(settings, deployments),
        deployments=deployments,
        settings=settings,
        clock=clock,
        metrics=PrometheusMetrics(CollectorRegistry(), several=metric_labels(settings)),
    )
    if watch is not None:
        pipeline.watch_jobs(watch)
    try:
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(_drain_at_end(source, pipeline))
            await pipeline.run()
            draining.cancel()
    except BaseExceptionGroup as errors:
        raise first_cause(errors) from errors


async def _drain_at_end(source: FileSource, pipeline: Pipeline) -> None:
    """Drain only when nothing is in flight: the drain deadline is for signals, not for files."""
    await source.exhausted.wait()
    await pipeline.in_flight.is_empty.wait()
    pipeline.drain()
