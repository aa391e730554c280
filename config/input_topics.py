"""The input topics: one, or several with weights."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Field, StringConstraints, model_validator

from streamlabel.config.section import Section

__all__ = ["InputTopics", "TopicName", "WeightedTopic"]

_NAME: Final = r"^[a-zA-Z0-9._-]{1,249}$"
TopicName = Annotated[str, StringConstraints(pattern=_NAME)]


class WeightedTopic(Section):
    """One of several input topics."""

    name: TopicName = Field(description="Topic to read from.")
    weight: float = Field(1.0, gt=0, description="Its weight: only the ratios of weights matter.")


class InputTopics(Section):
    """What to read."""

    topic: TopicName = Field("texts", description="Topic to read from.")
    topics: list[WeightedTopic] = Field(
        default_factory=list,
        description="Several topics to read from, instead of topic: mappings with name and weight"
        " (default 1). While they have a backlog, records are read in proportion to the weights.",
    )

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight by name of each input topic."""
        return {each.name: each.weight for each in self.topics} or {self.topic: 1.0}

    @model_validator(mode="before")
    @classmethod
    def _topic_is_the_first(cls, values: Any) -> Any:  # noqa: ANN401 any value
        """With several topics, let ``topic`` be the first of them, unless it is set."""
        if not isinstance(values, Mapping) or "topic" in values:
            return values
        topics = values.get("topics")
        if not isinstance(topics, list | tuple) or not topics:
            return values
        first = topics[0]
        name = first.get("name") if isinstance(first, Mapping) else getattr(first, "name", None)
        return {**values, "topic": name} if re.match(_NAME, str(name)) else values

    @model_validator(mode="after")
    def _topics_fit(self) -> Self:
        if self.topics and self.topic != self.topics[0].name:
            raise ValueError(
                f"topic, topics: set one of the two; to read {self.topic!r} too, add it to"
                " input.topics"
            )
        for name, count in Counter(each.name for each in self.topics).items():
            if count > 1:
                raise ValueError(
                    f"topics: {name!r} is listed {count} times; list it once, with one weight"
                )
        return self
