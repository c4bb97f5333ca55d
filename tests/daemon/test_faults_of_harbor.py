"""The rows of the fault table that need a Harbor of their own: its words, its history, its clock.

Numbers in brackets are those of the field study's list of acceptance faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from running import Watched, until
from scene import DESTINATION, LABELS, POLICY, REPOSITORY, scene

from syncwatch.lab import images
from syncwatch.lab.jobs import SUCCESS
from syncwatch.lab.records import REPLICATION
from syncwatch.lab.registry import Fault, LabRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from scene import Scene

QUICK = {"grace": "300ms", "recheck_after": "200ms"}
IN_TIME = {"pushed", "expected", "notified", "claimed"}


async def words_of(watched: Watched, row: dict[str, Any]) -> list[str]:
    """The verdicts that an expectation went through."""
    told = await watched.one(row["id"])
    return [one["what"] for one in told["timeline"] if one["what"] not in IN_TIME]


async def others(watched: Watched, but: str) -> list[tuple[str, str, str | None]]:
    return [one for one in await watched.states() if one[0] != but]


async def beside(stage: Scene, watched: Watched) -> None:
    """A healthy image, before anything is wrong."""
    stage.push("beside")
    await watched.row(reference="beside", state="verified")


async def test_13_a_success_that_copied_nothing_is_an_empty_run(tmp_path: Path) -> None:
    async with scene(tmp_path, destination=QUICK) as stage, stage.watched() as watched:
        await beside(stage, watched)
        stage.stop_starting()
        stage.push("1.0")
        policy = stage.harbor.policy(POLICY)
        run = stage.harbor.jobs.new_execution(REPLICATION, policy.id, "event_based")
        stage.harbor.jobs.finish(run, SUCCESS, "no resources need to be replicated")
        row = await watched.row(reference="1.0", state="failed")
        assert (row["reason"], row["level"]) == ("empty_run", None)
        assert await others(watched, "1.0") == [("beside", "verified", None)]
        assert await watched.metric("syncwatch_false_success_total", **LABELS) == 0


async def test_14_an_attempt_that_fails_before_one_that_succeeds_is_no_failure(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination=QUICK) as stage, stage.watched() as watched:
        await beside(stage, watched)
        image = images.image("flap")
        # Only the copy asks for a layer of what is not there yet.
        stage.registry.fault(Fault.SERVER_ERROR, REPOSITORY, image.layer_digests[0])
        stage.harbor.push(REPOSITORY, "1.0", image)
        await watched.row(reference="1.0", state="pending", reason="retrying")
        stage.registry.clear()
        row = await watched.row(reference="1.0", state="verified")
        assert {one.partition("/")[0] for one in await words_of(watched, row)} == {
            "pending",
            "verified",
        }
        assert await others(watched, "1.0") == [("beside", "verified", None)]


async def test_15_executions_swept_away_change_no_verdict(tmp_path: Path) -> None:
    async with scene(tmp_path, destination=QUICK) as stage, stage.watched() as watched:
        await beside(stage, watched)
        stage.registry.fault(Fault.BLOB_NOT_FOUND, "apps/gone")
        stage.push("1.0", repository="apps/gone")
        failed = await watched.row(reference="1.0", state="failed", reason="blob_missing")
        before = await watched.row(reference="beside")
        stage.harbor.purge_executions()

        async def looked_at_again() -> bool:
            row = await watched.row(reference="beside")
            return row["observed_at"] > before["observed_at"]

        await until(looked_at_again, told="a look after the sweep")
        assert await watched.states() == [
            ("beside", "verified", None),
            ("1.0", "failed", "blob_missing"),
        ]
        assert (await words_of(watched, failed))[-1] == "failed/blob_missing"


async def test_19_a_tag_made_without_a_webhook_is_judged_like_a_push(tmp_path: Path) -> None:
    async with scene(tmp_path, destination=QUICK) as stage, stage.watched() as watched:
        await beside(stage, watched)
        image = images.image("retagged")
        stage.registry.fault(Fault.BLOB_NOT_FOUND, REPOSITORY, image.layer_digests[0])
        stage.harbor.push(REPOSITORY, "1.0", image)
        await watched.row(reference="1.0", state="failed", reason="blob_missing")
        stage.harbor.tag(REPOSITORY, "1.0", "stable")
        row = await watched.row(reference="stable", state="failed", reason="blob_missing")
        assert (row["notified_at"], row["level"]) == (None, "matched")
        assert (await watched.row(reference="beside"))["state"] == "verified"


async def test_23_a_cache_is_never_asked_for_what_it_would_fetch(tmp_path: Path) -> None:
    async with (
        LabRegistry("behind").serving() as behind,
        LabRegistry("cache", pull_through=behind.url).serving() as cache,
    ):
        # Harbor copies to the registry itself, and what we are told to look at is a cache of it.
        entry = {"name": "cached", "url": cache.url}
        async with scene(tmp_path, destination=QUICK, more_destinations=[entry]) as stage:
            stage.harbor.create_registry("cached", behind.url)
            stage.harbor.create_policy("to-cached", "cached", pattern="apps/cached")
            async with stage.watched() as watched:
                await beside(stage, watched)
                stage.push("1.0", "cached", repository="apps/cached")
                row = await watched.row(destination="cached", reference="1.0", state="unknown")
                assert (row["reason"], row["level"]) == ("pull_through", None)
                assert "pull_through" in await watched.finding_names()
                await watched.row(destination=DESTINATION, reference="1.0", state="verified")
                await stage.harbor.idle()
        assert cache.requests
        assert not [one for one in cache.requests if one.path.endswith("/1.0")]
        assert cache.contents.repository("apps/cached").manifests == {}


async def test_24_of_a_tag_pushed_three_times_in_a_row_the_last_is_verified(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination=QUICK) as stage, stage.watched() as watched:
        await beside(stage, watched)
        digests = [stage.push("1.0", f"push {number}") for number in range(3)]
        row = await watched.row(reference="1.0", state="verified", digest=digests[-1])
        states = {one["digest"]: one for one in await watched.expectations(reference="1.0")}
        for digest in digests[:-1]:
            earlier = states.get(digest)
            assert earlier is None or earlier["reason"] == "superseded"
        assert not [one for one in await words_of(watched, row) if one.startswith("failed")]
        assert await watched.metric("syncwatch_false_success_total", **LABELS) == 0


@pytest.mark.parametrize("skew", [300.0, -300.0], ids=["ahead", "behind"])
async def test_27_a_clock_five_minutes_off_changes_no_verdict(tmp_path: Path, skew: float) -> None:
    async with (
        scene(tmp_path, destination=QUICK, skew=skew) as stage,
        stage.watched() as watched,
    ):
        await beside(stage, watched)
        stage.registry.fault(Fault.BLOB_NOT_FOUND, "apps/gone")
        stage.registry.fault(Fault.FORBIDDEN, "apps/refused")
        stage.push("lost", repository="apps/gone")
        stage.push("refused", repository="apps/refused")
        row = await watched.row(reference="lost", state="failed", reason="blob_missing")
        await watched.row(reference="refused", state="unknown", reason="forbidden")
        assert set(await words_of(watched, row)) <= {
            "pending/waiting",
            "pending/queued",
            "pending/copying",
            "pending/not_visible_yet",
            "failed/blob_missing",
        }
        assert (await watched.row(reference="beside"))["state"] == "verified"


async def test_33_when_everything_is_unknown_that_itself_is_said(tmp_path: Path) -> None:
    terms = {**QUICK, "deadline": "1s"}
    async with scene(tmp_path, destination=terms) as stage, stage.watched() as watched:
        await beside(stage, watched)
        await stage.registry.stop()
        for number in range(5):
            stage.push(f"{number}")

        async def all_unknown() -> bool:
            rows = await others(watched, "beside")
            return [one[1:] for one in rows] == [("unknown", "unreachable")] * 5

        await until(all_unknown, told="five rows unknown")
        found = [one for one in await watched.findings() if one["severity"] == "error"]
        assert [one["finding"] for one in found] == ["destination_unreachable"]
        up = await watched.metric("syncwatch_destination_up", destination=DESTINATION)
        assert up == 0

        async def overdue() -> bool:
            return await watched.metric("syncwatch_expectations_overdue", **LABELS) == 5

        await until(overdue, told="five rows overdue")
        assert (await watched.row(reference="beside"))["state"] == "verified"
        assert await watched.metric("syncwatch_lost_total", **LABELS) == 0
