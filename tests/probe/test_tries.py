"""How often an image that cannot be pulled is tried, and what that costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from probed_scene import Later, probed
from running import until
from servers.kubernetes_api import KubernetesApi, refuses, says, status

from syncwatch.model import HOUR, SECOND

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched
    from servers.kubernetes_api import Script

UNKNOWN = "something that nobody has seen"


def no_name(pod: dict[str, Any]) -> Script:
    """The kubelet cannot read the name."""
    del pod
    waiting = {"waiting": {"reason": "InvalidImageName", "message": "couldn't parse"}}
    return [(0.0, "status", status(state=waiting)), (0.0, "event", says("InspectFailed", "no"))]


async def lines(watched: Watched) -> int:
    """How many lines of probes the timeline has."""
    (row,) = await watched.expectations()
    timeline = (await watched.one(row["id"]))["timeline"]
    return sum(line["what"].startswith("probe") for line in timeline)


async def quiet(api: KubernetesApi, clock: Later, ahead: int, seconds: float = 2.0) -> int:
    """How many pods there are in all once the clock has been put forward and nothing more comes."""
    clock.ahead = ahead
    # That nothing comes can only be waited for.
    await asyncio.sleep(seconds)
    return len(api.made)


async def test_what_no_level_asks_for_is_tried_four_times(tmp_path: Path) -> None:
    clock = Later()
    async with (
        KubernetesApi(refuses(UNKNOWN)).serving() as api,
        probed(tmp_path, api, level="readable", per_hour=1000) as story,
        story.watched(clock=clock) as watched,
    ):
        story.push("1.0")
        for tries in range(1, 5):

            async def tried(count: int = tries) -> bool:
                (one,) = (await watched.get("/api/v1/probes"))["items"] or [{"attempts": 0}]
                return one["attempts"] == count

            await until(tried, told=f"try {tries}")
            clock.ahead += HOUR
        assert await quiet(api, clock, 30 * HOUR) == 4
        assert await lines(watched) == 2, "one is to pull it, and what became of it"
        assert (await watched.row(reference="1.0"))["state"] == "verified"


@pytest.mark.parametrize(
    ("script", "settings", "pods"),
    [(no_name, {}, 1), (no_name, {"size_limit": 10}, 0)],
    ids=["a-name-that-is-none", "too-large"],
)
async def test_what_no_other_pod_would_change_is_left_for_an_hour(
    tmp_path: Path, script: Any, settings: dict[str, Any], pods: int
) -> None:
    clock = Later()
    async with (
        KubernetesApi(script).serving() as api,
        probed(tmp_path, api, **settings) as story,
        story.watched(clock=clock) as watched,
    ):
        story.push("1.0")
        await watched.row(reference="1.0", reason="probe_inconclusive")
        looks = len(story.registry.requests)

        assert await quiet(api, clock, 600 * SECOND, 3.0) == pods
        assert await lines(watched) <= 2
        # An unknown state is looked at about once a second at first, and each look asks twice.
        assert len(story.registry.requests) - looks < 30
