"""Recording 16 acted out in the lab: what the robot may not see is "cannot tell", and is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from running import SECRET, Watched, until
from scenarios import seen_in_time
from scenarios_recorded import Recording
from scenarios_waits import comes_to, finding, nothing_ever_failed, older
from scene import DESTINATION, POLICY, REPOSITORY, Scene, edit, scene

from syncwatch.lab import images
from syncwatch.lab.harbor import READ_ONLY_ROBOT

if TYPE_CHECKING:
    from pathlib import Path

Grant = tuple[str, str, str]


def permissions_of_the_recording() -> list[dict[str, Any]]:
    calls = Recording("16-robot-permissions").calls
    return next(one["request"]["permissions"] for one in calls if one["path"] == "/robots")


def grants() -> list[Grant]:
    return [
        (part["namespace"], one["resource"], one["action"])
        for part in permissions_of_the_recording()
        for one in part["access"]
    ]


def take_away(stage: Scene, *missing: Grant) -> None:
    (robot,) = stage.harbor.world.robots.values()
    assert robot.grants >= set(missing)
    robot.grants -= set(missing)


def named(grant: Grant) -> str:
    return f"{grant[1]} {grant[2]}"


SOON = {"deadline": "3s"}
OFTEN = {"recheck_per_minute": 6000, "recheck_after": "200ms"}
ASKED_ALWAYS = {
    ("/", "replication-policy", "list"),
    ("/", "registry", "list"),
    ("/", "replication", "list"),
}
"""What every look at Harbor needs; the rest is asked for some images only, or not yet."""


async def test_16_the_robot_of_the_recording_may_all_that_is_asked(tmp_path: Path) -> None:
    def plain(permissions: Any) -> str:
        return json.dumps(
            [
                (part["namespace"], sorted(map(sorted, (one.items() for one in part["access"]))))
                for part in permissions
            ]
        )

    assert plain(permissions_of_the_recording()) == plain(READ_ONLY_ROBOT)
    async with (
        scene(
            tmp_path, permissions=permissions_of_the_recording(), harbor={"claim_wait": "300ms"}
        ) as stage,
        stage.watched() as watched,
    ):
        edit(stage.harbor, POLICY, deletion=True)
        stage.harbor.push(REPOSITORY, "1.0", images.platforms("1.0"))
        await watched.row(reference="1.0", state="verified")
        alone = stage.harbor.push(REPOSITORY, "", images.image("alone"))
        await watched.row(reference=alone, state="verified")
        older(stage.harbor, REPOSITORY, "1.0")
        stage.harbor.tag(REPOSITORY, "1.0", "stable")
        await watched.row(reference="stable", origin="tag", state="verified")
        stage.harbor.untag(REPOSITORY, "stable")
        await watched.row(reference="stable", reason="deletion_unsupported")
        stage.harbor.run(POLICY)
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await watched.row(reference="1.0", operation="deletion", state="verified")
        # A policy and a destination that go are asked for by themselves.
        stage.harbor.create_registry("second", stage.registry.url + "/")
        stage.harbor.create_policy("more", "second", pattern="more/**")
        await until(lambda: knows(watched, "more"), told="the second policy")
        del stage.harbor.world.policies[stage.harbor.policy("more").id]
        stage.harbor.world.registries.popitem()
        await comes_to(watched, "syncwatch_policy_changes_total", 1, change="deleted")
        refused = {"permission_missing", "credential_rejected", "harbor_unreachable"}
        assert not refused & await watched.finding_names()
        statuses = await watched.metric(
            "syncwatch_harbor_request_duration_seconds_count", code="403"
        )
        assert not statuses


async def knows(watched: Watched, policy: str) -> bool:
    return any(one["policy"] == policy for one in (await watched.status())["policies"])


@pytest.mark.parametrize("missing", grants(), ids=named)
async def test_16_without_one_permission_nothing_is_called_missing_or_closed(
    tmp_path: Path, missing: Grant
) -> None:
    async with (
        scene(tmp_path, permissions=permissions_of_the_recording(), destination=SOON) as stage,
        stage.watched() as watched,
    ):
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        take_away(stage, missing)
        stage.push("2.0")
        await watched.row(reference="2.0", state="verified")
        stage.harbor.hold_flows()
        stage.push("3.0")
        row = await watched.row(reference="3.0", overdue=True)
        assert row["state"] in ("pending", "unknown"), row["message"]
        await nothing_ever_failed(watched)
        assert not [row for row in await watched.expectations() if row["state"] == "closed"]
        stage.harbor.hold_flows(held=False)
        await watched.row(reference="3.0", state="verified")
        await nothing_ever_failed(watched)


@pytest.mark.parametrize(
    "missing", sorted(ASKED_ALWAYS - {("/", "replication", "list")}), ids=named
)
async def test_16_a_list_that_the_robot_may_not_see_is_a_permission_missing(
    tmp_path: Path, missing: Grant
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        take_away(stage, missing)

        async def told() -> set[str]:
            refused = {"permission_missing", "credential_rejected"}
            return refused & await watched.finding_names()

        assert await until(told) == {"permission_missing"}
        assert missing[1] in (await finding(watched, "permission_missing"))["cure"]


async def test_16_executions_that_the_robot_may_not_list_are_a_permission_missing(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        take_away(stage, ("/", "replication", "list"))
        assert "replication" in (await finding(watched, "permission_missing"))["cure"]
        assert "credential_rejected" not in await watched.finding_names()


@pytest.mark.parametrize(
    "missing", [("*", "artifact", "read"), ("*", "artifact", "list")], ids=named
)
async def test_16_a_source_that_the_robot_may_not_read_is_a_permission_missing(
    tmp_path: Path, missing: Grant
) -> None:
    async with (
        scene(tmp_path, harbor={"claim_wait": "300ms"}) as stage,
        stage.watched() as watched,
    ):
        take_away(stage, missing)
        stage.push("1.0")
        stage.harbor.push(REPOSITORY, "", images.image("alone"))
        stage.harbor.run(POLICY)
        await watched.row(reference="1.0", state="verified")
        assert "artifact" in (await finding(watched, "permission_missing"))["cure"]


async def test_16_a_policy_that_the_robot_may_not_read_alone_hides_no_other(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.harbor.create_policy("gone", DESTINATION, pattern="gone/**")
        await until(lambda: knows(watched, "gone"), told="the policy")
        take_away(stage, ("/", "replication-policy", "read"))
        stage.push("1.0")
        row = await watched.row(reference="1.0", state="verified")
        del stage.harbor.world.policies[stage.harbor.policy("gone").id]
        stage.harbor.create_policy("new", DESTINATION, pattern="new/**")
        await until(lambda: knows(watched, "new"), within=5, told="the new policy")
        assert (await watched.one(row["id"]))["state"] == "verified"


async def test_16_a_policy_that_may_be_gone_and_may_not_be_asked_for_is_said(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.harbor.create_policy("gone", DESTINATION, pattern="gone/**")
        await until(lambda: knows(watched, "gone"), told="the policy")
        take_away(stage, ("/", "replication-policy", "read"))
        del stage.harbor.world.policies[stage.harbor.policy("gone").id]
        await finding(watched, "permission_missing")


@pytest.mark.parametrize(
    "later",
    [
        5,
        0,
    ],
    ids=["seconds after its push", "within the second of its push"],
)
async def test_16_what_was_told_deleted_is_not_lost_while_harbor_cannot_be_asked(
    tmp_path: Path, later: int
) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        edit(stage.harbor, POLICY, deletion=True)
        digest = stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        (tag,) = stage.harbor.world.tags.values()
        stage.harbor.switches.broken = stage.harbor.switches.drop_webhooks = True
        await until(lambda: down(watched), told="Harbor's trouble")
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await tell_deleted(watched, digest, int(tag.push_time) + later)
        await stage.harbor.idle()
        assert stage.registry.digest(REPOSITORY, "1.0") is None
        await looked_for(stage, 3)
        await nothing_ever_failed(watched)
        stage.harbor.switches.broken = False
        await watched.row(reference="1.0", operation="deletion", state="verified")
        await nothing_ever_failed(watched)


async def tell_deleted(watched: Watched, digest: str, at: int) -> None:
    """DELETE_ARTIFACT of tag 1.0, in whole seconds as Harbor tells it."""
    body = {
        "type": "DELETE_ARTIFACT",
        "occur_at": at,
        "operator": "admin",
        "event_data": {
            "resources": [{"digest": digest, "tag": "1.0", "resource_url": "x"}],
            "repository": {"name": "web", "namespace": "apps", "repo_full_name": REPOSITORY},
        },
    }
    headers = {"Authorization": SECRET}
    async with watched.session.post(watched.webhook_url, json=body, headers=headers) as answer:
        assert answer.status == 202


async def down(watched: Watched) -> bool:
    return await watched.metric("syncwatch_harbor_up") == 0


async def looked_for(stage: Scene, count: int) -> None:
    """So many more looks were taken at the repository's tag."""

    def asked() -> int:
        path = f"/v2/{REPOSITORY}/manifests/1.0"
        return sum(one.path == path for one in stage.registry.requests)

    before = asked()

    async def so_many() -> bool:
        return asked() >= before + count

    await until(so_many, told=f"{count} more looks")


async def test_16_what_was_told_deleted_is_not_verified_for_ever_where_the_source_is_hidden(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        edit(stage.harbor, POLICY, deletion=True)
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        take_away(stage, ("*", "artifact", "read"))
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await watched.row(reference="1.0", state="unknown", reason="harbor_unreachable", within=20)
        await nothing_ever_failed(watched)


async def test_16_a_permission_that_is_missing_is_said_once_and_until_it_is_given(
    tmp_path: Path,
) -> None:
    async with (
        scene(tmp_path, harbor={"claim_wait": "300ms"}) as stage,
        stage.watched() as watched,
    ):
        take_away(stage, ("*", "artifact", "list"))
        stage.harbor.run(POLICY)
        stage.harbor.push(REPOSITORY, "", images.image("alone"))
        since = (await finding(watched, "permission_missing"))["since"]
        for number in range(3):
            stage.push(str(number))
            await watched.row(reference=str(number), state="verified")
            found = [
                one["since"]
                for one in await watched.findings()
                if one["finding"] == "permission_missing"
            ]
            assert found == [since]


async def test_a_push_that_started_nothing_is_never_unknown_while_harbor_answers(
    tmp_path: Path,
) -> None:
    seldom = {"policies_every": "4s"}
    async with (
        scene(tmp_path, harbor=seldom, destination=SOON) as stage,
        stage.watched() as watched,
    ):
        stage.stop_starting()
        stage.push("1.0")
        row = await watched.row(reference="1.0", state="failed", reason="not_started")
        told = await seen_in_time(watched, row)
        assert not [what for what in told if what.startswith("unknown")], told


async def test_16_an_image_that_is_gone_stays_not_verified_where_the_source_is_hidden(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination=OFTEN) as stage, stage.watched() as watched:
        digest = stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        take_away(stage, ("*", "artifact", "read"))
        stage.registry.lose_tag(REPOSITORY, "1.0")
        stage.registry.lose_manifest(REPOSITORY, digest)

        async def told() -> bool:
            (row,) = await watched.expectations()
            return row["state"] in ("failed", "unknown")

        await until(told, within=12, told="that it is gone")


async def test_16_a_wrong_password_is_the_credentials_and_nothing_else_changes(
    tmp_path: Path,
) -> None:
    async with (
        scene(tmp_path, destination=SOON) as stage,
        stage.watched() as watched,
    ):
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        (robot,) = stage.harbor.world.robots.values()
        right = robot.secret
        robot.secret = "another"
        assert "password" in (await finding(watched, "credential_rejected"))["cure"]
        stage.push("2.0")
        await watched.row(reference="2.0", state="verified")
        stage.harbor.hold_flows()
        stage.push("3.0")
        row = await watched.row(reference="3.0", overdue=True)
        assert row["state"] in ("pending", "unknown")
        assert "permission_missing" not in await watched.finding_names()
        await nothing_ever_failed(watched)
        robot.secret = right
        stage.harbor.hold_flows(held=False)
        await watched.row(reference="3.0", state="verified")

        async def accepted() -> bool:
            return "credential_rejected" not in await watched.finding_names()

        await until(accepted, told="the end of the finding")
        await nothing_ever_failed(watched)
