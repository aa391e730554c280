"""``streamlabel verdicts``: from the console to other tools and back, over a real topic."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from streamlabel.__main__ import app
from streamlabel.config.console import ConsoleSettings
from streamlabel.console.store.items import Arrival
from streamlabel.console.store.opening import open_store
from testing.kafka_broker import Cluster
from tests.console_items import arrival, filled
from tests.verdicts import a_verdict

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

RULES = """
defaults:
  decision_ground: DECISION_GROUND_ILLEGAL_CONTENT
  illegal_content_legal_ground: law
  illegal_content_explanation: why
  decision_facts: Decided by a person.
labels:
  spam:
    decision_visibility: [DECISION_VISIBILITY_CONTENT_REMOVED]
    category: STATEMENT_CATEGORY_SCAMS_AND_FRAUD
"""


def stored(database: Path, *arrivals: Arrival) -> None:
    async def store_all() -> None:
        store = await open_store(ConsoleSettings(database=str(database)))
        try:
            await filled(store, arrivals)
        finally:
            await store.close()

    asyncio.run(store_all())


def annotated(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what Label Studio exports after one person has found spam everywhere."""
    for task in tasks:
        task["annotations"] = [
            {
                "completed_by": 7,
                "created_at": "2026-11-29T12:00:00Z",
                "lead_time": 2.5,
                "result": [
                    {
                        "from_name": "label",
                        "to_name": "text",
                        "type": "choices",
                        "value": {"choices": ["spam"]},
                    }
                ],
            }
        ]
    return tasks


def test_what_waits_is_decided_elsewhere_and_comes_back(kafka: Cluster, tmp_path: Path) -> None:
    database, topic = tmp_path / "console.db", f"{kafka.topic('review')}-verdicts"
    stored(
        database,
        arrival(1, text="one", event_time_ms=1_795_000_000_000),
        arrival(2, text="two", event_time_ms=1_795_000_000_000),
        arrival(
            3,
            text="three",
            purpose="audit",
            review_probability=0.01,
            event_time_ms=1_795_000_000_000,
        ),
    )
    given = {
        "kafka.bootstrap_servers": kafka.bootstrap,
        "kafka.group_id": topic,
        "kafka.create_topics": "true",
        "model.backend": "encoder",
        "model.path": "m",
        "output.verdicts_topic": topic,
        "console.database": str(database),
    }

    def run(*arguments: str) -> Result:
        options = [part for pair in given.items() for part in ("--set", "=".join(pair))]
        return CliRunner().invoke(app, ["verdicts", *arguments, *options])

    tasks = tmp_path / "tasks.json"
    done = run("export", "-f", "label-studio", "--waiting", "-o", str(tasks))
    assert (done.exit_code, done.output.strip()) == (0, "3 written, 0 left out")
    waiting = {task["data"]["text"]: task for task in json.loads(tasks.read_text())}
    assert {text: bool(task["predictions"]) for text, task in waiting.items()} == {
        "one": True,
        "two": True,
        "three": False,  # an audit is decided blind
    }
    others: list[dict[str, Any]] = [{"data": {}}]
    tasks.write_text(json.dumps(annotated(list(waiting.values())) + others))
    done = run("import", str(tasks), "-f", "label-studio")
    assert done.exit_code == 1, done.output  # one task is not ours
    assert "task 4: data.review_id is missing" in done.output
    assert "3 written" in done.output
    assert "3 items of the console are decided by this" in done.output
    assert (
        "0 written, 3 of decided reviews left out"
        in run("import", str(tasks), "-f", "label-studio").output
    )

    lines = tmp_path / "verdicts.jsonl"
    assert run("export", "-f", "jsonl", "-o", str(lines)).exit_code == 0
    verdicts = {each["review_id"]: each for each in map(json.loads, lines.read_text().splitlines())}
    assert {
        name: (each["action"], each["review_probability"]) for name, each in verdicts.items()
    } == {
        "r1": ("confirm", 1.0),
        "r2": ("confirm", 1.0),
        "r3": ("confirm", 0.01),
    }
    assert "label-studio" not in lines.read_text()  # people are pseudonyms
    assert "three" not in lines.read_text()

    other = a_verdict(review_id="r2", id="r2")
    lines.write_text(f"{other.encoded().decode()}\n{{}}\n")
    assert run("import", str(lines), "-f", "jsonl", "--replace").exit_code == 1
    rules, statements = tmp_path / "rules.yaml", tmp_path / "statements.json"
    rules.write_text(RULES)
    done = run("export", "-f", "dsa", "--rules", str(rules), "-o", str(statements))
    assert (done.exit_code, done.output.strip()) == (0, "2 written, 1 left out")
    found = json.loads(statements.read_text())["statements"]
    assert {each["puid"]: each["automated_decision"] for each in found} == {
        "r1": "AUTOMATED_DECISION_PARTIALLY",
        "r3": "AUTOMATED_DECISION_NOT_AUTOMATED",
    }
