"""What must hold before the service can run, tried one by one: ``streamlabel check``."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from streamlabel.config.settings import Settings
from streamlabel.consumer.calibrated import read_calibration, router_for
from streamlabel.consumer.ports import Clock
from streamlabel.consumer.reading_aloud import printable
from streamlabel.consumer.routing import Router
from streamlabel.consumer.topics import find_topics
from streamlabel.errors import BrokerError, ConfigError, InferenceError, StreamlabelError
from streamlabel.models.base import Classifier
from streamlabel.models.worker import WorkerClassifier

__all__ = ["Check", "check_broker", "check_model"]

# Written for this purpose; any text would do.
_PROBE = "Thanks, the parcel arrived on time and everything works."


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried.

    Attributes:
        failure: why it does not hold, with the fix; None if it holds.
        detail: what was found.
    """

    name: str
    detail: str = ""
    failure: StreamlabelError | None = None

    @property
    def is_ok(self) -> bool:
        """Whether it holds."""
        return self.failure is None


async def check_broker(settings: Settings) -> AsyncIterator[Check]:
    """Yield whether the brokers answer and the topics are there; creates none."""
    output = settings.output
    names = [
        settings.input.topic,
        output.labels_topic,
        output.review_topic,
        output.dead_letter_topic,
    ]
    try:
        found = await find_topics(settings.kafka, names)
    except (BrokerError, ConfigError) as error:
        yield Check("broker", failure=error)
        return
    yield Check("broker", f"{settings.kafka.bootstrap_servers} answers")
    missing = [name for name in names if name not in found]
    there = [f"{name} ({found[name].partitions} partitions)" for name in names if name in found]
    if missing and not settings.kafka.create_topics:
        absent = ConfigError(
            f"topic(s) {', '.join(missing)} do not exist, or this user may not see them: create"
            " them, grant Describe, or set kafka.create_topics: true"
        )
        yield Check("topics", ", ".join(there), absent)
        return
    planned = [f"{name} (will be created, {settings.kafka.partitions})" for name in missing]
    yield Check("topics", ", ".join(there + planned))


async def check_model(
    settings: Settings, *, clock: Clock, configure_worker: Callable[[], None] | None
) -> AsyncIterator[Check]:
    """Yield whether the model loads in its process, the routing fits it, and a text gets a label.

    Args:
        settings: which model, which thresholds.
        clock: for the times in the details.
        configure_worker: called first thing in the worker process (logging); must pickle.
    """
    began_s = clock.now_s()
    try:
        classifier = await WorkerClassifier.start(
            settings.model, settings.worker, configure_logging=configure_worker
        )
    except StreamlabelError as error:
        yield Check("model", failure=error)
        return
    try:
        yield Check("model", f"{_about(classifier)}, loaded in {clock.now_s() - began_s:.1f} s")
        try:
            calibration = await asyncio.to_thread(read_calibration, settings.routing)
            router = router_for(classifier, settings.routing, calibration)
        except ConfigError as error:
            yield Check("routing", failure=error)
            return
        if calibration is None:
            yield Check("routing", f"threshold {settings.routing.threshold:g}, fits the labels")
        else:
            promised = calibration.thresholds
            summary = "" if promised is None else f": {promised.summary}"
            yield Check("routing", f"calibration {calibration.id}{summary}")
        yield await _probe(classifier, router, clock)
    finally:
        await classifier.close()


def _about(classifier: Classifier) -> str:
    info = classifier.info
    labels = ", ".join(map(printable, classifier.labels.names[:10]))
    more = len(classifier.labels) - 10
    return (
        f"{printable(info.name)} ({info.backend}) on {info.device}, {info.dtype}; labels {labels}"
        + (f" and {more} more" if more > 0 else "")
        + f"; digest {info.digest[:12]}"
    )


async def _probe(classifier: Classifier, router: Router, clock: Clock) -> Check:
    began_s = clock.now_s()
    try:
        [prepared] = await classifier.prepare([_PROBE])
        if isinstance(prepared, InferenceError):
            return Check("probe", failure=prepared)
        [prediction] = await classifier.classify([prepared])
        if isinstance(prediction, InferenceError):
            return Check("probe", failure=prediction)
    except StreamlabelError as error:
        return Check("probe", failure=error)
    decision = router.choose(prediction)
    if decision.label is None or decision.confidence is None:
        return Check("probe", "the model gave no usable answer; such texts go to review")
    elapsed_ms = (clock.now_s() - began_s) * 1000
    label = printable(decision.label)
    return Check("probe", f"{label}, confidence {decision.confidence:.3f}, {elapsed_ms:.0f} ms")
