"""What alembic runs for each migration, on the connection that ``migrating`` gives it."""

from alembic import context

from streamlabel.console.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,  # SQLite can, too
)
context.run_migrations()
