"""Harbor away, slow, confused or lying: nothing is judged failed or gone by that."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from running import SECRET, Watched, until
from scene import DESTINATION, LABELS, Scene, scene

from syncwatch.lab.harbor import READ_ONLY_ROBOT, LabHarbor
from syncwatch.lab.world import stamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SOON = {"deadline": "4s"}
"""A deadline that passes while Harbor is in trouble."""

PATIENT = {"timeout": "1s"}


async def down(scene: Scene, *, on: bool) -> None:
    await (scene.harbor.stop() if on else scene.harbor.start())


async def slow(scene: Scene, *, on: bool) -> None:
    scene.harbor.switches.slow_seconds = 30.0 if on else 0.0


async def html(scene: Scene, *, on: bool) -> None:
    scene.harbor.switches.html = on


async def broken(scene: Scene, *, on: bool) -> None:
    scene.harbor.switches.broken = on


async def wrong_password(scene: Scene, *, on: bool) -> None:
    (robot,) = scene.harbor.world.robots.values()
    robot.secret = "!" + robot.secret if on else robot.secret.removeprefix("!")


TROUBLES = [
    pytest.param(down, "harbor_unreachable", id="refuses connections"),
    pytest.param(slow, "harbor_unreachable", id="answers after 30 seconds"),
    pytest.param(html, "harbor_unreachable", id="answers with a page of HTML"),
    pytest.param(broken, "harbor_unreachable", id="answers 500"),
    pytest.param(wrong_password, "credential_rejected", id="shows less to a wrong password"),
]


def found(watched: Watched, name: str, *, there: bool = True) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        return (name in await watched.finding_names()) is there

    return answer


def measured(watched: Watched, name: str, value: float) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        return await watched.metric(name) == value

    return answer


async def is_known(watched: Watched, policy: str) -> bool:
    return any(one["policy"] == policy for one in (await watched.status())["policies"])


async def two_open_one_verified(scene: Scene, watched: Watched) -> str:
    """`done` verified, `held` with an execution that waits, `silent` without any; done's digest."""
    # A policy of its own for `silent`: executions without tasks are told apart by policy only.
    scene.harbor.create_policy("quiet", DESTINATION, pattern="quiet/**")
    scene.send_webhooks(watched, "quiet")
    await until(lambda: is_known(watched, "quiet"), told="the second policy")
    digest = scene.push("done")
    await watched.row(reference="done", state="verified")
    scene.harbor.hold_flows()
    scene.push("held")
    await watched.row(reference="held", state="pending", reason="queued")
    scene.stop_starting()
    scene.push("silent", repository="quiet/web")
    await watched.row(reference="silent", state="pending", reason="waiting")
    return digest


async def owed_and_overdue(watched: Watched) -> bool:
    rows = [row for row in await watched.expectations() if row["reference"] != "done"]
    return len(rows) == 2 and all(row["overdue"] for row in rows)


@pytest.mark.parametrize(("trouble", "finding"), TROUBLES)
async def test_while_harbor_is_in_trouble_open_stays_open_and_verified_stays_verified(
    tmp_path: Path, trouble: Any, finding: str
) -> None:
    async with (
        scene(tmp_path, harbor=PATIENT, destination=SOON) as stage,
        stage.watched() as watched,
    ):
        await two_open_one_verified(stage, watched)
        await trouble(stage, on=True)
        await until(found(watched, finding), told=finding)
        assert await watched.metric("syncwatch_harbor_up") == 0
        await until(lambda: owed_and_overdue(watched), told="overdue")
        age = await watched.metric("syncwatch_oldest_open_seconds", **LABELS)
        assert age is not None

        async def older() -> bool:
            now = await watched.metric("syncwatch_oldest_open_seconds", **LABELS)
            return now is not None and now > age

        await until(older)
        states = {ref: (state, reason) for ref, state, reason in await watched.states()}
        assert states["done"] == ("verified", None)
        assert states["held"][0] in ("pending", "unknown"), states
        assert states["silent"] == ("unknown", "harbor_unreachable")
        assert len(await watched.expectations()) == 3
        assert await watched.metric("syncwatch_lost_total") == 0
        await trouble(stage, on=False)
        await until(found(watched, finding, there=False), told=f"the end of {finding}")
        await until(measured(watched, "syncwatch_harbor_up", 1.0))


@pytest.mark.parametrize(("trouble", "finding"), TROUBLES)
async def test_a_push_told_while_harbor_is_in_trouble_is_expected_by_its_webhooks_own_word(
    tmp_path: Path, trouble: Any, finding: str
) -> None:
    async with scene(tmp_path, harbor=PATIENT) as stage, stage.watched() as watched:
        stage.push("done")
        await watched.row(reference="done", state="verified")
        await trouble(stage, on=True)
        await until(found(watched, finding), told=finding)
        before = await watched.metric("syncwatch_webhooks_total", event="PUSH_ARTIFACT")
        first = stage.push("latest", "first")
        row = await watched.row(reference="latest", digest=first)
        assert (row["origin"], row["notified_at"] is not None) == ("push", True)
        pushed = datetime.fromisoformat(row["pushed_at"])
        assert abs(pushed.timestamp() - stage.harbor.world.now()) < 15
        accepted = await watched.metric(
            "syncwatch_webhooks_total", event="PUSH_ARTIFACT", outcome="accepted"
        )
        assert accepted == (before or 0) + 1
        # Nobody hears of the second push, which moves the tag.
        stage.harbor.switches.drop_webhooks = True
        second = stage.push("latest", "second")
        await trouble(stage, on=False)
        await watched.row(reference="latest", digest=second, state="verified", within=25)
        assert await watched.states(reference="latest") == [
            ("latest", "closed", "superseded"),
            ("latest", "verified", None),
        ]


async def test_a_push_told_while_harbor_was_away_takes_the_tags_own_time_afterwards(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        await stage.harbor.stop()
        await until(found(watched, "harbor_unreachable"))
        digest = stage.push("1.0")
        await watched.row(reference="1.0", digest=digest)
        await stage.harbor.start()
        row = await watched.row(reference="1.0", state="verified")
        assert row["digest"] == digest

        async def read_again() -> bool:
            found = await watched.one(row["id"])
            return str(found["pushed_at"]) == _time_of_tag(stage, "1.0")

        await until(read_again, within=8, told="the tag's own push_time")
        assert len(await watched.expectations()) == 1


def _time_of_tag(stage: Scene, name: str) -> str:

    return next(
        stamp(tag.push_time) for tag in stage.harbor.world.tags.values() if tag.name == name
    )


async def test_harbor_away_at_the_start_takes_webhooks_and_plans_them_once_it_is_back(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage:
        await stage.harbor.stop()
        async with stage.watched(ready=False) as watched:
            digest = stage.push("1.0")
            await until(
                lambda: _counted(watched, event="PUSH_ARTIFACT", outcome="accepted"), told="webhook"
            )
            assert await _ready_status(watched) == 503
            assert await watched.expectations() == []
            assert await watched.metric("syncwatch_harbor_up") == 0
            await stage.harbor.start()
            await watched.ready()
            row = await watched.row(reference="1.0", state="verified")
            assert (row["digest"], row["origin"]) == (digest, "push")


async def _counted(watched: Watched, **labels: str) -> bool:
    return bool(await watched.metric("syncwatch_webhooks_total", **labels))


async def _ready_status(watched: Watched) -> int:
    async with watched.session.get(watched.daemon.url + "/readyz") as answer:
        return answer.status


@pytest.mark.parametrize("skew", [300.0, -300.0], ids=["five minutes ahead", "five minutes behind"])
async def test_a_clock_five_minutes_off_is_found_and_does_not_spoil_the_lag(
    tmp_path: Path, skew: float
) -> None:
    async with scene(tmp_path, skew=skew) as stage, stage.watched() as watched:
        measured_skew = await watched.metric("syncwatch_harbor_clock_skew_seconds")
        assert measured_skew == pytest.approx(skew, abs=2.0)
        assert "clock_skew" in await watched.finding_names()
        stage.push("1.0")
        row = await watched.row(reference="1.0", state="verified")

        async def lag() -> float | None:
            count = await watched.metric("syncwatch_lag_seconds_count", **LABELS)
            return await watched.metric("syncwatch_lag_seconds_sum", **LABELS) if count else None

        await until(lambda: _counted_lag(watched))
        told = await lag()
        assert told is not None
        assert 0 <= told < 15
        met = await watched.metric("syncwatch_expectations_settled_total", result="met")
        assert (met, row["overdue"]) == (1, False)


async def _counted_lag(watched: Watched) -> bool:
    return await watched.metric("syncwatch_lag_seconds_count", **LABELS) == 1


async def test_a_clock_that_is_set_right_while_we_watch_is_no_finding_any_more(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, skew=300.0) as stage, stage.watched() as watched:
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        stage.harbor.switches.clock_skew = 0.0
        await until(found(watched, "clock_skew", there=False))
        stage.push("2.0")
        await watched.row(reference="2.0", state="verified", within=5)


def _without(resource: str) -> list[dict[str, Any]]:
    return [
        {**part, "access": [one for one in part["access"] if one["resource"] != resource]}
        for part in READ_ONLY_ROBOT
    ]


async def test_a_robot_that_may_not_see_executions_is_a_finding_and_copies_are_still_verified(
    tmp_path: Path,
) -> None:
    async with (
        scene(tmp_path, permissions=_without("replication"), destination=SOON) as stage,
        stage.watched() as watched,
    ):
        await until(found(watched, "permission_missing"))
        (finding,) = [f for f in await watched.findings() if f["finding"] == "permission_missing"]
        assert "replication" in finding["cure"]
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        # Without executions nothing says that Harbor gave up, so nothing may be called failed.
        stage.stop_starting()
        stage.push("2.0")
        row = await watched.row(reference="2.0", overdue=True)
        assert row["state"] == "unknown"


async def test_a_hanging_harbor_holds_up_neither_webhooks_nor_looks_at_destinations(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, harbor=PATIENT) as stage, stage.watched() as watched:
        stage.harbor.hold_flows()
        stage.push("1.0", "one")
        await watched.row(reference="1.0", reason="queued")
        stage.harbor.switches.slow_seconds = 30.0
        stage.harbor.hold_flows(held=False)
        # The copy arrives, and only the destination is asked.
        await watched.row(reference="1.0", state="verified", within=10)
        started = asyncio.get_running_loop().time()
        async with watched.session.post(
            watched.webhook_url, json={"type": "QUOTA_WARNING"}, headers={"Authorization": SECRET}
        ) as answer:
            assert answer.status == 202
        assert asyncio.get_running_loop().time() - started < 1.0


async def test_two_harbors_where_one_is_away_do_not_disturb_each_other(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, LabHarbor().serving() as other:
        user, password = other.create_robot("syncwatch")
        second = {
            "name": "second",
            "url": other.url,
            "username": user,
            "password": password,
            "webhook": {"authorization": SECRET},
        }
        document = yaml.safe_load(stage.config.read_text())
        document["harbors"].append({**document["harbors"][0], **second})
        stage.config.write_text(yaml.safe_dump(document))
        async with stage.watched() as watched:
            await other.stop()

            async def down_and_up() -> bool:
                ups = [
                    await watched.metric("syncwatch_harbor_up", harbor=name)
                    for name in ("second", "main")
                ]
                return ups == [0.0, 1.0]

            await until(down_and_up)
            stage.push("1.0")
            await watched.row(reference="1.0", state="verified")
