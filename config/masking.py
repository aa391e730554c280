"""Credentials inside addresses, which must not be shown: ``https://user:password@host``."""

import re
from typing import Any

__all__ = ["mask_credentials", "masked"]

# Up to the last @ of a word: a password may contain any character but these, even unescaped. It is
# better to mask too much of an address than to show a part of a password.
_IN_URL = re.compile(r"(?<=://)[^\s\"'<>]*@")
# Without a scheme: user:password@host:port, as in a list of addresses.
_IN_ADDRESS = re.compile(
    r"(?<![^\s,;=\"'(\[/])[^\s,;=:@/\"']+:(?!//)[^\s,\"']+@(?=[\w.\-\[\]:]+:\d)"
)

_MASK = "***@"


def mask_credentials(text: str) -> str:
    """Return ``text`` with the credentials of every address in it replaced by ``***``."""
    if "@" not in text:
        return text
    return _IN_ADDRESS.sub(_MASK, _IN_URL.sub(_MASK, text))


def masked(value: Any) -> Any:  # noqa: ANN401 any value of a setting
    """Return a setting's value, lists and mappings inside included, without credentials."""
    if isinstance(value, str):
        return mask_credentials(value)
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    if isinstance(value, dict):
        return {masked(key): masked(item) for key, item in value.items()}
    return value
