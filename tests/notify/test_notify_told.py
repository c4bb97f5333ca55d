"""What the receiver is told, and when: each thing once, in order, and nothing that is no news."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime
from typing import TYPE_CHECKING, Any

from receiving import (
    EVERYWHERE,
    FAILED,
    TOKEN,
    VERIFIED,
    Receiver,
    change,
    counted,
    telling,
    waiting,
)
from running import until
from scene import DESTINATION, POLICY, REPOSITORY, scene

from syncwatch.lab import images
from syncwatch.lab.registry import Fault, LabRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched

OFTEN = {"recheck_per_minute": 6000, "recheck_after": "200ms"}


BY_HAND, ALLOWED = {"token": "by-hand"}, {"Authorization": "Bearer by-hand"}


async def look_until(watched: Watched, state: tuple[str, str, str | None]) -> None:
    """Have the image looked at until it is in that state; by itself it is looked at later."""

    async def is_so() -> bool:
        url, image = f"{watched.daemon.url}/api/v1/observations", {"image": "apps/web:1.0"}
        async with watched.session.post(url, json=image) as answer:
            assert answer.status == 202
        return state in await watched.states()

    await until(is_so)


def attributes(event: dict[str, Any]) -> None:
    """What CloudEvents 1.0 demands of an event (Context Attributes, JSON format)."""
    assert event["specversion"] == "1.0"
    for name in ("id", "source", "type"):
        assert isinstance(event[name], str)
        assert event[name]
    assert all(name.isascii() and name.isalnum() and name == name.lower() for name in event)
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    assert event["datacontenttype"] == "application/json"
    assert isinstance(event["data"], dict)


async def test_a_push_that_arrives_is_told_as_a_cloudevent_with_the_expectation(
    tmp_path: Path,
) -> None:
    named = [{"name": DESTINATION, "pull_host": "registry.cluster1.internal:5000"}]
    async with (
        telling(tmp_path, more_destinations=named) as (stage, receiver),
        stage.watched() as watched,
    ):
        digest = stage.push("1.0")
        row = await watched.row(state="verified")
        verified, everywhere = await receiver.hears(
            (VERIFIED, "apps/web:1.0"), (EVERYWHERE, "apps/web:1.0")
        )

        async def both_counted() -> bool:
            return await counted(watched, "delivered") == 2

        await until(both_counted)
        await waiting(watched, 0)
        failed = await counted(watched, "failed")
        stands = await watched.metric("syncwatch_notifications_oldest_seconds")
    assert len(receiver.deliveries) == 2
    for one in receiver.deliveries:
        attributes(one.event)
        assert one.event["source"] == "/harbors/main"
        assert one.headers["Content-Type"] == "application/cloudevents+json"
        assert one.headers["Authorization"] == TOKEN
    assert (failed, stands) == (0, 0)
    assert verified["id"] != everywhere["id"]
    name = {
        "image": "registry.cluster1.internal:5000/apps/web:1.0",
        "pinned": f"registry.cluster1.internal:5000/apps/web@{digest}",
    }
    later = ("claimed_at", "execution_id", "task_id", "message", "observed_at")
    assert {k: v for k, v in verified["data"].items() if k not in later} == {
        k: v for k, v in (row | name).items() if k not in later
    }
    assert verified["data"].keys() == (row | name).keys()
    assert everywhere["data"] == {
        "harbor": "main",
        "source_repository": REPOSITORY,
        "reference": "1.0",
        "digest": digest,
        "pushed_at": row["pushed_at"],
        "destinations": [
            {
                "id": row["id"],
                "policy": POLICY,
                "policy_id": row["policy_id"],
                "origin": "push",
                "destination": DESTINATION,
                "repository": REPOSITORY,
                **name,
                "level": "readable",
                "verified_at": row["verified_at"],
            }
        ],
    }


async def test_everywhere_is_told_once_when_the_late_one_has_arrived(tmp_path: Path) -> None:
    async with (
        telling(tmp_path, {"events": [EVERYWHERE]}, destination=OFTEN) as (stage, receiver),
        LabRegistry().serving() as late,
        stage.watched() as watched,
    ):
        stage.harbor.create_registry("cluster2", late.url)
        stage.harbor.create_policy("to-cluster2", "cluster2", pattern="apps/**")

        async def both_known() -> bool:
            return len((await watched.status())["destinations"]) == 2

        await until(both_known)
        late.fault(Fault.TAG_NOT_FOUND)
        stage.push("1.0")
        await watched.row(destination=DESTINATION, state="verified")
        await watched.row(destination="cluster2", state="failed", within=20)
        await waiting(watched, 0)
        assert receiver.told == []
        late.clear()
        (event,) = await receiver.hears((EVERYWHERE, "apps/web:1.0"))
        places = event["data"]["destinations"]
        assert [one["destination"] for one in places] == [DESTINATION, "cluster2"]
        assert [one["image"].partition("/")[0] for one in places] == [
            stage.registry.host,
            late.host,
        ]
        # The tag names something else, and then the same again: that is news.
        stage.push("1.0", "another")
        await receiver.hears((EVERYWHERE, "apps/web:1.0"))

        async def twice_more() -> bool:
            return len(receiver.told) == 2

        await until(twice_more)
        stage.push("1.0", "1.0")

        async def again() -> bool:
            return len(receiver.told) == 3

        await until(again)
    digests = [one.event["data"]["digest"] for one in receiver.taken]
    assert digests[0] == digests[2] != digests[1]


async def test_what_is_closed_is_not_waited_for(tmp_path: Path) -> None:
    async with (
        telling(tmp_path, {"events": [EVERYWHERE]}, **BY_HAND) as (stage, receiver),
        LabRegistry().serving() as late,
        stage.watched() as watched,
    ):
        watched.session.headers.update(ALLOWED)
        stage.harbor.create_registry("cluster2", late.url)
        stage.harbor.create_policy("to-cluster2", "cluster2", pattern="apps/**")

        async def both_known() -> bool:
            return len((await watched.status())["destinations"]) == 2

        await until(both_known)
        late.fault(Fault.TAG_NOT_FOUND)
        stage.push("1.0")
        await watched.row(destination=DESTINATION, state="verified")
        row = await watched.row(destination="cluster2")
        close = f"{watched.daemon.url}/api/v1/expectations/{row['id']}/close"
        async with watched.session.post(close, json={"note": "gone", "by": "Ada"}) as answer:
            assert answer.status == 202
        (event,) = await receiver.hears((EVERYWHERE, "apps/web:1.0"))
    assert [one["destination"] for one in event["data"]["destinations"]] == [DESTINATION]


async def test_a_failure_and_its_recovery_are_told_once_each_and_rechecks_say_nothing(
    tmp_path: Path,
) -> None:
    async with (
        telling(tmp_path, destination=OFTEN, **BY_HAND) as (stage, receiver),
        stage.watched() as watched,
    ):
        watched.session.headers.update(ALLOWED)
        digest = stage.push("1.0")
        await receiver.hears((VERIFIED, "apps/web:1.0"), (EVERYWHERE, "apps/web:1.0"))
        stage.registry.lose_tag(REPOSITORY, "1.0")
        await watched.row(state="failed", reason="tag_missing")
        # Another reason is no other failure.
        stage.registry.lose_manifest(REPOSITORY, digest)
        await look_until(watched, ("1.0", "failed", "lost"))
        stage.registry.push(REPOSITORY, "1.0", images.image("1.0"))
        await look_until(watched, ("1.0", "verified", None))

        async def told_again() -> bool:
            return receiver.told.count((VERIFIED, "apps/web:1.0")) == 2

        await until(told_again)
        await waiting(watched, 0)
    assert [kind for kind, _ in receiver.told] == [VERIFIED, EVERYWHERE, FAILED, VERIFIED]
    failed = receiver.taken[2].event
    assert (failed["data"]["state"], failed["data"]["reason"]) == ("failed", "tag_missing")
    assert failed["data"]["message"]
    assert len({one.event["id"] for one in receiver.taken}) == 4


async def test_what_cannot_be_asked_for_a_while_is_no_news(tmp_path: Path) -> None:
    given = {"destination": OFTEN | {"stale_after": "1s"}}
    async with telling(tmp_path, **given) as (stage, receiver), stage.watched() as watched:
        stage.push("1.0")
        await receiver.hears((VERIFIED, "apps/web:1.0"), (EVERYWHERE, "apps/web:1.0"))
        stage.registry.fault(Fault.UNAVAILABLE)
        await watched.row(state="unknown", reason="stale", within=20)
        stage.registry.clear()
        await watched.row(state="verified")
        stage.push("2.0")
        await receiver.hears((EVERYWHERE, "apps/web:2.0"))
    assert [subject for _, subject in receiver.told] == ["apps/web:1.0"] * 2 + ["apps/web:2.0"] * 2


async def test_a_reload_changes_what_is_told_and_whom_and_switches_it_off(tmp_path: Path) -> None:
    async with (
        telling(tmp_path, {"events": [EVERYWHERE]}) as (stage, before),
        Receiver().serving() as after,
        stage.watched() as watched,
    ):
        stage.push("1.0")
        await before.hears((EVERYWHERE, "apps/web:1.0"))
        change(stage, **after.settings(events=[VERIFIED]))
        assert await watched.daemon.reload()
        stage.push("2.0")
        await after.hears((VERIFIED, "apps/web:2.0"))
        change(stage)
        assert await watched.daemon.reload()
        stage.push("3.0")
        await watched.row(reference="3.0", state="verified")
        assert "syncwatch_notifications" not in await watched.metrics_text()
        change(stage, **after.settings(events=[VERIFIED]))
        assert await watched.daemon.reload()
        await waiting(watched, 0)
    assert before.told == [(EVERYWHERE, "apps/web:1.0")]
    assert after.told == [(VERIFIED, "apps/web:2.0")]


async def test_a_password_in_harbors_url_of_a_registry_is_in_no_event_and_not_in_the_outbox(
    tmp_path: Path,
) -> None:
    async with telling(tmp_path, destination=OFTEN) as (stage, receiver):
        (endpoint,) = stage.harbor.world.registries.values()
        endpoint.url = endpoint.url.replace("://", "://robot:of-the-endpoint@")
        async with stage.watched() as watched:
            digest = stage.push("1.0")
            await receiver.hears((VERIFIED, "apps/web:1.0"), (EVERYWHERE, "apps/web:1.0"))
            stage.registry.lose_tag(REPOSITORY, "1.0")
            events = await receiver.hears((FAILED, "apps/web:1.0"))
            await waiting(watched, 0)
    with contextlib.closing(sqlite3.connect(tmp_path / "syncwatch.db")) as store:
        outbox = store.execute("select event, data from notifications").fetchall()
    assert {event for event, _ in outbox} == {VERIFIED, FAILED, EVERYWHERE}
    places = [place for one in events for place in one["data"].get("destinations", [one["data"]])]
    host = stage.registry.host
    assert {one["image"] for one in places} == {f"{host}/{REPOSITORY}:1.0"}
    assert {one["pinned"] for one in places} == {f"{host}/{REPOSITORY}@{digest}"}
    assert "robot" not in f"{events}{outbox}"
    assert "of-the-endpoint" not in f"{events}{outbox}"


async def test_without_a_receiver_nothing_is_written_or_shown(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await watched.row(state="verified")
        assert "syncwatch_notifications" not in await watched.metrics_text()
