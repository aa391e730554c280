"""The checks of ``streamlabel check``: what the service needs in order to run."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from streamlabel.config.deployments import paths_needed
from streamlabel.config.input_format import FORMATS
from streamlabel.config.named_model import NamedModel
from streamlabel.config.places import refuse_missing
from streamlabel.config.registry import SCHEMA_FORMATS
from streamlabel.config.settings import BatchingSettings, Settings
from streamlabel.config.task import task_name
from streamlabel.consumer.batching.full_batch import try_full_batch
from streamlabel.consumer.core.ports import Clock
from streamlabel.consumer.kafka.limits import SizeLimits
from streamlabel.consumer.kafka.topics import Topic
from streamlabel.consumer.observability.terminal_format import printable
from streamlabel.consumer.output.outcome_builder import encoder_for
from streamlabel.consumer.output.output_size import described, output_sizes, refuse_too_large
from streamlabel.consumer.registry.opening import RegistryDecoder, open_decoder
from streamlabel.consumer.routing.calibrated_router import policy_for, read_calibration
from streamlabel.consumer.routing.proven_precision import hinted_model
from streamlabel.consumer.routing.router import RoutingPolicy
from streamlabel.errors import ConfigError, InferenceError, StreamlabelError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import Classifier
from streamlabel.models.files.hub import commit_to_pin
from streamlabel.models.files.trained_length import other_length
from streamlabel.models.worker.worker_classifier import WorkerClassifier

__all__ = ["PreflightCheck", "check_files", "check_format", "check_model"]

# Any text is suitable; it contains no text of a record.
_PROBE = "Thanks, the parcel arrived on time and everything works."


@dataclass(frozen=True, slots=True)
class PreflightCheck:
    """The result of one check.

    Attributes:
        failure: the reason and the fix; None if the check passes.
        detail: the result.
        warnings: possible problems, although the check passes, with the fix.
        topics: existing topics, by name.
    """

    name: str
    detail: str = ""
    failure: StreamlabelError | None = None
    warnings: Sequence[str] = ()
    topics: Mapping[str, Topic] = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        """Whether the check passes."""
        return self.failure is None


async def check_files(settings: Settings) -> AsyncIterator[PreflightCheck]:
    """Check that the files in the settings exist; yields nothing if there are none."""
    named = [f"{name} {path}" for name, path, _ in paths_needed(settings)]
    if not named:
        return
    try:
        await asyncio.to_thread(refuse_missing, paths_needed(settings))
    except ConfigError as error:
        yield PreflightCheck("files", failure=error)
    else:
        yield PreflightCheck("files", ", ".join(named))


async def check_format(settings: Settings) -> AsyncIterator[PreflightCheck]:
    """Check formats that need more than the value: of other distributions, or with schemas."""
    for title, each in settings.input.each:
        if each.format in FORMATS and each.format not in SCHEMA_FORMATS:
            continue
        name = f"format of {title}" if title else "format"
        try:
            decoder = await asyncio.to_thread(open_decoder, each.model_copy(update={"topics": []}))
            if isinstance(decoder, RegistryDecoder):
                await decoder.prefetch(())
        except StreamlabelError as error:
            yield PreflightCheck(name, failure=error)
        else:
            yield PreflightCheck(name, f"{each.format} is loaded")


async def check_model(
    settings: Settings,
    *,
    clock: Clock,
    configure_worker: Callable[[], None] | None,
    topics: Mapping[str, Topic],
    on_loaded: Callable[[Classifier, CalibrationFile | None], None] = lambda *_: None,
) -> AsyncIterator[PreflightCheck]:
    """Check that the model loads in its process, the routing fits, and texts get labels.

    Classifies an ordinary text and a full batch of texts of the maximum length.

    Args:
        settings: of the model and its routing.
        clock: for the times in the details.
        configure_worker: called first in the worker process (logging); must be picklable.
        topics: existing output topics, by name.
        on_loaded: called with the model and its calibration; may raise ConfigError.
    """
    calibration, unreadable = await _calibration(settings)
    began_s = clock.now_s()
    try:
        classifier = await WorkerClassifier.start(
            hinted_model(settings.model, calibration),
            settings.worker,
            configure_logging=configure_worker,
        )
    except StreamlabelError as error:
        yield PreflightCheck("model", failure=error)
        return
    try:
        loaded_s = clock.now_s() - began_s
        unpinned = await asyncio.to_thread(_unpinned, settings)
        about = _about(classifier, task_name(settings.model))
        yield PreflightCheck("model", f"{about}, loaded in {loaded_s:.1f} s{unpinned}")
        for name in ("company", "precision"):
            if detail := classifier.identity.details.get(name):
                yield PreflightCheck(name, detail)
        if differs := other_length(classifier.identity.details, classifier.hints.max_tokens):
            yield PreflightCheck("length", warnings=[differs])
        if unreadable is not None:
            yield PreflightCheck("routing", failure=unreadable)
            return
        try:
            policy = policy_for(classifier, settings, calibration)
            on_loaded(classifier, calibration)
        except ConfigError as error:
            yield PreflightCheck("routing", failure=error)
            return
        yield _routing(policy, calibration)
        yield _output_size(settings, classifier, policy, topics)
        yield await _probe(classifier, policy, clock)
        if classifier.hints.max_tokens is not None:
            yield await _full_batch(classifier, settings.batching, clock)
    finally:
        await classifier.close()


async def _calibration(settings: Settings) -> tuple[CalibrationFile | None, ConfigError | None]:
    """Return the calibration, or why it cannot be read."""
    try:
        return await asyncio.to_thread(read_calibration, settings.routing), None
    except ConfigError as error:
        return None, error


def _routing(policy: RoutingPolicy, calibration: CalibrationFile | None) -> PreflightCheck:
    """Say which thresholds are in use, and how they differ from those of the calibration."""
    if calibration is None or calibration.thresholds is None:
        limits = sorted(set(policy.thresholds))
        shown = f"{limits[0]:g}" + (f" to {limits[-1]:g}" if len(limits) > 1 else "")
        about = "" if calibration is None else f"calibration {calibration.id}; "
        detail = f"{about}threshold {shown}, fits the labels"
        return PreflightCheck("routing", detail, warnings=policy.changes)
    summary = calibration.thresholds.summary
    return PreflightCheck(
        "routing", f"calibration {calibration.id}: {summary}", warnings=policy.changes
    )


def _output_size(
    settings: Settings, classifier: Classifier, policy: RoutingPolicy, topics: Mapping[str, Topic]
) -> PreflightCheck:
    """Check that outputs of this model do not exceed the size limits of their topics."""
    labels = classifier.labels
    sizes = output_sizes(
        encoder_for(settings, classifier, policy),
        labels,
        settings.output,
        is_calibrated=policy.calibration_id is not None,
    )
    limits = SizeLimits(
        settings.kafka, {name: topic.max_batch_bytes for name, topic in topics.items()}
    )
    try:
        refuse_too_large(sizes, labels, limits.record_bytes)
    except ConfigError as error:
        return PreflightCheck("output size", failure=error)
    return PreflightCheck(
        "output size", "; ".join(described(size, limits.record_bytes) for size in sizes)
    )


async def _full_batch(
    classifier: Classifier, batching: BatchingSettings, clock: Clock
) -> PreflightCheck:
    began_s = clock.now_s()
    try:
        tried = await try_full_batch(classifier, batching)
    except StreamlabelError as error:
        return PreflightCheck("full batch", failure=error)
    if tried is None:
        return PreflightCheck("full batch", "this model has no maximum length")
    elapsed_s = clock.now_s() - began_s
    size = tried.tokens // tried.texts
    return PreflightCheck("full batch", f"{tried.texts} texts of {size} tokens, {elapsed_s:.1f} s")


def _about(classifier: Classifier, task: str | None) -> str:
    model = classifier.identity
    labels = ", ".join(map(printable, classifier.labels.names[:10]))
    more = len(classifier.labels) - 10
    return (
        f"{printable(model.name)} ({model.backend}) on {model.device}, {model.dtype};"
        + (f" task {printable(task)};" if task else "")
        + f" labels {labels}"
        + (f" and {more} more" if more > 0 else "")
        + f"; digest {model.digest[:12]}"
    )


def _unpinned(settings: Settings) -> str:
    """Return the commit of a hub id to pin; empty if it is pinned."""
    model = settings.model
    commit = commit_to_pin(model) if isinstance(model, NamedModel) else None
    return f"; not pinned: set model.revision: {commit}" if commit else ""


async def _probe(classifier: Classifier, policy: RoutingPolicy, clock: Clock) -> PreflightCheck:
    began_s = clock.now_s()
    try:
        [prepared] = await classifier.prepare([_PROBE])
        if isinstance(prepared, InferenceError):
            return PreflightCheck("probe", failure=prepared)
        [prediction] = await classifier.classify([prepared])
        if isinstance(prediction, InferenceError):
            return PreflightCheck("probe", failure=prediction)
    except StreamlabelError as error:
        return PreflightCheck("probe", failure=error)
    decision = policy.choose(prediction)
    if decision.confidence is None:
        return PreflightCheck("probe", "no usable prediction; such texts go to review")
    elapsed_ms = (clock.now_s() - began_s) * 1000
    label = printable(decision.label or "no label")
    return PreflightCheck(
        "probe", f"{label}, confidence {decision.confidence:.3f}, {elapsed_ms:.0f} ms"
    )
