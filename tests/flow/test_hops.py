"""A record passes few files, and docs/architecture.md names them: held by tracing records.

Each file that a record passes is one more that a reader has to open, and each call is time.
"""

import re
from pathlib import Path

import pytest

from tests.flow.trace import calls, calls_per_record

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
MOST_FILES = 12
MOST_CALLS = 45  # 62 in 19 files before there were plans


def listed(heading: str) -> set[str]:
    """Files named in the table whose second column has this heading."""
    table = PAGE.partition(f"| file | {heading} |")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `consumer/([\w/]+\.py)` \|", table, flags=re.MULTILINE))


@pytest.mark.parametrize("transactional", [False, True])
async def test_a_record_passes_the_files_that_the_page_lists(transactional: bool) -> None:
    per_record = await calls_per_record(transactional=transactional)
    files = {file for file, _ in per_record}
    assert files == listed("for each record")
    assert len(files) <= MOST_FILES
    assert sum(per_record.values()) <= MOST_CALLS, per_record


@pytest.mark.parametrize("transactional", [False, True])
async def test_what_is_done_for_many_at_once_is_in_the_files_that_the_page_lists(
    transactional: bool,
) -> None:
    """A record that comes alone is also a poll, a batch and a delivery."""
    files = {file for file, _ in await calls(1, transactional=transactional)}
    assert files == listed("for each record") | listed("for many records at once")
