"""The tables of the console. Times are epoch milliseconds, in UTC."""

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    literal_column,
)

__all__ = [
    "IS_OPEN",
    "METADATA",
    "AnyText",
    "duty",
    "event",
    "exclusion",
    "gold",
    "input_offset",
    "item",
    "lease",
    "outbox",
    "refused",
    "secret",
    "user",
    "verdict",
]

METADATA: Final = MetaData()


class AnyText(TypeDecorator[str]):
    """Any text of a record, as UTF-8: PostgreSQL's own type refuses the character NUL."""

    impl: type[LargeBinary] = LargeBinary  # type: ignore[mutable-override]  # as documented
    cache_ok: bool | None = True

    def process_bind_param(self, value: str | None, dialect: Any) -> bytes | None:  # noqa: ANN401
        """Return the bytes to store."""
        return None if value is None else value.encode("utf-8", "surrogatepass")

    def process_result_value(self, value: Any, dialect: Any) -> str | None:  # noqa: ANN401
        """Return the text of stored bytes."""
        return None if value is None else bytes(value).decode("utf-8", "surrogatepass")


# SQLite counts up in a column of exactly this type only
_Id = BigInteger().with_variant(Integer, "sqlite")

item = Table(
    "item",
    METADATA,
    Column("item_id", _Id, primary_key=True, autoincrement=True),
    Column("review_id", Text, nullable=False, unique=True),
    Column("record_id", Text, nullable=False),
    Column("task", Text, nullable=False),  # empty: none
    Column("label", Text),  # the model's labels, joined: for counts
    Column("text", AnyText),  # null: erased
    Column("text_truncated", Boolean, nullable=False),
    Column("model_labels", JSON(none_as_null=True)),
    Column("confidence", Float),
    Column("probabilities", JSON(none_as_null=True)),
    Column("raw_probabilities", JSON(none_as_null=True)),
    Column("prediction_set", JSON(none_as_null=True)),
    Column("threshold", Float),
    Column("reasons", JSON, nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("review_probability", Float),
    Column("metadata", JSON(none_as_null=True)),
    Column("key", LargeBinary),
    Column("deployment_id", Text),
    Column("model_digest", Text),
    Column("calibration_id", Text),
    Column("threshold_set_id", Text),
    Column("source_topic", Text, nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("event_ms", BigInteger, nullable=False),
    Column("arrived_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger),
    Column("priority", Float, nullable=False),
    Column("look", Integer, nullable=False),
    Column("state", String(8), nullable=False),
    Column("open_from_ms", BigInteger, nullable=False),  # not offered before
    Column("generation", BigInteger, nullable=False),
    Column("near_key", Text),
    Column("near_keys", JSON(none_as_null=True)),  # of the review record
    Column("thread", Text),
    Column("relation", String(32)),  # equal for items of one thread, else of one key
    Column("parent_id", BigInteger),  # the first look
    Column("gold_id", BigInteger),
    Column("verdict_id", BigInteger),  # the verdict that holds
    Column("labels", JSON(none_as_null=True)),
    Column("decided_ms", BigInteger),
    Column("appeal_id", Text),
    Column("appealed_labels", JSON(none_as_null=True)),
    sqlite_autoincrement=True,  # an id is never used again: the audit log names it
)

# A literal, because an index of a part of the table is used for a constant only.
IS_OPEN: Final = item.c.state == literal_column("'open'")
_OPEN: Final[dict[str, Any]] = {"sqlite_where": IS_OPEN, "postgresql_where": IS_OPEN}

Index("item_next", item.c.priority.desc(), item.c.item_id, **_OPEN)
Index("item_next_of_task", item.c.task, item.c.priority.desc(), item.c.item_id, **_OPEN)
Index("item_open_from", item.c.open_from_ms, **_OPEN)
Index("item_near", item.c.near_key, item.c.item_id, **_OPEN)
Index("item_relation", item.c.relation, item.c.event_ms, item.c.item_id)
Index("item_record", item.c.record_id)
Index("item_arrived", item.c.arrived_ms)
Index("item_decided", item.c.decided_ms)
Index("item_parent", item.c.parent_id)
Index("item_verdict", item.c.verdict_id)

# The keys of nearly equal texts that open items have; digests.
near_duplicate = Table(
    "near_duplicate",
    METADATA,
    Column("key", String(32), primary_key=True),
    Column("item_id", BigInteger, primary_key=True, autoincrement=False),
)
Index("near_duplicate_item", near_duplicate.c.item_id)

# Who does not get an item: those who skipped it, and who took the first look.
exclusion = Table(
    "exclusion",
    METADATA,
    Column("item_id", BigInteger, primary_key=True, autoincrement=False),
    Column("reviewer", Text, primary_key=True),
)

lease = Table(
    "lease",
    METADATA,
    Column("item_id", BigInteger, primary_key=True, autoincrement=False),
    Column("reviewer", Text, nullable=False, unique=True),
    Column("generation", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False, index=True),
)

# Append-only; notes and accounts may be erased.
verdict = Table(
    "verdict",
    METADATA,
    Column("verdict_id", _Id, primary_key=True, autoincrement=True),
    Column("item_id", BigInteger, nullable=False, index=True),
    Column("reviewer", Text, nullable=False),
    Column("pseudonym", Text, nullable=False),
    Column("action", String(8), nullable=False),
    Column("labels", JSON(none_as_null=True)),
    Column("saw_model_answer", Boolean, nullable=False),
    Column("duration_ms", BigInteger),
    Column("note", AnyText),
    Column("decided_ms", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
Index("verdict_decided", verdict.c.decided_ms)
Index("verdict_reviewer", verdict.c.reviewer, verdict.c.decided_ms)

gold = Table(
    "gold",
    METADATA,
    Column("gold_id", _Id, primary_key=True, autoincrement=True),
    Column("item_id", BigInteger, nullable=False),
    Column("task", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    sqlite_autoincrement=True,
)

# Append-only and hash-chained; a note may be erased, its digest stays.
event = Table(
    "event",
    METADATA,
    Column("event_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("item_id", BigInteger, index=True),
    Column("detail", Text, nullable=False),  # JSON, as it was hashed
    Column("note", AnyText),
    Column("note_salt", Text),
    Column("note_digest", Text),
    Column("hash", String(64), nullable=False),
)

outbox = Table(
    "outbox",
    METADATA,
    Column("outbox_id", _Id, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False),
    Column("value", LargeBinary),  # null: withdraws the verdict
    Column("verdict_id", BigInteger, index=True),
    Column("due_ms", BigInteger, nullable=False),
    Column("taken", Boolean, nullable=False),
    sqlite_autoincrement=True,  # the order of messages
)

input_offset = Table(
    "input_offset",
    METADATA,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
)

refused = Table(
    "refused",
    METADATA,
    Column("refused_id", _Id, primary_key=True, autoincrement=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    UniqueConstraint("topic", "partition", "offset", name="refused_position"),
)

user = Table(
    "user",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text),
    Column("tasks", JSON(none_as_null=True)),
    Column("is_disabled", Boolean, nullable=False),
)

# What one process does at a time, for example sending the outbox.
duty = Table(
    "duty",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

# Keys that were made at the first start because the settings have none.
secret = Table(
    "secret",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("value", Text, nullable=False),
)
