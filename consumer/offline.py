"""Classifies a file with the pipeline that serves Kafka; no broker."""

import asyncio
from collections.abc import Iterator
from typing import BinaryIO

from prometheus_client import CollectorRegistry

from streamlabel.config.settings import GuardSettings, Settings
from streamlabel.consumer.calibrated import read_calibration
from streamlabel.consumer.causes import first_cause
from streamlabel.consumer.clock import SystemClock
from streamlabel.consumer.file_sink import FileSink
from streamlabel.consumer.file_source import FileSource
from streamlabel.consumer.outcomes import compose
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.telemetry import PrometheusMetrics
from streamlabel.consumer.text_files import (
    FileFormat,
    FileRecord,
    headers_of,
    read_records,
    settings_of,
)
from streamlabel.models.base import Classifier

__all__ = ["classify_records", "open_records"]

# A bad line is reported and counted, however many there are: a person looks at the end.
_NO_GUARD = GuardSettings(max_consecutive=0, max_ratio=1)


def open_records(
    stream: BinaryIO, file_format: FileFormat, settings: Settings
) -> tuple[Iterator[FileRecord], Settings]:
    """Return the records of a file, and the settings with which they are decoded."""
    decoding = settings_of(file_format, settings.input)
    records = read_records(stream, file_format, decoding)
    return records, settings.model_copy(update={"input": decoding, "guard": _NO_GUARD})


async def classify_records(
    records: Iterator[FileRecord],
    sink: FileSink,
    *,
    name: str,
    classifier: Classifier,
    settings: Settings,
) -> None:
    """Write an output for every record, in order.

    Args:
        records: the file, read lazily.
        sink: where the outputs go.
        name: of the file, for the outputs' ``source.topic``.
        classifier: the model; the caller closes it.
        settings: as ``open_records`` returns them.

    Raises:
        ConfigError: the routing does not fit the labels, or the file has no text column.
        StreamlabelError: the model gave up.
    """
    clock = SystemClock()
    calibration = await asyncio.to_thread(read_calibration, settings.routing)
    source = FileSource(records, name=name, clock=clock, headers=headers_of(settings.input))
    pipeline = Pipeline(
        source=source,
        sink=sink,
        classifier=classifier,
        composer=compose(settings, classifier, sink, calibration=calibration),
        settings=settings,
        clock=clock,
        metrics=PrometheusMetrics(CollectorRegistry(), build={}),
    )
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
