"""The real pipeline between in-memory ports, with a scripted model and time in the test's hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import orjson

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.records import Position, TopicPartition
from streamlabel.consumer.output.formats import ValueDecoder
from streamlabel.consumer.pipeline import Pipeline
from streamlabel.consumer.plans.deployment import Deployment, deploy
from streamlabel.consumer.plans.opening import deploy_all, plan_for
from streamlabel.consumer.plans.plan import Plan, Single
from streamlabel.consumer.testing.memory_broker import Committed, MemoryBroker, Written
from streamlabel.consumer.testing.memory_ports import MemorySink, MemorySource
from streamlabel.errors import BrokerError, InferenceError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.classifier import (
    BatchHints,
    Classifier,
    ModelIdentity,
    Prediction,
    PreparedText,
)
from streamlabel.models.core.labels import LabelSet
from tests.doubles import ManualClock, RecordingMetrics, settle

__all__ = ["Rig", "ScriptedClassifier", "rig"]

LABELS = LabelSet(("no", "yes"))


@dataclass
class ScriptedClassifier:
    """Says yes, with the confidence written in the text; fails and waits as the test says.

    Texts: ``0.93 anything`` gets confidence 0.93; a text with ``poison`` raises.
    """

    labels: LabelSet = LABELS
    hints: BatchHints = field(default_factory=BatchHints)
    identity: ModelIdentity = field(
        default_factory=lambda: ModelIdentity("scripted", "fake", "cpu", "float32", "d" * 8)
    )
    prepared: list[int] = field(default_factory=list)  # texts of each call
    batches: list[list[str]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """One token a word."""
        self.prepared.append(len(texts))
        return [PreparedText(tokens=max(1, len(text.split())), payload=text) for text in texts]

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Wait until the test opens the gate, then answer."""
        texts = [str(item.payload) for item in prepared]
        self.batches.append(texts)
        await self.open.wait()
        if self.failures:
            raise self.failures.pop(0)
        if any("poison" in text for text in texts):
            raise InferenceError("the model cannot take this")
        return [self._answer(text) for text in texts]

    @staticmethod
    def _answer(text: str) -> Prediction:
        first = text.split(maxsplit=1)[0]
        confidence = float(first) if first[0] in "01" else 0.9
        return Prediction((1 - confidence, confidence))

    async def close(self) -> None:
        """Nothing to release."""


@dataclass
class Rig:
    """What a flow test looks at."""

    broker: MemoryBroker
    source: MemorySource
    sink: MemorySink
    classifier: ScriptedClassifier
    deployment: Deployment
    pipeline: Pipeline
    clock: ManualClock
    metrics: RecordingMetrics
    task: asyncio.Task[None]

    async def send(self, *texts: str, partition: int = 0, topic: str = "texts") -> list[Position]:
        """Append JSON records with these texts, and let things happen."""
        positions = [
            self.broker.append(topic, orjson.dumps({"text": text}), partition=partition)
            for text in texts
        ]
        await settle()
        return positions

    async def send_raw(self, *values: bytes | None, partition: int = 0) -> list[Position]:
        """Append these values."""
        positions = [self.broker.append("texts", v, partition=partition) for v in values]
        await settle()
        return positions

    def sources(self, topic: str, partition: int | None = None) -> list[int]:
        """Input offsets of what was written to ``topic``, in order."""
        return [
            outbound.position.offset
            for outbound in self.broker.written(topic)
            if partition in {None, outbound.position.partition}
        ]

    def outcomes(self) -> dict[Position, list[str]]:
        """Input position -> topics its outputs went to."""
        found: dict[Position, list[str]] = {}
        for entry in self.broker.journal:
            if isinstance(entry, Written):
                found.setdefault(entry.outbound.position, []).append(entry.outbound.topic)
        return found

    def committed(self, partition: int = 0) -> int | None:
        """The group's next offset."""
        return self.broker.committed.get(TopicPartition("texts", partition))

    def check_no_commit_passes_an_undelivered_record(self) -> None:
        """Every commit names only records whose outputs stand before it in the journal."""
        written: set[Position] = set()
        for entry in self.broker.journal:
            if isinstance(entry, Committed):
                for stored in self.broker.logs[entry.partition][: entry.next_offset]:
                    assert stored is None or stored.position in written, entry
            else:
                written.add(entry.outbound.position)

    async def drain(self) -> None:
        """Tell the pipeline to drain and wait for its end, moving time as far as it takes."""
        self.pipeline.drain()
        for _ in range(200):
            if self.task.done():
                break
            await self.clock.advance(0.5)
        await self.task


@asynccontextmanager
async def rig(
    *,
    partitions: int = 1,
    transactional: bool = False,
    limits: Mapping[str, int] | None = None,
    settings: Mapping[str, object] | None = None,
    classifier: ScriptedClassifier | None = None,
    unreachable: bool = False,
    calibration: CalibrationFile | None = None,
    make_sink: Callable[[MemoryBroker, ManualClock], MemorySink] | None = None,
    plan: Plan | None = None,
    decoder: ValueDecoder | None = None,
    others: Mapping[str, ScriptedClassifier] | None = None,
    models: Mapping[str, Classifier] | None = None,
) -> AsyncIterator[Rig]:
    """Run a pipeline on memory ports; at the end it is cancelled if it still runs.

    With ``unreachable`` it never gets into its group. ``make_sink`` makes a sink with habits of its
    own. ``plan`` may also ask ``others``, by their names; the classifier's is ``model``. With
    ``models``, by the ids of their deployments, the tasks or the cascade of the settings run.
    """
    one = {"model": {"backend": "fake"}, "routing": {"threshold": 0.8}}
    values = {
        **({} if models else one),
        "repeats": {"max_items": 0},  # tests count what the model is asked
        **(settings or {}),
    }
    parsed = Settings.model_validate(values)
    clock, metrics = ManualClock(), RecordingMetrics()
    broker = MemoryBroker(partitions=partitions)
    source = MemorySource(broker, parsed.input.weights, clock)
    if unreachable:
        source.faults.fail("start", BrokerError("nobody there", True), times=10_000)
    if make_sink is None:
        sink = MemorySink(broker, transactional=transactional, limits=limits)
    else:
        sink = make_sink(broker, clock)
    if models:
        deployments = deploy_all(parsed, models, limit_bytes=sink.limit_bytes, calibrations={})
        plan = plan_for(parsed, deployments)
        model = cast("ScriptedClassifier", next(iter(models.values())))
    else:
        model = classifier or ScriptedClassifier()
        deployments = [
            deploy(parsed, model, limit_bytes=sink.limit_bytes, calibration=calibration),
            *(
                replace(deploy(parsed, other, limit_bytes=sink.limit_bytes), id=name)
                for name, other in (others or {}).items()
            ),
        ]
    deployment = deployments[0]
    pipeline = Pipeline(
        source=source,
        sink=sink,
        plan=plan or Single(deployment.id),
        deployments=deployments,
        decoder=decoder,
        settings=parsed,
        clock=clock,
        metrics=metrics,
    )
    task = asyncio.create_task(pipeline.run())
    await settle()
    try:
        yield Rig(broker, source, sink, model, deployment, pipeline, clock, metrics, task)
    finally:
        if isinstance(model, ScriptedClassifier):
            model.open.set()
        task.cancel()
        await asyncio.wait([task])
