"""Schema migrations (Alembic): numbered files in `versions`, applied when the store is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from syncwatch.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

HEAD = "0005"
"""The newest revision; a test holds it against the files."""


def upgrade(connection: Connection) -> None:
    """Bring the schema up to date. Raises StoreError for a store of a newer syncwatch."""
    if connection.dialect.name == "postgresql":
        # Two replicas may start at once; the second waits here and then finds nothing to do.
        connection.execute(text("select pg_advisory_xact_lock(7379636)"))
    found = current(connection)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise StoreError(
            f"the store has schema {found}, this syncwatch knows {HEAD}",
            cure="use the newer version again, or start with a new store",
        )
    # Imported only when there is something to do: it costs a tenth of a second.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def current(connection: Connection) -> str | None:
    """The revision that the store has; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("select version_num from alembic_version")).scalar()
