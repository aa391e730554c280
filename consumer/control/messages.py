"""The records of the control topic: orders to deploy, and what became of them.

The key of an order is the group, so that compaction keeps the last one. That of a status is the
group and the member. Both are JSON with a signature (HMAC-SHA256 over the rest), because every
program that may write to the topic could otherwise choose the models.
"""

import hashlib
import hmac
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from streamlabel.config.settings import Settings
from streamlabel.consumer.batching.canary import CanaryLimits
from streamlabel.errors import StreamlabelError

__all__ = [
    "PLAN_SECTIONS",
    "CanaryPart",
    "MessageRefusedError",
    "Order",
    "Status",
    "key_of",
    "ordered_settings",
    "read",
    "sections_of",
    "write",
]

# The sections of the settings that a deployment may change.
PLAN_SECTIONS = ("model", "routing", "cascade", "tasks")

Share = Annotated[float, Field(ge=0, le=1)]


class MessageRefusedError(StreamlabelError):
    """A record of the control topic is not used; the message says why, and quotes none of it."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class CanaryPart(_Part):
    """The trial before the swap; see ``CanaryLimits``."""

    share: Annotated[float, Field(gt=0, le=1)]
    records: Annotated[int, Field(ge=1)] = 500
    max_dead_letters: Share = 0.01
    max_slowdown: Annotated[float, Field(gt=0)] = 3.0
    max_label_shift: Share = 0.2

    def limits(self) -> CanaryLimits:
        """Return it for the swap."""
        return CanaryLimits(**self.model_dump())


class Order(_Part):
    """An order to deploy.

    Attributes:
        id: of the order.
        group: whose members follow it.
        created_at: RFC 3339, for people.
        sections: ``model``, ``routing``, ``cascade`` and ``tasks`` as in the configuration; None:
            those of each member's own configuration.
        before: the sections of the order before this one, for a rollback.
        digests: deployment id -> digest that the model must have.
        canary: a trial before the swap; None: none.
    """

    schema_: Literal["streamlabel.deployment/v1"] = Field(
        "streamlabel.deployment/v1", alias="schema"
    )
    id: str
    group: str
    created_at: str
    sections: dict[str, Any] | None
    before: dict[str, Any] | None = None
    digests: dict[str, str] = Field(default_factory=dict)
    canary: CanaryPart | None = None


class Status(_Part):
    """What a member did with an order.

    Attributes:
        order: its id.
        member: a name of the process, new at every start.
        state: ``refused``: the member keeps what it had; ``why`` says the reason.
    """

    schema_: Literal["streamlabel.deployment-status/v1"] = Field(
        "streamlabel.deployment-status/v1", alias="schema"
    )
    order: str
    group: str
    member: str
    state: Literal["loading", "active", "refused"]
    why: str = ""


def key_of(message: Order | Status) -> bytes:
    """Return the key of its record."""
    if isinstance(message, Order):
        return json.dumps([message.group]).encode()
    return json.dumps([message.group, message.member]).encode()


def write(message: Order | Status, secret: SecretStr) -> bytes:
    """Return the value of its record, signed."""
    content = message.model_dump(mode="json", by_alias=True)
    return json.dumps({**content, "signature": _signature(content, secret)}).encode()


def read(value: bytes | None, secret: SecretStr) -> Order | Status:
    """Return the message of a record.

    Raises:
        MessageRefusedError: it is incomplete, of another version, or not signed with the key.
    """
    try:
        content = json.loads(value or b"")
    except (ValueError, RecursionError):
        raise MessageRefusedError("it is not JSON: empty, cut or of another program") from None
    if not isinstance(content, dict) or not isinstance(content.get("signature"), str):
        raise MessageRefusedError("it is not signed; `streamlabel deploy` signs with control.key")
    signature = content.pop("signature")
    if not hmac.compare_digest(signature.encode(), _signature(content, secret).encode()):
        raise MessageRefusedError("its signature is not that of control.key")
    kinds: dict[Any, type[Order | Status]] = {
        "streamlabel.deployment/v1": Order,
        "streamlabel.deployment-status/v1": Status,
    }
    kind = kinds.get(content.get("schema"))
    if kind is None:
        raise MessageRefusedError("it is of another version; use equal versions of streamlabel")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        fields = sorted({".".join(map(str, each["loc"])) for each in error.errors()})
        raise MessageRefusedError(f"fields are missing or invalid: {', '.join(fields)}") from None


def _signature(content: dict[str, Any], secret: SecretStr) -> str:
    text = json.dumps(content, sort_keys=True).encode()
    return hmac.new(secret.get_secret_value().encode(), text, hashlib.sha256).hexdigest()


def sections_of(settings: Settings) -> dict[str, Any]:
    """Return the sections that an order contains.

    Raises:
        MessageRefusedError: a secret is among them, which must not be on a topic.
    """
    several = settings.cascade or settings.tasks
    names = [name for name in PLAN_SECTIONS if not (several and name in {"model", "routing"})]
    sections = {name: getattr(settings, name) for name in names if getattr(settings, name)}
    found = {name: settings.model_dump(mode="json", include={name})[name] for name in sections}
    for task in found.get("tasks", {}).values():
        if task["cascade"]:  # each stage has a routing of its own, and the task may have none
            del task["routing"]
    if secrets := sorted(_secrets_in(settings.model_dump(include=set(sections)))):
        raise MessageRefusedError(
            f"{', '.join(secrets)}: a secret would be on the topic; remove it here, and use an"
            " endpoint that needs none, or restart the members instead"
        )
    return found


def _secrets_in(value: Any, path: str = "") -> list[str]:  # noqa: ANN401 any value of a setting
    if isinstance(value, SecretStr):
        return [path]
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    return [
        name for key, inner in items for name in _secrets_in(inner, f"{path}.{key}".lstrip("."))
    ]


def ordered_settings(own: Settings, sections: dict[str, Any] | None) -> Settings:
    """Return a member's settings with the sections of an order.

    Raises:
        MessageRefusedError: they are invalid.
    """
    if sections is None:
        return own
    rest = own.model_dump(exclude=set(PLAN_SECTIONS))
    # Unset sections stay unset, because some contradict others only if they are given.
    given = {name: rest[name] for name in own.model_fields_set if name in rest}
    try:
        return Settings.model_validate({**given, **sections})
    except ValidationError as error:
        fields = sorted({".".join(map(str, each["loc"])) or each["msg"] for each in error.errors()})
        raise MessageRefusedError(f"its settings are invalid: {', '.join(fields)}") from None
