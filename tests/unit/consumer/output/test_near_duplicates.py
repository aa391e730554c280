"""Keys of nearly equal texts: shared by small edits, not by unrelated texts, equal everywhere."""

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlabel.consumer.output import near_duplicates
from streamlabel.consumer.output.near_duplicates import NearDuplicates

KEYS = NearDuplicates()
WAVE = (
    "Win a FREE phone today! Visit www.example.com/offer-8391 and enter your code before midnight."
)
LETTERS = {
    "Latin": "etaoinshrdlucmfwypvbgkjqxz",
    "Cyrillic": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэф",
    "Chinese": "".join(map(chr, range(0x4E00, 0x4E00 + 900))),
}


def share(one: str, other: str) -> bool:
    return not set(KEYS.keys(one)).isdisjoint(KEYS.keys(other))


def text(rng: random.Random, letters: str) -> str:
    """Words of a language that does not exist, with the letters of one that does."""
    if len(letters) > 100:
        return "".join(rng.choices(letters, k=rng.randint(40, 120)))
    words = ("".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(rng.randint(15, 50)))
    return " ".join(words)


def edited(rng: random.Random, whole: str) -> str:
    """One small edit, as senders make them: a letter, a word, a link at the end."""
    place = rng.randrange(len(whole) - 2)
    other = rng.choice(whole)
    edits = [
        whole[:place] + other + whole[place + 1 :],
        whole[:place] + whole[place + 1 :],
        whole + f" {rng.randrange(10_000)}",
        whole.upper(),
        f"{rng.choice(['Hi', 'Re:', '!!'])} {whole}",
    ]
    return rng.choice(edits)


def rates(letters: str) -> tuple[float, float]:
    """Shares of edited texts, and of pairs of unrelated texts, that have a key in common."""
    rng = random.Random(3)
    texts = [text(rng, letters) for _ in range(300)]
    keys = [set(KEYS.keys(each)) for each in texts]
    kept = [bool(own & set(KEYS.keys(edited(rng, t)))) for t, own in zip(texts, keys, strict=True)]
    pairs = [bool(keys[i] & keys[j]) for i in range(300) for j in range(i)]
    return sum(kept) / len(kept), sum(pairs) / len(pairs)


@pytest.mark.parametrize("script", LETTERS)
def test_small_edits_keep_a_key_and_unrelated_texts_have_none(script: str) -> None:
    kept, met = rates(LETTERS[script])
    assert kept >= 0.98
    assert met <= 0.0001


def test_the_texts_of_a_wave_are_found() -> None:
    for other in (
        WAVE.replace("8391", "77"),
        WAVE.replace("midnight", "noon"),
        "Dear user! " + WAVE,
        WAVE.lower().replace(" ", "  "),
    ):
        assert share(WAVE, other), other
    assert not share(WAVE, "The parcel arrived on time, and everything works. Thanks a lot for it!")


@given(st.text(min_size=1))
@settings(max_examples=60, deadline=None)
def test_any_text_has_eight_keys_whatever_its_case_and_spaces(words: str) -> None:
    keys = KEYS.keys(words)
    assert len(keys) == 8
    assert all(len(key) == 12 for key in keys)
    assert KEYS.keys(f"  {words}\n") == keys
    assert KEYS.keys(" \t".join(words.split(" "))) == keys


def test_lone_surrogates_and_empty_texts_have_keys() -> None:
    assert KEYS.keys("\ud800") != KEYS.keys("")
    assert len(KEYS.keys("")) == 8


def test_keys_are_equal_in_other_processes_and_versions() -> None:
    """They are compared with those in records that were written before: they never change."""
    program = (
        "from streamlabel.consumer.output.near_duplicates import NearDuplicates\n"
        f"print(*NearDuplicates().keys({WAVE!r}))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == KEYS.keys(WAVE) == FIXED


def test_the_cost_of_a_long_text_is_bounded() -> None:
    rng = random.Random(1)
    long = "".join(rng.choices(LETTERS["Chinese"], k=200_000))
    assert len(near_duplicates._runs(long)) <= 4000
    assert share(long, long[:100_000])


def test_nothing_is_imported_while_it_is_off() -> None:
    program = (
        "import sys\nimport streamlabel.consumer.output.outcome_builder\n"
        "print({'datasketch', 'scipy'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "set()"


FIXED = [
    "c1db741535f7",
    "c89d1d9f708e",
    "40004d54b2fe",
    "275eec8881f8",
    "4d45f32de674",
    "ed8b0056ad18",
    "f38bcd63e3bc",
    "2985ea3452c3",
]
