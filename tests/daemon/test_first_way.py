"""The way of one push, from the lab's Harbor to a verdict and a metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from running import SECRET, running, settings_file, until

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_push_is_expected_verified_and_counted(tmp_path: Path) -> None:
    async with LabHarbor().serving() as harbor, LabRegistry().serving() as registry:
        harbor.create_registry("cluster1", registry.url)
        harbor.create_policy("to-cluster1", "cluster1", pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        config = settings_file(
            tmp_path, {"url": harbor.url, "username": user, "password": password}
        )
        async with running(config) as watched:
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            digest = harbor.push("apps/web", "1.0", images.image("web 1.0"))
            row = await watched.row(state="verified")
            assert (row["digest"], row["origin"], row["level"]) == (digest, "push", "readable")
            labels = {"policy": "to-cluster1", "destination": "cluster1"}
            settled = await watched.metric(
                "syncwatch_expectations_settled_total", result="met", **labels
            )
            assert settled == 1

            async def lag_counted() -> bool:
                return await watched.metric("syncwatch_lag_seconds_count", **labels) == 1

            await until(lag_counted)
            assert "apps/web" not in await watched.metrics_text()
