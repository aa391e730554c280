"""The input topics: one, or several by name or pattern, with weights and settings of their own."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from streamlabel.config.section import Section
from streamlabel.config.value import ValueSettings

__all__ = ["InputTopics", "TopicName", "TopicSettings"]

_NAME: Final = r"^[a-zA-Z0-9._-]{1,249}$"
TopicName = Annotated[str, StringConstraints(pattern=_NAME)]
_MAX_PATTERN: Final = 500


class TopicSettings(ValueSettings):
    """One of several input topics, or all those that match a pattern.

    What is not set here is as in the section input.
    """

    name: TopicName | None = Field(None, description="Topic to read from.")
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_PATTERN)] | None = (
        Field(
            None,
            description="Instead of a name: a regular expression that matches whole names. Topics"
            " that are created later are read, too.",
        )
    )
    weight: float = Field(1.0, gt=0, description="Its weight: only the ratios of weights matter.")
    tasks: list[str] = Field(
        default_factory=list,
        description="Names of the tasks that apply to its records. Default: all.",
    )

    @property
    def own_values(self) -> Mapping[str, Any]:
        """What is set here about values, by name."""
        names = self.model_fields_set & ValueSettings.model_fields.keys()
        return {name: getattr(self, name) for name in names}

    @property
    def title(self) -> str:
        """Name or pattern, for messages."""
        return self.name or f"pattern {self.pattern}"

    def matches(self, topic: str) -> bool:
        """Return whether it is this topic, or one of the pattern."""
        if self.name is not None:
            return self.name == topic
        return re.fullmatch(self.pattern or "", topic) is not None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _names_topics(self) -> Self:
        if (self.name is None) == (self.pattern is None):
            raise ValueError("name, pattern: set one of the two")
        if "decoder" in self.model_fields_set and "format" not in self.model_fields_set:
            raise ValueError("format: required by decoder; set it here, too")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not set: read again, it would no longer be as in the section input."""
        whole: dict[str, Any] = dump(self)
        return {name: whole[name] for name in whole if name in self.model_fields_set}


class InputTopics(Section):
    """What to read."""

    topic: TopicName = Field("texts", description="Topic to read from.")
    topics: list[TopicSettings] = Field(
        default_factory=list,
        description="Several topics to read from, instead of topic: mappings with name or pattern,"
        " weight (default 1), tasks, and any setting of a value that differs from this section,"
        " from format to metadata_path. While they have a backlog, records are read in proportion"
        " to the weights.",
    )

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight by name of each input topic; those of patterns are not known."""
        if not self.topics:
            return {self.topic: 1.0}
        return {each.name: each.weight for each in self.topics if each.name is not None}

    @property
    def has_patterns(self) -> bool:
        """Whether the cluster has to be asked which topics there are."""
        return any(each.pattern is not None for each in self.topics)

    @property
    def has_own_values(self) -> bool:
        """Whether the records of some topic are read otherwise than the section says."""
        return any(each.own_values for each in self.topics)

    @property
    def listed(self) -> str:
        """All names and patterns, for messages."""
        return ", ".join([each.title for each in self.topics] or [self.topic])

    def entry_of(self, topic: str) -> TopicSettings | None:
        """Return what ``topics`` says of a topic: under its name, or else the first pattern."""
        named = (each for each in self.topics if each.name == topic)
        matching = (each for each in self.topics if each.matches(topic))
        return next(named, None) or next(matching, None)

    def weights_of(self, present: Iterable[str], *, not_ours: Collection[str]) -> dict[str, float]:
        """Return the weight by name of each input topic, those of patterns included.

        Args:
            present: topics of the cluster. A topic with a name of its own may be missing.
            not_ours: topics that no pattern may match, because we write to them.
        """
        found = dict(self.weights)
        for topic in sorted(set(present).difference(found, not_ours)):
            if not topic.startswith("__") and (entry := self.entry_of(topic)) is not None:
                found[topic] = entry.weight
        return found

    def expanded(self, present: Iterable[str], *, not_ours: Collection[str]) -> Self:
        """Return the settings with the topics that patterns match instead of the patterns.

        Unchanged if there is no topic at all. Arguments as of ``weights_of``.
        """
        names = list(self.weights_of(present, not_ours=not_ours))
        if not self.has_patterns or not names:
            return self
        found = [(name, self.entry_of(name)) for name in names]
        topics = [
            entry.model_copy(update={"name": name, "pattern": None})
            for name, entry in found
            if entry is not None
        ]
        return self.model_copy(update={"topics": topics, "topic": names[0]})

    def task_problem(self, tasks: Collection[str]) -> str | None:
        """Return which task of a topic does not exist, and what to change; None: all do."""
        for entry in self.topics:
            for name in entry.tasks:
                if name not in tasks:
                    there = f"the tasks are {', '.join(tasks)}" if tasks else "there are no tasks"
                    return f"input.topics: {entry.title}: tasks: there is no task {name}; {there}"
        return None

    @model_validator(mode="before")
    @classmethod
    def _topic_is_the_first(cls, values: Any) -> Any:  # noqa: ANN401 any value
        """With several topics, let ``topic`` be the first of them, unless it is set."""
        if not isinstance(values, Mapping) or "topic" in values:
            return values
        topics = values.get("topics")
        if not isinstance(topics, list | tuple):
            return values
        names = (
            each.get("name") if isinstance(each, Mapping) else getattr(each, "name", None)
            for each in topics
        )
        first = next((name for name in names if name is not None), None)
        return (
            values
            if first is None or not re.match(_NAME, str(first))
            else {**values, "topic": first}
        )

    @model_validator(mode="after")
    def _topics_fit(self) -> Self:
        named = [each.name for each in self.topics if each.name is not None]
        is_default = self.topic == InputTopics.model_fields["topic"].default
        if self.topics and self.topic not in named[:1] and (named or not is_default):
            raise ValueError(
                f"topic, topics: set one of the two; to read {self.topic!r} too, add it to"
                " input.topics"
            )
        for title, count in Counter(each.title for each in self.topics).items():
            if count > 1:
                raise ValueError(
                    f"topics: {title!r} is listed {count} times; list it once, with one weight"
                )
        return self
