"""Several replicas on one PostgreSQL tell each thing once, also when the one that tells stops."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import yaml
from receiving import EVERYWHERE, VERIFIED, Receiver
from replicas import replicated
from running import until

if TYPE_CHECKING:
    from pathlib import Path

    from replicas import Replicated
    from servers.daemon import Served

pytestmark = [pytest.mark.real, pytest.mark.slow]


async def telling(stage: Replicated) -> list[Served]:
    """The replicas that show the outbox."""
    texts = [await one.get("/metrics") for one in stage.replicas]
    pairs = zip(stage.replicas, texts, strict=True)
    return [one for one, text in pairs if "\nsyncwatch_notifications_waiting " in text]


async def test_replicas_tell_once_and_go_on_where_the_one_that_told_stopped(
    tmp_path: Path,
) -> None:
    receiver = Receiver()
    async with (
        receiver.serving(),
        replicated(tmp_path, replicas=2, destinations=2, lease="1500ms") as stage,
    ):
        for one in stage.replicas:
            document = yaml.safe_load(one.config.read_text())
            document["notifications"] = receiver.settings(per_minute=6000)
            one.config.write_text(yaml.safe_dump(document))
            assert one.process is not None
            one.process.send_signal(signal.SIGHUP)

        async def one_tells() -> bool:
            return len(await telling(stage)) == 1

        await until(one_tells)

        async def all_told() -> bool:
            return len(receiver.deliveries) >= 3 * stage.pushed

        for _ in range(5):
            stage.push()
        await until(all_told)
        (teller,) = await telling(stage)
        await receiver.stop()
        for _ in range(5):
            stage.push()

        async def written() -> bool:
            waiting = "select count(*) from notifications where due_at is not null"
            return stage.query(waiting) == [(15,)]

        await until(written, within=20)
        await teller.stop()
        await receiver.start()
        await until(all_told, within=20)
        said = "".join(one.said() for one in stage.replicas)
    subjects = [f"apps/web:1.{number}" for number in range(1, 11)]
    wanted = [(VERIFIED, one) for one in subjects for _ in range(2)]
    wanted += [(EVERYWHERE, one) for one in subjects]
    assert sorted(receiver.told) == sorted(wanted)
    assert len({one.event["id"] for one in receiver.deliveries}) == 30
    assert "turn_crashed" not in said
