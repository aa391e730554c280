"""Pages, help texts, descriptions and comments are written in the terms of docs/glossary.md."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from streamlabel.__main__ import app
from streamlabel.config.catalog import entries
from streamlabel.consumer.core.metric_names import METRICS
from tests.vocabulary import BANNED, findings, prose_of

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "config" / "default.yaml"]
)
MODULES = sorted(
    module
    for room in ("benchmarks", "config", "consumer", "examples", "models", "scripts", "streamlabel")
    for module in (ROOT / room).rglob("*.py")
)
# A description is a clause with a subject, not the answer to a question that nobody sees.
FRAGMENT = re.compile(r"(?:Of|With|At most|At least|For|To|In|As|By|From|See|No|Yes)\b")
FRAGMENTS_THAT_ARE_CLAUSES = ("At SIGTERM,", "At a rebalance,")


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 typer's own click
    """Yield every command with the words that call it."""
    yield name, command
    for word, inner in sorted(getattr(command, "commands", {}).items()):
        yield from commands(inner, f"{name} {word}")


COMMANDS = dict(commands(get_command(app), "streamlabel"))


def options() -> Iterator[tuple[str, str]]:
    for name, command in COMMANDS.items():
        for parameter in command.params:
            said = getattr(parameter, "help", None)
            # typer's own options (completion) are not our words
            if said and "completion" not in (parameter.name or ""):
                yield f"{name} {parameter.name}", said


DESCRIPTIONS = {
    **{f"{entry.name} ({entry.backend})": entry.description for entry in entries()},
    **dict(options()),
    **{f"metric {name}": metric.help for name, metric in METRICS.items()},
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_uses_no_banned_phrase(page: Path) -> None:
    assert findings(page.read_text()) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(ROOT)))
def test_comments_and_messages_of_a_module_use_no_banned_phrase(module: Path) -> None:
    found = [hit for text in prose_of(module.read_text()) for hit in findings(text)]
    assert found == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_help_text_uses_no_banned_phrase(name: str) -> None:
    assert findings(COMMANDS[name].help or "") == []


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_uses_no_banned_phrase(name: str) -> None:
    assert findings(DESCRIPTIONS[name]) == []


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_is_understood_without_its_code(name: str) -> None:
    said = DESCRIPTIONS[name]
    if name.startswith(("model.backend", "metric")) and not said:
        return  # the reference says what it is
    assert said.endswith("."), said
    assert len(said.split()) >= 2, said
    if not said.startswith(FRAGMENTS_THAT_ARE_CLAUSES):
        assert not FRAGMENT.match(said), said


def test_every_banned_phrase_is_found() -> None:
    """So the tests above can fail."""
    for example in ("a lane per partition", "mend the cause", "Services that are wrong on purpose"):
        assert findings(example)
    assert len(BANNED) > 20
    assert {"streamlabel run", "streamlabel dlq replay", "streamlabel train llm"} <= set(COMMANDS)
    comments, text = prose_of(
        "def f(x):  # a lane\n    # to keep\n    # promises\n    lane('mend it')\n"
    )
    assert [found.phrase for found in findings(comments)] == ["lane", "keep promises"]
    assert [found.phrase for found in findings(text)] == ["mend"]
    assert findings("`lane.py`\n```\nmend\n```\n") == []


def test_terms_are_defined_once_in_order_and_in_one_sentence_at_least() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text()
    terms = re.findall(r"^- \*\*(.+?)\*\*: (.+)$", page, flags=re.MULTILINE)
    assert len(terms) == len(re.findall(r"^- ", page, flags=re.MULTILINE))
    repeated = [term for term, count in Counter(t.lower() for t, _ in terms).items() if count > 1]
    assert repeated == []
    for term, meaning in terms:
        assert meaning.endswith("."), term
    for section in page.split("\n## ")[1:]:
        names = [n.lower() for n in re.findall(r"^- \*\*(.+?)\*\*", section, flags=re.MULTILINE)]
        assert names == sorted(names)
