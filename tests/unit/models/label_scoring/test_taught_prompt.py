"""A tuned model is served with the prompt that it was tuned with."""

from pathlib import Path

import pytest

from streamlabel.errors import ConfigError
from streamlabel.models.label_scoring.taught_prompt import (
    refuse_other_prompt,
    store_prompt,
    tuned_folders,
)


def test_the_adapters_prompt_counts_then_the_models_and_none_is_no_reason(tmp_path: Path) -> None:
    model, adapter = tmp_path / "model", tmp_path / "adapter"
    for folder in (model, adapter):
        folder.mkdir()
    both = tuned_folders(model, str(adapter))
    refuse_other_prompt(both, "bbb")
    store_prompt(model, "aaa")
    refuse_other_prompt(both, "aaa")
    with pytest.raises(ConfigError, match=r"model was tuned with another prompt \(version aaa"):
        refuse_other_prompt(tuned_folders(model, None), "bbb")
    store_prompt(adapter, "bbb")
    refuse_other_prompt(both, "bbb")
    with pytest.raises(ConfigError, match=r"adapter was tuned .*delete its prompt\.json"):
        refuse_other_prompt(both, "aaa")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"prompt_version": 5}'])
def test_a_file_that_says_nothing_is_no_reason(tmp_path: Path, content: str) -> None:
    file = tmp_path / "prompt.json"
    file.write_text(content)
    refuse_other_prompt([tmp_path], "aaa")
    assert file.read_text() == content, "it was looked at only"
    file.write_text('{"prompt_version": "bbb"}')
    with pytest.raises(ConfigError, match="was tuned with another prompt"):
        refuse_other_prompt([tmp_path], "aaa")
