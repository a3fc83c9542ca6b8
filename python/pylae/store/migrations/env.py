"""What Alembic runs: the steps that are missing, over the connection and in the transaction that it is given."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # SQLite has this too, once the driver does not end transactions by itself.
    transactional_ddl=True,
)
context.run_migrations()
