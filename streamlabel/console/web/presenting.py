"""What of an item is on the reviewing page. Of a blind item the model's answer never gets here."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from streamlabel.console.store.items import AlikeItems, Item
from streamlabel.console.web.options import PageOptions, TaskChoices
from streamlabel.console.web.visible import SHOWN_CHARACTERS, Piece, pieces, plain
from streamlabel.console.web.wording import Wording

__all__ = ["KEYS", "Choice", "ShownItem", "choices_of", "present"]

# One key a label, in the order of the labels, so that a label keeps its key. The letters are those
# that no command has.
KEYS: Final = "1234567890qwrtyiopdfghjklbxcm"
_LABEL_CHARACTERS: Final = 120
_METADATA_ROWS: Final = 20
_METADATA_CHARACTERS: Final = 600
_NEIGHBOUR_CHARACTERS: Final = 280
_ALIKE_TEXTS: Final = 5


@dataclass(frozen=True, slots=True)
class Choice:
    """One label to choose.

    Attributes:
        label: as it is sent back.
        shown: without hidden characters.
        key: None beyond the last key.
        in_set: whether it is on the model's short list; those are first.
        percent: the model's probability; None if it is not known, or must not be known.
        checked: several labels: whether the model chose it.
    """

    label: str
    shown: str
    key: str | None
    in_set: bool = False
    percent: int | None = None
    checked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownItem:
    """An item for the template.

    Attributes:
        lease: signed; the form's field.
        text: None: erased.
        more: whether the text is longer than what is shown of it.
        reasons: sentences.
        model_answer: to confirm with one key; None: blind, or no usable answer.
        alike_count: items that are decided together with this one on request.
        alike_more: whether more are alike than can be decided at once.
        alike_texts: the first of them that are not the same.
        severe: the severe labels that the model chose, for the warning.
    """

    lease: str
    task: str | None
    text: Sequence[Piece] | None
    characters: int
    shown_characters: int
    more: bool
    truncated: bool
    blind: bool
    is_appeal: bool
    multiple: bool
    choices: Sequence[Choice]
    model_answer: str | None
    reasons: Sequence[str]
    metadata: Sequence[tuple[str, Sequence[Piece]]]
    neighbours: Sequence[str]
    alike_count: int
    alike_more: bool
    alike_texts: Sequence[str]
    severe: Sequence[str]


def present(
    item: Item,
    *,
    lease: str,
    options: PageOptions,
    neighbours: Sequence[Item],
    alike: AlikeItems,
    t: Wording,
) -> ShownItem:
    """Return what the page shows of an item that is leased to the person who asks."""
    text = item.text or ""
    task = options.tasks.get(item.task, TaskChoices())
    labels = None if item.is_blind else item.model_labels
    return ShownItem(
        lease=lease,
        task=item.task,
        text=None if item.text is None else pieces(text),
        characters=len(text),
        shown_characters=min(len(text), SHOWN_CHARACTERS),
        more=len(text) > SHOWN_CHARACTERS,
        truncated=item.text_truncated,
        blind=item.is_blind,
        is_appeal=item.purpose == "appeal",
        multiple=task.multiple,
        choices=choices_of(item, task),
        model_answer=_answer(labels) if labels and not task.multiple else None,
        reasons=[] if item.is_blind else list(_reasons(item, t)),
        metadata=[
            (plain(name, limit=80), pieces(value, limit=_METADATA_CHARACTERS))
            for name, value in _rows(item.metadata)
        ],
        # other looks at the same record are the same text, and could say what came of it
        neighbours=[
            plain(each.text, limit=_NEIGHBOUR_CHARACTERS)
            for each in neighbours
            if each.text is not None and each.record_id != item.record_id
        ],
        alike_count=0 if item.is_blind else len(alike.item_ids),
        alike_more=not item.is_blind and alike.has_more,
        alike_texts=[] if item.is_blind else _others(text, alike.texts),
        severe=[] if labels is None else [label for label in labels if label in options.severe],
    )


def choices_of(item: Item, task: TaskChoices) -> list[Choice]:
    """Return the labels of an item: those of the model's short list first, each with its own key.

    Blind items have them in the order of their keys, without any sign of the model's answer.
    """
    # sorted: the order of the probabilities would show the answer
    labels = task.labels or tuple(sorted(item.probabilities or item.model_labels or ()))
    keys = dict(zip(labels, KEYS, strict=False))
    if item.is_blind:
        return [
            Choice(each, plain(each, limit=_LABEL_CHARACTERS), keys.get(each)) for each in labels
        ]
    likely = item.prediction_set or ()
    known = item.probabilities or {}
    checked = set(item.model_labels or ())
    found = [
        Choice(
            each,
            plain(each, limit=_LABEL_CHARACTERS),
            keys.get(each),
            in_set=each in likely,
            percent=round(known[each] * 100) if each in known else None,
            checked=each in checked,
        )
        for each in labels
    ]
    order = {label: place for place, label in enumerate(likely)}
    return sorted(found, key=lambda choice: order.get(choice.label, len(order)))


def _others(text: str, texts: Sequence[str]) -> list[str]:
    """Return the texts that differ from one and from each other, shortened."""
    different = [each for each in dict.fromkeys(texts) if not text.startswith(each)]
    return [plain(each, limit=_NEIGHBOUR_CHARACTERS) for each in different[:_ALIKE_TEXTS]]


def _answer(labels: Sequence[str]) -> str:
    return plain(", ".join(labels), limit=_LABEL_CHARACTERS)


def _reasons(item: Item, t: Wording) -> Iterator[str]:
    for reason in item.reasons:
        values = {"confidence": _percent(item.confidence), "threshold": _percent(item.threshold)}
        name = f"reason_{reason}"
        yield t(name, **values) if name in t.texts else plain(reason, limit=80)
    if item.purpose == "appeal":
        yield t("reason_appeal")


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share * 100:.0f} %"


def _rows(metadata: JsonValue) -> Iterator[tuple[str, str]]:
    """Yield names and values, nested ones with a dotted name."""
    if not isinstance(metadata, dict):
        if metadata is not None:
            yield "", _value(metadata)
        return
    for number, (name, value) in enumerate(metadata.items()):
        if number >= _METADATA_ROWS:
            yield "…", str(len(metadata) - number)
            return
        if isinstance(value, dict) and value:
            yield from (
                (f"{name}.{inner}" if inner else name, each) for inner, each in _rows(value)
            )
        else:
            yield name, _value(value)


def _value(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
