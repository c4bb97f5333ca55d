"""What a dashboard shows by `increase` has to be there, at 0, before it happens at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from every_failure import OUTCOMES
from running import running, settings_file

if TYPE_CHECKING:
    from pathlib import Path

NO_HARBOR = {"url": "http://127.0.0.1:1", "username": "robot$syncwatch", "password": "secret"}


async def test_each_outcome_of_a_webhook_is_counted_from_0(tmp_path: Path) -> None:
    async with running(settings_file(tmp_path, NO_HARBOR), ready=False) as watched:
        for outcome in OUTCOMES:
            assert await watched.metric("syncwatch_webhooks_total", outcome=outcome) == 0
