"""Alembic's entry: runs the migrations on the connection it is handed."""

from alembic import context

import syncwatch.store.probe_schema  # noqa: F401 - its tables belong to the metadata
from syncwatch.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
