"""Keys of nearly equal texts, which review records may bring: one row for each of an open item."""

import sqlalchemy as sa
from alembic import op

__all__ = ["downgrade", "upgrade"]

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column and the table."""
    op.add_column("item", sa.Column("near_keys", sa.JSON()))
    op.create_table(
        "near_duplicate",
        sa.Column("key", sa.String(32), primary_key=True),
        sa.Column("item_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    )
    op.create_index("near_duplicate_item", "near_duplicate", ["item_id"])


def downgrade() -> None:
    """Remove them."""
    op.drop_table("near_duplicate")
    op.drop_column("item", "near_keys")
