"""Many probes that are due at once, and what an hour's budget lets begin of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from probed_scene import CLUSTER, Later, probed, probes
from running import until
from servers.kubernetes_api import KubernetesApi

from syncwatch.model import HOUR

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched

AT_ONCE = 4


async def waiting(watched: Watched) -> float:
    return await watched.metric("syncwatch_probes_waiting", cluster=CLUSTER) or 0.0


async def wanted(watched: Watched) -> dict[str, str]:
    """Since when each digest has been wanted, the oldest first."""
    items: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await watched.get("/api/v1/probes", limit="1000", **cursor)
        items += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    ordered = sorted(items, key=lambda one: (one["wanted_at"], int(one["id"])))
    return {one["digest"]: one["wanted_at"] for one in ordered}


async def hours_of(folder: Path, *, pushed: int, per_hour: int, hours: int = 3) -> list[int]:
    """Push so many images, then let hours pass; how many pods were begun in each.

    Asserts that the budget holds and is used up, that what was never probed goes first and among
    it the oldest, and that the metrics say how many wait.
    """
    clock = Later()
    # All of it is one process here, and its pushes come at once.
    limits = {"per_hour": per_hour, "at_once": AT_ONCE, "one_per_node": False, "timeout": "60s"}
    async with (
        KubernetesApi().serving() as api,
        probed(folder, api, level="readable", again_after="30m", **limits) as story,
        story.watched(clock=clock) as watched,
    ):
        for number in range(pushed):
            story.push(f"{number}.0")

        async def all_wanted() -> bool:
            return await waiting(watched) == pushed - per_hour

        await until(all_wanted, 30 + pushed, "all others waiting")
        order = list(await wanted(watched))
        begun = [await _hour(watched, api, per_hour, 1)]
        first = {image.partition("@")[2] for image in api.images}
        left = [digest for digest in order if digest not in first]
        for hour in range(2, hours + 1):
            # What was pulled an hour ago is due again, by `again_after`.
            clock.ahead += HOUR + 1000
            begun.append(await _hour(watched, api, per_hour, hour))
        made = [image.partition("@")[2] for image in api.images]
        assert max(Counter(made).values()) == 1, "one was probed again before the others at all"
        rest = made[per_hour:]
        assert sorted(rest) == sorted(left[: len(rest)]), "an older one was passed over"
        assert api.most <= AT_ONCE
        return begun


async def _hour(watched: Watched, api: KubernetesApi, per_hour: int, hour: int) -> int:
    before = (hour - 1) * per_hour

    async def used_up() -> bool:
        return await probes(watched, result="pulled") == hour * per_hour

    await until(used_up, 60 + 5 * per_hour, f"hour {hour}")
    assert await watched.metric("syncwatch_probes_budget_left", cluster=CLUSTER) == 0
    assert await waiting(watched) > 0
    oldest = await watched.metric("syncwatch_probes_oldest_waiting_seconds", cluster=CLUSTER)
    assert oldest is not None
    assert oldest > 0
    return len(api.made) - before
