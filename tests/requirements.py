"""What a test does when a part it needs is not here: say so and skip, or fail where CI says so."""

import os
from typing import NoReturn

import pytest

__all__ = ["REQUIRE_ALL", "missing"]

# Set by .ci/run: a part that CI is meant to cover and that is not there fails the run.
REQUIRE_ALL = "STREAMLABEL_REQUIRE_ALL"


def missing(reason: str) -> NoReturn:
    """Skip the running test, saying what is missing and how to get it; fail it in CI."""
    if os.environ.get(REQUIRE_ALL, "") not in {"", "0"}:
        pytest.fail(f"{REQUIRE_ALL} is set and a part is missing: {reason}", pytrace=False)
    pytest.skip(reason)
