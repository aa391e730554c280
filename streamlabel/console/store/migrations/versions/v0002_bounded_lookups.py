"""Indexes with which what a page looks up costs the same however many items are alike.

Texts of one wave share ``near_key``, and busy threads ``relation``: the id in the index gives the
first few in order, without sorting all of them.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

__all__ = ["downgrade", "upgrade"]

revision = "0002"
down_revision = "0001"

_OPEN: dict[str, Any] = {
    "sqlite_where": sa.text("state = 'open'"),
    "postgresql_where": sa.text("state = 'open'"),
}


def upgrade() -> None:
    """Add the id to the two indexes."""
    op.drop_index("item_near", "item")
    op.create_index("item_near", "item", ["near_key", "item_id"], **_OPEN)
    op.drop_index("item_relation", "item")
    op.create_index("item_relation", "item", ["relation", "event_ms", "item_id"])


def downgrade() -> None:
    """Remove it."""
    op.drop_index("item_relation", "item")
    op.create_index("item_relation", "item", ["relation", "event_ms"])
    op.drop_index("item_near", "item")
    op.create_index("item_near", "item", ["near_key"], **_OPEN)
