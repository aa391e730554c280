"""Reads small forms, and nothing that is larger than one of our forms can be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

__all__ = ["Form", "read_form"]

_MAX_BYTES: Final = 64 * 1024
_MAX_FIELDS: Final = 500


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form, in order; a name may occur several times."""

    fields: Sequence[tuple[str, str]]

    def one(self, name: str) -> str:
        """Return the first value of a field; empty if it is missing."""
        return next((value for key, value in self.fields if key == name), "")

    def all(self, name: str) -> tuple[str, ...]:
        """Return all values of a field, each once."""
        return tuple(dict.fromkeys(value for key, value in self.fields if key == name))

    def number(self, name: str) -> int:
        """Return a whole number that our own page wrote; raises HTTPException 400 otherwise."""
        value = self.one(name)
        if not (value.isascii() and value.isdigit() and len(value) < 19):
            raise HTTPException(400, f"the form has no {name}")
        return int(value)


async def read_form(request: Request) -> Form:
    """Return the form of a request.

    Raises:
        HTTPException: 413 too large, 415 not a form, 400 not readable.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/x-www-form-urlencoded", ""}:
        raise HTTPException(415, "only forms are understood")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise HTTPException(413, "the form is too large")
    try:
        fields = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError as error:
        raise HTTPException(400, "the form cannot be read") from error
    return Form(fields)
