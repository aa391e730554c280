"""A task file says everything a language model is asked, or is refused with the field and fix."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from streamlabel.config.model import GenerativeSettings, ModelSettings, PromptedSettings
from streamlabel.config.task import TaskSettings
from streamlabel.errors import ConfigError

SPAM: dict[str, Any] = {
    "labels": [{"name": "ham", "answers": ["No", "no"]}, {"name": "spam", "answers": ["Yes"]}],
    "examples": [{"text": "You won a prize, call now", "label": "spam"}],
}


def task(**changes: object) -> TaskSettings:
    return TaskSettings.model_validate(SPAM | changes)


def test_a_label_without_answers_answers_with_its_name() -> None:
    plain = task(labels=[{"name": "ham"}, {"name": "spam"}])
    assert plain.forms == (("ham",), ("spam",))


def test_letters_replace_the_answers() -> None:
    assert task(answer_with="letters").forms == (("A",), ("B",))


@pytest.mark.parametrize(("count", "accepted"), [(25, True), (26, True), (27, False)])
def test_letters_end_at_z(count: int, *, accepted: bool) -> None:
    labels = [{"name": f"class {i}"} for i in range(count)]
    if accepted:
        assert len(task(labels=labels, examples=[], answer_with="letters").forms) == count
    else:
        with pytest.raises(
            ValidationError, match="letters support up to 26 labels, the task has 27"
        ):
            task(labels=labels, examples=[], answer_with="letters")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [{"name": "ham"}, {"name": "ham"}]}, "'ham' is listed twice"),
        ({"examples": [{"text": "hi", "label": "eggs"}]}, "'eggs' is not a label"),
        (
            {"labels": [{"name": "ham", "answers": ["x"]}, {"name": "spam", "answers": ["x"]}]},
            "answer 'x' belongs to both 'ham' and 'spam'",
        ),
        ({"labels": [{"name": "ham"}]}, "at least 2"),
        ({"labels": [{"name": "ham"}, {"name": "spam", "answers": [True]}]}, "valid string"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_an_unclear_task_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**{"examples": []} | changes)


def test_a_task_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text(
        "labels:\n- {name: 正面, answers: [是]}\n- {name: 负面, answers: [否]}\n", "utf-8"
    )
    settings = GenerativeSettings.model_validate({"path": "m", "task": str(file)})
    assert settings.task.names == ("正面", "负面")


def test_a_missing_task_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"task file .*absent\.yaml does not exist"):
        GenerativeSettings.model_validate({"path": "m", "task": str(tmp_path / "absent.yaml")})


def test_a_broken_task_file_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text("labels:\n- {name: ham}\nlabels: []\n", "utf-8")
    with pytest.raises(ConfigError, match="line 3: labels is set twice"):
        GenerativeSettings.model_validate({"path": "m", "task": str(file)})


@pytest.mark.parametrize(
    ("backend", "kind"), [("generative", GenerativeSettings), ("prompted", PromptedSettings)]
)
def test_the_back_end_chooses_the_section(backend: str, kind: type) -> None:
    settings: Any = TypeAdapter(ModelSettings).validate_python(
        {"backend": backend, "path": "m", "task": SPAM}
    )
    assert isinstance(settings, kind)
