"""Tasks for some languages through the whole pipeline: who is asked, and what outputs say."""

from typing import Any

import orjson
import pytest

from streamlabel.consumer.output.schemas import LabelMessage
from streamlabel.consumer.plans.languages import Languages
from tests.flow.rig import Rig, ScriptedClassifier, rig

# Loading the model of the languages, which a service does in a thread before the first record.
pytestmark = pytest.mark.may_block(reason="the model of languages is a file")

FAKE = {"backend": "fake"}
ENGLISH = "The parcel arrived two days late, and nobody answered my letters."
GERMAN = "Das Paket kam zwei Tage zu spät an, und niemand hat mir geantwortet."
FRENCH = "Le colis est arrivé avec deux jours de retard et personne ne m'a répondu."


def tasks(**languages: Any) -> dict[str, Any]:  # noqa: ANN401 codes
    return {
        "tasks": {
            name: {"model": FAKE, "routing": {"threshold": 0.8}, "when": {"language": codes}}
            for name, codes in languages.items()
        }
    }


async def ran(settings: dict[str, Any], *texts: str) -> Rig:
    models = {name: ScriptedClassifier() for name in settings["tasks"]}
    async with rig(settings=settings, models=models) as r:
        languages = r.pipeline.plans.present.plan.languages
        if languages is not None:
            languages.load()
        await r.send(*texts)
        await r.drain()
    assert r.committed() == len(texts)
    return r


def answered(r: Rig) -> list[set[tuple[str, str]]]:
    """The tasks that classified each record, with the language that their outputs say."""
    found: list[set[tuple[str, str]]] = [set() for _ in range(r.committed() or 0)]
    for each in r.broker.written("labels"):
        message = LabelMessage.model_validate_json(each.value or b"")
        found[each.position.offset].add((message.task or "", message.language or ""))
    return found


async def test_each_task_gets_the_texts_of_its_languages_and_outputs_say_which() -> None:
    wanted = tasks(english="en", both=["en", "de"], rest=["und", "fr"])
    r = await ran(wanted, ENGLISH, GERMAN, FRENCH, "ok")
    assert answered(r) == [
        {("english", "en"), ("both", "en")},
        {("both", "de")},
        {("rest", "fr")},
        {("rest", "und")},
    ]
    assert r.metrics.total("languages", language="en") == 1
    assert r.metrics.total("languages") == 4


async def test_a_text_of_no_named_language_is_skipped_and_counted() -> None:
    r = await ran(tasks(english="en"), GERMAN, "ok", ENGLISH)
    assert r.sources("labels") == [2]
    assert not r.broker.written("review")
    assert not r.broker.written("dead-letters")
    assert r.metrics.total("skipped", reason="no_task") == 2


async def test_each_text_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    of = Languages.of

    def counted(self: Languages, text: str) -> str:
        seen.append(text)
        return of(self, text)

    monkeypatch.setattr(Languages, "of", counted)
    wanted = tasks(a="en", b=["en", "de"], c="und")
    wanted["tasks"]["d"] = {"model": FAKE, "when": {"language": "en", "tasks": {"a": "yes"}}}
    await ran(wanted, ENGLISH, GERMAN, "ok")
    assert seen == [ENGLISH, GERMAN, "ok"]


async def test_no_text_is_looked_at_where_no_condition_names_a_language() -> None:
    wanted = tasks(a="en")
    wanted["tasks"]["a"]["when"] = {}
    r = await ran(wanted, ENGLISH)
    assert "language" not in orjson.loads(r.broker.written("labels")[0].value or b"")
    assert r.metrics.total("languages") == 0


async def test_a_later_stage_in_another_service_says_the_same_language() -> None:
    cascade = [
        {"name": "fast", "model": FAKE, "routing": {"threshold": 0.95}},
        {"name": "slow", "model": FAKE, "routing": {"threshold": 0.8}, "escalate": "escalate"},
    ]
    wanted: dict[str, Any] = {"tasks": {"a": {"cascade": cascade, "when": {"language": "de"}}}}
    async with rig(settings=wanted, models={"a/fast": ScriptedClassifier()}) as first:
        languages = first.pipeline.plans.present.plan.languages
        assert languages is not None
        languages.load()
        await first.send(ENGLISH, GERMAN)
        await first.drain()
    [passed_on] = first.broker.written("escalate")
    assert passed_on.position.offset == 1
    there = wanted | {"input": {"topic": "escalate"}}
    async with rig(settings=there, models={"a/slow": ScriptedClassifier()}) as second:
        second.broker.append("escalate", passed_on.value, headers=passed_on.headers)
        await second.clock.advance(0.1)
        await second.drain()
    [label] = second.broker.written("labels")
    assert orjson.loads(label.value or b"")["language"] == "de"
