"""Probes switched off while pods are under way: nothing stays behind, and no more begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probed_scene import probed
from running import until
from servers.kubernetes_api import KubernetesApi, hangs, pulls

if TYPE_CHECKING:
    from pathlib import Path

    from scene import Scene


def switch(story: Scene, before: str, after: str) -> None:
    text = story.config.read_text()
    assert f"mode: {before}" in text
    story.config.write_text(text.replace(f"mode: {before}", f"mode: {after}"))


async def test_a_pod_under_way_is_still_judged_and_deleted(tmp_path: Path) -> None:
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api, level="readable") as story,
        story.watched() as watched,
    ):
        story.push("1.0")

        async def under_way() -> bool:
            return bool(api.pods)

        await until(under_way)
        switch(story, "pull", "'off'")
        assert await watched.daemon.reload()
        story.push("2.0")
        await watched.row(reference="2.0", state="verified")

        async def ended() -> bool:
            (row,) = (await watched.get("/api/v1/probes"))["items"]
            return not api.pods and (row["result"], row["cause"]) == ("inconclusive", "hung")

        await until(ended)
        assert len(api.made) == 1

        async def left_alone() -> bool:
            return await watched.metric("syncwatch_cluster_up") is None

        await until(left_alone)


async def test_after_a_restart_without_probes_what_a_crash_left_is_cleared(tmp_path: Path) -> None:
    async with (
        KubernetesApi(lambda pod: pulls(pod, 1.0)).serving() as api,
        probed(tmp_path, api, level="readable") as story,
    ):
        async with story.watched() as watched:
            story.push("1.0")

            async def under_way() -> bool:
                return bool(api.pods)

            await until(under_way)
        switch(story, "pull", "'off'")
        async with story.watched(ready=False) as watched:

            async def cleared() -> bool:
                (row,) = (await watched.get("/api/v1/probes"))["items"]
                return not api.pods and row["began_at"] is None

            await until(cleared)
            assert len(api.made) == 1


async def test_switched_on_it_begins(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", mode="off") as story,
        story.watched() as watched,
    ):
        switch(story, "'off'", "pull")
        assert await watched.daemon.reload()
        digest = story.push("1.0")

        async def pulled() -> bool:
            (row,) = await watched.expectations() or [{}]
            return bool(row.get("pulled_at"))

        await until(pulled)
        assert [image.partition("@")[2] for image in api.images] == [digest]
