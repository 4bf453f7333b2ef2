"""Runs migrations on the connection, and in the transaction, that `proctor.storage.schema` has opened."""

from alembic import context

from proctor.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
