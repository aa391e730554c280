"""The Chinese pages have the commands, the settings and the links of the English ones."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAIRS = {
    "README.md": "README.zh-CN.md",
    **{
        str(path.relative_to(ROOT)): str(path.relative_to(ROOT)).replace(".md", ".zh.md")
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if path.with_suffix(".zh.md").exists()
    },
}
NAMES_OF_BLOCKS = {"console", "yaml", "python"}


def test_the_pages_that_must_be_translated_are() -> None:
    assert set(PAIRS) >= {
        "README.md",
        "docs/getting-started.md",
        "docs/console.md",
        "docs/generative.md",
        "docs/platforms/ascend.md",
    }


def blocks(page: str) -> list[str]:
    """Return commands and configuration, without comments and the texts of examples."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    return [
        re.sub(r'"id": "[^"]*"', '"id": ...', re.sub(r"\s+#.*$", "", body, flags=re.MULTILINE))
        for name, body in found
        if name in NAMES_OF_BLOCKS
    ]


def inline(page: str) -> set[str]:
    """Return what stands in backticks: settings, files, commands, fields."""
    prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`([^`]+)`", prose))


def links(page: str) -> set[str]:
    """Return where a page leads; a Chinese page counts as the English one that it stands for."""
    found = set(re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()))
    return {target.replace(".zh.md", ".md") for target in found} - {*PAIRS, *PAIRS.values()}


@pytest.mark.parametrize("english", PAIRS)
def test_the_commands_and_the_configuration_are_the_same(english: str) -> None:
    assert blocks(PAIRS[english]) == blocks(english)


@pytest.mark.parametrize("english", PAIRS)
def test_the_settings_files_and_commands_that_are_named_are_the_same(english: str) -> None:
    assert inline(PAIRS[english]) == inline(english)


@pytest.mark.parametrize("english", PAIRS)
def test_the_figures_are_the_same(english: str) -> None:
    def figures(page: str) -> set[str]:
        return set(re.findall(r"\d[\d,]*\.\d+|\d{2,}(?:,\d{3})*", (ROOT / page).read_text()))

    assert figures(PAIRS[english]) == figures(english)


@pytest.mark.parametrize("english", PAIRS)
def test_the_pages_have_the_same_sections_and_links(english: str) -> None:
    def levels(page: str) -> list[int]:
        prose = re.sub(
            r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE
        )
        return [len(marks) for marks in re.findall(r"^(#+) ", prose, flags=re.MULTILINE)]

    assert levels(PAIRS[english]) == levels(english)
    assert links(PAIRS[english]) >= links(english)
