"""Rights (ACLs) on a cluster with an authorizer, and how messages describe them. Pure."""

from collections.abc import Iterable
from itertools import groupby
from typing import Final, Literal, NamedTuple

from streamlabel.config.kafka import KafkaSettings

__all__ = ["Kind", "Operation", "Right", "principal_of", "spoken"]

Operation = Literal["Read", "Write", "Describe", "Create"]
Kind = Literal["topic", "group", "transactional id"]

_ORDER: Final = ("Create", "Read", "Write", "Describe")
_REPLAYS: Final = "streamlabel/replay/"  # see ``transactional_ids``
# How many transactional ids are listed; there is one for each partition.
_LISTED: Final = 2


class Right(NamedTuple):
    """One operation on one resource."""

    operation: Operation
    kind: Kind
    name: str


def spoken(rights: Iterable[Right]) -> list[str]:
    """Return a phrase per resource with its operations; one for all ids with a common prefix."""
    operations: dict[tuple[Kind, str], list[str]] = {}
    for right in sorted(rights, key=lambda each: _ORDER.index(each.operation)):
        operations.setdefault((right.kind, right.name), []).append(right.operation)
    phrases = [
        f"{' and '.join(each)} on the topic {name}"
        for (kind, name), each in operations.items()
        if kind == "topic"
    ]
    phrases += [
        f"{' and '.join(each)} on the group {name} (kafka.group_id)"
        for (kind, name), each in operations.items()
        if kind == "group"
    ]
    ids = [
        (" and ".join(each), _prefix_of(name), name)
        for (kind, name), each in operations.items()
        if kind == "transactional id"
    ]
    for (what, prefix), members in groupby(
        sorted(ids, key=lambda each: each[:2]), key=lambda each: each[:2]
    ):
        names = [name for _, _, name in members]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        phrases.append(
            f"{what} on transactional ids with the prefix {prefix}"
            f" (here {', '.join(names[:_LISTED])}{more})"
        )
    return phrases


def _prefix_of(name: str) -> str:
    return _REPLAYS if name.startswith(_REPLAYS) else "kafka.group_id"


def principal_of(kafka: KafkaSettings) -> str:
    """Return the principal that we are to the brokers, and the setting that determines it."""
    security = kafka.security
    if security.sasl_mechanism == "OAUTHBEARER":
        return "the subject of the token (kafka.security.token_file or token_endpoint)"
    if security.sasl_mechanism is not None:
        return f"User:{security.username} (kafka.security.username)"
    if security.cert_file is not None:
        return "the subject of the certificate in kafka.security.cert_file"
    return "User:ANONYMOUS (kafka.security has no login)"
