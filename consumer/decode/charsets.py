"""Converts values of other character encodings to UTF-8, without loss or not at all. Pure."""

import codecs
from collections.abc import Callable
from typing import Final

from streamlabel.config.input_value import Charset
from streamlabel.consumer.decode.json_fields import parse_json
from streamlabel.errors import DecodeError

__all__ = ["inner_json", "utf8_from"]

_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def utf8_from(charset: Charset) -> Callable[[bytes], bytes]:
    """Return a function that converts a value to UTF-8.

    It raises ``DecodeError`` (``bad_encoding``) for a value that is not valid, or that would not be
    the same if it was converted back.
    """

    def convert(value: bytes) -> bytes:
        if charset == "utf-16" and not value.startswith(_MARKS):
            raise DecodeError(
                "bad_encoding", "no byte order mark; set input.charset to utf-16-le or utf-16-be"
            )
        try:
            text = value.decode(charset)
            is_same = charset == "utf-16" or text.encode(charset) == value
        except UnicodeDecodeError as error:
            position = error.start
        except UnicodeEncodeError:
            raise DecodeError("bad_encoding", f"not {charset} without loss") from None
        else:
            if is_same:
                return text.encode()
            raise DecodeError("bad_encoding", f"not {charset} without loss")
        # Raised outside the handler, because the caught error contains the whole value.
        raise DecodeError("bad_encoding", f"not {charset}, first at byte {position}")

    return convert


def inner_json(value: bytes) -> bytes:
    """Return the JSON document that is the content of the JSON string ``value``.

    Raises:
        DecodeError: ``schema``: the value is not a string; and whatever ``parse_json`` finds.
    """
    document = parse_json(value)
    if type(document) is not str:
        raise DecodeError(
            "schema", "the value is no JSON string, which input.double_encoded expects"
        )
    return document.encode()
