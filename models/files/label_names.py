"""Class names in config.json: read as transformers reads them, or refused with the reason."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from streamlabel.errors import ConfigError, ModelLoadError

__all__ = ["count_labels", "read_label_names"]

PLACEHOLDER: Final = re.compile(r"LABEL_\d+")
DEFAULT_LABELS: Final = 2  # if config.json has no names and no number
# A remedy that always works.
REPAIR: Final = "correct config.json, or list the names in model.labels"


def count_labels(config: Mapping[str, object]) -> int:
    """Return how many classes transformers builds the model's head for.

    Raises:
        ModelLoadError: transformers would also refuse the file, or there is no class.
    """
    named = _by_number(config)
    count = _num_labels(config)
    if count is None:
        count = DEFAULT_LABELS if named is None else len(named)
    if count < 1:
        raise ModelLoadError(f"model.path: config.json defines no class; {REPAIR}")
    return count


def read_label_names(config: Mapping[str, object]) -> list[str]:
    """Return the names in the order of the model's outputs.

    If ``num_labels`` differs from the number of names, transformers discards the names; it does not
    read label2id at all.

    Raises:
        ConfigError: there are only placeholders such as LABEL_0.
        ModelLoadError: names are missing, repeated, blank, contradictory or not text.

    Source: ``PreTrainedConfig`` in transformers/configuration_utils.py, 5.19.
    """
    count = count_labels(config)
    named = _by_number(config)
    if named is None or len(named) != count:
        raise ConfigError(_placeholders(count, config, forgotten=named is not None))
    missing = [str(number) for number in range(count) if number not in named]
    if missing:
        raise ModelLoadError(
            f"model.path: id2label in config.json has {count} names and none for class"
            f" {', '.join(missing[:4])}: classes are numbered from 0; {REPAIR}"
        )
    names = [_text(named[number], number) for number in range(count)]
    if all(PLACEHOLDER.fullmatch(name) for name in names):
        raise ConfigError(_placeholders(count, config, forgotten=False))
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise ModelLoadError(
            f"model.path: id2label in config.json names several classes {repeated[0]!r}; {REPAIR}"
        )
    _refuse_contradiction(names, config.get("label2id"))
    return names


def _by_number(config: Mapping[str, object]) -> dict[int, object] | None:
    """Return id2label with numbers as keys; None if the file has none."""
    names = config.get("id2label")
    if names is None:
        return None
    if not isinstance(names, dict):
        raise ModelLoadError(
            f"model.path: id2label in config.json is a {type(names).__name__} and must be an object"
            f' such as {{"0": "ham", "1": "spam"}}; correct it'
        )
    numbered: dict[int, object] = {}
    for key, name in names.items():
        try:
            number = int(key)
        except ValueError as error:
            raise ModelLoadError(
                f"model.path: id2label in config.json has the key {key!r}, which is not a class"
                " number; correct it"
            ) from error
        if number in numbered:
            raise ModelLoadError(
                f"model.path: id2label in config.json names class {number} twice; correct it"
            )
        numbered[number] = name
    return numbered


def _num_labels(config: Mapping[str, object]) -> int | None:
    if "num_labels" not in config:
        return None
    count = config["num_labels"]
    if not isinstance(count, int) or isinstance(count, bool):
        raise ModelLoadError(
            f"model.path: num_labels in config.json is {count!r} and must be the number of classes;"
            " correct or remove it"
        )
    return count


def _text(name: object, number: int) -> str:
    # transformers accepts numbers as names, and its pipeline returns them
    if isinstance(name, bool) or not isinstance(name, (str, int, float)):
        raise ModelLoadError(
            f"model.path: id2label in config.json names class {number} {name!r}, which is not text;"
            f" {REPAIR}"
        )
    text = str(name)
    if not text.strip():
        raise ModelLoadError(
            f"model.path: id2label in config.json gives class {number} a blank name; {REPAIR}"
        )
    return text


def _placeholders(count: int, config: Mapping[str, object], *, forgotten: bool) -> str:
    why = ""
    if forgotten:
        why = f" (num_labels in config.json is {count}, but id2label has another number of names)"
    elif config.get("label2id") and not config.get("id2label"):
        why = " (label2id in config.json is not read without id2label)"
    return (
        f"model.labels: the model names its classes only LABEL_0 to LABEL_{count - 1}{why}; list"
        f" {count} names in the order of its outputs"
    )


def _refuse_contradiction(names: list[str], numbers: object) -> None:
    """Refuse a label2id with the same names in another order: one of the two is wrong.

    A label2id with other names is an unused remainder.
    """
    if not isinstance(numbers, dict) or set(numbers) != set(names):
        return
    for number, name in enumerate(names):
        if str(numbers[name]) != str(number):
            raise ModelLoadError(
                f"model.path: config.json gives the class {name!r} the number {number} in id2label"
                f" and {numbers[name]!r} in label2id; {REPAIR}"
            )
