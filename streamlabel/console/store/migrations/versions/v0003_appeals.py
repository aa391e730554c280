"""What an appeal is about: its id, and the labels against which it is made."""

import sqlalchemy as sa
from alembic import op

__all__ = ["downgrade", "upgrade"]

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("item", sa.Column("appeal_id", sa.Text()))
    op.add_column("item", sa.Column("appealed_labels", sa.JSON()))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("item", "appealed_labels")
    op.drop_column("item", "appeal_id")
