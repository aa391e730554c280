"""What came out of an example: by record and task, and whether anything is missing or doubled."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from streamlabel.config.settings import Settings
from streamlabel.consumer.output.headers import OURS, TASK
from streamlabel.demo.example_files import Post
from streamlabel.demo.stream import read_until

__all__ = ["Answer", "Answers", "read_answers"]

Route = Literal["labels", "review", "audit", "dead letter"]

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """An output of a record: ``label`` is None for dead letters."""

    post: str
    task: str
    route: Route
    label: str | None
    reasons: tuple[str, ...]
    confidence: float | None
    attributes: Mapping[str, str]


class Answers:
    """All outputs so far.

    Args:
        posts: that were sent.
        tasks: of the service; ``[""]`` if there is one.
    """

    HEADER: ClassVar = "example-id"

    def __init__(self, posts: Sequence[Post], *, tasks: Sequence[str]) -> None:
        self.posts = {post.id: post for post in posts}
        self.found: list[Answer] = []
        self._wanted = {(post.id, task) for post in posts for task in tasks}
        self._tasks = tasks

    def add(self, answer: Answer) -> None:
        """Take an output."""
        self.found.append(answer)
        # what could not be read is a dead letter for all tasks at once
        tasks = self._tasks if answer.route == "dead letter" else (answer.task,)
        self._wanted -= {(answer.post, task) for task in tasks}

    @property
    def are_complete(self) -> bool:
        """Whether each record has an output for each task."""
        return not self._wanted

    def problems(self) -> list[str]:
        """Return what is missing, and what was written twice."""
        seen = Counter((each.post, each.task, each.route) for each in self.found)
        doubled = [" ".join(key) for key, count in seen.items() if count > 1]
        missing = [f"{post} {task}".strip() for post, task in sorted(self._wanted)]
        return [f"missing: {each}" for each in missing] + [f"twice: {each}" for each in doubled]

    def lines(self) -> Iterator[str]:
        """Yield the summary: by task and route, how many are right, and some outputs."""
        for (task, route), count in sorted(Counter((e.task, e.route) for e in self.found).items()):
            yield f"  {task + ' ' if task else ''}{route}: {count}"
        judged = [e for e in self.found if e.route in {"labels", "review"} and self._expected(e)]
        if judged:
            right = sum(each.label == self._expected(each) for each in judged)
            yield f"  {right} of {len(judged)} labels are those that people expect"
        for each in self.found[:_SHOWN]:
            confidence = "" if each.confidence is None else f" {each.confidence:.2f}"
            why = f" ({', '.join(each.reasons)})" if each.reasons else ""
            yield f"  {each.post}: {each.label}{confidence} to {each.route}{why}"

    def _expected(self, answer: Answer) -> str | None:
        return self.posts[answer.post].expected.get(answer.task)


async def read_answers(settings: Settings, answers: Answers, partitions: Mapping[str, int]) -> None:
    """Read all output topics until each record has its outputs, and then what is left."""
    routes: dict[str, Route] = {settings.output.dead_letter_topic: "dead letter"}
    routes |= dict.fromkeys(settings.labels_topics, "labels")
    routes |= dict.fromkeys(settings.review_topics, "review")
    await read_until(
        settings,
        {topic: partitions[topic] for topic in routes},
        lambda record: answers.add(_answer(record, routes[record.topic])),
        is_done=lambda: answers.are_complete,
    )


def _answer(record: Any, route: Route) -> Answer:  # noqa: ANN401 aiokafka is untyped
    headers = {name: (value or b"").decode() for name, value in record.headers}
    post = headers[Answers.HEADER]
    task = headers.get(TASK, "")
    attributes = {name: value for name, value in headers.items() if name.startswith("ce_")}
    if route == "dead letter":
        reason = headers[OURS + "error-reason"]
        return Answer(post, task, route, None, (reason,), None, attributes)
    message = json.loads(record.value)
    reasons = tuple(message["reasons"])
    actual: Route = "audit" if reasons == ("audit",) and route == "review" else route
    return Answer(post, task, actual, message["label"], reasons, message["confidence"], attributes)
