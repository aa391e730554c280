"""Trie scores are the products of token probabilities along each answer."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlabel.errors import ConfigError, InferenceError
from streamlabel.models.label_scoring.answer import FirstToken
from streamlabel.models.label_scoring.label_trie import LabelTrie, build_trie

END = 9


def reads(trie: LabelTrie, table: dict[tuple[int, ...], list[float]]) -> list[FirstToken]:
    result = []
    for path in trie.paths:
        row = table[path]
        top = max(range(len(row)), key=row.__getitem__)
        result.append(FirstToken(dict(enumerate(row)), top, row[top]))
    return result


def uniform(trie: LabelTrie, *, vocabulary: int = 10) -> list[FirstToken]:
    row = [-math.log(vocabulary)] * vocabulary
    return reads(trie, dict.fromkeys(trie.paths, row))


def test_answers_share_the_reads_of_their_common_beginning() -> None:
    trie = build_trie(["a", "b", "c"], [[(1, 2)], [(1, 3)], [(4,)]], end_id=END)
    assert trie.paths == ((), (1,))
    assert trie.children == ((1, 4), (2, 3))


def test_longer_answers_are_not_favoured_or_normalised() -> None:
    trie = build_trie(["a", "b"], [[(1, 2, 3)], [(4,)]], end_id=END)
    answer = trie.read(uniform(trie))
    assert answer.log_scores == pytest.approx([-3 * math.log(10), -math.log(10)])
    assert answer.off_label_mass == pytest.approx(1 - 0.101)


def test_an_answer_that_begins_another_must_end() -> None:
    trie = build_trie(["new", "new york"], [[(1,)], [(1, 2)]], end_id=END)
    assert trie.answers == (((1, END),), ((1, 2),))
    with pytest.raises(ConfigError, match="beginning of another"):
        build_trie(["new", "new york"], [[(1,)], [(1, 2)]], end_id=None)


def test_labels_with_the_same_answer_are_refused() -> None:
    with pytest.raises(ConfigError, match="'b' and 'a' share the answer"):
        build_trie(["a", "b"], [[(1, 2)], [(1, 2)]], end_id=END)


def test_a_missing_number_is_an_error() -> None:
    trie = build_trie(["a", "b"], [[(1, 2)], [(4,)]], end_id=END)
    root, inner = uniform(trie)
    with pytest.raises(InferenceError, match="token 2"):
        trie.read([root, FirstToken({}, inner.top_id, inner.top_log_probability)])


ROW = st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(
    lambda weights: [math.log(w / math.fsum(weights)) for w in weights]
)


@given(st.lists(ROW, min_size=5, max_size=5))
def test_all_answers_of_a_full_tree_sum_to_one(rows: list[list[float]]) -> None:
    answers = [[pair] for pair in product(range(4), range(4))]
    trie = build_trie([str(pair) for pair in answers], answers, end_id=None)
    answer = trie.read(reads(trie, dict(zip(trie.paths, rows, strict=True))))
    assert answer.label_mass == pytest.approx(1, abs=1e-9)
