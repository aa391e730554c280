"""Encoders with the same trunk are computed together, with the results that each has alone."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from safetensors.torch import load_file, save_file

from streamlabel.config.model import EncoderSettings
from streamlabel.config.settings import Settings
from streamlabel.consumer.swapping import Swapper
from streamlabel.consumer.workers import Workers
from streamlabel.errors import InferenceError, NotJoinedError
from streamlabel.models.core.classifier import Prediction
from streamlabel.models.core.joint import HeadClassifier
from streamlabel.models.core.system_clock import SystemClock
from streamlabel.models.encoder.classifier import load
from streamlabel.models.encoder.joint import JointEncoder, load_joint
from streamlabel.models.encoder.trunk import Sharing, find_shared_trunks, trunk_digest
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.tokens.text_tokenizer import Cut, TextTokenizer
from streamlabel.tools.plan_check import check_models
from streamlabel.tools.preflight import PreflightCheck
from tests.flow.rig import rig
from tests.models.test_families import KINDS, POSITIONS, build
from tests.models.tiny import LABELS, with_other_head

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
]
TEXTS = ["good match", "a", "", "the rain is bad!", "the " * 80, "stocks", "好 rain"]
MULTI = ("insult", "threat")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take most of the time with models that are this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two tasks with the same trunk, and one with another."""
    root = tmp_path_factory.mktemp("bert")
    one = build(root / "one", "Bert")
    other = with_other_head(one, root / "two", labels=("p", "q"))
    return {"one": one, "two": other, "apart": changed(one, root / "apart")}


def changed(folder: Path, target: Path) -> Path:
    """A copy with one other number in the first layer."""
    with_other_head(folder, target, labels=LABELS)
    tensors = load_file(target / "model.safetensors")
    name = next(name for name in tensors if "layer.0" in name and name.endswith("weight"))
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[0] += 1e-3
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def settings(folder: Path, **more: Any) -> EncoderSettings:  # noqa: ANN401 settings of any type
    return EncoderSettings.model_validate({"path": str(folder), "device": "cpu", **more})


async def answers(classifier: Any) -> list[Prediction]:  # noqa: ANN401 any classifier
    """Predictions of the texts, in two batches."""
    prepared = await classifier.prepare(TEXTS)
    assert not [each for each in prepared if isinstance(each, InferenceError)]
    found = [*await classifier.classify(prepared[:4]), *await classifier.classify(prepared[4:])]
    assert all(isinstance(each, Prediction) for each in found)
    return found


def check_equal(ours: list[Prediction], alone: list[Prediction]) -> None:
    for mine, right in zip(ours, alone, strict=True):
        assert mine.probabilities is not None
        assert right.probabilities is not None
        assert np.abs(np.subtract(mine.probabilities, right.probabilities)).max() < 1e-6
        assert np.allclose(mine.log_scores or (), right.log_scores or (), rtol=1e-5, atol=1e-5)
        about = (mine.truncated, mine.review_reasons, mine.unknown_share, mine.is_unreadable)
        assert about == (
            right.truncated, right.review_reasons, right.unknown_share, right.is_unreadable,
        )  # fmt: skip


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Two models of each family with the same trunk: one label, and several labels of a text."""
    root = tmp_path_factory.mktemp("pairs")
    multi: dict[str, Any] = {"labels": MULTI, "problem_type": "multi_label_classification"}
    found = {}
    for kind in KINDS.values():
        first = build(root / kind, kind, max_position_embeddings=POSITIONS)
        found[kind] = first, with_other_head(first, root / f"{kind}2", **multi)
    return found


@pytest.mark.parametrize("kind", KINDS.values())
@pytest.mark.parametrize(
    "policy", [{}, {"long_text": "windows", "max_tokens": 32, "window_stride_tokens": 8}]
)
async def test_every_head_answers_as_the_model_alone(
    kind: str, policy: Mapping[str, Any], pairs: Mapping[str, tuple[Path, Path]]
) -> None:
    both = [settings(folder, **policy) for folder in pairs[kind]]
    named = {"first": both[0], "second": both[1]}
    sharing = await asyncio.to_thread(find_shared_trunks, named)
    assert sharing.groups == (("first", "second"),)
    joint = await asyncio.to_thread(load_joint, both)
    for number, each in enumerate(both):
        alone = await asyncio.to_thread(load, each)
        head = HeadClassifier(joint, joint.heads, number)
        assert head.labels == alone.labels
        assert head.identity.digest == alone.identity.digest
        check_equal(await answers(head), await answers(alone))
        await alone.close()
    await joint.close()


async def test_a_head_without_a_usable_answer_leaves_the_others(bert: Mapping[str, Path]) -> None:
    class Broken(JointEncoder):
        def _answers(self, prepared: Any, logits: Any) -> Any:  # noqa: ANN401 as in the class above
            logits[:, 0] = np.inf
            return super()._answers(prepared, logits)

    joint = await asyncio.to_thread(load_joint, [settings(bert["one"]), settings(bert["two"])])
    joint.__class__ = Broken
    one, two = (HeadClassifier(joint, joint.heads, number) for number in (0, 1))
    prepared = await joint.prepare(["good"])
    [failed], [stands] = await one.classify(prepared), await two.classify(prepared)  # type: ignore[arg-type]
    assert isinstance(failed, InferenceError)
    assert "not finite" in str(failed)
    assert isinstance(stands, Prediction)
    await joint.close()


def test_one_number_or_one_byte_keeps_models_apart(
    bert: Mapping[str, Path], tmp_path: Path
) -> None:
    one, two, apart = (trunk_digest(open_checkpoint(settings(each))) for each in bert.values())
    assert one == two != apart
    models = {name: settings(folder) for name, folder in bert.items()}
    assert find_shared_trunks(models).groups == (("one", "two"),)
    other = with_other_head(bert["one"], tmp_path / "tokens", labels=LABELS)
    path = other / "tokenizer.json"
    path.write_text(path.read_text().replace('"match"', '"watch"'))
    models = {"one": models["one"], "tokens": settings(other)}
    assert find_shared_trunks(models).groups == ()
    with pytest.raises(NotJoinedError, match="weights of their encoders differ"):
        load_joint([settings(bert["one"]), settings(bert["apart"])])


@pytest.mark.parametrize(
    "more", [{"max_tokens": 16}, {"long_text": "review"}, {"dtype": "bfloat16"}, {"threads": 1}]
)
def test_other_settings_keep_models_apart_and_the_reason_names_them(
    bert: Mapping[str, Path], more: dict[str, Any]
) -> None:
    models = {"one": settings(bert["one"]), "two": settings(bert["two"], **more)}
    sharing = find_shared_trunks(models)
    assert sharing.groups == ()
    [why] = sharing.apart
    assert f" {next(iter(more))} (" in why


def test_what_cannot_be_read_is_left_to_its_own_loading(
    bert: Mapping[str, Path], tmp_path: Path
) -> None:
    broken = with_other_head(bert["one"], tmp_path / "broken", labels=LABELS)
    (broken / "model.safetensors").write_bytes(b"\0" * 20)
    models = {
        "one": settings(bert["one"]),
        "broken": settings(broken),
        "two": settings(bert["two"]),
    }
    assert find_shared_trunks(models).groups == (("one", "two"),)
    assert (
        find_shared_trunks({"one": models["one"], "none": settings(tmp_path / "no")}).groups == ()
    )


def both_tasks(one: Path, two: Path) -> dict[str, Any]:
    sure = {"threshold": 0.01}
    return {
        "tasks": {
            "first": {"model": settings(one).model_dump(), "routing": sure},
            "second": {"model": settings(two).model_dump(), "routing": sure},
        },
        "output": {"probabilities": "all"},
    }


@pytest.mark.timeout(240)  # a process for each model imports torch
async def test_check_says_which_tasks_share_an_encoder(bert: Mapping[str, Path]) -> None:
    async def said(second: Path, **more: Any) -> list[PreflightCheck]:  # noqa: ANN401
        tasks = both_tasks(bert["one"], second)
        tasks["tasks"]["second"]["model"].update(more)
        wanted = Settings.model_validate(tasks)
        checks = check_models(wanted, clock=SystemClock(), configure_worker=None, topics={})
        return [each async for each in checks if each.name == "encoders"]

    [shared] = await said(bert["two"])
    assert shared.detail == "first, second: the same encoder, computed once for all"
    [apart] = await said(bert["two"], max_tokens=32)
    assert "max_tokens (None and 32); make them equal to compute it once" in apart.warnings[0]
    assert await said(bert["apart"]) == []


async def test_a_swap_to_another_trunk_ends_the_sharing_without_a_lost_record(
    bert: Mapping[str, Path],
) -> None:
    shared = Settings.model_validate(both_tasks(bert["one"], bert["two"]))
    workers = Workers(shared, configure_worker=None)
    opened = [workers]

    def open_workers(wanted: Settings) -> Workers:
        opened.append(Workers(wanted, configure_worker=None))
        return opened[-1]

    classifiers = await workers.load({"first": None, "second": None})
    assert len({each.pid for each in workers.processes.values()}) == 1
    async with rig(settings=both_tasks(bert["one"], bert["two"]), models=classifiers) as r:
        swapper = Swapper(
            shared,
            workers,
            r.pipeline,
            limit_bytes=r.sink.limit_bytes,
            open_workers=open_workers,
            on_swapped=lambda _: None,
            watch=lambda _: None,
            metrics=r.metrics,
        )
        await r.send(*TEXTS[:4])
        swapping = asyncio.create_task(
            swapper.swap(Settings.model_validate(both_tasks(bert["one"], bert["apart"])))
        )
        await r.send("good")
        await swapping
        await r.send("bad", "rain")
        assert len({each.pid for each in opened[1].processes.values()}) == 2
        await r.drain()
        for each in opened:
            await each.close()
    written = [orjson.loads(each.value or b"") for each in r.broker.written("labels")]
    # the empty text is a dead letter of both tasks
    found = sorted((each["source"]["offset"], each["task"]) for each in written)
    places = [0, 1, 3, 4, 5, 6]
    assert found == [(place, task) for place in places for task in ("first", "second")]
    assert {len(each["probabilities"]) for each in written if each["source"]["offset"] > 4} == {3}


@pytest.mark.timeout(240)  # two processes import transformers
async def test_models_that_transformers_computes_are_loaded_apart(
    bert: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a key that no table knows
    odd: dict[str, Any] = {"labels": LABELS, "pruned_heads": {"0": []}}
    padded = [
        await asyncio.to_thread(with_other_head, bert[name], tmp_path / name, **odd)
        for name in ("one", "two")
    ]
    named = {"first": settings(padded[0]), "second": settings(padded[1])}
    assert (await asyncio.to_thread(find_shared_trunks, named)).groups == ()
    # as if the files had said that they can be computed together
    both = Sharing((("first", "second"),))
    monkeypatch.setattr("streamlabel.consumer.workers.find_shared_trunks", lambda _: both)
    with pytest.raises(NotJoinedError, match="transformers computes them"):
        await asyncio.to_thread(load_joint, [settings(each) for each in padded])
    workers = Workers(Settings.model_validate(both_tasks(*padded)), configure_worker=None)
    try:
        await workers.load({"first": None, "second": None})
        assert len({each.pid for each in workers.processes.values()}) == 2
    finally:
        await workers.close()


async def test_tasks_with_one_tokenizer_and_two_trunks_tokenise_each_text_once(
    bert: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    encode = TextTokenizer.encode

    def counting(self: TextTokenizer, texts: Sequence[str]) -> list[Cut | InferenceError]:
        counted.extend(texts)
        return encode(self, texts)

    named = {"first": bert["one"], "second": bert["apart"]}
    models = {name: await asyncio.to_thread(load, settings(each)) for name, each in named.items()}
    alone = {name: await answers(each) for name, each in models.items()}
    other = await asyncio.to_thread(load, settings(bert["one"], max_tokens=32))
    ways = [each.hints.prepared_by for each in (*models.values(), other)]
    assert ways[0] == ways[1] != ways[2], "a shorter row is another way to read"
    monkeypatch.setattr(TextTokenizer, "encode", counting)
    texts = [text for text in TEXTS if text]
    async with rig(settings=both_tasks(*named.values()), models=models) as r:
        await r.send(*texts)
        async with asyncio.timeout(15):
            # the models compute in threads, in real time; the double of the broker tells nobody
            while len(r.broker.written("labels")) < 2 * len(texts):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await r.drain()
    assert sorted(counted) == sorted(texts)
    written = [orjson.loads(each.value or b"") for each in r.broker.written("labels")]
    for name, right in alone.items():
        found = [each["probabilities"] for each in written if each["task"] == name]
        wanted = [answer for text, answer in zip(TEXTS, right, strict=True) if text]
        for mine, answer in zip(found, wanted, strict=True):
            ours = [mine[label] for label in models[name].labels.names]
            assert ours == pytest.approx(answer.probabilities, abs=1e-5)
    for each in (*models.values(), other):
        await each.close()
