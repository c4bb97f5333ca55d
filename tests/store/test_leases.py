"""Leases: who gets which, for how long, and that two never hold one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from running import until

from syncwatch.errors import StoreError
from syncwatch.runtime import Signals
from syncwatch.store import leases
from syncwatch.store.database import Database
from syncwatch.store.holding import Holding

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

WANTED = ["destination 1", "destination 2", "destination 3", "destination 4", "harbor main"]
LONG = 60_000


def test_one_alone_takes_everything_and_a_second_finds_nothing_free(connection: Connection) -> None:
    first = leases.turn(connection, "a", WANTED, LONG)
    second = leases.turn(connection, "b", WANTED, LONG)
    assert (first.mine, second.mine) == (frozenset(WANTED), frozenset())
    assert second.alive == 2
    assert 0 < (second.next_in or 0) <= LONG


def test_what_is_more_than_its_share_is_given_back_and_taken_by_the_other(
    connection: Connection,
) -> None:
    leases.turn(connection, "a", WANTED, LONG)
    leases.turn(connection, "b", WANTED, LONG)
    over = leases.turn(connection, "a", WANTED, LONG).too_many
    assert len(over) == 2
    leases.release(connection, "a", over)
    assert leases.turn(connection, "a", WANTED, LONG).mine == frozenset(WANTED) - set(over)
    taken = leases.turn(connection, "b", WANTED, LONG)
    assert taken.mine == taken.handed == frozenset(over)
    assert leases.turn(connection, "a", WANTED, LONG).too_many == []


def test_the_leases_of_one_that_left_are_free_at_once(connection: Connection) -> None:
    leases.turn(connection, "a", WANTED, LONG)
    leases.leave(connection, "a")
    found = leases.turn(connection, "b", WANTED, LONG)
    assert (found.mine, found.alive) == (frozenset(WANTED), 1)


def test_a_lease_that_ran_out_is_another_s_and_is_not_renewed(connection: Connection) -> None:
    leases.turn(connection, "a", WANTED, -1)
    assert leases.turn(connection, "b", WANTED, LONG).mine == frozenset(WANTED)
    assert leases.turn(connection, "a", WANTED, LONG).mine == frozenset()


def test_what_only_one_knows_is_left_to_nobody_and_divided_once_the_other_knows_it_too(
    connection: Connection,
) -> None:
    both = ["harbor b"]
    wanted = ["harbor a", *both]
    assert leases.turn(connection, "new", both, LONG).mine == {"harbor b"}
    leases.turn(connection, "old", both, LONG)
    for _ in range(3):
        found = leases.turn(connection, "new", wanted, LONG)
        assert (found.mine, found.too_many) == (set(wanted), [])
        assert leases.turn(connection, "old", both, LONG).mine == set()
    leases.turn(connection, "old", wanted, LONG)
    assert leases.turn(connection, "new", wanted, LONG).too_many == ["harbor a"]
    leases.release(connection, "new", ["harbor a"])
    assert leases.turn(connection, "old", wanted, LONG).mine == {"harbor a"}


def test_what_one_that_left_or_died_wanted_counts_no_more(connection: Connection) -> None:
    leases.turn(connection, "left", WANTED, LONG)
    leases.turn(connection, "died", WANTED, -1)
    leases.leave(connection, "left")
    found = leases.turn(connection, "a", WANTED, LONG)
    assert (found.alive, found.mine) == (1, set(WANTED))


@pytest.mark.parametrize("replicas", range(1, 8))
@pytest.mark.parametrize("total", range(12))
def test_whatever_the_numbers_everybody_ends_with_as_many_as_the_next_or_one_more(
    replicas: int, total: int
) -> None:
    names = [f"destination {number}" for number in range(total)]
    alive = [f"replica {number}" for number in range(replicas)]
    held = dict.fromkeys(names, alive[0])
    for _ in range(20):
        for me in alive:
            share = leases.divide(names, held, me, alive)
            held |= dict.fromkeys(share.free_for_me, me)
            for name in share.too_many:
                del held[name]
    counts = [[*held.values()].count(me) for me in alive]
    assert sum(counts) == total
    assert max(counts) - min(counts) <= 1


async def test_what_cannot_be_renewed_is_stopped_before_another_could_have_it(url: str) -> None:
    if url.startswith("sqlite"):
        return
    stopped: list[str] = []
    taken: set[str] = set()

    async def stop(name: str) -> None:
        stopped.append(name)

    database, other = Database(url), Database(url)
    await database.open()
    await other.open()
    one = Holding(
        database=database,
        signals=Signals(),
        me="a",
        lease=1.2,
        wanted=lambda _: WANTED,
        stop=stop,
    )
    guard = asyncio.create_task(one.guard())
    try:
        await one.turn()
        assert sorted(one.names()) == WANTED

        async def free() -> bool:
            found = await other.write_apart(lambda c: leases.turn(c, "b", WANTED, LONG))
            assert not found.mine or sorted(stopped) == WANTED
            taken.update(found.mine)
            return bool(found.mine)

        # Nobody renews it any more, as if the database were out of its reach.
        await until(free, within=5)
        assert one.names() == []
        await one.turn()
        assert not taken & set(one.names())
    finally:
        guard.cancel()
        await database.close()
        await other.close()


async def test_a_second_process_on_one_sqlite_file_is_refused_with_the_cure(tmp_path: Path) -> None:
    first, second = (Database(f"sqlite:///{tmp_path}/store.db") for _ in range(2))
    await first.open()
    try:
        with pytest.raises(StoreError, match="in use by another syncwatch") as refused:
            await second.open()
        assert "postgresql" in str(refused.value.cure)
    finally:
        await first.close()
