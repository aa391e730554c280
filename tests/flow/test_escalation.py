"""A cascade in two services: what goes through the topic between them, and what comes out."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from streamlabel.config.settings import Settings
from streamlabel.consumer.core.ports import Outbound
from streamlabel.consumer.output.schemas import LabelMessage, ReviewMessage
from streamlabel.consumer.plans.escalation import HEADER
from streamlabel.errors import ConfigError
from streamlabel.models.core.classifier import Prediction
from tests.flow.rig import Rig, ScriptedClassifier, rig
from tests.flow.test_several_models import Other, messages

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


def test_the_cascade_of_a_task_has_no_parts() -> None:
    task = {"cascade": settings()["cascade"]}
    with pytest.raises(ValueError, match="only the section cascade of the service"):
        Settings.model_validate({"tasks": {"moderation": task}})


async def test_stages_of_one_service_need_equal_labels() -> None:
    three = settings()
    three["cascade"].insert(1, {"name": "mid", "model": FAKE})
    other = Other()
    other.labels = type(other.labels)(("a", "b"))
    with pytest.raises(ConfigError, match="map each label"):
        async with rig(settings=three, models={"fast": ScriptedClassifier(), "mid": other}):
            pass
