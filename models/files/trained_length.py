"""The longest row that a model was trained with, kept in its folder, and compared in serving.

Shorter rows than in training lose texts' ends that the model has learned from; of longer ones it
has never seen what is behind the limit. Neither is refused: both can be measured.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

__all__ = ["length_details", "other_length", "store_length"]

_FILE: Final = "training.json"
_KEY: Final = "max_tokens"
_DETAIL: Final = "trained_max_tokens"
# vLLM needs one position for the answer's token.
_ANSWER_TOKENS: Final = 1


def store_length(folder: Path, max_tokens: int) -> None:
    """Write the longest row of the training of the model in ``folder``, in tokens.

    Special tokens count; of a language model the whole prompt.
    """
    (folder / _FILE).write_text(json.dumps({_KEY: max_tokens}) + "\n", encoding="utf-8")


def length_details(folders: Iterable[Path]) -> dict[str, str]:
    """Return the length for ``ModelIdentity.details``; empty if no folder says so.

    Args:
        folders: of the model, and of its adapter; the last one with a length decides.
    """
    found = [length for folder in folders if (length := _length(folder / _FILE))]
    return {_DETAIL: str(found[-1])} if found else {}


def other_length(details: Mapping[str, str], max_tokens: int | None) -> str | None:
    """Return a sentence if a model is served with another length than it was trained with.

    Args:
        details: of the loaded model.
        max_tokens: longest row in force; None: there is no limit, or nobody knows it.
    """
    trained = int(details.get(_DETAIL, 0))
    if not trained or max_tokens is None or 0 <= trained - max_tokens <= _ANSWER_TOKENS:
        return None
    longer = max_tokens > trained
    why = (
        "it has not learned from texts longer than that"
        if longer
        else "the ends that it learned from are cut off"
    )
    return (
        f"model.max_tokens: the model was trained with at most {trained} tokens and is served with"
        f" {max_tokens}, {why}; set {trained}, or train with --max-tokens {max_tokens}"
    )


def _length(path: Path) -> int | None:
    try:
        found = json.loads(path.read_bytes()).get(_KEY)
    except (OSError, ValueError, AttributeError):
        return None
    return found if type(found) is int and found > 0 else None
