"""What is deleted at the source: expected to go, looked for, and never taken for a loss."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from running import SECRET, Watched, until
from scene import DESTINATION, LABELS, POLICY, REPOSITORY, Scene, edit, scene

from syncwatch.lab import images
from syncwatch.lab.faults import Fault
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

GONE = {"operation": "deletion", "state": "verified"}


@contextlib.asynccontextmanager
async def deleting(directory: Path, **given: Any) -> AsyncIterator[Scene]:
    """A scene whose policy replicates deletions."""
    async with scene(directory, **given) as stage:
        stage.harbor.policy(POLICY).deletion = True
        yield stage


async def copied(watched: Watched, **wanted: str) -> dict[str, Any]:
    return await watched.row(operation="copy", state="verified", **wanted)


async def settled(watched: Watched, operation: str, result: str) -> float | None:
    return await watched.metric(
        "syncwatch_expectations_settled_total", operation=operation, result=result, **LABELS
    )


def absent(stage: Scene, reference: str, repository: str = REPOSITORY) -> Callable[[], Any]:
    async def answer() -> bool:
        return stage.registry.digest(repository, reference) is None

    return answer


async def test_an_artifact_deleted_at_the_source_is_expected_to_go_and_found_gone(
    tmp_path: Path,
) -> None:
    async with deleting(tmp_path) as stage, stage.watched() as watched:
        digest = stage.push("1.0")
        await copied(watched, reference="1.0")
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        row = await watched.row(reference="1.0", **GONE)
        assert (row["origin"], row["digest"], row["overdue"]) == ("deletion", digest, False)
        assert stage.registry.digest(REPOSITORY, "1.0") is None
        ended = await watched.row(operation="copy", state="closed")
        assert ended["reason"] == "deleted_at_source"
        assert await settled(watched, "deletion", "met") == 1
        assert await settled(watched, "copy", "met") == 1
        assert await watched.metric("syncwatch_lost_total") == 0
        assert await watched.metric("syncwatch_oldest_open_seconds", **LABELS) == 0


async def test_all_tags_of_a_deleted_artifact_are_expected_to_go(tmp_path: Path) -> None:
    async with deleting(tmp_path) as stage, stage.watched() as watched:
        for tag in ("1.0", "1", "latest"):
            stage.push(tag, "one image")
            await copied(watched, reference=tag)
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        for tag in ("1.0", "1", "latest"):
            await watched.row(reference=tag, **GONE)
        assert len(await watched.expectations()) == 6


async def test_a_single_tag_that_a_plain_registry_cannot_delete_is_excused_and_said_once(
    tmp_path: Path,
) -> None:
    async with deleting(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0", "one image")
        stage.push("stable", "one image")
        await copied(watched, reference="1.0")
        await copied(watched, reference="stable")
        stage.harbor.untag(REPOSITORY, "stable")
        row = await watched.row(operation="deletion", state="closed")
        assert (row["reference"], row["reason"]) == ("stable", "deletion_unsupported")
        assert (await watched.row(reference="stable", operation="copy"))["state"] == "closed"
        assert await settled(watched, "deletion", "excused") == 1
        assert "deletion_unsupported" in await watched.finding_names()
        # The other tag is untouched, and then goes with the artifact.
        await copied(watched, reference="1.0")
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await watched.row(reference="1.0", **GONE)
        await stage.harbor.idle()
        assert len(await watched.expectations()) == 4


async def test_a_single_tag_goes_where_the_destination_is_another_harbor(tmp_path: Path) -> None:
    async with LabHarbor().serving() as other, scene(tmp_path) as stage:
        other.create_project("apps")
        stage.harbor.create_registry(
            "second", other.url, username="admin", password=other.password, kind="harbor"
        )
        stage.harbor.world.policies.pop(stage.harbor.policy(POLICY).id)
        stage.harbor.create_policy("to-second", "second", pattern="apps/**", deletion=True)
        login = {"username": "admin", "password": other.password, "url": other.url}
        document = stage.config.read_text().replace(
            "destinations:\n",
            "destinations:\n- {name: second, level: matched, "
            + ", ".join(f"{key}: '{value}'" for key, value in login.items())
            + "}\n",
        )
        stage.config.write_text(document)
        async with stage.watched() as watched:
            stage.push("1.0", "one image")
            stage.push("stable", "one image")
            await copied(watched, reference="stable")
            await copied(watched, reference="1.0")
            stage.harbor.untag(REPOSITORY, "stable")
            await watched.row(reference="stable", **GONE)
            assert other.artifact(REPOSITORY, "1.0")
            assert (await watched.row(reference="1.0"))["state"] == "verified"
            assert "deletion_unsupported" not in await watched.finding_names()


async def test_nothing_is_expected_to_go_where_the_policy_does_not_replicate_deletions(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await copied(watched, reference="1.0")
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await watched.row(reference="1.0", state="closed", reason="deleted_at_source")
        edit(stage.harbor, POLICY, deletion=True)
        stage.push("2.0")
        await copied(watched, reference="2.0")
        stage.harbor.delete_artifact(REPOSITORY, "2.0")
        await watched.row(reference="2.0", **GONE)
        deletions = await watched.expectations(reference="1.0")
        assert [row["operation"] for row in deletions] == ["copy"]
        assert stage.registry.digest(REPOSITORY, "1.0") is not None


async def test_an_image_older_than_our_first_sight_is_expected_to_go_when_a_webhook_tells(
    tmp_path: Path,
) -> None:
    async with deleting(tmp_path) as stage:
        digest = stage.push("old")
        await stage.harbor.idle()
        async with stage.watched() as watched:
            stage.harbor.delete_artifact(REPOSITORY, "old")
            row = await watched.row(reference="old", **GONE)
            assert row["digest"] == digest
            assert row["notified_at"] is not None
            assert await settled(watched, "deletion", "met") == 1


async def test_without_webhooks_the_execution_tells_of_a_deletion(tmp_path: Path) -> None:
    async with deleting(tmp_path) as stage, stage.watched(webhooks=False) as watched:
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified", within=25)
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await watched.row(reference="1.0", **GONE)
        assert len(await watched.expectations()) == 2


async def test_while_harbor_cannot_be_asked_a_deletion_is_kept_for_later(tmp_path: Path) -> None:
    async with deleting(tmp_path) as stage:
        stage.push("old")
        await stage.harbor.idle()
        async with stage.watched() as watched:
            stage.push("new")
            await copied(watched, reference="new")
            stage.harbor.switches.broken = True
            stage.harbor.delete_artifact(REPOSITORY, "new")
            stage.harbor.delete_artifact(REPOSITORY, "old")
            await until(lambda: told(watched, "DELETE_ARTIFACT", 2))
            assert (await watched.row(reference="new"))["state"] != "closed"
            stage.harbor.switches.broken = False
            await watched.row(reference="new", **GONE)
            await watched.row(reference="old", **GONE)


async def told(watched: Watched, event: str, count: int) -> bool:
    value = await watched.metric("syncwatch_webhooks_total", event=event, outcome="accepted")
    return value == count


async def test_a_deletion_told_again_begins_nothing_new(tmp_path: Path) -> None:
    async with deleting(tmp_path) as stage, stage.watched() as watched:
        digest = stage.push("1.0")
        await copied(watched, reference="1.0")
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        row = await watched.row(reference="1.0", **GONE)
        await stage.harbor.idle()
        body = {
            "type": "DELETE_ARTIFACT",
            "occur_at": int(stage.harbor.world.now()),
            "operator": "again",
            "event_data": {
                "resources": [{"digest": digest, "tag": "1.0", "resource_url": "x"}],
                "repository": {"name": "web", "namespace": "apps", "repo_full_name": REPOSITORY},
            },
        }
        headers = {"Authorization": SECRET}
        async with watched.session.post(watched.webhook_url, json=body, headers=headers) as answer:
            assert answer.status == 202
        stage.push("2.0")
        await copied(watched, reference="2.0")
        rows = await watched.expectations(reference="1.0")
        assert [one["operation"] for one in rows] == ["copy", "deletion"]
        assert rows[1]["id"] == row["id"]


@pytest.mark.parametrize("words", ["1.0", "another image"])
async def test_a_push_after_a_deletion_supersedes_it(tmp_path: Path, words: str) -> None:
    async with deleting(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await copied(watched, reference="1.0")
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await watched.row(reference="1.0", **GONE)
        digest = stage.push("1.0", words)
        await copied(watched, reference="1.0", digest=digest)
        rows = await watched.expectations(reference="1.0")
        assert [(row["operation"], row["state"], row["reason"]) for row in rows] == [
            ("copy", "closed", "deleted_at_source"),
            ("deletion", "closed", "superseded"),
            ("copy", "verified", None),
        ]
        assert await settled(watched, "deletion", "met") == 1


@pytest.mark.parametrize("words", ["1.0", "another image"])
async def test_a_deletion_followed_at_once_by_a_push_ends_in_what_is_there(
    tmp_path: Path, words: str
) -> None:
    async with deleting(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await copied(watched, reference="1.0")
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        digest = stage.push("1.0", words)
        await stage.harbor.idle()
        there = stage.registry.digest(REPOSITORY, "1.0") == digest
        await until(lambda: newest_is(watched, digest, "verified" if there else "failed"))
        rows = await watched.expectations(reference="1.0")
        copies = [row for row in rows if row["operation"] == "copy"]
        assert [row["state"] for row in copies[:-1]] == ["closed"]


async def newest_is(watched: Watched, digest: str, state: str) -> bool:
    rows = await watched.expectations(reference="1.0")
    newest = rows[-1]
    wanted = ("copy", digest, state)
    return len(rows) > 1 and (newest["operation"], newest["digest"], newest["state"]) == wanted


async def test_an_image_that_a_late_deletion_took_away_is_lost(tmp_path: Path) -> None:
    async with deleting(tmp_path) as stage, stage.watched() as watched:
        digest = stage.push("1.0")
        await copied(watched, reference="1.0")
        # The registry refuses to delete, so that Harbor tries again after the next push.
        stage.registry.fault(Fault.FORBIDDEN, REPOSITORY, digest)
        stage.harbor.pause_queue()
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await watched.row(reference="1.0", operation="deletion", state="pending")
        stage.push("1.0")
        await watched.row(reference="1.0", operation="deletion", reason="superseded")
        stage.harbor.resume_queue()
        await until(lambda: attempted(stage))
        stage.registry.clear()
        await stage.harbor.idle()
        await until(absent(stage, "1.0"))
        row = await watched.row(reference="1.0", operation="copy", state="failed")
        assert row["reason"] in ("lost", "missing")


async def attempted(stage: Scene) -> bool:
    tasks = stage.harbor.world.tasks.values()
    return any(task.operation == "deletion" and task.run_count > 0 for task in tasks) and any(
        task.operation == "copy" and task.status == "Success" and task.run_count for task in tasks
    )


async def test_a_digest_deleted_under_another_tag_is_lost_and_said_so(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        stage.harbor.world.policies.pop(stage.harbor.policy(POLICY).id)
        stage.harbor.create_project("team")
        for name in ("apps", "team"):
            stage.harbor.create_policy(
                name,
                DESTINATION,
                pattern=f"{name}/**",
                namespace="all",
                replace_count=-1,
                deletion=name == "apps",
            )
        async with stage.watched() as watched:
            stage.send_webhooks(watched, "team")
            stage.push("mine", "one image")
            stage.push("other", "another image", "team/web")
            stage.push("yours", "one image", "team/web")
            for reference in ("mine", "yours", "other"):
                await copied(watched, reference=reference)
            stage.harbor.delete_artifact(REPOSITORY, "mine")
            await watched.row(reference="mine", **GONE)
            row = await watched.row(reference="yours", state="failed")
            assert row["reason"] == "lost"
            assert (await watched.row(reference="other"))["state"] == "verified"
            assert await watched.metric("syncwatch_lost_total") == 1


async def test_what_harbor_may_not_delete_there_is_a_failed_execution(tmp_path: Path) -> None:
    async with deleting(tmp_path) as stage, stage.watched() as watched:
        digest = stage.push("1.0")
        await copied(watched, reference="1.0")
        stage.registry.fault(Fault.FORBIDDEN, REPOSITORY, digest)
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        row = await watched.row(reference="1.0", operation="deletion", state="failed")
        assert row["reason"] == "execution_failed"
        assert await watched.metric("syncwatch_false_success_total", **LABELS) == 0


async def test_what_harbor_says_it_deleted_and_is_there_is_not_deleted(tmp_path: Path) -> None:
    async with LabRegistry().serving() as elsewhere:
        looked_at = {"name": DESTINATION, "url": elsewhere.url}
        async with deleting(tmp_path, more_destinations=[looked_at]) as stage:
            elsewhere.push(REPOSITORY, "1.0", images.image("1.0"))
            async with stage.watched() as watched:
                stage.push("1.0")
                await copied(watched, reference="1.0")
                stage.harbor.delete_artifact(REPOSITORY, "1.0")
                row = await watched.row(reference="1.0", operation="deletion", state="failed")
                assert row["reason"] == "not_deleted"
                assert await watched.metric("syncwatch_false_success_total", **LABELS) == 1


async def test_a_deletion_for_which_harbor_starts_nothing_is_not_started(tmp_path: Path) -> None:
    async with (
        deleting(tmp_path, destination={"deadline": "3s"}) as stage,
        stage.watched() as watched,
    ):
        stage.push("1.0")
        await copied(watched, reference="1.0")
        # One malformed pattern stops every policy (recording 18).
        stage.harbor.create_policy("malformed", DESTINATION, pattern="{a", deletion=True)
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        row = await watched.row(reference="1.0", operation="deletion", state="failed")
        assert (row["reason"], row["overdue"]) == ("not_started", True)
        assert await settled(watched, "deletion", "missed") == 1


async def test_a_destination_that_cannot_be_asked_is_unknown_and_then_verified(
    tmp_path: Path,
) -> None:
    async with deleting(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await copied(watched, reference="1.0")
        stage.harbor.pause_queue()
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await watched.row(reference="1.0", operation="deletion", state="pending")
        stage.registry.fault(Fault.UNAUTHORIZED)
        await watched.row(
            reference="1.0", operation="deletion", state="unknown", reason="unauthorized"
        )
        stage.registry.clear()
        stage.harbor.resume_queue()
        await watched.row(reference="1.0", **GONE)
