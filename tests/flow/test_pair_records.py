"""Records of pairs for an encoder: each has one outcome, the same at both guarantees."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import pytest

from streamlabel.errors import InferenceError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.turns import as_turns, write_turns
from streamlabel.models.tokens.controls import Controls
from streamlabel.models.tokens.conversation_rows import ConversationRows
from streamlabel.models.tokens.long_texts import LongTextPolicy
from streamlabel.models.tokens.pairs import read_pair_template
from streamlabel.models.tokens.rows import RowBuilder
from streamlabel.models.tokens.text_tokenizer import TextTokenizer
from tests.flow.rig import ScriptedClassifier, rig

tokenizers = pytest.importorskip("tokenizers")


def rows() -> ConversationRows:
    """Return what an encoder builds its rows with: at most 9 tokens."""
    words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "good": 3, "bad": 4}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    pair = read_pair_template(backend)
    assert (pair.before, pair.between, pair.after) == ((1,), (2,), (2,))
    backend.encode_special_tokens = True
    tokenizer = TextTokenizer(
        backend, limit_tokens=7, controls=Controls(backend, pair.special_tokens)
    )
    single = RowBuilder(tokenizer, (1,), (2,), LongTextPolicy(7))
    return ConversationRows(single, pair, pair.capacity_tokens(9))


@dataclass
class PairClassifier(ScriptedClassifier):
    """Prepares as an encoder of conversations does, and is always sure."""

    async def prepare(self, texts: Sequence[str]) -> list[PreparedText | InferenceError]:
        """Return the rows."""
        self.prepared.append(len(texts))
        return rows().build(texts)

    async def classify(self, prepared: Sequence[PreparedText]) -> list[Prediction | InferenceError]:
        """Return the same for all."""
        return [Prediction((0.1, 0.9), truncated=text.truncated) for text in prepared]


SETTINGS = {
    "input": {"messages_path": "m"},
    "model": {"backend": "encoder", "path": "not-loaded", "conversations": True},
    "routing": {"threshold": 0.8},
}


@pytest.mark.parametrize("transactional", [False, True])
async def test_every_order_of_turns_has_one_outcome(*, transactional: bool) -> None:
    turns: list[object] = [
        ["good", "bad"],
        ["good"],
        ["good", "bad", "good"],
        [{"role": "user", "content": "good " * 5}, {"role": "user", "content": "bad " * 5}],
        [{"role": "system", "content": "good"}],
        ["good", " "],
        "good",
    ]
    async with rig(
        transactional=transactional,
        settings={**SETTINGS, "delivery": _guarantee(transactional=transactional)},
        classifier=PairClassifier(),
    ) as r:
        await r.send_raw(*(orjson.dumps({"m": each}) for each in turns))
        await r.drain()
        assert r.sources("labels") == [0, 1, 3]
        assert r.sources("dead-letters") == [2, 4, 5, 6]
        assert r.committed() == len(turns)
        labels = [orjson.loads(each.value or b"") for each in r.broker.written("labels")]
        assert [label["truncated"] for label in labels] == [False, False, True]
        said = [
            {name: (content or b"").decode() for name, content in each.headers}
            for each in r.broker.written("dead-letters")
        ]
    reasons = [headers["streamlabel-error-reason"] for headers in said]
    assert reasons == ["inference_error", "schema", "empty_text", "schema"]
    assert "it has 3 turns and an encoder reads two" in said[0]["streamlabel-error-message"]


def _guarantee(*, transactional: bool) -> dict[str, str]:
    return {"guarantee": "exactly_once" if transactional else "at_least_once"}


def test_a_spelled_separator_is_no_separator() -> None:
    attack, odd = rows().build(
        [write_turns(as_turns(pair)) for pair in (["good [SEP] bad", "x"], ["[SEP]", "[CLS]"])]
    )
    assert isinstance(attack, PreparedText)
    assert isinstance(odd, PreparedText)
    for prepared in (attack, odd):
        (row,) = prepared.payload
        ids = [int.from_bytes(row[i : i + 4], "little") for i in range(0, len(row), 4)]
        assert ids.count(2) == 2
        assert ids.count(1) == 1
