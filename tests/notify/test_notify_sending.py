"""Sending: in order, tried again, bounded, over restarts and kills, and no secret on the way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from receiving import (
    EVERYWHERE,
    TOKEN,
    VERIFIED,
    Receiver,
    change,
    counted,
    first,
    telling,
    waiting,
)
from running import until
from scene import scene
from servers.daemon import served

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched
    from scene import Scene

ONLY = {"events": [VERIFIED]}


async def verified(stage: Scene, watched: Watched, *references: str) -> None:
    """Push images one after the other, each once the one before is there."""
    for reference in references:
        stage.push(reference)
        await watched.row(reference=reference, state="verified")


def told(*references: str) -> list[tuple[str, str]]:
    return [(VERIFIED, f"apps/web:{reference}") for reference in references]


async def test_a_receiver_that_is_away_for_a_moment_gets_all_in_order_and_each_once(
    tmp_path: Path,
) -> None:
    async with telling(tmp_path, ONLY) as (stage, receiver), stage.watched() as watched:
        await receiver.stop()
        await verified(stage, watched, "1.0", "2.0", "3.0")
        await waiting(watched, 3)
        assert (await watched.metric("syncwatch_notifications_oldest_seconds") or 0) > 0
        receiver.answer = first(503)
        await receiver.start()
        await receiver.hears(*told("1.0", "2.0", "3.0"))
        await waiting(watched, 0)
        assert await counted(watched, "delivered") == 3
        failed = await counted(watched, "failed")
    assert receiver.told == told("1.0", "2.0", "3.0")
    one, again = receiver.deliveries[:2]
    assert one.event == again.event
    assert again.at - one.at > 0.9
    assert failed is not None
    assert failed >= 2


async def test_a_receiver_that_asks_to_be_left_alone_is(tmp_path: Path) -> None:
    async with telling(tmp_path, ONLY) as (stage, receiver), stage.watched() as watched:
        receiver.answer = first((429, {"Retry-After": "3"}))
        await verified(stage, watched, "1.0", "2.0")
        await receiver.hears(*told("1.0", "2.0"))
    refused, *others = receiver.deliveries
    assert others[0].at - refused.at > 2.9
    assert receiver.told == told("1.0", "2.0")


async def test_no_more_are_sent_than_a_minute_allows(tmp_path: Path) -> None:
    settings = ONLY | {"per_minute": 30}
    async with telling(tmp_path, settings) as (stage, receiver), stage.watched() as watched:
        names = [f"1.{number}" for number in range(7)]
        for name in names:
            stage.push(name)
        await receiver.hears(*told(*names))
        await waiting(watched, 0)
    times = [one.at for one in receiver.deliveries]
    # Ten seconds' worth at once, which are five, then one every two seconds.
    assert times[4] - times[0] < 1.9
    assert times[6] - times[0] > 3.5


async def test_what_a_receiver_refuses_three_times_is_given_up_and_holds_nobody_up(
    tmp_path: Path,
) -> None:
    def answer(event: dict[str, Any]) -> int:
        return 422 if event["subject"].endswith(":1.0") else 204

    async with telling(tmp_path, ONLY) as (stage, receiver), stage.watched() as watched:
        receiver.answer = answer
        await verified(stage, watched, "1.0", "2.0")
        await receiver.hears(*told("2.0"))

        async def found() -> bool:
            return "notification_undelivered" in await watched.finding_names()

        await until(found)
        await waiting(watched, 0)
        (finding,) = [
            one for one in await watched.findings() if one["finding"] == "notification_undelivered"
        ]
        assert await counted(watched, "gave_up") == 1
        assert await counted(watched, "failed") == 3
        change(stage)
        assert await watched.daemon.reload()
        assert not await found()
    assert [one.told for one in receiver.deliveries if one.status == 422] == told(*["1.0"] * 3)
    assert finding["message"].endswith(f"{receiver.url.removesuffix('/hook')} answered 422.")
    assert (finding["severity"], finding["harbor"]) == ("warning", "main")


async def test_an_event_that_cannot_be_digested_keeps_the_others_for_a_moment_only(
    tmp_path: Path,
) -> None:
    def answer(event: dict[str, Any]) -> int:
        return 500 if event["subject"].endswith(":1.0") else 204

    async with telling(tmp_path, ONLY) as (stage, receiver), stage.watched() as watched:
        receiver.answer = answer
        await verified(stage, watched, "1.0", "2.0", "3.0")
        await receiver.hears(*told("2.0", "3.0"))
        assert [one.told for one in receiver.deliveries[:3]] == told(*["1.0"] * 3)
        await waiting(watched, 1)


@pytest.mark.parametrize("breaks", [0, 502])
async def test_an_event_that_breaks_the_receiver_does_not_keep_the_others_from_it(
    tmp_path: Path, breaks: int
) -> None:
    def answer(event: dict[str, Any]) -> int:
        return breaks if event["subject"].endswith(":bad") else 202

    async with telling(tmp_path, ONLY) as (stage, receiver), stage.watched() as watched:
        receiver.answer = answer
        await verified(stage, watched, "bad", "1.0", "2.0")
        await receiver.hears(*told("1.0", "2.0"))
        assert [one.told for one in receiver.deliveries[:3]] == told("bad", "bad", "bad")
        await waiting(watched, 1)
        await verified(stage, watched, "3.0", "4.0")
        await receiver.hears(*told("3.0", "4.0"), within=5)
        receiver.answer = lambda _event: 202
        await receiver.hears(*told("bad"))
    assert receiver.told == told("1.0", "2.0", "3.0", "4.0", "bad")


async def test_several_events_that_break_the_receiver_let_the_others_pass(tmp_path: Path) -> None:
    def answer(event: dict[str, Any]) -> int:
        return 502 if "bad" in event["subject"] else 202

    async with telling(tmp_path, ONLY) as (stage, receiver), stage.watched() as watched:
        receiver.answer = answer
        await verified(stage, watched, "bad1", "bad2", "1.0")
        await receiver.hears(*told("1.0"), within=20)
        await waiting(watched, 2)


async def test_what_could_not_be_delivered_in_time_is_given_up_and_what_happens_then_is_told(
    tmp_path: Path,
) -> None:
    settings = ONLY | {"give_up_after": "2s"}
    async with telling(tmp_path, settings) as (stage, receiver), stage.watched() as watched:
        await receiver.stop()
        await verified(stage, watched, "1.0")

        async def given_up() -> bool:
            return await counted(watched, "gave_up") == 1

        await until(given_up)
        await waiting(watched, 0)
        await receiver.start()
        await verified(stage, watched, "2.0")
        await receiver.hears(*told("2.0"))
    assert receiver.told == told("2.0")


async def test_a_redirect_is_not_followed_and_a_401_is_no_refusal_of_the_event(
    tmp_path: Path,
) -> None:
    secret, today = tmp_path / "receiver", "Bearer of-today"
    secret.write_text("Bearer of-yesterday\n")
    async with Receiver().serving() as elsewhere, Receiver().serving() as receiver:

        def answer(_event: dict[str, Any]) -> int | tuple[int, dict[str, str]]:
            if not receiver.deliveries:
                return 307, {"Location": elsewhere.url}
            return 202 if secret.read_text() == today else 401

        receiver.answer = answer
        section = {"url": receiver.url, "authorization_file": str(secret), **ONLY}
        async with scene(tmp_path, notifications=section) as stage, stage.watched() as watched:
            await verified(stage, watched, "1.0")

            async def refused() -> bool:
                return [one.status for one in receiver.deliveries] == [307, 401]

            await until(refused)
            secret.write_text(today)
            await receiver.hears(*told("1.0"))
    sent = [one.headers["Authorization"] for one in receiver.deliveries]
    assert (sent[0], sent[-1]) == ("Bearer of-yesterday", today)
    assert elsewhere.deliveries == []


async def test_what_waits_is_told_after_a_restart(tmp_path: Path) -> None:
    async with telling(tmp_path) as (stage, receiver):
        await receiver.stop()
        async with stage.watched() as watched:
            await verified(stage, watched, "1.0")
            await waiting(watched, 2)
        await receiver.start()
        async with stage.watched(webhooks=False):
            await receiver.hears((VERIFIED, "apps/web:1.0"), (EVERYWHERE, "apps/web:1.0"))
    assert receiver.told == [(VERIFIED, "apps/web:1.0"), (EVERYWHERE, "apps/web:1.0")]


async def test_a_daemon_that_is_killed_while_it_tells_tells_it_again_with_the_same_id(
    tmp_path: Path,
) -> None:
    async with telling(tmp_path, ONLY) as (stage, receiver), served(stage.config) as daemon:

        def kill(_event: dict[str, Any]) -> int:
            if daemon.process is not None and not receiver.deliveries:
                daemon.process.kill()
            return 202

        receiver.answer = kill
        stage.harbor.create_webhook_policy(
            "apps", daemon.webhook_url, auth_header="Bearer webhook-secret"
        )
        stage.push("1.0")
        await receiver.hears(*told("1.0"))
        await daemon.kill()
        await daemon.start()

        async def again() -> bool:
            return len(receiver.deliveries) == 2

        await until(again)
    one, other = receiver.deliveries
    assert one.event == other.event


async def test_no_secret_of_the_receiver_is_in_any_log_answer_or_store(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver = Receiver(path="/hook/of-the-path?token=of-the-query")
    receiver.answer = first((302, {"Location": receiver.url}))
    section = receiver.settings(events=[VERIFIED])
    with structlog.testing.capture_logs() as logs:
        async with scene(tmp_path, notifications=section) as stage, stage.watched() as watched:
            await verified(stage, watched, "1.0")
            await waiting(watched, 1)
            async with receiver.serving():
                await receiver.hears(*told("1.0"))
            texts = [await watched.metrics_text(), str(await watched.findings())]
            texts.append(str(await watched.expectations()))
            texts.append((tmp_path / "syncwatch.db").read_bytes().decode("latin-1"))
            texts.append((tmp_path / "syncwatch.db-wal").read_bytes().decode("latin-1"))
    assert receiver.deliveries[-1].headers["Authorization"] == TOKEN
    assert any(one["event"] == "notification_not_delivered" for one in logs)
    everything = f"{texts}{logs}{caplog.text}"
    for secret in (TOKEN.partition(" ")[2], "of-the-path", "of-the-query"):
        assert secret not in everything
