"""The settings of the input: what its records are, and where their text is."""

from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from streamlabel.config.input_format import FORMATS
from streamlabel.config.input_topics import InputTopics, TopicSettings
from streamlabel.config.input_value import useless, value_problem
from streamlabel.config.registry import RegistrySettings, framing_problem
from streamlabel.config.value import ValueSettings

__all__ = ["InputSettings"]


class InputSettings(ValueSettings, InputTopics):
    """The input topics and the format of their records."""

    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    start_at: Literal["earliest", "latest"] = Field(
        "earliest",
        description="Where reading starts if the group has no committed offset for the topic."
        " Partitions that are added later are always read from the beginning.",
    )
    out_of_range: Literal["stop", "earliest", "latest"] = Field(
        "stop",
        description="What to do if the committed offset no longer exists, or belongs to a topic"
        " that was deleted and created again. stop: end with an error; earliest,"
        " latest: continue from the beginning or the end.",
    )
    empty_text: Literal["dead_letter", "skip"] = Field(
        "dead_letter",
        description="What to do with null values and blank texts. dead_letter: send to the"
        " dead-letter topic; skip: drop and count.",
    )
    normalise: Literal["none", "nfc"] = Field(
        "none",
        description="Unicode normalization of the text before the model. nfc: composed form, so"
        " that an accented letter is the same whether it is encoded as one character"
        " or two. Outputs keep the original text.",
    )

    def of_topic(self, topic: str) -> Self:
        """Return the settings of one input topic: its own, and otherwise those of this section.

        If any topic has some, settings of this section that do not apply to a topic are left out.
        """
        entry = self.entry_of(topic)
        return self if entry is None else self._merged(entry)

    @property
    def each(self) -> list[tuple[str, Self]]:
        """Title and settings of each entry of ``topics``; one without a title without them."""
        return [(each.title, self._merged(each)) for each in self.topics] or [("", self)]

    def _merged(self, entry: TopicSettings) -> Self:
        if not self.has_own_values:
            return self
        own = dict(entry.own_values)
        for one, others in _INSTEAD.items():
            if one in own:
                own = {**{name: _default(name) for name in others}, **own}
        merged = self.model_copy(update=own)
        for _ in range(2):  # without framing, others become useless
            without = {name: _default(name) for name in useless(merged) if name not in own}
            merged = merged.model_copy(update=without)
        return merged

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        for title, settings in self.each:
            if problem := _problem(settings):
                raise ValueError(f"topics: {title}: {problem}" if title else problem)
        return self


# A topic's own way to name the text replaces that of the section, with all that belongs to it.
_INSTEAD: Final = {
    "text_path": ("text_paths", "text_separator", "text_default", "messages_path"),
    "text_paths": ("text_path", "messages_path"),
    "messages_path": ("text_path", "text_paths", "text_separator", "text_default"),
    "format": ("decoder",),
}


def _default(name: str) -> Any:  # noqa: ANN401 any setting
    return InputSettings.model_fields[name].get_default(call_default_factory=True)


def _problem(settings: InputSettings) -> str | None:
    if settings.framing != "none" and settings.format not in FORMATS:
        return f"framing: not supported by format {settings.format}; set framing: none"
    return framing_problem(
        settings.format,
        settings.framing,
        has_url=settings.registry.url is not None,
        has_files=bool(settings.schema_files),
        has_file=settings.schema_file is not None,
    ) or value_problem(settings)
