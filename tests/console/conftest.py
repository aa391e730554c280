"""A real browser for the tests of the pages."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from testing.console.browser import ChromiumMissingError, launched
from tests.requirements import missing


@pytest.fixture(scope="module")  # longer, its running loop would be in the way of async tests
def browser() -> Iterator[Browser]:
    """One browser for the tests of a module; each test opens its own context."""
    try:
        with launched() as found:
            yield found
    except ChromiumMissingError as error:
        missing(str(error))
