"""What a language model is asked: label set, definitions, examples and how it answers."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from streamlabel.config import yaml_file
from streamlabel.config.section import Section

__all__ = [
    "DelimiterSettings",
    "ExampleSettings",
    "LabelSettings",
    "Task",
    "TaskSettings",
]

# Codes are letters because every tokenizer in use has them as single tokens.
CODES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
# Two characters: a space is put inside a delimiter that a text contains.
Mark = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=100)]
Form = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class LabelSettings(Section):
    """One class of the task."""

    name: Name = Field(description="What every output calls it.")
    definition: str = Field("", description="One sentence for the model: when is it this class.")
    answers: list[Form] = Field(
        default_factory=list,
        description="What the model may write for it, first one shown in the prompt; their"
        " probabilities are summed. Default: the name.",
    )


class ExampleSettings(Section):
    """One text with its class, shown to the model before the text to classify."""

    text: str = Field(min_length=1, description="The text.")
    label: Name = Field(description="The name of its class.")


class DelimiterSettings(Section):
    """What marks the text in the prompt as data; a text that contains them is defused."""

    open: Mark = Field("<text>", description="Stands before the text.")
    close: Mark = Field("</text>", description="Stands after the text.")


class TaskSettings(Section):
    """A label set with definitions, examples and the instruction; the prompt comes from it."""

    name: Name = Field("task", description="Shown in logs and in `streamlabel check`.")
    language: Literal["en", "zh"] = Field("en", description="Of the built-in sentences.")
    instruction: str = Field(
        "", description="What to decide. Default: a sentence that says to classify the text."
    )
    labels: list[LabelSettings] = Field(
        min_length=2, description="In the order of every probability list."
    )
    examples: list[ExampleSettings] = Field(
        default_factory=list, description="Few-shot examples, in this order."
    )
    answer_with: Literal["forms", "letters"] = Field(
        "forms",
        description="forms: the labels' own answers; letters: A, B, C... (up to 26 labels), the"
        " remedy when answers are no single tokens.",
    )
    answer_prefix: str = Field(
        "", description="Put into the model's mouth before its answer, for example 'Answer:'."
    )
    scoring: Literal["one_token", "trie"] = Field(
        "one_token",
        description="one_token: every answer is one token, one read a text; trie: answers of any"
        " length, exact, several rows a text.",
    )
    delimiters: DelimiterSettings | None = Field(
        default_factory=DelimiterSettings, description="Around the text; null: none."
    )

    @model_validator(mode="after")
    def _labels_are_clear(self) -> Self:
        names = [label.name for label in self.labels]
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise ValueError(f"labels: {repeated[0]!r} is there twice; give each its own name")
        for place, example in enumerate(self.examples):
            if example.label not in names:
                raise ValueError(
                    f"examples.{place}.label: {example.label!r} is no label; choose one of"
                    f" {', '.join(names)}"
                )
        if self.answer_with == "letters" and len(names) > len(CODES):
            raise ValueError(
                f"answer_with: letters serve {len(CODES)} labels, there are {len(names)}; use"
                " forms, with scoring: trie where they are no single tokens"
            )
        return self

    @model_validator(mode="after")
    def _answers_are_distinct(self) -> Self:
        owner: dict[str, str] = {}
        for label, forms in zip(self.labels, self.forms, strict=True):
            for form in forms:
                other = owner.setdefault(form, label.name)
                if other != label.name:
                    raise ValueError(
                        f"labels: answer {form!r} belongs to {other!r} and to {label.name!r}; an"
                        " answer must say which label it means"
                    )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return tuple(label.name for label in self.labels)

    @property
    def forms(self) -> tuple[tuple[str, ...], ...]:
        """The answers of each label, in order; the first is the one that the prompt shows."""
        if self.answer_with == "letters":
            return tuple((code,) for code in CODES[: len(self.labels)])
        return tuple(tuple(dict.fromkeys(label.answers)) or (label.name,) for label in self.labels)


def _read(value: Any) -> Any:  # noqa: ANN401 whatever was given
    """Return what the YAML file says if ``value`` is a path, else ``value``."""
    if not isinstance(value, str | Path):
        return value
    path = Path(value).expanduser()
    if not path.is_file():
        raise ValueError(f"no task file {path}; give its path from the working directory")
    return yaml_file.read(path).tree


Task = Annotated[TaskSettings, BeforeValidator(_read, json_schema_input_type=TaskSettings | str)]
