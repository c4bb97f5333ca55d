"""What no webhook and no execution told of is found by the sweep, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from meddling import altered
from running import until
from scenarios_harbor import millis
from scene import DESTINATION, LABELS, POLICY, REPOSITORY, Scene, edit, scene

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched
    from yarl import URL

RECOVERED = "syncwatch_events_recovered_total"
SWEEPS = "syncwatch_sweep_duration_seconds_count"
AT_ONCE = {"sweep_every": "10s"}
OLD_VERSION = "v2.14.0-12345678"


async def swept(watched: Watched, times: int = 1) -> None:
    """So many sweeps of this daemon ended well."""

    async def ended() -> bool:
        return (await watched.metric(SWEEPS) or 0) >= times

    await until(ended, within=25, told="a sweep")


def lists(stage: Scene) -> list[str]:
    """Repositories whose artifacts Harbor was asked to list, in the order asked."""
    asked = [one for one in stage.harbor.requests if "/artifacts?" in one]
    return [one.partition("/projects/")[2].partition("/artifacts")[0] for one in asked]


async def test_a_push_that_nothing_announced_is_found_and_judged(tmp_path: Path) -> None:
    async with scene(tmp_path, harbor=AT_ONCE) as stage:
        async with stage.watched(webhooks=False) as watched:
            await swept(watched)
        stage.stop_starting()
        digest = stage.push("1.0")
        async with stage.watched(webhooks=False) as watched:
            row = await watched.row(reference="1.0")
            assert (row["digest"], row["origin"], row["state"]) == (digest, "push", "pending")
            assert row["notified_at"] is None
            assert millis(row["pushed_at"]) == pytest.approx(set_at(stage, "1.0"), abs=1)
            assert row["expected_at"] == row["pushed_at"]


async def test_a_tag_moved_back_to_an_older_digest_unseen_is_a_new_generation(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, harbor=AT_ONCE) as stage:
        async with stage.watched() as watched:
            old = stage.push("latest", "old")
            await watched.row(digest=old, state="verified")
            stage.harbor.tag(REPOSITORY, "latest", "kept")
            new = stage.push("latest", "new")
            await watched.row(digest=new, state="verified")
        stage.stop_starting()
        stage.harbor.untag(REPOSITORY, "latest")
        stage.harbor.tag(REPOSITORY, old, "latest")
        # A tag this long after its artifact was not pushed with it.
        stage.harbor.artifact(REPOSITORY, old).push_time -= 60
        async with stage.watched() as watched:
            await watched.row(digest=old, reference="latest", origin="tag")
            await watched.row(digest=new, reference="latest", state="closed", reason="superseded")


async def test_a_repository_deleted_unseen_ends_its_rows(tmp_path: Path) -> None:
    async with scene(tmp_path, harbor=AT_ONCE) as stage:
        async with stage.watched() as watched:
            stage.push("1.0", repository="apps/going")
            stage.push("1.0", repository="apps/staying")
            await watched.row(source_repository="apps/going", state="verified")
            await watched.row(source_repository="apps/staying", state="verified")
        row = stage.harbor.world.repository("apps/going")
        assert row is not None
        stage.harbor.artifacts.delete_repository(row, "admin")
        async with stage.watched(webhooks=False) as watched:
            await watched.row(
                source_repository="apps/going", state="closed", reason="deleted_at_source"
            )
            (kept,) = await watched.expectations(repository="apps/staying")
            assert kept["state"] == "verified"


async def test_what_is_older_than_the_rule_or_than_its_scope_alarms_nobody(tmp_path: Path) -> None:
    async with scene(tmp_path, harbor=AT_ONCE) as stage:
        stage.stop_starting()
        stage.push("older-than-us")
        async with stage.watched() as watched:
            await swept(watched)
        stage.push("outside", repository="library/tool")
        edit(stage.harbor, POLICY, enabled=False)
        async with stage.watched() as watched:
            await swept(watched)
        stage.push("while-disabled")
        edit(stage.harbor, POLICY, enabled=True)
        # In the same millisecond it might have come after.
        stage.harbor.policy(POLICY).updated += 0.01
        async with stage.watched() as watched:
            await swept(watched)
            stage.push("now")
            await watched.row(reference="now", within=25)
            await swept(watched, times=2)
            assert [row["reference"] for row in await watched.expectations()] == ["now"]


@pytest.mark.parametrize("version", ["v2.16.0-c50c7dd", OLD_VERSION])
async def test_pushes_of_a_downtime_are_known_with_their_own_times(
    tmp_path: Path, version: str
) -> None:
    async with scene(tmp_path, harbor=AT_ONCE | {"recovered_after": "1s"}) as stage:
        stage.harbor.version = version
        async with stage.watched() as watched:
            stage.push("before")
            await watched.row(reference="before", state="verified")
        times = pushed_and_retagged(stage, 10)
        await stage.harbor.idle()
        # Each delivery was tried and given up by now; the history of executions is short.
        stage.harbor.purge_executions()
        async with stage.watched(webhooks=False) as watched:

            async def known() -> bool:
                rows = await watched.expectations(state="verified")
                return len(rows) == 1 + len(times)

            await until(known, told="every push of the downtime")
            for row in await watched.expectations():
                if row["reference"] == "before":
                    continue
                origin, pushed_at = times[row["reference"]]
                assert row["origin"] == origin, row["reference"]
                assert millis(row["pushed_at"]) == pytest.approx(pushed_at, abs=1)
                assert row["expected_at"] == row["pushed_at"]

            async def counted() -> bool:
                return await watched.metric(RECOVERED, event="PUSH_ARTIFACT") == 10

            await until(counted, told="ten recovered pushes")
            lags = await watched.metric("syncwatch_lag_seconds_sum", **LABELS)
            ends = [millis(row["verified_at"]) for row in await watched.expectations()]
            began = [millis(row["expected_at"]) for row in await watched.expectations()]
            # The one that was verified before the downtime was counted then.
            assert lags == pytest.approx((sum(ends[1:]) - sum(began[1:])) / 1000, abs=0.1)
        async with stage.watched() as watched:
            await swept(watched)
            assert await watched.metric(RECOVERED) == 0, "each is counted once"


def pushed_and_retagged(stage: Scene, count: int) -> dict[str, tuple[str, float]]:
    """So many pushes, and as many tags made by the API: origin and time of each reference."""
    for number in range(count):
        stage.push(f"pushed-{number}")
    # A tag this long after its artifact was not pushed with it.
    stage.harbor.artifact(REPOSITORY, "before").push_time -= 60
    for number in range(count):
        stage.harbor.tag(REPOSITORY, "before", f"tagged-{number}")
    origins = {"push": "pushed", "tag": "tagged"}
    return {
        f"{words}-{number}": (origin, set_at(stage, f"{words}-{number}"))
        for origin, words in origins.items()
        for number in range(count)
    }


def set_at(stage: Scene, name: str) -> float:
    """When Harbor's tag was set, in milliseconds."""
    tags = stage.harbor.artifacts.tags_of(stage.harbor.artifact(REPOSITORY, name))
    return next(tag.push_time for tag in tags if tag.name == name) * 1000


async def test_a_push_whose_webhook_comes_late_is_not_recovered(tmp_path: Path) -> None:
    settings = AT_ONCE | {"recovered_after": "1h"}
    async with scene(tmp_path, harbor=settings) as stage:
        async with stage.watched(webhooks=False) as watched:
            await swept(watched)
        stage.harbor.pause_queue("WEBHOOK")
        async with stage.watched() as watched:
            stage.push("1.0")
            row = await watched.row(reference="1.0", within=25)
            assert row["notified_at"] is None
            stage.harbor.resume_queue("WEBHOOK")

            async def notified() -> bool:
                return (await watched.one(row["id"]))["notified_at"] is not None

            await until(notified, told="the late webhook")
            assert await watched.metric(RECOVERED) == 0


async def test_a_project_of_many_repositories_holds_up_no_other(tmp_path: Path) -> None:
    async with scene(tmp_path, harbor=AT_ONCE | {"sweep_requests_per_minute": 12}) as stage:
        stage.harbor.create_policy("all", "cluster1", pattern="**")
        stage.stop_starting()
        for number in range(30):
            stage.push("1.0", "same", repository=f"apps/{number}")
        stage.push("1.0", "same", repository="zoo/only")
        async with stage.watched(webhooks=False):

            async def reached() -> bool:
                return any(one.startswith("zoo/") for one in lists(stage))

            await until(reached, told="the small project")
            assert len(lists(stage)) <= 10


async def test_a_pass_goes_on_after_a_restart_where_it_was(tmp_path: Path) -> None:
    async with scene(tmp_path, harbor=AT_ONCE) as stage:
        stage.harbor.version = OLD_VERSION
        stage.stop_starting()
        for number in range(30):
            stage.push("1.0", "same", repository=f"apps/{number:02}")
        stage.harbor.switches.slow_seconds = 0.1
        async with stage.watched(webhooks=False):

            async def some() -> bool:
                return len(lists(stage)) >= 10

            await until(some, told="ten repositories")
        before = set(lists(stage))
        stage.harbor.switches.slow_seconds = 0.0
        stage.harbor.requests.clear()
        async with stage.watched(webhooks=False) as watched:
            await swept(watched)
            again = before & set(lists(stage))
            assert len(again) <= 1, "only the one that was under way is read twice"
            assert len(before | set(lists(stage))) == 30


async def test_a_project_that_may_not_be_listed_is_told_and_the_others_are_swept(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, harbor=AT_ONCE, permissions=only_apps()) as stage:
        stage.harbor.create_policy("closed", "cluster1", pattern="closed/**")
        stage.harbor.create_project("closed")
        async with stage.watched(webhooks=False) as watched:

            async def told() -> list[dict[str, Any]]:
                found = await watched.findings()
                return [
                    one for one in found if "closed" in one["message"] and "list" in one["cure"]
                ]

            (finding,) = await until(told, told="the finding")
            assert finding["finding"] == "permission_missing"
            await swept(watched)


def only_apps() -> tuple[dict[str, Any], ...]:
    """The read-only robot, of one project."""
    from syncwatch.lab.harbor import READ_ONLY_ROBOT

    system, project = READ_ONLY_ROBOT
    return (system, {**project, "namespace": "apps"})


async def test_a_repository_that_cannot_be_read_is_told_and_the_others_are_swept(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, harbor=AT_ONCE) as stage:
        stage.stop_starting()
        async with stage.watched(webhooks=False) as watched:
            await swept(watched)
        stage.push("1.0", repository="apps/good")
        async with stage.watched(webhooks=False) as watched:
            await watched.row(source_repository="apps/good")
            status = await watched.status()
            assert status["harbors"][0]["last_sweep_at"] is not None
            assert await watched.metric(SWEEPS) >= 1


async def test_tags_that_only_the_destination_has_are_told_once(tmp_path: Path) -> None:
    settings = AT_ONCE | {"orphans_every": "1s"}
    often = {"recheck_per_minute": 6000}
    async with scene(tmp_path, harbor=settings, destination=often) as stage:
        async with stage.watched() as watched:
            stage.push("1.0")
            stage.push("2.0")
            await watched.row(reference="1.0", state="verified")
            await watched.row(reference="2.0", state="verified")
        stage.harbor.untag(REPOSITORY, "1.0")
        async with stage.watched() as watched:
            await watched.row(reference="1.0", state="closed")

            async def told() -> list[dict[str, Any]]:
                found = await watched.findings()
                return [one for one in found if one["finding"] == "orphaned_images"]

            (finding,) = await until(told, within=30, told="the finding")
            assert finding["severity"] == "info"
            assert "has 1 tags in 1 repositories" in finding["message"]
            assert "1.0 of apps/web" in finding["message"]


async def test_a_signature_that_nothing_announced_is_found_and_asked_for_no_more(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, harbor=AT_ONCE) as stage:
        async with stage.watched(webhooks=False) as watched:
            await swept(watched)
        stage.stop_starting()
        signature = stage.push("1.0").replace(":", "-") + ".sig"
        stage.push(signature, "signature")
        async with stage.watched(webhooks=False) as watched:
            row = await watched.row(reference=signature)
            assert row["origin"] == "push"
        async with stage.watched(webhooks=False) as watched:
            stage.harbor.requests.clear()
            await swept(watched)
            asked = [one for one in stage.harbor.requests if f"artifacts/{signature}" in one]
            assert len(asked) <= 1, "what is listed beside its image is there"


async def test_a_push_that_three_policies_copy_is_one_recovered_event(tmp_path: Path) -> None:
    async with scene(tmp_path, harbor=AT_ONCE | {"recovered_after": "1s"}) as stage:
        for name in ("two", "three"):
            stage.harbor.create_policy(name, DESTINATION, pattern="apps/**", namespace=name)
        async with stage.watched(webhooks=False) as watched:
            await swept(watched)
        stage.stop_starting()
        stage.push("1.0")
        stage.push("2.0")
        async with stage.watched(webhooks=False) as watched:

            async def counted() -> bool:
                return (await watched.metric(RECOVERED, source="sweep") or 0) >= 2

            await until(counted, told="both events")
            assert len(await watched.expectations()) == 6
            assert await watched.metric(RECOVERED) == 2


async def test_a_harbor_that_keeps_no_order_is_swept_whole(tmp_path: Path) -> None:
    def newest_first(url: URL) -> URL:
        if not url.path.endswith("/repositories"):
            return url
        return url.without_query_params("q").update_query(sort="-repository_id")

    settings = AT_ONCE | {"sweep_requests_per_minute": 60_000}
    async with scene(tmp_path, harbor=settings) as stage, altered(stage, newest_first):
        stage.harbor.version = OLD_VERSION
        async with stage.watched(webhooks=False) as watched:
            await swept(watched)
        stage.stop_starting()
        for number in range(120):
            stage.push("1.0", "same", repository=f"apps/{number:03}")
        async with stage.watched(webhooks=False) as watched:

            async def known() -> bool:
                return len(await watched.expectations()) == 120

            await until(known, told="all of them")


async def test_what_was_pushed_while_a_rule_was_off_and_nobody_looked_alarms_nobody(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, harbor=AT_ONCE) as stage:
        async with stage.watched() as watched:
            await swept(watched)
        edit(stage.harbor, POLICY, enabled=False)
        stage.push("while-disabled")
        edit(stage.harbor, POLICY, enabled=True)
        # In the same millisecond it might have come after.
        stage.harbor.policy(POLICY).updated += 0.01
        async with stage.watched() as watched:
            await swept(watched)
            assert await watched.expectations() == []
            told = await watched.get("/api/v1/explain", image=f"{REPOSITORY}:while-disabled")
            (rule,) = told["rules"]
            assert (rule["covers"], rule["cause"]) == (None, "saved_unseen")
            stage.push("now")
            await watched.row(reference="now", state="verified")
