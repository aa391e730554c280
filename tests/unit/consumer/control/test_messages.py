"""Orders on the control topic: what is not signed, cut or of another version is never used."""

import json
import random
from typing import Any

import pytest
from pydantic import SecretStr

from streamlabel.config.settings import Settings
from streamlabel.consumer.control.messages import (
    CanaryPart,
    MessageRefusedError,
    Order,
    Status,
    key_of,
    ordered_settings,
    read,
    sections_of,
    write,
)

KEY = SecretStr("a key of sixteen characters")
FAKE = {"backend": "fake"}


def order(**changes: Any) -> Order:  # noqa: ANN401 of an order
    values = {
        "schema": "streamlabel.deployment/v1",
        "id": "o1",
        "group": "g",
        "created_at": "2026-11-29T10:00:00+00:00",
        "sections": {"model": FAKE},
        "digests": {"model": "abc"},
        "canary": {"share": 0.1},
    }
    return Order.model_validate({**values, **changes})


def status() -> Status:
    return Status.model_validate({"order": "o1", "group": "g", "member": "m", "state": "active"})


def signed(content: dict[str, Any], key: SecretStr = KEY) -> bytes:
    """Sign any content, as somebody who has the key could."""
    from streamlabel.consumer.control import messages

    return json.dumps({**content, "signature": messages._signature(content, key)}).encode()


@pytest.mark.parametrize("message", [order(), order(canary=None, sections=None), status()])
def test_what_is_written_is_read(message: Order | Status) -> None:
    assert read(write(message, KEY), KEY) == message


def test_each_group_has_one_order_and_each_member_one_status() -> None:
    keys = {key_of(order()), key_of(order(id="o2")), key_of(order(group="h")), key_of(status())}
    assert len(keys) == 3


def test_a_changed_message_is_never_used() -> None:
    value = write(order(), KEY)
    chance = random.Random(5)
    for _ in range(2000):
        changed = bytearray(value)
        action = chance.random()
        if action < 0.3:
            del changed[chance.randrange(len(changed)) :]
        elif action < 0.6:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        else:
            place = chance.randrange(len(changed))
            changed[place:place] = bytes(chance.randrange(256) for _ in range(3))
        if bytes(changed) == value:
            continue
        try:
            found = read(bytes(changed), KEY)
        except MessageRefusedError:
            continue
        else:
            assert found == order(), "only white space was changed"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "not JSON"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not signed"),
        (b'{"signature": 5}', "not signed"),
        (write(order(), SecretStr("another key, also long")), "not that of control.key"),
        (signed({"schema": "streamlabel.deployment/v2", "id": "x"}), "another version"),
        (signed({"schema": "streamlabel.deployment/v1", "id": "x"}), "created_at, group, sections"),
        (signed({**order().model_dump(mode="json", by_alias=True), "extra": 1}), "extra"),
    ],
)
def test_why_a_message_is_refused(value: bytes | None, why: str) -> None:
    with pytest.raises(MessageRefusedError, match=why):
        read(value, KEY)


def test_a_member_keeps_everything_but_the_sections_of_the_order() -> None:
    own = Settings.model_validate(
        {
            "model": FAKE,
            "routing": {"threshold": 0.9},
            "kafka": {"group_id": "mine"},
            "output": {"labels_topic": "mine.labels"},
        }
    )
    sent = Settings.model_validate(
        {
            "kafka": {"group_id": "yours"},
            "tasks": {"a": {"model": FAKE}, "b": {"model": FAKE, "routing": {"threshold": 0.7}}},
        }
    )
    sections = json.loads(json.dumps(sections_of(sent)))
    found = ordered_settings(own, sections)
    assert found.tasks == sent.tasks
    assert found.kafka == own.kafka
    assert found.output == own.output
    assert ordered_settings(found, sections_of(own)) == own
    assert ordered_settings(own, None) is own


@pytest.mark.parametrize(
    "sections",
    [
        {"model": FAKE, "cascade": []},
        {"model": FAKE, "routing": {"threshold": 0.3}},
        {
            "tasks": {
                "a": {"cascade": [{"name": "x", "model": FAKE}, {"name": "y", "model": FAKE}]},
                "b": {"model": FAKE},
            }
        },
        {
            "cascade": [
                {"name": "x", "model": FAKE},
                {"name": "y", "model": FAKE, "deadline_s": 2.0},
            ]
        },
    ],
)
def test_sections_survive_the_topic(sections: dict[str, Any]) -> None:
    sent = Settings.model_validate(sections)
    own = Settings.model_validate({"model": FAKE})
    written = write(order(sections=sections_of(sent)), KEY)
    message = read(written, KEY)
    assert isinstance(message, Order)
    found = ordered_settings(own, message.sections)
    for name in ("model", "routing", "cascade", "tasks"):
        assert getattr(found, name) == getattr(sent, name)


def test_invalid_sections_are_refused() -> None:
    own = Settings.model_validate({"model": FAKE})
    with pytest.raises(MessageRefusedError, match="its settings are invalid: model"):
        ordered_settings(own, {"model": {"backend": "fake", "labls": 3}})


def test_a_secret_never_reaches_the_topic() -> None:
    remote = {
        "backend": "remote",
        "base_url": "https://models.example/v1",
        "model": "m",
        "api_key": "hidden",
        "task": {"labels": [{"name": "a"}, {"name": "b"}]},
    }
    for settings, path in (
        ({"model": remote}, "model.api_key"),
        ({"tasks": {"x": {"model": FAKE}, "y": {"model": remote}}}, "tasks.y.model.api_key"),
        (
            {"cascade": [{"name": "a", "model": FAKE}, {"name": "b", "model": remote}]},
            "cascade.1.model.api_key",
        ),
    ):
        with pytest.raises(MessageRefusedError, match=path) as caught:
            sections_of(Settings.model_validate(settings))
        assert "hidden" not in str(caught.value)


def test_a_canary_has_sensible_limits() -> None:
    limits = CanaryPart(share=0.2).limits()
    assert (limits.share, limits.records) == (0.2, 500)
    with pytest.raises(ValueError, match="share"):
        CanaryPart(share=0)
