"""What the errors of the databases mean, and what to do."""

from typing import Final

from streamlabel.errors import StoreUnavailableError

__all__ = ["unavailable"]

# Part of SQLite's message -> reason and what to do.
_SQLITE: Final = (
    ("readonly", "read_only", "make its file and folder writable"),
    ("disk is full", "full", "make room on its disk"),
    ("disk I/O", "gone", "look at its disk"),
    ("unable to open", "gone", "look for its file and folder"),
    ("malformed", "gone", "restore a backup: the file is damaged"),
    ("not a database", "gone", "restore a backup: the file is damaged"),
    ("locked", "busy", "try again"),
)
# Class or code of PostgreSQL's SQLSTATE -> the same.
_POSTGRESQL: Final = (
    ("25006", "read_only", "it is a standby, or default_transaction_read_only is on"),
    ("53100", "full", "make room on its disk"),
    ("53", "busy", "try again"),
    ("55P03", "busy", "try again"),
    ("57014", "busy", "try again"),
    ("40", "busy", "try again"),
)


def unavailable(error: BaseException | None, *, is_sqlite: bool) -> StoreUnavailableError:
    """Return our error for one of a driver.

    Args:
        error: of sqlite3 or psycopg. Its own message may quote values, so it is not kept.
        is_sqlite: which of them.
    """
    if is_sqlite:
        said = str(error)
        found = next((each for each in _SQLITE if each[0] in said), None)
    else:
        said = getattr(error, "sqlstate", None) or ""
        found = next((each for each in _POSTGRESQL if said and said.startswith(each[0])), None)
    if found is None:
        return StoreUnavailableError("gone", "the database does not answer: look at its server")
    _, reason, advice = found
    what = {"read_only": "cannot be written", "full": "is full", "busy": "is too busy"}
    return StoreUnavailableError(
        reason, f"the database {what.get(reason, 'cannot be used')}: {advice}"
    )
