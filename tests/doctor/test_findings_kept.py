"""The daemon's doctor: its findings come, stay while they hold, and go."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from clinic import ADDRESS, POLICY, REPOSITORY, clinic
from running import SECRET, running, until
from sqlalchemy import select

from syncwatch.config import load
from syncwatch.doctor.keeping import Doctor
from syncwatch.harbor.client import HarborClient
from syncwatch.model import MINUTE, Finding, Millis, Severity
from syncwatch.outbound import Outbound
from syncwatch.runtime import Clock
from syncwatch.store import findings as stored
from syncwatch.store.database import Database
from syncwatch.store.schema import findings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from clinic import Clinic

HARMLESS = {"token_missing", "permission_missing", "disk_low"}


class Later(Clock):
    """A clock that may be moved on."""

    ahead: Millis = 0

    def now(self) -> Millis:
        return super().now() + self.ahead


class Kept:
    """A store with a doctor, made as the daemon makes it."""

    def __init__(self, place: Clinic, database: Database, config: Path) -> None:
        self.database = database
        self._settings = load(config)
        self._clients: list[HarborClient] = []
        self.clock = Later()
        self.doctor = self.another()

    def another(self, **values: Any) -> Doctor:
        """A doctor as after a restart."""
        harbor = self._settings.harbors[0]
        credential = harbor.credential
        client = HarborClient(
            name=harbor.name,
            url=harbor.url,
            outbound=Outbound(timeout=5),
            credentials=lambda: credential.login() if credential else None,
        )
        self._clients.append(client)
        return Doctor(
            harbor=harbor,
            settings=self._settings,
            client=client,
            database=self.database,
            clock=self.clock,
            **{"settle": 0, **values},
        )

    async def told(self, doctor: Doctor | None = None) -> dict[tuple[str, str], str]:
        """What is kept after one more turn: message by (finding, subject), harmless ones left out.

        None of it may hold a secret.
        """
        self.clock.ahead += MINUTE * 10
        await (doctor or self.doctor).turn()
        query = select(findings.c.finding, findings.c.subject, findings.c.message)
        rows = await self.database.read(lambda c: c.execute(query).all())
        assert SECRET not in str(rows)
        return {(f, subject): words for f, subject, words in rows if f not in HARMLESS}

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@contextlib.asynccontextmanager
async def kept(place: Clinic, config: Path | None = None) -> AsyncIterator[Kept]:
    database = Database(f"sqlite:///{place.directory}/kept.db")
    await database.open()
    one = Kept(place, database, config or place.configured())
    try:
        yield one
    finally:
        await one.close()
        await database.close()


async def test_a_finding_comes_stays_word_for_word_and_goes(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place, kept(place) as daemon:
        assert await daemon.told() == {}
        place.edit_webhook(enabled=False)
        first = await daemon.told()
        assert set(first) == {("webhook_disabled", "project apps")}
        assert await daemon.told() == first
        place.edit_webhook(enabled=True)
        assert await daemon.told() == {}


async def test_what_cannot_be_asked_keeps_what_was_found(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place, kept(place) as daemon:
        place.edit_webhook(enabled=False)
        place.edit_policy(namespace="mirror", replace_count=2)
        before = await daemon.told()
        assert {name for name, _ in before} == {"webhook_disabled", "flattening_too_deep"}
        await place.harbor.stop()
        assert await daemon.told() == before
        await place.harbor.start()
        place.refuse("notification-policy", "list")
        assert before.items() <= (await daemon.told()).items()


async def test_what_other_stages_say_is_not_said_again(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place, kept(place) as daemon:
        place.harbor.switches.notification_enable = False
        place.harbor.switches.clock_skew = 60
        place.edit_policy(override=False, namespace="mirror", replace_count=2)
        theirs = stored.too_deep(POLICY, REPOSITORY, "because")
        await daemon.database.write(lambda c: stored.replace(c, "main", "policy 1", [theirs], 1))
        assert await daemon.told() == {(theirs.finding, theirs.subject): theirs.message}


async def test_a_restart_keeps_what_was_not_looked_at_yet(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place, kept(place) as daemon:
        place.edit_policy(filters=[])
        for project in ("beta", "gamma"):
            place.harbor.create_project(project)
        before = await daemon.told()
        missing = {("webhook_missing", f"project {one}") for one in ("beta", "gamma", "library")}
        assert set(before) == missing
        after = daemon.another(most=1)
        for _ in range(3):
            assert await daemon.told(after) == before
        place.harbor.create_webhook_policy("gamma", ADDRESS, auth_header=SECRET)
        for _ in range(4):
            last = await daemon.told(after)
        assert set(last) == missing - {("webhook_missing", "project gamma")}


async def test_what_was_mended_while_nobody_ran_goes_when_looked_at(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place, kept(place) as daemon:
        place.edit_webhook(enabled=False)
        assert set(await daemon.told()) == {("webhook_disabled", "project apps")}
        place.edit_webhook(enabled=True)
        assert await daemon.told(daemon.another()) == {}


async def test_projects_are_looked_at_in_turn_and_many_are_told_as_one(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place, kept(place) as daemon:
        place.edit_policy(filters=[])
        for number in range(20):
            place.harbor.create_project(f"team-{number:02d}")
        doctor = daemon.another(most=8)
        counted = []
        for _ in range(3):
            told = await daemon.told(doctor)
            counted.append(len([key for key in told if key[0] == "webhook_missing"]))
        assert counted == [7, 1, 1]
        assert set(told) == {("webhook_missing", "harbor main: projects")}
        assert told["webhook_missing", "harbor main: projects"].startswith("21 projects")


async def test_a_project_out_of_scope_has_no_findings(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place, kept(place) as daemon:
        place.harbor.create_project("other")
        place.harbor.world.webhooks.clear()
        assert set(await daemon.told()) == {("webhook_missing", "project apps")}
        place.edit_policy(enabled=False)
        assert await daemon.told() == {}


async def test_the_first_examination_waits_until_the_set_up_may_be_finished(
    tmp_path: Path,
) -> None:
    async with clinic(tmp_path) as place, kept(place) as daemon:
        place.harbor.world.webhooks.clear()
        doctor = daemon.another(settle=15 * MINUTE)
        assert await daemon.told(doctor) == {}
        assert set(await daemon.told(doctor)) == {("webhook_missing", "project apps")}


async def test_its_loop_lives_and_asks_nothing_while_nothing_is_due(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place, kept(place) as daemon:
        assert await daemon.doctor.turn() == 30
        place.harbor.world.webhooks.clear()
        assert await daemon.doctor.turn() <= 30
        daemon.clock.ahead += 9 * MINUTE
        assert await daemon.doctor.turn() <= 30
        query = select(findings.c.finding).where(findings.c.finding == "webhook_missing")
        assert await daemon.database.read(lambda c: c.execute(query).all()) == []
        daemon.clock.ahead += MINUTE
        await daemon.doctor.turn()
        assert len(await daemon.database.read(lambda c: c.execute(query).all())) == 1


async def test_a_finding_of_an_earlier_version_goes_with_the_first_full_round(
    tmp_path: Path,
) -> None:
    async with clinic(tmp_path) as place, kept(place) as daemon:
        old = Finding("webhook_missing", Severity.ERROR, "project gone", "It is gone.", "Nothing.")
        await daemon.database.write(lambda c: stored.replace(c, "main", "doctor", [old], 1))
        assert await daemon.told() == {}


async def test_the_daemon_shows_what_is_wrong_and_that_it_was_mended(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_webhook(enabled=False)
        config = place.configured({"doctor_every": "200ms"})
        async with running(config) as daemon:

            async def shown() -> bool:
                return "webhook_disabled" in await daemon.finding_names()

            await until(shown, told="the finding")
            labels = {"harbor": "main", "finding": "webhook_disabled", "severity": "error"}
            assert await daemon.metric("syncwatch_findings", **labels) == 1
            place.edit_webhook(enabled=True)

            async def gone() -> bool:
                return not await shown()

            await until(gone, told="the end of the finding")
