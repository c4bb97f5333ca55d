"""Every contract of the store is tested on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING

import pytest
from servers.postgresql import PostgreSQL, postgresql
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from syncwatch.store.migrations import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_names = (f"test{number}" for number in count())


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    with closing(asyncio.new_event_loop()) as loop:
        server = postgresql()
        yield loop.run_until_complete(server.__aenter__())
        loop.run_until_complete(server.__aexit__(None, None, None))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty store, as the configuration writes it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: PostgreSQL = request.getfixturevalue("postgresql_server")
    with closing(asyncio.new_event_loop()) as loop:
        return loop.run_until_complete(server.fresh(next(_names)))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Plain connections to an empty store."""
    parsed = make_url(url)
    drivers = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
    driver = drivers[parsed.get_backend_name()]
    engine = create_engine(parsed.set(drivername=driver), poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """In a transaction on a store with its tables."""
    with engine.begin() as connection:
        upgrade(connection)
    with engine.connect() as connection:
        yield connection
