"""What was verified is looked at again: losses are found, flickers are not, age is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from running import Watched, until
from scene import LABELS, POLICY, REPOSITORY, Scene, scene

from syncwatch.lab import images
from syncwatch.lab.faults import Fault
from syncwatch.lab.images import digest_of
from syncwatch.runtime import Clock

if TYPE_CHECKING:
    from pathlib import Path

OFTEN = {"recheck_per_minute": 6000, "recheck_after": "200ms"}
LOST = "syncwatch_lost_total"
FALSE_SUCCESS = "syncwatch_false_success_total"


async def looks(stage: Scene, watched: Watched, count: int, repository: str = REPOSITORY) -> None:
    """So many more looks at a repository have been taken."""
    del watched
    path = f"/v2/{repository}/manifests/"

    def taken() -> int:
        asked = [one for one in stage.registry.requests if one.path.startswith(path)]
        return sum(":" not in one.path.rpartition("/")[2] for one in asked)

    before = taken()

    async def so_many() -> bool:
        return taken() >= before + count

    await until(so_many, told=f"{count} more looks")


async def test_an_image_that_is_gone_is_lost_and_its_message_says_until_when_it_was_there(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        digest = stage.push("v1")
        row = await watched.row(state="verified", level="readable")
        # Once more after Harbor's own success is known: else that could be the false one.
        await looks(stage, watched, 4)
        stage.registry.lose_tag(REPOSITORY, "v1")
        stage.registry.lose_manifest(REPOSITORY, digest)
        row = await watched.row(state="failed")
        assert (row["reason"], row["level"]) == ("lost", None)
        assert "it was verified until 20" in row["message"]
        assert await watched.metric(LOST, **LABELS) == 1
        assert await watched.metric(FALSE_SUCCESS, **LABELS) == 0
        stage.registry.push(REPOSITORY, "v1", images.image("v1"))
        await watched.row(state="verified")
        assert await watched.metric(LOST, **LABELS) == 1


async def test_a_tag_that_is_gone_while_its_digest_is_there_is_called_so(tmp_path: Path) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        stage.push("v1")
        await watched.row(state="verified")
        stage.registry.lose_tag(REPOSITORY, "v1")
        row = await watched.row(state="failed")
        assert row["reason"] == "tag_missing"
        assert await watched.metric(LOST, **LABELS) == 1


async def test_one_wrong_404_takes_nothing_away(tmp_path: Path) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        stage.push("v1")
        row = await watched.row(state="verified")
        # HEAD and GET of one look; the digest answers all the while.
        stage.registry.fault(Fault.TAG_NOT_FOUND, REPOSITORY, "v1", times=2)
        await looks(stage, watched, 6)
        told = await watched.one(row["id"])
        assert told["state"] == "verified"
        assert [one["what"] for one in told["timeline"]].count("verified") == 1
        assert await watched.metric(LOST, **LABELS) == 0


async def test_a_cache_that_says_304_to_everything_hides_no_loss(tmp_path: Path) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        stage.push("v1")
        await watched.row(state="verified")
        stage.registry.fault(Fault.NOT_MODIFIED_LIE)
        stage.registry.lose_tag(REPOSITORY, "v1")
        await watched.row(state="failed", reason="tag_missing")


async def test_what_comes_and_goes_is_said_to_and_is_no_ten_alerts(tmp_path: Path) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        stage.push("v1")
        await watched.row(state="verified")
        for _ in range(2):
            stage.registry.lose_tag(REPOSITORY, "v1")
            await watched.row(state="failed", reason="tag_missing")
            stage.registry.push(REPOSITORY, "v1", images.image("v1"))
            if _ == 0:
                await watched.row(state="verified", within=40)

        async def comes_and_goes() -> bool:
            (row,) = await watched.expectations()
            told = row["state"] == "failed" and "comes and goes" in row["message"]
            # The message stands for three looks; whoever comes later finds the finding.
            return told or "destination_inconsistent" in await watched.finding_names()

        await until(comes_and_goes, within=40, told="the message that it comes and goes")

        async def found() -> bool:
            return "destination_inconsistent" in await watched.finding_names()

        await until(found, told="the finding")
        assert await watched.metric(LOST, **LABELS) == 2
        await watched.row(state="verified", within=30)


async def test_a_layer_lost_after_a_proof_is_found_when_harbor_claims_the_image_anew(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        digest = stage.push("v1")
        await watched.row(state="verified")
        (layer,) = images.image("v1").layer_digests
        stage.registry.lose_blob(layer)
        stage.harbor.run(POLICY)
        row = await watched.row(state="failed")
        assert (row["digest"], row["reason"], row["level"]) == (digest, "blob_missing", "matched")
        assert layer in row["message"]
        assert await watched.metric(LOST, **LABELS) == 1

        async def told() -> bool:
            return await watched.metric(FALSE_SUCCESS, **LABELS) == 1

        await until(told, told="the false success")


async def test_what_was_proven_is_not_asked_for_again_within_the_day(tmp_path: Path) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        base = [b"base %d" % number for number in range(5)]
        for tag in ("v1", "v2"):
            stage.harbor.push(REPOSITORY, tag, images.layered(tag, *base, tag.encode()))
            await watched.row(reference=tag, state="verified")
        await stage.harbor.idle()

        def reads() -> int:
            ours = [one for one in stage.registry.requests if one.user_agent.startswith("harbor")]
            layers = [one for one in ours if one.method == "GET" and "/blobs/" in one.path]
            return sum(any(digest_of(layer) in one.path for layer in base) for one in layers)

        # A look before Harbor's end is known is taken once more, its layers included.
        await looks(stage, watched, 8)
        before = reads()
        assert len(base) <= before <= 4 * len(base)
        await looks(stage, watched, 8)
        assert reads() == before


async def test_nothing_is_looked_at_again_with_a_budget_of_zero_until_it_is_stale(
    tmp_path: Path,
) -> None:
    settings = {"recheck_per_minute": 0, "stale_after": "3s", "retry_longest": "500ms"}
    async with scene(tmp_path, destination=settings) as stage, stage.watched() as watched:
        stage.push("v1")
        await watched.row(state="verified")
        await stage.registry.stop()
        row = await watched.row(state="unknown")
        assert (row["reason"], row["overdue"], row["level"]) == ("stale", False, "readable")
        await stage.registry.start()
        await watched.row(state="verified")


async def test_one_image_that_cannot_be_asked_keeps_no_other_waiting(tmp_path: Path) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        for number in range(5):
            stage.push("v1", repository=f"apps/web{number}")
        for number in range(5):
            await watched.row(repository=f"apps/web{number}", state="verified")
        stage.registry.fault(Fault.FORBIDDEN, "apps/web0")
        await looks(stage, watched, 3, "apps/web4")
        digest = stage.registry.digest("apps/web4", "v1")
        stage.registry.lose_tag("apps/web4", "v1")
        assert digest is not None
        await watched.row(repository="apps/web4", state="failed")
        await watched.row(repository="apps/web0", state="verified")


async def test_a_full_check_finds_a_layer_whose_last_byte_is_right(tmp_path: Path) -> None:
    settings = OFTEN | {"full_check_every": "1s", "full_check_bytes_per_second": 1_000_000}
    async with scene(tmp_path, destination=settings) as stage, stage.watched() as watched:
        stage.push("v1")
        await watched.row(state="verified")
        (layer,) = images.image("v1").layer_digests
        whole = stage.registry.contents.bytes[layer]
        stage.registry.contents.bytes[layer] = b"\0" + whole[1:]
        row = await watched.row(state="failed", within=30)
        assert row["reason"] == "blob_unreadable"
        assert "does not hash to its digest" in row["message"]
        stage.registry.contents.bytes[layer] = whole
        await watched.row(state="verified", within=30)


class Shifted(Clock):
    """Goes at the real one's pace, and can be moved ahead by milliseconds."""

    by = 0

    def now(self) -> int:
        return super().now() + self.by


async def test_a_layer_lost_a_week_later_is_found_by_a_recheck(tmp_path: Path) -> None:
    clock = Shifted()
    settings = OFTEN | {"stale_after": "30d"}
    async with (
        scene(tmp_path, destination=settings) as stage,
        stage.watched(clock=clock) as watched,
    ):
        stage.push("v1")
        await watched.row(state="verified")
        (layer,) = images.image("v1").layer_digests
        await looks(stage, watched, 4)
        stage.registry.lose_blob(layer)
        # Within the day its proof stands in for it: the layers that images share cost nothing.
        await looks(stage, watched, 3)
        await watched.row(state="verified")
        clock.by = 7 * 24 * 3600 * 1000
        row = await watched.row(state="failed")
        assert row["reason"] == "blob_missing"
        assert "it was verified until 20" in row["message"]
        assert await watched.metric(LOST, **LABELS) == 1
