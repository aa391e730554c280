"""The demo's samples: enough of them, all kinds, and nothing unseen that was seen."""

import re
from collections import Counter
from itertools import pairwise

import pytest

from streamlabel.demo.samples import LABELS, Sample, stream_samples, training_examples

SAMPLES = stream_samples()
BROKEN = {sample.note: sample for sample in SAMPLES if sample.kind == "broken"}


def of_kind(kind: str) -> list[Sample]:
    return [sample for sample in SAMPLES if sample.kind == kind]


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def test_there_are_enough_english_samples_of_every_label() -> None:
    unseen = of_kind("unseen")
    assert len(unseen) >= 240
    counts = Counter(sample.label for sample in unseen)
    assert set(counts) == set(LABELS.names)
    assert min(counts.values()) >= 45


def test_there_are_enough_training_texts_of_every_label() -> None:
    examples = training_examples()
    assert len(examples) >= 400
    counts = Counter(example.label for example in examples)
    assert set(counts) == set(LABELS.names)
    assert min(counts.values()) >= 80


def test_lengths_go_from_a_few_words_to_several_paragraphs() -> None:
    for texts in (
        [sample.text for sample in of_kind("unseen")],
        [example.text for example in training_examples()],
    ):
        lengths = sorted(len(text.split()) for text in texts)
        assert lengths[0] <= 3
        assert lengths[-1] >= 150
        assert any(text.count("\n\n") >= 2 for text in texts)


def test_some_are_ambiguous_and_some_in_other_languages() -> None:
    assert len(of_kind("ambiguous")) >= 15
    assert len({sample.note for sample in of_kind("other_language")}) >= 8


def test_no_text_appears_twice() -> None:
    texts = [sample.text for sample in SAMPLES if sample.kind != "broken"]
    texts += [example.text for example in training_examples()]
    assert [text for text, n in Counter(map(str.casefold, texts)).items() if n > 1] == []


def test_no_sample_is_nearly_a_training_text() -> None:
    """Two texts that share half of all their words count as one."""
    seen = [words(example.text) for example in training_examples()]
    for sample in SAMPLES:
        mine = words(sample.text)
        if sample.kind == "broken" or not mine:
            continue
        nearest = max(len(mine & other) / len(mine | other) for other in seen if other)
        assert nearest < 0.5, sample.id


def test_ids_are_unique_and_say_nothing_about_the_label() -> None:
    ids = [sample.id for sample in SAMPLES]
    assert len(set(ids)) == len(ids)
    for sample in of_kind("unseen"):
        assert re.fullmatch(r"text-\d{3}", sample.id)
        assert sample.value is not None
        assert b'"label"' not in sample.value


def test_the_order_is_always_the_same_and_mixed() -> None:
    assert [sample.id for sample in stream_samples()] == [sample.id for sample in SAMPLES]
    labels = [sample.label for sample in of_kind("unseen")]
    changes = sum(one != other for one, other in pairwise(labels))
    assert changes > len(labels) / 2


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("not utf8", "bad_encoding"),
        ("not json", "not_json"),
        ("cut off json", "not_json"),
        ("json not an object", "schema"),
        ("missing text", "schema"),
        ("text not a string", "schema"),
        ("too deep", "not_json"),
        ("tombstone", "empty_text"),
        ("empty value", "empty_text"),
        ("blank text", "empty_text"),
        ("invisible text", "empty_text"),
        ("lone surrogate", "bad_encoding"),
        ("huge text", "classified"),
        ("no spaces", "classified"),
        ("control characters", "classified"),
        ("wide emoji", "classified"),
    ],
)
def test_every_kind_of_broken_record_is_there_with_what_becomes_of_it(
    kind: str, reason: str
) -> None:
    assert BROKEN[kind].expect == reason
