"""The tables of the first version of the console."""

from typing import Any

import sqlalchemy as sa
from alembic import op

__all__ = ["downgrade", "upgrade"]

revision = "0001"
down_revision = None

# SQLite counts up in a column of exactly this type only
_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN: dict[str, Any] = {
    "sqlite_where": sa.text("state = 'open'"),
    "postgresql_where": sa.text("state = 'open'"),
}
_TABLES = (
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
)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "duty",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "event",
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("item_id", sa.BigInteger()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("note", sa.LargeBinary()),
        sa.Column("note_salt", sa.Text()),
        sa.Column("note_digest", sa.Text()),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("ix_event_item_id", "event", ["item_id"])
    op.create_table(
        "exclusion",
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("item_id", "reviewer"),
    )
    op.create_table(
        "gold",
        sa.Column("gold_id", _id, autoincrement=True, nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("gold_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "input_offset",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
    )
    op.create_table(
        "item",
        sa.Column("item_id", _id, autoincrement=True, nullable=False),
        sa.Column("review_id", sa.Text(), nullable=False),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("label", sa.Text()),
        sa.Column("text", sa.LargeBinary()),
        sa.Column("text_truncated", sa.Boolean(), nullable=False),
        sa.Column("model_labels", sa.JSON()),
        sa.Column("confidence", sa.Float()),
        sa.Column("probabilities", sa.JSON()),
        sa.Column("raw_probabilities", sa.JSON()),
        sa.Column("prediction_set", sa.JSON()),
        sa.Column("threshold", sa.Float()),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("review_probability", sa.Float()),
        sa.Column("metadata", sa.JSON()),
        sa.Column("key", sa.LargeBinary()),
        sa.Column("deployment_id", sa.Text()),
        sa.Column("model_digest", sa.Text()),
        sa.Column("calibration_id", sa.Text()),
        sa.Column("threshold_set_id", sa.Text()),
        sa.Column("source_topic", sa.Text(), nullable=False),
        sa.Column("source_partition", sa.Integer(), nullable=False),
        sa.Column("source_offset", sa.BigInteger(), nullable=False),
        sa.Column("event_ms", sa.BigInteger(), nullable=False),
        sa.Column("arrived_ms", sa.BigInteger(), nullable=False),
        sa.Column("due_ms", sa.BigInteger()),
        sa.Column("priority", sa.Float(), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("open_from_ms", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("near_key", sa.Text()),
        sa.Column("thread", sa.Text()),
        sa.Column("relation", sa.String(32)),
        sa.Column("parent_id", sa.BigInteger()),
        sa.Column("gold_id", sa.BigInteger()),
        sa.Column("verdict_id", sa.BigInteger()),
        sa.Column("labels", sa.JSON()),
        sa.Column("decided_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("item_id"),
        sa.UniqueConstraint("review_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("item_arrived", "item", ["arrived_ms"])
    op.create_index("item_decided", "item", ["decided_ms"])
    op.create_index("item_near", "item", ["near_key"], **_OPEN)
    op.create_index("item_next", "item", [sa.literal_column("priority DESC"), "item_id"], **_OPEN)
    op.create_index(
        "item_next_of_task",
        "item",
        ["task", sa.literal_column("priority DESC"), "item_id"],
        **_OPEN,
    )
    op.create_index("item_open_from", "item", ["open_from_ms"], **_OPEN)
    op.create_index("item_parent", "item", ["parent_id"])
    op.create_index("item_record", "item", ["record_id"])
    op.create_index("item_relation", "item", ["relation", "event_ms"])
    op.create_index("item_verdict", "item", ["verdict_id"])
    op.create_table(
        "lease",
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("item_id"),
        sa.UniqueConstraint("reviewer"),
    )
    op.create_index("ix_lease_until_ms", "lease", ["until_ms"])
    op.create_table(
        "outbox",
        sa.Column("outbox_id", _id, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary()),
        sa.Column("verdict_id", sa.BigInteger()),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("outbox_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_verdict_id", "outbox", ["verdict_id"])
    op.create_table(
        "refused",
        sa.Column("refused_id", _id, autoincrement=True, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("refused_id"),
        sa.UniqueConstraint("topic", "partition", "offset", name="refused_position"),
    )
    op.create_table(
        "secret",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "user",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("tasks", sa.JSON()),
        sa.Column("is_disabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "verdict",
        sa.Column("verdict_id", _id, autoincrement=True, nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("labels", sa.JSON()),
        sa.Column("saw_model_answer", sa.Boolean(), nullable=False),
        sa.Column("duration_ms", sa.BigInteger()),
        sa.Column("note", sa.LargeBinary()),
        sa.Column("decided_ms", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("verdict_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_verdict_item_id", "verdict", ["item_id"])
    op.create_index("verdict_decided", "verdict", ["decided_ms"])
    op.create_index("verdict_reviewer", "verdict", ["reviewer", "decided_ms"])


def downgrade() -> None:
    """Remove the tables, with all that is in them."""
    for name in _TABLES:
        op.drop_table(name)
