"""Errors of third-party code, shortened for our messages."""

from typing import Final

__all__ = ["first_line"]

# Libraries append pages of advice, torch those of C++ frames.
_MOST_CHARACTERS: Final = 300


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {lines[0][:_MOST_CHARACTERS]}" if lines else name
