"""When a task applies to a record: by its metadata, headers, language and topic. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from streamlabel.config.input_topics import InputTopics
from streamlabel.config.several import ConditionSettings
from streamlabel.consumer.core.records import TextRecord

__all__ = ["Condition"]


class Condition:
    """The part of ``when`` that a record itself decides, and whether its topic has the task.

    Metadata that was dropped, because it is too large or too deeply nested, counts as fulfilled:
    otherwise a record could evade a task by its size.

    Args:
        settings: of the task.
        task: its name.
        topics: of the input; None: the task applies to all.
    """

    def __init__(
        self, settings: ConditionSettings, *, task: str = "", topics: InputTopics | None = None
    ) -> None:
        self._task = task
        self._topics = topics
        self._is_of_topic: dict[str, bool] = {}
        self._metadata = {
            tuple(path.split(".")): _listed(wanted) for path, wanted in settings.metadata.items()
        }
        self._headers = {
            name.lower(): {value.encode() for value in _listed(wanted)}
            for name, wanted in settings.headers.items()
        }
        self._languages = (
            None if settings.language is None else frozenset(_listed(settings.language))
        )

    def holds(self, record: TextRecord) -> bool:
        """Return whether the record has one of the wanted values in each place."""
        return (
            self._topic_holds(record)
            and (self._languages is None or record.language in self._languages)
            and self._headers_hold(record)
            and self._metadata_holds(record)
        )

    def _topic_holds(self, record: TextRecord) -> bool:
        if self._topics is None:
            return True
        topic = record.source.position.topic
        found = self._is_of_topic.get(topic)
        if found is None:
            entry = self._topics.entry_of(topic)
            found = entry is None or not entry.tasks or self._task in entry.tasks
            self._is_of_topic[topic] = found
        return found

    def _headers_hold(self, record: TextRecord) -> bool:
        if not self._headers:
            return True
        # As in most clients, the last one counts of headers with the same name.
        given = {name.lower(): value for name, value in record.source.headers}
        return all(given.get(name) in wanted for name, wanted in self._headers.items())

    def _metadata_holds(self, record: TextRecord) -> bool:
        if not self._metadata or record.metadata_dropped:
            return True
        metadata = None if record.metadata is None else orjson.loads(record.metadata)
        return all(
            any(_is(_at(metadata, path), value) for value in wanted)
            for path, wanted in self._metadata.items()
        )


def _listed(wanted: Any) -> Iterable[Any]:  # noqa: ANN401 a value or a list of values
    return wanted if isinstance(wanted, list) else [wanted]


def _at(metadata: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401 any JSON value
    for name in path:
        if not isinstance(metadata, Mapping) or name not in metadata:
            return None
        metadata = metadata[name]
    return metadata


def _is(found: Any, wanted: Any) -> bool:  # noqa: ANN401 any JSON value
    # true is not 1, but 1 is 1.0, as in JSON
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
