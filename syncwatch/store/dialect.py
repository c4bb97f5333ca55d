"""The one statement that SQLAlchemy keeps in its dialects: an insert that knows of conflicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection


def insert(connection: Connection) -> Any:
    """The dialect's insert, the one that knows `on_conflict_do_…`."""
    # Imported where it is used: PostgreSQL's dialect costs a start on SQLite 30 ms.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as for_postgresql  # noqa: PLC0415

        return for_postgresql
    from sqlalchemy.dialects.sqlite import insert as for_sqlite  # noqa: PLC0415

    return for_sqlite
