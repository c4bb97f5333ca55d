"""Opening the store: its lock, its schema, its writer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from syncwatch.errors import StoreError
from syncwatch.store import findings, migrations
from syncwatch.store.database import Database
from syncwatch.store.schema import claims, metadata

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine


def test_an_empty_store_becomes_head(engine: Engine) -> None:
    with engine.begin() as connection:
        assert migrations.current(connection) is None
        migrations.upgrade(connection)
        assert migrations.current(connection) == migrations.HEAD
        assert set(metadata.tables) <= set(inspect(connection).get_table_names())
        migrations.upgrade(connection)


def test_head_is_the_newest_migration() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(migrations.__path__[0])
    assert script.get_heads() == [migrations.HEAD]


def test_the_schema_that_migrations_make_is_the_one_in_the_code(connection: Connection) -> None:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    assert compare_metadata(context, metadata) == []


async def test_a_store_of_a_newer_syncwatch_is_refused_in_a_clear_sentence(
    url: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        migrations.upgrade(connection)
        connection.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(StoreError, match="the store has schema 9999, this syncwatch knows"):
        await Database(url).open()
    with engine.connect() as connection:
        assert migrations.current(connection) == "9999"


async def test_a_second_process_on_the_same_sqlite_file_is_refused_in_a_clear_sentence(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    first, second = Database(url), Database(url)
    await first.open()
    try:
        with pytest.raises(StoreError, match="in use by another syncwatch"):
            await second.open()
    finally:
        await second.close()
        await first.close()
    await second.open()
    await second.close()


async def test_a_directory_that_is_not_there_is_a_clear_sentence(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/nowhere/store.db")
    with pytest.raises(StoreError, match="cannot be opened"):
        await database.open()
    await database.close()


async def test_two_replicas_may_open_an_empty_store_at_once(url: str) -> None:
    if url.startswith("sqlite"):
        pytest.skip("SQLite serves one process")
    replicas = [Database(url) for _ in range(4)]
    await asyncio.gather(*(one.open() for one in replicas))
    await asyncio.gather(*(one.close() for one in replicas))


def _claim(digest: str) -> Any:
    values = {"harbor": "main", "repository": "a/b", "digest": digest, "at": 1}

    def claim(connection: Connection) -> str:
        connection.execute(claims.insert().values(**values))
        return digest

    return claim


def _count(connection: Connection) -> int:
    return len(connection.execute(select(claims.c.digest)).all())


async def test_one_failing_piece_of_a_group_fails_alone(url: str) -> None:
    database = Database(url)
    await database.open()
    try:
        pieces = [_claim(f"{number}") for number in range(20)] + [_claim("7"), _claim("21")]
        outcomes = await asyncio.gather(
            *(database.write(piece) for piece in pieces), return_exceptions=True
        )
        failed = [index for index, one in enumerate(outcomes) if isinstance(one, Exception)]
        assert len(failed) == 1
        assert isinstance(outcomes[failed[0]], StoreError)
        assert await database.read(_count) == 21
    finally:
        await database.close()


async def test_what_was_asked_for_before_the_end_is_written(url: str) -> None:
    database = Database(url)
    await database.open()
    writes = [asyncio.create_task(database.write(_claim(str(number)))) for number in range(50)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*writes) == [str(number) for number in range(50)]
    again = Database(url)
    await again.open()
    try:
        assert await again.read(_count) == 50
    finally:
        await again.close()


async def test_a_writer_that_gives_up_waiting_does_not_undo_what_it_asked(url: str) -> None:
    database = Database(url)
    await database.open()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await database.write(_claim("given up"))
        await database.write(_claim("later"))
        assert await database.read(_count) == 2
    finally:
        await database.close()


async def test_reading_never_writes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/store.db")
    await database.open()
    try:
        with pytest.raises(StoreError):
            await database.read(lambda c: findings.drop(c, "main", "harbor"))
    finally:
        await database.close()


async def test_an_error_of_the_store_tells_no_statement_and_no_value(url: str) -> None:
    database = Database(url)
    await database.open()
    try:
        await database.write(_claim("hush-hush"))
        with pytest.raises(StoreError) as raised:
            await database.write(_claim("hush-hush"))
    finally:
        await database.close()
    assert "hush-hush" not in str(raised.value)
    assert "insert" not in str(raised.value).lower()
