"""Pairs for encoders are what ``tokenizer(a, b)`` of transformers makes, and are classified so."""

import asyncio
import json
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from typer.testing import CliRunner

from streamlabel.__main__ import app
from streamlabel.config.model import EncoderSettings
from streamlabel.config.settings import Settings
from streamlabel.errors import ConfigError, InferenceError, ModelLoadError
from streamlabel.models.core.classifier import Prediction, PreparedText
from streamlabel.models.core.turns import as_turns, write_turns
from streamlabel.models.encoder import packed_weights, trunk
from streamlabel.models.encoder.classifier import EncoderClassifier, load
from streamlabel.models.encoder.families import FAMILIES
from streamlabel.models.encoder.words import build_rows, load_words
from streamlabel.models.files.checkpoint import open_checkpoint
from streamlabel.models.tokens.pairs import cut_pair
from streamlabel.models.tokens.rows import TextRows, read_rows, read_types
from tests.models.test_families import NEEDED
from tests.models.tiny import LABELS, VOCABULARY, PlainTransformers, build_model

pytestmark = [
    pytest.mark.model,
    # transformers' own code, not ours
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),
]

KINDS = [name.removesuffix("ForSequenceClassification") for name in FAMILIES]
# Families whose own tokenizer has <s> a </s></s> b </s>.
DOUBLE = {"Roberta", "XLMRoberta", "Camembert", "MPNet"}
MAX_TOKENS = 24
PAIRS = [
    ("good match", "bad stock"),
    ("", "the rain is bad!"),
    ("the " * 40, "good"),
    ("good", "the " * 40),
    ("the " * 30, "match " * 40),
    ("match " * 40, "the " * 31),
    ("好", "\ud800 x\x00"),
]
# NFKC makes </s> of it
WIDE = "\uff1c/s\uff1e"
CONTROLS = ["[SEP]", "[CLS]", "[PAD]", "</s>", "<s>", "[MASK]", "<pad>", "[UNK]"]


def pieces_tokenizer(folder: Path) -> None:
    """Save a tokenizer of SentencePiece's kind, whose pieces have its control tokens among them."""
    names = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz0123456789</>[]!.SEPCLUNKMAD好"})
    vocabulary = [(name, 0.0) for name in names] + [("▁", -2.0), ("▁the", -2.5)]
    vocabulary += [(letter, -3.0) for letter in letters]
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.add_special_tokens(names)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token="<mask>",
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip


def build(folder: Path, kind: str, **config: object) -> Path:
    if kind in DOUBLE:
        config |= {"pad_token_id": 1, "type_vocab_size": 1} if kind != "MPNet" else {}
    given: dict[str, Any] = NEEDED.get(kind, {}) | config
    build_model(folder, kind, **given)
    if kind in DOUBLE:
        pieces_tokenizer(folder)
    return folder


def settings_of(folder: Path, **changes: object) -> EncoderSettings:
    given = {"path": str(folder), "device": "cpu", "max_tokens": MAX_TOKENS, "conversations": True}
    return EncoderSettings.model_validate(given | changes)


def texts_of(*conversations: Sequence[str]) -> list[str]:
    return [write_turns(as_turns(turns)) for turns in conversations]


def rows_of(folder: Path, **changes: object) -> TextRows:
    wanted = settings_of(folder, **changes)
    return build_rows(load_words(open_checkpoint(wanted), pairs=True), wanted, MAX_TOKENS)


async def answers(
    classifier: EncoderClassifier, texts: Sequence[str]
) -> list[Prediction | InferenceError]:
    prepared = await classifier.prepare(texts)
    ready = iter(
        await classifier.classify([each for each in prepared if isinstance(each, PreparedText)])
    )
    return [next(ready) if isinstance(each, PreparedText) else each for each in prepared]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pairs")
    kinds = [*KINDS, "Albert"]
    return {kind: build(root / kind, kind, max_position_embeddings=64) for kind in kinds}


def expected(plain: PlainTransformers, pair: tuple[str, str]) -> list[float]:
    """What a reader of transformers' documentation would compute."""
    clean = [t.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for t in pair]
    inputs = plain.tokenizer(
        *clean, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    )  # fmt: skip
    if "token_type_ids" not in signature(plain.model.forward).parameters:
        inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        logits = plain.model(**inputs).logits[0]
    return list(logits.softmax(-1).tolist())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("forward", ["packed", "padded"])
@pytest.mark.parametrize("kind", [*KINDS, "Albert"])
async def test_a_pair_is_classified_as_by_plain_transformers(
    folders: dict[str, Path], kind: str, forward: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forward == "padded":

        def refused(*_: object) -> None:
            raise packed_weights.Unpacked("for this test")

        monkeypatch.setattr("streamlabel.models.encoder.packed_proof.load_packed", refused)
    classifier = await asyncio.to_thread(load, settings_of(folders[kind]))
    if kind != "Albert":  # no family of the packed way
        assert classifier.identity.details["forward"] == forward
    found = await answers(classifier, texts_of(*PAIRS, ("one turn",)))
    await classifier.close()
    plain = PlainTransformers(folders[kind])
    for pair, outcome in zip(PAIRS, found, strict=False):
        assert isinstance(outcome, Prediction)
        assert outcome.probabilities == pytest.approx(expected(plain, pair), abs=1e-5)
    single = found[-1]
    assert isinstance(single, Prediction)
    alone = plain.logits("one turn", max_length=MAX_TOKENS)[0].softmax(-1)
    assert single.probabilities == pytest.approx(alone.tolist(), abs=1e-5)
    cut = [outcome.truncated for outcome in found if isinstance(outcome, Prediction)]
    lengths = [len(plain.tokenizer(*pair)["input_ids"]) for pair in (*PAIRS[:-1], ("one turn",))]
    assert [*cut[:-2], cut[-1]] == [length > MAX_TOKENS for length in lengths]
    assert cut.count(True) >= 4


@pytest.mark.parametrize("kind", ["Bert", "Electra"])
async def test_the_two_texts_have_different_types(folders: dict[str, Path], kind: str) -> None:
    """Else equality with transformers would say nothing about them."""
    plain = PlainTransformers(folders[kind])
    inputs = plain.tokenizer("good", "bad", return_tensors="pt")
    assert inputs["token_type_ids"].tolist() == [[0, 0, 0, 1, 1]]
    with torch.inference_mode():
        typed = plain.model(**inputs).logits
        inputs.pop("token_type_ids")
        untyped = plain.model(**inputs).logits
    assert (typed - untyped).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    first=st.text(alphabet="abthe mach好.!\n", max_size=60),
    second=st.text(alphabet="abthe mach好.!\n", max_size=60),
)
def test_rows_are_those_of_the_tokenizer(
    folders: dict[str, Path], kind: str, first: str, second: str
) -> None:
    rows = _ROWS.setdefault(kind, rows_of(folders[kind]))
    tokenizer = _PLAIN.setdefault(kind, transformers.AutoTokenizer.from_pretrained(folders[kind]))
    (prepared,) = rows.build(texts_of((first, second)))
    assert isinstance(prepared, PreparedText)
    # as a batch, because alone an empty second text is left out with its separator
    batch = tokenizer([first], [second], truncation="longest_first", max_length=MAX_TOKENS)
    right = {name: given[0] for name, given in batch.items()}
    assert read_rows([prepared])[0].tolist() == right["input_ids"]
    types = read_types([prepared])
    if "token_type_ids" in right:
        assert types is not None
        assert types[0].tolist() == right["token_type_ids"]
    else:
        assert types is None
    whole = tokenizer([first], [second])["input_ids"][0]
    assert prepared.truncated == (len(whole) > MAX_TOKENS)
    assert prepared.tokens == len(right["input_ids"])


_ROWS: dict[str, TextRows] = {}
_PLAIN: dict[str, Any] = {}


@settings(deadline=None)
@given(first=st.integers(0, 40), second=st.integers(0, 40), capacity=st.integers(2, 30))
@example(first=10, second=9, capacity=7)
@example(first=9, second=9, capacity=7)
def test_pairs_are_cut_as_tokenizers_cuts_them(first: int, second: int, capacity: int) -> None:
    _CUTTER.enable_truncation(capacity)
    ids = _CUTTER.encode("a " * first, "b " * second).ids
    assert cut_pair(first, second, capacity) == (ids.count(1), ids.count(2))


_CUTTER = Tokenizer(models.WordLevel({"?": 0, "a": 1, "b": 2}, unk_token="?"))
_CUTTER.pre_tokenizer = pre_tokenizers.WhitespaceSplit()


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    turns=st.lists(
        st.lists(
            st.sampled_from([*CONTROLS, "a", " ", "<", WIDE, "</S>", "[sep]"]),
            max_size=6,
        ).map("".join),
        min_size=1,
        max_size=2,
    )
)
@example(turns=["a </s></s> b", "a"])
@example(turns=[WIDE + "a", "a"])
@example(turns=["<</s>/s>", "[S[SEP]EP]"])
def test_special_tokens_in_a_turn_stay_text(
    folders: dict[str, Path], kind: str, turns: list[str]
) -> None:
    rows = _ROWS.setdefault(kind, rows_of(folders[kind]))
    tokenizer = _PLAIN.setdefault(kind, transformers.AutoTokenizer.from_pretrained(folders[kind]))
    attacked, clean = rows.build(texts_of(turns, ["a"] * len(turns)))
    assert isinstance(attacked, PreparedText)
    assert isinstance(clean, PreparedText)
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    shown, wanted = (
        [token for token in read_rows([each])[0].tolist() if token in special]
        for each in (attacked, clean)
    )
    assert shown == wanted


async def test_more_turns_are_refused_or_joined(folders: dict[str, Path]) -> None:
    talk = ("good", "bad", "the rain")
    strict = await asyncio.to_thread(load, settings_of(folders["Bert"]))
    texts = [*texts_of(talk, talk[:2]), '[{"role":"system","content":"x"}]', "[1]"]
    refused, pair, odd, plain = await answers(strict, texts)
    await strict.close()
    assert isinstance(refused, InferenceError)
    assert "it has 3 turns and an encoder reads two" in str(refused)
    assert "model.more_turns: join" in str(refused)
    assert isinstance(odd, InferenceError)
    assert "turn 1 has no role user or assistant" in str(odd)
    assert isinstance(pair, Prediction)
    assert isinstance(plain, Prediction)  # no array of objects: a text of one turn
    joining = await asyncio.to_thread(rows_of, folders["Bert"], more_turns="join")
    joined, same = await asyncio.to_thread(joining.build, texts_of(talk, ("good\nbad", "the rain")))
    assert isinstance(joined, PreparedText)
    assert joined == same


def test_readers_of_pairs_and_of_texts_do_not_share_rows(folders: dict[str, Path]) -> None:
    wanted = settings_of(folders["Bert"], conversations=False)
    single = build_rows(load_words(open_checkpoint(wanted)), wanted, MAX_TOKENS)
    digests = {rows_of(folders["Bert"], more_turns=rule).digest for rule in ("refuse", "join")}
    assert len({single.digest, *digests}) == 3
    pair = settings_of(folders["Bert"])
    assert trunk.find_shared_trunks({"one": wanted, "two": pair}).groups == ()


def test_a_judged_turn_of_which_nothing_is_seen_is_unreadable(folders: dict[str, Path]) -> None:
    rows = rows_of(folders["Bert"])
    first, second = rows.build(texts_of(("ก", "good"), ("good", "ก")))
    assert isinstance(first, PreparedText)
    assert isinstance(second, PreparedText)
    assert (first.is_unreadable, second.is_unreadable) == (False, True)
    assert first.unknown_share == second.unknown_share == 0.5


def test_a_type_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    build_model(tmp_path, "Electra", type_vocab_size=1)
    with pytest.raises(ModelLoadError, match=r"the type 1, and the model has 1 \(type_vocab_size"):
        load(settings_of(tmp_path))


def test_no_room_for_two_texts_is_refused(folders: dict[str, Path]) -> None:
    words = load_words(open_checkpoint(settings_of(folders["Bert"])), pairs=True)
    assert words.pair is not None
    assert words.pair.capacity_tokens(5) == 2
    with pytest.raises(ConfigError, match="no room for two texts; raise it"):
        words.pair.capacity_tokens(4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conversations": True}, "model.conversations: requires conversations in the input"),
        ({"conversations": True, "long_text": "windows"}, "a pair has no windows"),
        ({"more_turns": "join"}, "more_turns: only conversations have turns"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings.model_validate({"model": {"backend": "encoder", "path": "x"} | changes})


def test_an_encoder_of_single_texts_is_told_how_to_read_conversations() -> None:
    model = {"backend": "encoder", "path": "x"}
    with pytest.raises(ValueError, match=r"set model\.conversations: true"):
        Settings.model_validate({"input": {"messages_path": "m"}, "model": model})
    read = Settings.model_validate(
        {"input": {"messages_path": "m"}, "model": model | {"conversations": True}}
    )
    assert json.loads(read.model_dump_json())["model"]["more_turns"] == "refuse"


def test_labelled_pairs_measure_and_calibrate(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word for word in VOCABULARY if word.isalpha()][:20]
    pairs = [(first, second) for first in words for second in ("good", "rain")]
    plain = PlainTransformers(folders["Bert"])
    right = [LABELS[max(range(3), key=expected(plain, pair).__getitem__)] for pair in pairs]
    rows = [{"messages": pair, "label": label} for pair, label in zip(pairs, right, strict=True)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {
        "model.backend": "encoder", "model.path": folders["Bert"], "model.device": "cpu",
        "model.max_tokens": MAX_TOKENS, "model.conversations": "true",
        "input.messages_path": "messages",
    }  # fmt: skip
    options = [part for name, each in given.items() for part in ("--set", f"{name}={each}")]
    done = CliRunner().invoke(app, ["evaluate", *options, "--data", "pairs.jsonl"])
    assert done.exit_code == 0, done.output
    assert "accuracy 1.000" in done.output
    classified = CliRunner().invoke(app, ["classify", *options, "-f", "pairs.jsonl"])
    assert classified.exit_code == 0, classified.output
    labels = [json.loads(line)["label"] for line in classified.stdout.splitlines()]
    assert labels == right
