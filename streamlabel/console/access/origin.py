"""Refuses requests that another site makes with somebody's cookies (CSRF), without tokens.

Browsers say where a request comes from: ``Sec-Fetch-Site``, or ``Origin`` in older ones. What
changes something must come from our own pages. The cookies are SameSite=Lax, too.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["is_from_our_pages"]

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def is_from_our_pages(method: str, headers: Mapping[str, str], *, origins: frozenset[str]) -> bool:
    """Return whether a request may change something.

    Args:
        method: of HTTP. Safe methods change nothing and may come from anywhere.
        headers: lower-case names.
        origins: ours, for example https://review.example.org. Empty: that of the Host header.
    """
    if method in _SAFE:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return False
    if origins:
        return origin in origins
    scheme, _, host = origin.partition("://")
    return scheme in {"http", "https"} and host == headers.get("host")
