"""A cascade in two services: what goes through the topic between them, and what comes out."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from streamlabel.config.deployments import all_deployments, in_one_process
from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.output.schemas import LabelMessage, ReviewMessage
from streamlabel.consumer.plans.escalation import HEADER
from streamlabel.errors import ConfigError
from streamlabel.models.core.classifier import Prediction
from tests.flow.rig import Rig, ScriptedClassifier, rig
from tests.flow.test_several_models import Immune, Other, messages

FAKE = {"backend": "fake"}
SURE = {"threshold": 0.8}


def settings(*, later: bool = False, deadline_s: float | None = 5, **first: Any) -> dict[str, Any]:  # noqa: ANN401 settings of the first stage
    return {
        "input": {"topic": "escalate" if later else "texts"},
        "cascade": [
            {"name": "fast", "model": FAKE, "routing": SURE, **first},
            {
                "name": "slow",
                "model": FAKE,
                "routing": SURE,
                "escalate": "escalate",
                "deadline_s": deadline_s,
            },
        ],
    }


class Certain(ScriptedClassifier):
    """Sure of what the first stage is not."""

    @staticmethod
    def _answer(text: str) -> Prediction:
        return Prediction((0.03, 0.97)) if "yes" in text else Other._answer(text)


async def escalated(*texts: str, **more: Any) -> tuple[list[Outbound], Rig]:  # noqa: ANN401 settings
    async with rig(settings=settings(**more), models={"fast": ScriptedClassifier()}) as first:
        await first.send(*texts)
        await first.drain()
    assert first.committed() == len(texts)
    return first.broker.written("escalate"), first


async def later(
    outbounds: list[Outbound],
    *,
    headers: Mapping[str, bytes | None] | None = None,
    waits_s: float = 0.0,
    **more: Any,  # noqa: ANN401 settings
) -> Rig:
    models = {"slow": Certain()}
    async with rig(settings=settings(later=True, **more), models=models) as second:
        await second.clock.advance(waits_s)
        for each in outbounds:
            own = tuple((dict(each.headers) | dict(headers or {})).items())
            second.broker.append("escalate", each.value, key=each.key, headers=own)
        await second.clock.advance(0.1)
        await second.drain()
    return second


async def test_what_the_first_service_is_not_sure_of_goes_on_as_it_came() -> None:
    outbounds, first = await escalated("0.9 a", "0.6 b", "0.9 poison")
    assert first.sources("labels") == [0]
    assert [each.position.offset for each in outbounds] == [1, 2]
    assert first.broker.written("review") == first.broker.written("dead-letters") == []
    assert orjson.loads(outbounds[0].value or b"") == {"text": "0.6 b"}
    told = orjson.loads(dict(outbounds[0].headers)[HEADER] or b"")
    assert told["id"] == "texts-0-1"
    [said] = told["stages"]
    assert (said["stage"], said["label"], said["reasons"]) == ("fast", "yes", ["low_confidence"])
    [failed] = orjson.loads(dict(outbounds[1].headers)[HEADER] or b"")["stages"]
    assert failed["error"] == "inference_error"
    assert first.metrics.total("results", route="escalate", stage="fast") == 2
    assert first.metrics.total("results", route="label", stage="fast") == 1


async def test_outputs_of_the_later_service_say_what_all_stages_said() -> None:
    outbounds, _ = await escalated("0.6 b", "0.6 vague")
    second = await later(outbounds)
    [label] = messages(second, "labels")
    assert (label["id"], label["label"], label["stage"]) == ("texts-0-0", "no", "slow")
    assert label["source"]["topic"] == "texts"
    assert [(s["stage"], s["label"]) for s in label["stages"]] == [("fast", "yes"), ("slow", "no")]
    [review] = messages(second, "review")
    assert (review["id"], review["reasons"]) == ("texts-0-1", ["low_confidence"])
    LabelMessage.model_validate_json(orjson.dumps(label))
    ReviewMessage.model_validate_json(orjson.dumps(review))
    assert not any(
        name == HEADER for each in second.broker.written("labels") for name, _ in each.headers
    )


async def test_a_text_that_failed_before_is_decided_later() -> None:
    outbounds, _ = await escalated("0.9 poison")
    second = await later([replace_text(each, "fine") for each in outbounds])
    [label] = messages(second, "labels")
    assert [s["reasons"] for s in label["stages"]] == [["inference_error"], []]


def replace_text(outbound: Outbound, text: str) -> Outbound:
    return Outbound(
        outbound.topic,
        outbound.key,
        orjson.dumps({"text": text}),
        outbound.headers,
        outbound.position,
    )


async def test_two_sure_stages_that_differ_are_a_disagreement() -> None:
    # the first one reached its threshold, and has another reason to be unsure
    margin: dict[str, Any] = {"routing": {"threshold": 0.8, "margin": 0.9}}
    outbounds, _ = await escalated("0.9 no", "0.9 yes", **margin)
    second = await later(outbounds, **margin)
    [review] = messages(second, "review")
    assert (review["reasons"], review["id"]) == (["disagreement"], "texts-0-0")
    [label] = messages(second, "labels")
    assert label["id"] == "texts-0-1"


async def test_after_the_deadline_the_result_of_the_earlier_stage_goes_to_review() -> None:
    outbounds, first = await escalated("0.6 b")
    assert first.clock.epoch_ms() >= 0
    second = await later(outbounds, waits_s=60)
    [review] = messages(second, "review")
    assert review["reasons"] == ["low_confidence", "deadline"]
    assert (review["label"], review["probabilities"]["yes"]) == ("yes", 0.6)
    assert [s["stage"] for s in review["stages"]] == ["fast", "slow"]
    assert review["model"]["digest"] == "d" * 8
    assert second.classifier.batches == []


async def test_without_a_deadline_the_wait_has_no_limit() -> None:
    outbounds, _ = await escalated("0.6 b", deadline_s=None)
    second = await later(outbounds, waits_s=60, deadline_s=None)
    assert len(messages(second, "labels")) == 1


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"schema": "streamlabel.escalation/v2"}',
        b'{"schema": "streamlabel.escalation/v1", "source": ["a", 1], "due_ms": null}',
        b'{"schema": "streamlabel.escalation/v1", "id": "x", "event_time_ms": 0, "due_ms": null,'
        b' "source": ["a", 0, 1, 2], "stages": [{"stage": "fast", "model": {}}]}',
    ],
)
async def test_a_record_that_no_stage_wrote_is_a_dead_letter(header: bytes | None) -> None:
    outbounds, _ = await escalated("0.6 b")
    second = await later(outbounds, headers={HEADER: header})
    [dead] = second.broker.written("dead-letters")
    assert ("streamlabel-error-reason", b"bad_escalation") in dead.headers


async def test_a_header_that_a_record_brings_along_counts_for_nothing() -> None:
    async with rig(settings=settings(), models={"fast": ScriptedClassifier()}) as first:
        first.broker.append(
            "texts", b'{"text": "0.6 b"}', headers=((HEADER, b"forged"), ("x", b"1"))
        )
        await first.clock.advance(0.1)
        await first.drain()
    [outbound] = first.broker.written("escalate")
    assert [name for name, _ in outbound.headers] == ["x", HEADER]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cascade": {0: {"escalate": "x"}}}, "the first stage reads input.topic"),
        ({"cascade": {1: {"max_waiting_items": 3}}}, "deadline_s limits the wait"),
        ({"cascade": {1: {"escalate": "labels"}}}, "every topic needs a different name"),
        (
            {"input": {"topics": [{"name": "escalate"}, {"name": "texts"}]}},
            "a service that reads this topic reads no other one",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    values = settings()
    for index, more in change.get("cascade", {}).items():
        values["cascade"][index] |= more
    values |= {name: more for name, more in change.items() if name != "cascade"}
    with pytest.raises(ValueError, match=message):
        Settings.model_validate(values)


def in_tasks(*, later: bool = False, **more: Any) -> dict[str, Any]:  # noqa: ANN401 settings
    """The cascade as that of a task, beside another one."""
    of_task = {"cascade": settings()["cascade"], "output": {"review_topic": "hard"}, **more}
    return {
        "input": {"topic": "escalate" if later else "texts"},
        "tasks": {
            "moderation": of_task,
            "topic": {"model": FAKE, "routing": SURE, "output": {"labels_topic": "topics"}},
        },
    }


def outcomes(*rigs: Rig) -> set[tuple[Any, ...]]:
    """What was written about each record, wherever it was decided."""
    told = [
        (topic, m["id"], m["task"], m["label"], m.get("stage"), tuple(m["reasons"]))
        for r in rigs
        for topic in ("labels", "topics", "review", "hard")
        for m in messages(r, topic)
    ]
    assert len(set(told)) == len(told)
    return set(told)


@pytest.mark.parametrize("transactional", [False, True])
async def test_the_cascade_of_a_task_has_the_same_outputs_in_two_services(
    transactional: bool,
) -> None:
    texts = ["0.9 a", "0.6 b", "0.6 vague", "0.95 vague", "0.7 yes"]
    models = {
        "moderation/fast": ScriptedClassifier(),
        "moderation/slow": Certain(),
        "topic": Immune(),
    }
    alone = in_tasks()
    del alone["tasks"]["moderation"]["cascade"][1]["escalate"]
    async with rig(settings=alone, models=models, transactional=transactional) as one:
        await one.send(*texts)
        await one.drain()
    first_models = {name: models[name] for name in ("moderation/fast", "topic")}
    async with rig(settings=in_tasks(), models=first_models, transactional=transactional) as first:
        await first.send(*texts)
        await first.drain()
    assert first.committed() == len(texts)
    assert first.metrics.total("results", task="moderation", stage="fast", route="escalate") == 3
    second_models = {"moderation/slow": models["moderation/slow"]}
    async with rig(settings=in_tasks(later=True), models=second_models) as second:
        for each in first.broker.written("escalate"):
            second.broker.append("escalate", each.value, key=each.key, headers=each.headers)
        await second.clock.advance(0.1)
        await second.drain()
    assert outcomes(first, second) == outcomes(one)
    assert len(outcomes(one)) == 2 * len(texts)
    for each in second.broker.written("labels"):
        assert ("streamlabel-task", b"moderation") in each.headers


async def test_after_the_deadline_the_review_is_that_of_the_task() -> None:
    condition = {"metadata": {"x": 1}}  # only the first service asks for it
    models = {"moderation/fast": ScriptedClassifier(), "topic": Immune()}
    async with rig(settings=in_tasks(when=condition), models=models) as first:
        await first.send_raw(
            b'{"text": "0.6 b", "metadata": {"x": 1}}', b'{"text": "0.6 c", "metadata": {"x": 2}}'
        )
        await first.drain()
    [escalation] = first.broker.written("escalate")
    assert escalation.position.offset == 0
    late = in_tasks(later=True, when={"metadata": {"x": 3}})
    async with rig(settings=late, models={"moderation/slow": Certain()}) as second:
        await second.clock.advance(60)
        second.broker.append("escalate", escalation.value, headers=escalation.headers)
        await second.clock.advance(0.1)
        await second.drain()
    [review] = messages(second, "hard")
    assert (review["task"], review["reasons"]) == ("moderation", ["low_confidence", "deadline"])
    assert second.broker.written("topics") == []


def test_each_service_has_the_models_of_its_part() -> None:
    one, two = (Settings.model_validate(in_tasks(later=later)) for later in (False, True))
    assert [each.id for each in all_deployments(one)] == ["moderation/fast", "topic"]
    assert [each.id for each in all_deployments(two)] == ["moderation/slow"]
    assert len(all_deployments(two, everywhere=True)) == 3
    assert one.output_topics == ("labels", "topics", "hard", "review", "dead-letters", "escalate")
    assert two.output_topics == ("labels", "hard", "dead-letters")
    whole = in_one_process(one)
    assert [each.id for each in all_deployments(whole)] == [
        "moderation/fast", "moderation/slow", "topic",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        (
            {"model": FAKE, "when": {"tasks": {"moderation": "yes"}}},
            "another service may decide moderation",
        ),
        ({"cascade": settings()["cascade"]}, "every topic needs a different name"),
        (
            {"cascade": [{**each, "escalate": "x"} for each in settings()["cascade"]]},
            r"tasks\.topic\.cascade: escalate: the first stage reads input\.topic",
        ),
    ],
)
def test_tasks_that_cannot_have_parts_are_refused(topic: dict[str, Any], message: str) -> None:
    values = in_tasks()
    values["tasks"]["topic"] = topic
    with pytest.raises(ValueError, match=message):
        Settings.model_validate(values)


async def test_stages_of_one_service_need_equal_labels() -> None:
    three = settings()
    three["cascade"].insert(1, {"name": "mid", "model": FAKE})
    other = Other()
    other.labels = type(other.labels)(("a", "b"))
    with pytest.raises(ConfigError, match="map each label"):
        async with rig(settings=three, models={"fast": ScriptedClassifier(), "mid": other}):
            pass
