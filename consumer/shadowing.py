"""Runs the shadow model of a service beside its pipeline; whatever happens to it stays there."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import structlog

from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.keyed_share import KeyedShare
from streamlabel.consumer.batching.shadow import Shadow
from streamlabel.consumer.core.causes import first_cause
from streamlabel.consumer.core.ports import Clock, Metrics, Outbound, RecordSink
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.kafka.open_ports import KafkaSink
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.plans.opening import deploy_all, read_calibrations
from streamlabel.consumer.workers import Workers
from streamlabel.errors import ConfigError, StreamlabelError

__all__ = ["run_shadow", "shadow_settings"]

_log = structlog.get_logger(__name__)


def shadow_settings(settings: Settings) -> Settings:
    """Return the settings of a service whose only model is the shadow.

    Raises:
        ConfigError: there is no shadow.
    """
    shadow = settings.shadow
    if shadow is None:
        raise ConfigError("shadow: the configuration has none")
    output = settings.output.model_copy(update={"labels_topic": shadow.topic})
    return settings.model_copy(
        update={
            "model": shadow.model,
            "routing": shadow.routing,
            "output": output,
            "cascade": [],
            "tasks": {},
            "shadow": None,
        }
    )


async def run_shadow(
    settings: Settings,
    pipeline: Pipeline,
    configure_worker: Callable[[], None] | None,
    clock: Clock,
    metrics: Metrics,
    *,
    sink: RecordSink | None = None,
) -> None:
    """Load the shadow model and run it until cancelled; returns if it fails, which is logged.

    Args:
        settings: of the service.
        pipeline: offers its texts to the shadow.
        configure_worker: called first in the worker process (logging); must be picklable.
        clock: of the service.
        metrics: count what the shadow did.
        sink: not started; None: one of its own on Kafka.
    """
    shadow = settings.shadow
    if shadow is None:
        return
    own = shadow_settings(settings)
    writer = sink or KafkaSink(settings.kafka, [shadow.topic])
    workers = Workers(own, configure_worker=configure_worker)
    try:
        calibrations = await asyncio.to_thread(read_calibrations, own)
        await writer.start()
        classifiers = await workers.load(calibrations)
        [deployment] = deploy_all(
            own, classifiers, limit_bytes=writer.limit_bytes, calibrations=calibrations
        )
        running = Shadow(
            deployment,
            topic=shadow.topic,
            share=KeyedShare(shadow.share, "shadow"),
            max_waiting_items=shadow.max_waiting_items,
            settings=own,
            write=_writing_to(writer),
            clock=clock,
            metrics=metrics,
        )
        pipeline.plans.shadow = running
        _log.info("shadow_started", model=deployment.identity.name, share=shadow.share)
        await running.run()
    except (StreamlabelError, BaseExceptionGroup) as error:
        cause = first_cause(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(cause, StreamlabelError):
            raise
        _log.error("shadow_ended", why=str(cause))
    finally:
        pipeline.plans.shadow = None
        await workers.close()
        await writer.stop()


def _writing_to(sink: RecordSink) -> Callable[[Sequence[Outbound]], Awaitable[None]]:
    """Return a function that writes outputs of several input partitions."""

    async def write(outbounds: Sequence[Outbound]) -> None:
        by_partition = defaultdict[TopicPartition, list[Outbound]](list)
        for each in outbounds:
            by_partition[each.position.topic_partition].append(each)
        for partition, group in by_partition.items():
            await sink.deliver(partition, group, 0)

    return write
