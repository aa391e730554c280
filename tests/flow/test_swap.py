"""Another plan takes the place of the present one while records flow: none is lost or mixed up."""

import asyncio
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.canary import Canary, CanaryLimits
from streamlabel.consumer.batching.running_plan import RunningPlan
from streamlabel.consumer.core.device_room import OnDevices
from streamlabel.consumer.core.free_memory import shortage
from streamlabel.consumer.core.records import TopicPartition
from streamlabel.consumer.plans.opening import deploy_all, plan_for
from streamlabel.consumer.swapping import Swapper
from streamlabel.consumer.workers import Workers
from streamlabel.errors import DeploymentRefusedError, InferenceError, ModelLoadError
from streamlabel.models.core.classifier import ModelIdentity, Prediction
from streamlabel.models.devices.device_memory import DeviceMemory
from streamlabel.models.worker.worker_classifier import WorkerClassifier
from tests.doubles import settle
from tests.flow.rig import Rig, ScriptedClassifier, rig

FAKE = {"backend": "fake"}


@dataclass
class Named(ScriptedClassifier):
    """A model that says which one it is."""

    name: str = "a"
    yes: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        self.identity = ModelIdentity(self.name, "fake", "cpu", "float32", self.name * 8)

    async def classify(self, prepared: Any) -> Any:  # noqa: ANN401 as in the class above
        """Answer with the confidence of this model."""
        self.batches.append([str(item.payload) for item in prepared])
        await self.open.wait()
        if any("bad" in str(item.payload) and self.name == "bad" for item in prepared):
            raise InferenceError("this model cannot")
        return [Prediction((1 - self.yes, self.yes)) for _ in prepared]


def prepared(r: Rig, *models: Named, settings: Mapping[str, Any] | None = None) -> RunningPlan:
    wanted = Settings.model_validate(settings or {"model": FAKE, "routing": {"threshold": 0.5}})
    deployments = deploy_all(
        wanted,
        dict(zip(_ids(wanted), models, strict=True)),
        limit_bytes=r.sink.limit_bytes,
        calibrations={},
    )
    return r.pipeline.prepare(plan_for(wanted, deployments), deployments)


def _ids(settings: Settings) -> list[str]:
    return list(settings.tasks) or ["model"]


def answers(r: Rig, topic: str = "labels") -> list[tuple[int, str]]:
    """Offset and model of each output, in the order of the topic."""
    messages = [orjson.loads(each.value or b"") for each in r.broker.written(topic)]
    return [(each["source"]["offset"], each["model"]["name"]) for each in messages]


@pytest.mark.parametrize("transactional", [False, True])
async def test_records_read_before_a_swap_are_finished_by_the_plan_that_began_them(
    transactional: bool,
) -> None:
    async with rig(classifier=Named(), transactional=transactional) as r:
        r.classifier.open.clear()
        await r.send("one", "two")
        after = Named(name="b")
        swapping = asyncio.create_task(r.pipeline.plans.swap(prepared(r, after)))
        await settle()
        await r.send("three")
        assert after.batches == [["three"]], "the new plan does not wait for the old one"
        assert answers(r) == [], "outputs stay in input order"
        assert not swapping.done()
        r.classifier.open.set()
        await r.clock.advance(1)
        await swapping
        assert answers(r) == [(0, "a"), (1, "a"), (2, "b")]
        await r.send("four")
        await r.drain()
    assert answers(r)[-1] == (3, "b")
    assert len(r.classifier.batches) == 1
    assert r.committed() == 4


async def test_a_plan_that_begins_while_formats_fetch_fetches_before_it_gets_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetching = asyncio.Event()
    fetched: list[RunningPlan] = []

    async def prefetch(running: RunningPlan) -> None:
        await fetching.wait()
        fetched.append(running)

    async with rig(classifier=Named()) as r:
        monkeypatch.setattr(RunningPlan, "prefetch", prefetch)
        await r.send("one")
        after = Named(name="b")
        running = prepared(r, after)
        swapping = asyncio.create_task(r.pipeline.plans.swap(running))
        await settle()
        assert after.batches == []
        fetching.set()
        await r.clock.advance(1)
        await swapping
        assert after.batches == [["one"]]
        assert running in fetched
        await r.drain()
    assert answers(r) == [(0, "b")]


async def test_every_output_says_which_deployment_decided() -> None:
    async with rig(classifier=Named()) as r:
        await r.pipeline.plans.swap(prepared(r, Named(name="b")))
        await r.send("one")
        await r.pipeline.plans.swap(prepared(r, Named(name="c")))
        await r.send("two")
        await r.drain()
    messages = [orjson.loads(each.value or b"") for each in r.broker.written("labels")]
    first, second = (each["model"]["deployment_id"] for each in messages)
    assert first != second
    assert len(first) == 12


async def test_a_swap_empties_the_memory_of_repeats() -> None:
    repeats = {"repeats": {"max_items": 100}}
    async with rig(classifier=Named(), settings=repeats) as r:
        await r.send("same", "same")
        after = Named(name="b")
        await r.pipeline.plans.swap(prepared(r, after))
        await r.send("same")
        await r.drain()
    assert after.batches == [["same"]]
    assert answers(r)[-1] == (2, "b")


async def test_from_one_task_to_two_and_back() -> None:
    two = {"tasks": {"x": {"model": FAKE}, "y": {"model": FAKE}}}
    async with rig(classifier=Named()) as r:
        await r.send("one")
        await r.pipeline.plans.swap(prepared(r, Named(name="x"), Named(name="y"), settings=two))
        await r.send("two")
        await r.pipeline.plans.swap(prepared(r, Named(name="z")))
        await r.send("three")
        await r.drain()
    assert answers(r) == [(0, "a"), (1, "x"), (1, "y"), (2, "z")]


async def test_a_revoked_partition_does_not_hold_up_a_swap() -> None:
    settings = {"delivery": {"revoke_timeout_s": 0.1}}
    async with rig(classifier=Named(), partitions=2, settings=settings) as r:
        r.classifier.open.clear()
        await r.send("gone", partition=1)
        swapping = asyncio.create_task(r.pipeline.plans.swap(prepared(r, Named(name="b"))))
        await settle()
        revoke = asyncio.create_task(r.source.revoke([TopicPartition("texts", 1)]))
        await r.clock.advance(1)
        await revoke
        await asyncio.wait_for(swapping, 5)
        await r.send("stays")
        await r.drain()
    assert answers(r) == [(0, "b")]


async def test_a_drain_during_a_swap_finishes_both_plans() -> None:
    async with rig(classifier=Named()) as r:
        r.classifier.open.clear()
        await r.send("one")
        after = Named(name="b")
        swapping = asyncio.create_task(r.pipeline.plans.swap(prepared(r, after)))
        await settle()
        after.open.clear()
        await r.send("two")
        r.pipeline.drain()
        await r.clock.advance(1)
        r.classifier.open.set()
        after.open.set()
        await r.drain()
        await swapping
    assert answers(r) == [(0, "a"), (1, "b")]
    assert r.committed() == 2


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("seed", range(20))
async def test_swaps_at_random_moments_lose_and_double_nothing(
    seed: int, transactional: bool
) -> None:
    chance = random.Random(seed)
    names = "bcdefghij"
    async with rig(
        classifier=Named(), partitions=2, transactional=transactional,
        settings={"batching": {"max_in_flight_items": 6}},
    ) as r:  # fmt: skip
        models, swapping = [r.classifier], None
        for _ in range(40):
            action = chance.random()
            if action < 0.6:
                await r.send(f"t{chance.random()}", partition=chance.randrange(2))
            elif action < 0.8:
                gate = chance.choice(models).open
                gate.clear() if gate.is_set() else gate.set()
            elif (swapping is None or swapping.done()) and len(models) <= len(names):
                models.append(Named(name=names[len(models) - 1]))
                plan = prepared(r, models[-1])  # type: ignore[arg-type]  # it is Named
                swapping = asyncio.create_task(r.pipeline.plans.swap(plan))
            await r.clock.advance(chance.choice([0.1, 0.5]))
        for model in models:
            model.open.set()
        await r.clock.advance(5)
        await r.drain()
        r.check_no_commit_passes_an_undelivered_record()
    for partition in range(2):
        sent = len(r.broker.logs[TopicPartition("texts", partition)])
        assert r.sources("labels", partition) == list(range(sent))
    asked = [text for model in models for batch in model.batches for text in batch]
    assert len(asked) == len(set(asked)), "no record was given to two models"


# ---- canary


def limits(**changes: float) -> CanaryLimits:
    values: dict[str, Any] = {"share": 0.3, "records": 20, **changes}
    return CanaryLimits(**values)


async def canary(r: Rig, model: Named, **changes: float) -> Canary:
    made = Canary(prepared(r, model), limits(**changes), name="x")
    r.pipeline.plans.begin_canary(made)
    for n in range(150):
        await r.send(f"bad {n}")
    return made


async def test_a_canary_gets_its_share_and_is_not_worse() -> None:
    async with rig(classifier=Named()) as r:
        model = Named(name="b")
        made = await canary(r, model)
        assert made.has_enough.is_set()
        assert made.worse() is None
        share = sum(map(len, model.batches)) / 150
        assert 0.15 < share < 0.45
        await r.pipeline.plans.end_canary()
        await r.send("after")
        await r.drain()
    assert answers(r)[-1] == (150, "a")
    assert [offset for offset, _ in answers(r)] == list(range(151))


async def test_records_with_a_key_stay_with_one_plan() -> None:
    async with rig(classifier=Named()) as r:
        r.pipeline.plans.begin_canary(
            Canary(prepared(r, Named(name="b")), limits(share=0.5), name="x")
        )
        for n in range(60):
            value = orjson.dumps({"text": f"t{n}", "id": f"id{n}"})
            r.broker.append("texts", value, partition=0, key=b"key%d" % (n % 10))
        await settle()
        await r.drain()
    by_key: dict[int, set[str]] = {}
    for offset, model in answers(r):
        by_key.setdefault(offset % 10, set()).add(model)
    assert all(len(models) == 1 for models in by_key.values())
    assert {model for models in by_key.values() for model in models} == {"a", "b"}


async def test_a_canary_with_dead_letters_or_other_labels_is_worse() -> None:
    async with rig(classifier=Named()) as r:
        made = await canary(r, Named(name="bad"))
        await r.clock.advance(60)
        assert "became dead letters" in (made.worse() or "")
        await r.drain()
    async with rig(classifier=Named()) as r:
        made = await canary(r, Named(name="b", yes=0.05))
        assert "its labels differ by 1.00" in (made.worse() or "")
        await r.drain()


# ---- the whole procedure, with worker processes


class Bench:
    """A swapper on a rig, whose present model is scripted; the new ones are real processes."""

    def __init__(
        self,
        r: Rig,
        present: Mapping[str, Any] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        self.r = r
        self.opened: list[Workers] = []
        self.alive_at_once = 0
        self.breaks_after: int | None = None
        settings = Settings.model_validate(present or {"model": FAKE})
        self.present = Workers(settings, configure_worker=None)
        self.swapper = Swapper(
            settings,
            self.present,
            r.pipeline,
            limit_bytes=r.sink.limit_bytes,
            open_workers=self._open,
            on_swapped=lambda _: None,
            watch=lambda _: None,
            metrics=r.metrics,
            **options,
        )
        self._settings = settings

    async def begin(self) -> None:
        """Let the rig's pipeline use the present model in its process."""
        self.opened.append(self.present)
        classifiers = await self.present.load({"model": None})
        deployments = deploy_all(
            self._settings, classifiers, limit_bytes=self.r.sink.limit_bytes, calibrations={}
        )
        plan = plan_for(self._settings, deployments)
        await self.r.pipeline.plans.swap(self.r.pipeline.prepare(plan, deployments))

    def _open(self, settings: Settings) -> Workers:
        if self.breaks_after is not None and len(self.opened) >= self.breaks_after:
            settings = Settings.model_validate({"model": {**FAKE, "fail_on": "Hello"}})
        bench = self

        class Counting(Workers):
            """Counts the processes that there are when one is loaded."""

            async def load(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
                found = await super().load(*arguments, **options)
                alive = [pid for pid in bench.pids() if pid is not None]
                bench.alive_at_once = max(bench.alive_at_once, len(alive))
                return found

        self.opened.append(Counting(settings, configure_worker=None))
        return self.opened[-1]

    def pids(self) -> list[int | None]:
        """Processes that are there."""
        return [each.pid for workers in self.opened for each in workers.processes.values()]

    async def swap(self, settings: Mapping[str, Any], **options: Any) -> None:  # noqa: ANN401
        """Swap to these settings."""
        await self.swapper.swap(Settings.model_validate(settings), **options)

    async def close(self) -> None:
        """End what was opened."""
        for workers in self.opened:
            await workers.close()


async def test_a_swap_loads_a_process_and_ends_the_one_before() -> None:
    async with rig(classifier=Named()) as r:
        bench = Bench(r)
        await r.send("one")
        await bench.swap({"model": {**FAKE, "labels": ["p", "q"]}})
        first = bench.pids()[0]
        await r.send("two")
        await bench.swap({"model": {**FAKE, "labels": ["v", "w"]}})
        await r.send("three")
        assert first not in bench.pids(), "the process of the first swap has ended"
        await r.drain()
        await bench.close()
    messages = [
        orjson.loads(each.value or b"")
        for topic in ("labels", "review")
        for each in r.broker.written(topic)
    ]
    found = {each["source"]["offset"]: set(each["probabilities"]) for each in messages}
    assert found == {0: {"no", "yes"}, 1: {"p", "q"}, 2: {"v", "w"}}
    assert r.metrics.total("swaps", outcome="swapped") == 2


@pytest.mark.parametrize(
    ("settings", "options", "why"),
    [
        ({"model": FAKE, "input": {"topic": "else"}}, {}, "input: a swap changes only model"),
        (
            {"tasks": {"a": {"model": FAKE, "output": {"labels_topic": "new"}}}},
            {},
            "new: a swap cannot add output topics",
        ),
        ({"model": {"backend": "encoder", "path": "/missing"}}, {}, "/missing"),
        ({"model": FAKE, "routing": {"thresholds": {"zzz": 0.5}}}, {}, "zzz: unknown label"),
        ({"model": FAKE}, {"digests": {"model": "beef"}}, "the digest of the model is"),
        ({"model": FAKE}, {"digests": {"other": "beef"}}, "other, which is no model"),
        ({"model": {**FAKE, "fail_on": "Hello"}}, {}, "the model fails on a fixed text"),
        (
            {
                "cascade": [
                    {"name": "x", "model": FAKE},
                    {"name": "y", "model": {**FAKE, "labels": ["u", "v"]}},
                ]
            },
            {},
            r"cascade\[0\].labels",
        ),
    ],
)
async def test_what_cannot_work_is_refused_and_the_present_model_stays(
    settings: dict[str, Any], options: dict[str, Any], why: str
) -> None:
    async with rig(classifier=Named()) as r:
        bench = Bench(r)
        with pytest.raises(DeploymentRefusedError, match=why):
            await bench.swap(settings, **options)
        await r.send("one")
        await r.drain()
    assert answers(r) == [(0, "a")]
    assert r.metrics.total("swaps", outcome="refused") == 1
    assert r.metrics.total("swaps", outcome="swapped") == 0


async def test_a_worse_canary_is_refused_and_its_process_ends() -> None:
    async with rig(classifier=Named()) as r:
        bench = Bench(r)
        wanted = {"model": {**FAKE, "labels": ["p", "q"]}}
        trial = limits(share=0.5, records=10)
        swapping = asyncio.create_task(bench.swap(wanted, canary=trial))
        while not swapping.done():
            await r.send(*(f"t{r.broker.logs and n}" for n in range(5)))
            await asyncio.sleep(0.05)
        with pytest.raises(DeploymentRefusedError, match="the canary is worse: its labels differ"):
            await swapping
        before = len(answers(r))
        await r.send("after")
        await r.drain()
    assert answers(r)[-1][1] == "a"
    assert before > 0
    total = len(r.broker.logs[TopicPartition("texts", 0)])
    written = {
        outbound.position.offset for t in ("labels", "review") for outbound in r.broker.written(t)
    }
    assert written == set(range(total))


async def test_a_swap_that_is_cancelled_leaves_the_present_model() -> None:
    async with rig(classifier=Named()) as r:
        bench = Bench(r)
        swapping = asyncio.create_task(bench.swap({"model": {**FAKE, "labels": ["p", "q"]}}))
        await asyncio.sleep(0.2)
        swapping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await swapping
        await r.send("one")
        await r.drain()
    assert answers(r) == [(0, "a")]


# ---- where memory is short


AFTER = {"worker": {"swap": "after"}}
PQ = {"model": {**FAKE, "labels": ["p", "q"]}}


async def started(r: Rig, settings: Mapping[str, Any], **options: Any) -> Bench:  # noqa: ANN401
    """A bench whose present model is a process, too."""
    bench = Bench(r, settings, **options)
    await bench.begin()
    return bench


def labels_by_offset(r: Rig) -> dict[int, set[str]]:
    written = [each for topic in ("labels", "review") for each in r.broker.written(topic)]
    messages = [orjson.loads(each.value or b"") for each in written]
    found = {each["source"]["offset"]: set(each["probabilities"]) for each in messages}
    assert len(found) == len(messages), "nothing is written twice"
    return found


async def send_all_the_while(r: Rig, swapping: asyncio.Task[None]) -> int:
    """Send records until a swap has ended, and return their number."""
    sent = 0
    while not swapping.done():
        await r.send(f"text {sent}")
        sent += 1
        await asyncio.sleep(0.01)
    return sent


@pytest.mark.parametrize("transactional", [False, True])
async def test_without_memory_for_both_the_new_model_loads_after_the_old_one_has_ended(
    transactional: bool,
) -> None:
    async with rig(classifier=Named(), transactional=transactional) as r:
        bench = await started(r, {"model": FAKE, **AFTER})
        [before] = bench.pids()
        loading = asyncio.create_task(bench.swap({**PQ, **AFTER}))
        sent = await send_all_the_while(r, loading)
        await loading
        assert bench.alive_at_once == 1
        assert before not in bench.pids()
        await r.send("last")
        await r.drain()
        await bench.close()
    found = labels_by_offset(r)
    assert set(found) == set(range(sent + 1)), "nothing is lost"
    assert found[sent] == {"p", "q"}
    assert r.committed() == sent + 1


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"model": {**FAKE, "fail_on": "Hello"}}, "the model fails on a fixed text"),
        ({"model": FAKE, "routing": {"thresholds": {"zzz": 0.5}}}, "zzz: unknown label"),
    ],
)
async def test_a_model_that_fails_after_the_old_one_has_ended_brings_the_old_one_back(
    wanted: dict[str, Any], why: str
) -> None:
    async with rig(classifier=Named()) as r:
        bench = await started(r, {**PQ, **AFTER})
        loading = asyncio.create_task(bench.swap({**wanted, **AFTER}))
        sent = await send_all_the_while(r, loading)
        with pytest.raises(DeploymentRefusedError, match=why):
            await loading
        await r.send("last")
        await r.drain()
        await bench.close()
    found = labels_by_offset(r)
    assert set(found) == set(range(sent + 1))
    assert found[sent] == {"p", "q"}, "the model before it"
    assert r.metrics.total("swaps", outcome="refused") == 1


@pytest.mark.parametrize("is_held", [False, True])
async def test_a_swap_that_is_cancelled_while_reading_pauses_leaves_the_old_model(
    is_held: bool,
) -> None:
    async with rig(classifier=Named()) as r:
        bench = await started(r, {**PQ, **AFTER})
        [before] = bench.pids()
        loading = asyncio.create_task(bench.swap({"model": FAKE, **AFTER}))
        sent = 0
        while is_held and not r.pipeline.is_held:
            await r.send(f"text {sent}")
            sent += 1
        await settle()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert (before in bench.pids()) is not is_held, "it was loaded again only if it had ended"
        await r.send("last")
        await r.drain()
        await bench.close()
    found = labels_by_offset(r)
    assert found == {place: {"p", "q"} for place in range(sent + 1)}


async def test_the_service_ends_if_the_old_model_cannot_be_loaded_again() -> None:
    async with rig(classifier=Named()) as r:
        bench = await started(r, {**PQ, **AFTER})
        bench.breaks_after = len(bench.opened)
        loading = asyncio.create_task(bench.swap({"model": FAKE, **AFTER}))
        await send_all_the_while(r, loading)
        with pytest.raises(DeploymentRefusedError, match="the model fails on a fixed text"):
            await loading
        with pytest.raises(ModelLoadError, match="the models before it cannot be loaded again"):
            await r.task
        await bench.close()


@pytest.mark.parametrize(
    ("free", "way", "pauses"),
    [(1, "auto", True), (1, "beside", False), (1 << 40, "auto", False), (None, "auto", False)],
)
async def test_free_memory_decides_whether_reading_pauses(
    free: int | None, way: str, pauses: bool, tmp_path: Path
) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(1000)
    wanted = {"model": {"backend": "encoder", "path": str(tmp_path)}, "worker": {"swap": way}}
    settings = Settings.model_validate(wanted)
    # the files fit where the present model ends, whose process is this one
    present = OnDevices(settings)
    found = await asyncio.to_thread(shortage, settings, [os.getpid()], lambda: free, present)
    assert (found is not None) == pauses
    assert pauses == ("loading the new models may take" in (found or ""))


async def test_a_model_that_does_not_fit_alone_is_refused_without_a_pause(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(1 << 42)  # a file with holes
    wanted = {"model": {"backend": "encoder", "path": str(tmp_path)}}
    async with rig(classifier=Named()) as r:
        bench = await started(r, PQ, free_bytes=lambda: 1 << 20)
        [before] = bench.pids()
        with pytest.raises(DeploymentRefusedError, match=r"have 4096.00 GiB, but only 0\.\d+ GiB"):
            await bench.swap(wanted)
        assert bench.pids() == [before]
        await r.send("one")
        await r.drain()
        await bench.close()
    assert labels_by_offset(r) == {0: {"p", "q"}}


async def test_the_worker_is_asked_for_the_memory_of_its_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer of a real process: it computes on a CPU, so that nothing is known."""
    asked: list[DeviceMemory | None] = []
    ask = WorkerClassifier.device_memory

    async def told(self: WorkerClassifier, *, within_s: float) -> DeviceMemory:
        asked.append(await ask(self, within_s=within_s))
        return DeviceMemory("cuda:0", free_bytes=1, total_bytes=1 << 40)

    monkeypatch.setattr(WorkerClassifier, "device_memory", told)
    async with rig(classifier=Named()) as r:
        bench = await started(r, PQ)
        devices, memories = await bench.present.on_devices()
        assert (devices, memories) == ({"model": "cpu"}, ())
        gpu = Named(name="gpu")
        gpu.identity = replace(gpu.identity, device="cuda:0")
        bench.present.classifiers["model"] = gpu
        _, memories = await bench.present.on_devices()
        assert asked == [None]
        assert [each.device for each in memories] == ["cuda:0"]
        await r.drain()
        await bench.close()


async def test_a_canary_without_memory_for_both_is_refused() -> None:
    async with rig(classifier=Named()) as r:
        bench = await started(r, {**PQ, **AFTER})
        with pytest.raises(DeploymentRefusedError, match="a canary needs memory for both"):
            await bench.swap({"model": FAKE, **AFTER}, canary=limits(share=0.5, records=10))
        await r.drain()
        await bench.close()


async def test_a_drain_while_reading_pauses_ends_the_service() -> None:
    async with rig(classifier=Named()) as r:
        bench = await started(r, {**PQ, **AFTER})
        loading = asyncio.create_task(bench.swap({"model": FAKE, **AFTER}))
        await asyncio.sleep(0.2)
        await r.drain()
        loading.cancel()
        await asyncio.wait([loading])
        await bench.close()
    assert r.task.done()
