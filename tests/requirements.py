"""Handles missing requirements of a test: skip it with the reason, or fail it in CI."""

import os
from typing import NoReturn

import pytest

__all__ = ["REQUIRE_ALL", "missing"]

# Set by .ci/run: a missing requirement that CI should cover fails the run.
REQUIRE_ALL = "STREAMLABEL_REQUIRE_ALL"


def missing(reason: str) -> NoReturn:
    """Skip the running test with what is missing and how to get it; fail it in CI."""
    if os.environ.get(REQUIRE_ALL, "") not in {"", "0"}:
        pytest.fail(f"{REQUIRE_ALL} is set and a part is missing: {reason}", pytrace=False)
    pytest.skip(reason)
