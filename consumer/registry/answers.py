"""What a registry answers, and what to make of it. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import orjson

from streamlabel.consumer.decode.framing import SchemaName

__all__ = [
    "Failure",
    "Fetched",
    "Reference",
    "Unknown",
    "path_of",
    "path_of_reference",
    "read",
    "read_id",
]

# Error codes of a registry that say that it does not have what was asked for; without one of them,
# 404 is the answer of something else, such as a proxy.
_NOT_FOUND: Final = frozenset({404, 40401, 40402, 40403})
_MAX_REFERENCES: Final = 64


class Reference(NamedTuple):
    """Another schema that a schema needs."""

    name: str
    subject: str
    version: int


class Fetched(NamedTuple):
    """A schema.

    Attributes:
        kind: AVRO, PROTOBUF or JSON; empty if the registry does not say.
        schema: its text; of Protobuf the compiled descriptor in base64.
        references: the schemas that it needs.
        name: under which another one needs it; empty for the schema of a record.
    """

    kind: str
    schema: str
    references: tuple[Reference, ...] = ()
    name: str = ""


class Unknown(NamedTuple):
    """The registry does not have this schema."""

    why: str


class Failure(NamedTuple):
    """No usable answer; the request is repeated.

    Attributes:
        what: what happened, without content of the answer.
        is_refusal: the registry does not accept the credentials.
    """

    what: str
    is_refusal: bool = False


def path_of(name: SchemaName, *, is_compiled: bool) -> str:
    """Return the path of a request for a schema.

    Args:
        name: of the schema.
        is_compiled: ask for the compiled form, which only Protobuf has.
    """
    if name.kind in {"global", "content"}:
        return f"/ids/{name.kind}Ids/{name.value}"
    plural = "guids" if name.kind == "guid" else "ids"
    return f"/schemas/{plural}/{name.value}" + ("?format=serialized" if is_compiled else "")


def path_of_reference(reference: Reference, *, is_compiled: bool) -> str:
    """Return the path of a request for a schema that another one needs."""
    compiled = "&format=serialized" if is_compiled else ""
    subject = quote(reference.subject, safe="")
    return f"/subjects/{subject}/versions/{reference.version}?deleted=true{compiled}"


def read(
    status: int, headers: Mapping[str, str], body: bytes, *, is_content: bool
) -> Fetched | Unknown | Failure:
    """Return what an answer means.

    Args:
        status: of HTTP.
        headers: of the answer, with names in lower case.
        body: complete.
        is_content: a good answer is the schema itself (Apicurio), not an object with it.
    """
    if status == 200:
        return _content(headers, body) if is_content else _object(body)
    if status == 404 and _error_code(body) in _NOT_FOUND:
        return Unknown("the registry does not know it")
    if status in {401, 403}:
        return Failure(f"status {status}: it does not accept the credentials", is_refusal=True)
    if status == 404:
        return Failure("status 404 without a registry's error code; check the address")
    return Failure(f"status {status}")


def read_id(status: int, body: bytes) -> int | Unknown | Failure:
    """Return the id of a schema under a subject: what a lookup or a registration answers."""
    answer = _parsed(body)
    if status == 200:
        found = answer.get("id") if isinstance(answer, dict) else None
        return found if type(found) is int else Failure("an answer without an id")
    if status == 404 and _error_code(body) in _NOT_FOUND:
        return Unknown("it is not registered")
    if status in {409, 422} and _error_code(body) is not None:
        return Unknown(f"the registry refuses it (status {status})")
    if status in {401, 403}:
        return Failure(f"status {status}: it does not accept the credentials", is_refusal=True)
    return Failure(f"status {status}")


def _content(headers: Mapping[str, str], body: bytes) -> Fetched | Failure:
    try:
        return Fetched(headers.get("x-registry-artifacttype", "").upper(), body.decode())
    except UnicodeDecodeError:
        return Failure("an answer that is not UTF-8")


def _object(body: bytes) -> Fetched | Failure:
    answer = _parsed(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
        return Failure("an answer without a schema")
    kind = answer.get("schemaType") or "AVRO"  # the interface leaves it out for Avro
    given = answer.get("references") or []
    if not isinstance(kind, str) or not isinstance(given, list) or len(given) > _MAX_REFERENCES:
        return Failure("an answer of another structure")
    references = [_reference(each) for each in given]
    known = tuple(each for each in references if each is not None)
    if len(known) < len(references):
        return Failure("an answer of another structure")
    return Fetched(kind.upper(), answer["schema"], known)


def _reference(given: Any) -> Reference | None:  # noqa: ANN401 any JSON
    if not isinstance(given, dict):
        return None
    name, subject, version = given.get("name"), given.get("subject"), given.get("version")
    if isinstance(name, str) and isinstance(subject, str) and type(version) is int:
        return Reference(name, subject, version)
    return None


def _error_code(body: bytes) -> int | None:
    answer = _parsed(body)
    if not isinstance(answer, dict):
        return None
    for key in ("error_code", "status"):
        if type(answer.get(key)) is int:
            return int(answer[key])
    return None


def _parsed(body: bytes) -> Any:  # noqa: ANN401 any JSON
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
