"""Names of classes are read from config.json as transformers reads them, or refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamlabel.errors import ConfigError, ModelLoadError
from streamlabel.models.files.label_names import count_labels, read_label_names

NAMES = st.sampled_from(["ham", "spam", "LABEL_0", "LABEL_1", "", " ", "1"])
VALUES = st.one_of(NAMES, st.none(), st.booleans(), st.integers(0, 2), st.lists(NAMES, max_size=1))
KEYS = st.sampled_from(["0", "1", "2", "3", "-1", "00", " 1", "a", "1.0", ""])
MAPS = st.one_of(
    st.none(),
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.lists(NAMES, max_size=2),
    st.lists(st.sampled_from(["ham", "spam", "scam"]), min_size=1, max_size=3, unique=True).map(
        lambda names: {str(i): name for i, name in enumerate(names)}
    ),
)
COUNTS = st.one_of(st.integers(-1, 3), st.none(), st.just("2"), st.booleans())
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "id2label": MAPS,
        "num_labels": COUNTS,
        "label2id": st.one_of(
            st.none(),
            st.just([]),
            st.dictionaries(NAMES, st.sampled_from([0, 1, "0", "1"]), max_size=2),
        ),
    },
)


@pytest.mark.model
@given(config=CONFIGS)
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_the_file_says_we_read_what_transformers_reads_or_refuse(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    from transformers import AutoConfig

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"} | config))
    try:
        theirs = AutoConfig.from_pretrained(tmp_path)
    except (TypeError, ValueError, AttributeError):
        theirs = None
    try:
        ours = read_label_names(config)
    except (ConfigError, ModelLoadError):
        pass  # what it says: below
    else:
        assert theirs is not None
        assert ours == [str(theirs.id2label[i]) for i in range(theirs.num_labels)]
        assert all(name.strip() for name in ours)
        assert len(set(ours)) == len(ours)
    try:
        count = count_labels(config)
    except ModelLoadError:
        return
    assert theirs is not None
    assert count == theirs.num_labels


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"id2label": ["ham", "spam"]}, "id2label in config.json is a list"),
        ({"id2label": {"ham": "ham", "1": "spam"}}, "has the key 'ham'"),
        ({"id2label": {"0": "ham", "00": "spam"}}, "names class 0 twice"),
        ({"id2label": {"0": "ham", "2": "spam"}}, "none for class 1"),
        ({"id2label": {"1": "ham", "2": "spam"}}, "none for class 0"),
        ({"id2label": {"0": "ham", "1": None}}, "names class 1 None"),
        ({"id2label": {"0": ["ham"], "1": "spam"}}, r"names class 0 \['ham'\]"),
        ({"id2label": {"0": False, "1": True}}, "names class 0 False"),
        ({"id2label": {"0": "ham", "1": " "}}, "gives class 1 a blank name"),
        ({"id2label": {"0": "ham", "1": "ham"}}, "names several classes 'ham'"),
        ({"id2label": {}}, "defines no class"),
        ({"num_labels": 0}, "defines no class"),
        ({"num_labels": "3"}, "num_labels in config.json is '3'"),
        ({"num_labels": None}, "num_labels in config.json is None"),
        (
            {"id2label": {"0": "ham", "1": "spam"}, "label2id": {"ham": 1, "spam": 0}},
            "gives the class 'ham' the number 0 in id2label and 1 in label2id",
        ),
    ],
)
def test_names_that_mean_nothing_certain_are_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelLoadError, match=f"model.path: .*{said}"):
        read_label_names(config)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "LABEL_0 to LABEL_1; list 2 names"),
        ({"id2label": None, "num_labels": 3}, "LABEL_0 to LABEL_2; list 3 names"),
        ({"label2id": {"ham": 0, "spam": 1}}, "label2id in config.json is not read"),
        ({"id2label": {"0": "a", "1": "b"}, "num_labels": 3}, "num_labels in config.json is 3"),
    ],
)
def test_names_that_transformers_forgets_are_to_be_listed(
    config: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=f"model.labels: .*{said}"):
        read_label_names(config)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"id2label": {"1": "spam", "0": "ham"}}, ["ham", "spam"]),
        ({"id2label": {"0": 1, "1": 2.5}}, ["1", "2.5"]),
        ({"id2label": {"0": "LABEL_0", "1": "spam"}}, ["LABEL_0", "spam"]),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"LABEL_0": 0}}, ["a", "b"]),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": "0", "b": "1"}}, ["a", "b"]),
        ({"id2label": {"0": "a", "1": "b"}, "num_labels": 2}, ["a", "b"]),
    ],
)
def test_names_are_read(config: dict[str, Any], names: list[str]) -> None:
    assert read_label_names(config) == names
