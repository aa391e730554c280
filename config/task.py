"""The task of a language model: label set, definitions, examples and form of the answer."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from streamlabel.config import yaml_file
from streamlabel.config.conversations import turns_problem
from streamlabel.config.places import FileName, Place
from streamlabel.config.policies import PolicySettings, refuse_policies, refuse_unasked_policies
from streamlabel.config.reasoning import ReasoningSettings
from streamlabel.config.section import Section

__all__ = [
    "DelimiterSettings",
    "ExampleSettings",
    "LabelSettings",
    "OneQuestionTask",
    "Task",
    "TaskSettings",
    "task_name",
]

# Codes are letters because every tokenizer in use has them as single tokens.
CODES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
# Two characters at least: a delimiter in a text is escaped by a space inside it.
Mark = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=100)]
Form = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class LabelSettings(Section):
    """One label of the task."""

    name: Name = Field(description="Name of the label in every output.")
    definition: str = Field(
        "", description="Definition shown to the model: when this label applies."
    )
    answers: list[Form] = Field(
        default_factory=list,
        description="Answers that stand for the label; the prompt shows the first one, and their"
        " probabilities are added. Default: the name.",
    )


class ExampleSettings(Section):
    """An example text with its label, shown to the model before the text to classify."""

    text: str = Field(min_length=1, description="Text of the example.")
    label: Name = Field(description="Name of the example's label.")


class DelimiterSettings(Section):
    """Delimiters around the text in the prompt. Delimiters inside a text are escaped."""

    open: Mark = Field("<text>", description="String that precedes the text.")
    close: Mark = Field("</text>", description="String that follows the text.")


class TaskSettings(Section):
    """A label set with definitions, examples and the instruction for the prompt."""

    name: Name = Field(
        "task", description="Name of the task, shown in logs and by `streamlabel check`."
    )
    prompt: Literal["chat", "verbatim"] = Field(
        "chat",
        description="How the prompt is made. chat: instruction, classes and text as a chat, by the"
        " model's chat template; verbatim: prompt_file, or the model's own chat template with the"
        " text as the user's turn, and nothing else: for guard models.",
    )
    prompt_file: FileName | None = Field(
        None,
        description="prompt verbatim: Jinja file of the whole prompt, in which {{ text }} stands"
        " once. It is used to its last byte, a final line break included. Control tokens of the"
        " file are control tokens, those of a text never.",
    )
    language: Literal["en", "zh"] = Field(
        "en", description="Language of the built-in sentences of the prompt."
    )
    instruction: str = Field(
        "",
        description="Instruction for the model. Default: a built-in sentence that asks it to"
        " classify the text.",
    )
    labels: list[LabelSettings] = Field(
        min_length=2, description="The labels, in the order in which the prompt lists them."
    )
    policies: list[PolicySettings] = Field(
        default_factory=list,
        description="Questions about one text, each answered on its own: the output has a label"
        " for each, with its own probability and threshold (routing.thresholds). The labels of the"
        " task are then the two answers to each question, and the second one means that the policy"
        " applies. For backend generative, and vllm in mode one_token.",
    )
    policy_variable: Name = Field(
        "policy",
        description="Prompt verbatim with policies: variable of the template that gets the text of"
        " a policy. A dot names an entry of a mapping, for example guardian_config.risk_name.",
    )
    conversations: bool = Field(
        False,
        description="Texts are conversations, of which the last turn is judged: JSON arrays of"
        " turns with role (user or assistant) and content, as input.messages_path makes them. A"
        " verbatim prompt gets them as the turns of the chat; in others, they stand under the names"
        " of their roles.",
    )
    examples: list[ExampleSettings] = Field(
        default_factory=list,
        description="Few-shot examples, in the order in which the prompt shows them.",
    )
    answer_with: Literal["forms", "letters"] = Field(
        "forms",
        description="What the model answers with. forms: the answers of the labels; letters: A,"
        " B, C, and so on (up to 26 labels). Use letters if an answer is not a single"
        " token.",
    )
    answer_prefix: str = Field(
        "",
        description="Text that the model's reply begins with, before its answer, for example"
        " 'Answer:'. White space alone is not repeated where a verbatim prompt ends with it.",
    )
    scoring: Literal["one_token", "trie"] = Field(
        "one_token",
        description="How answers are scored. one_token: every answer must be one token, one"
        " forward pass per text; trie: exact probabilities of answers of any length,"
        " several rows per text.",
    )
    reasoning: ReasoningSettings | None = Field(
        None,
        description="For models that reason before they answer: the answer is read after the"
        " reasoning, and its probability is the one given that reasoning. For backend vllm in mode"
        " one_token, and remote with vLLM's server. null: the answer is the first token.",
    )
    delimiters: DelimiterSettings | None = Field(
        default_factory=DelimiterSettings,
        description="Delimiters around the text in the prompt. null: none.",
    )

    @model_validator(mode="after")
    def _labels_are_clear(self) -> Self:
        names = [label.name for label in self.labels]
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise ValueError(f"labels: {repeated[0]!r} is listed twice; names must be unique")
        for place, example in enumerate(self.examples):
            if example.label not in names:
                raise ValueError(
                    f"examples.{place}.label: {example.label!r} is not a label; choose one of"
                    f" {', '.join(names)}"
                )
        if self.answer_with == "letters" and len(names) > len(CODES):
            raise ValueError(
                f"answer_with: letters support up to {len(CODES)} labels, the task has"
                f" {len(names)}; use forms, with scoring: trie if they are not single tokens"
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
                        f"labels: answer {form!r} belongs to both {other!r} and {label.name!r};"
                        " every answer must identify one label"
                    )
        return self

    @model_validator(mode="after")
    def _policies_can_be_asked(self) -> Self:
        if self.policies:
            idle = ["examples"] if self.examples else []
            idle += ["labels.definition"] if any(x.definition for x in self.labels) else []
            refuse_policies(
                self.policies,
                answers=len(self.labels),
                idle=idle,
                letters=self.answer_with == "letters",
            )
            if self.reasoning is not None:
                raise ValueError(
                    "reasoning: each policy would have a reasoning of its own; ask one question a"
                    " task, or remove it"
                )
        if self.policy_variable != "policy" and (self.prompt == "chat" or not self.policies):
            raise ValueError(
                "policy_variable: only a verbatim prompt with policies has one; remove it"
            )
        return self

    @model_validator(mode="after")
    def _fits_its_prompt(self) -> Self:
        if self.prompt == "chat":
            return self
        idle = [name for name in ("instruction", "examples") if getattr(self, name)]
        idle += ["labels.definition"] if any(label.definition for label in self.labels) else []
        if self.delimiters not in (None, DelimiterSettings()):
            idle.append("delimiters")
        if idle:
            raise ValueError(
                f"{idle[0]}: a verbatim prompt contains nothing but its file, so this would have no"
                " effect; write it into the file, or remove it"
            )
        return self

    @model_validator(mode="after")
    def _turns_can_be_told_apart(self) -> Self:
        if problem := turns_problem(self):
            raise ValueError(problem)
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
    """Return the content of the YAML file if ``value`` is a path, else ``value``."""
    if not isinstance(value, str | Path):
        return value
    path = Path(value).expanduser().absolute()
    if not path.is_file():
        raise ValueError(
            f"task file {path} does not exist; relative paths start at the folder of the"
            " configuration file, or at the working directory for environment variables and flags"
        )
    tree = yaml_file.read(path).tree
    prompt = tree.get("prompt_file")
    if isinstance(prompt, str):  # relative to the file that names it
        tree = tree | {"prompt_file": str(path.parent / Path(prompt).expanduser())}
    return tree


def task_name(model: object) -> str | None:
    """Return the name of the task that a model's settings hold; None without a task."""
    task = getattr(model, "task", None)
    return task.name if isinstance(task, TaskSettings) else None


def _one_question(task: TaskSettings) -> TaskSettings:
    refuse_unasked_policies(task.policies, "this back end")
    return task


Task = Annotated[
    TaskSettings, BeforeValidator(_read, json_schema_input_type=TaskSettings | str), Place()
]
OneQuestionTask = Annotated[Task, AfterValidator(_one_question)]
