"""Counters of what was replaced by its like: no series twice, and none goes down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families
from running import until
from scene import DESTINATION, LABELS, scene

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched

POLICY = LABELS["policy"]


async def _samples(watched: Watched) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples by name and labels; fails on a series that is there twice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(await watched.metrics_text()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


async def _settled(watched: Watched) -> float:
    name = "syncwatch_expectations_settled_total"
    return await watched.metric(name, result="met", **LABELS) or 0


async def test_a_policy_made_again_under_its_name_counts_on(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        await stage.harbor.idle()
        policy = stage.harbor.policy(POLICY)
        del stage.harbor.world.policies[policy.id]

        async def gone() -> bool:
            return await watched.metric("syncwatch_policy_info", policy=POLICY) is None

        await until(gone)
        before = await _samples(watched)
        stage.harbor.create_policy(POLICY, DESTINATION, pattern="apps/**")
        stage.push("2.0")
        await watched.row(reference="2.0", state="verified")

        async def counted_on() -> bool:
            return await _settled(watched) == 2

        await until(counted_on)
        after = await _samples(watched)
        fallen = {
            key
            for key, value in before.items()
            if key[0].endswith(("_total", "_count", "_sum")) and after.get(key, 0.0) < value
        }
        assert fallen == set()
