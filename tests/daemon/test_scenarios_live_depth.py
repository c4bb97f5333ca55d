"""Recordings 03, 06, 10, 15 and 16 acted out in the lab: deletions, lost layers, access refused."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from running import SECRET, Watched, running, settings_file, until
from scenarios import acting, seen_in_time
from scenarios_waits import FALSE_SUCCESS, LOST, comes_to, finding, nothing_ever_failed, older

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SETTLED = "syncwatch_expectations_settled_total"


async def test_03_a_tag_by_the_api_comes_and_goes_and_then_the_artifact(tmp_path: Path) -> None:
    policy = {"pattern": "tags/**", "deletion": True}
    async with acting(tmp_path, "tags", policies={"to-1": policy}) as acted:
        watched, harbor = acted.watched, acted.harbor
        digest = harbor.push("tags/app", "v1", images.image("app"))
        await watched.row(reference="v1", state="verified")
        older(harbor, "tags/app", "v1")
        harbor.tag("tags/app", "v1", "stable")
        tagged = await watched.row(reference="stable", state="verified")
        assert (tagged["origin"], tagged["digest"]) == ("tag", digest)
        harbor.untag("tags/app", "stable")
        row = await watched.row(reference="stable", operation="deletion", state="closed")
        assert row["reason"] == "deletion_unsupported"
        assert (await watched.one(tagged["id"]))["reason"] == "deleted_at_source"
        assert "deletion_unsupported" in await watched.finding_names()
        await acted.idle()
        assert (await watched.row(reference="v1"))["state"] == "verified"
        harbor.delete_artifact("tags/app", "v1")
        await watched.row(reference="v1", operation="deletion", state="verified")
        await acted.idle()
        await comes_to(watched, SETTLED, 1, operation="deletion", result="met")
        await comes_to(watched, SETTLED, 1, operation="deletion", result="excused")
        await comes_to(watched, SETTLED, 2, operation="copy", result="met")
        await comes_to(watched, SETTLED, 4)
        assert len(await watched.expectations()) == 4
        await nothing_ever_failed(watched)


async def test_06_a_run_by_hand_that_brings_no_lost_layer_back_is_a_false_success(
    tmp_path: Path,
) -> None:
    async with acting(tmp_path, "lost", policies={"to-1": {"pattern": "lost/**"}}) as acted:
        image = images.image("app")
        acted.harbor.push("lost/app", "1", image)
        row = await acted.watched.row(state="verified", level="readable")
        await acted.idle()
        (layer,) = image.layer_digests
        acted.registry.lose_blob(layer)
        acted.harbor.run("to-1")
        await acted.idle()
        runs = acted.harbor.executions()
        assert [run["status"] for run in runs] == ["Succeed", "Succeed"]
        lost = await acted.watched.row(state="failed", reason="blob_missing")
        assert (lost["id"], lost["level"]) == (row["id"], "matched")
        assert layer in lost["message"]
        assert "it was verified until 20" in lost["message"]
        await comes_to(acted.watched, FALSE_SUCCESS, 1)
        await comes_to(acted.watched, LOST, 1)
        # Another run and another claim are the same false success, and the same loss.
        acted.harbor.run("to-1")
        await acted.idle()
        acted.registry.contents.put_blob("lost/app", image.blobs[-1])
        await acted.watched.row(state="verified", level="readable", within=30)
        await comes_to(acted.watched, FALSE_SUCCESS, 1)
        await comes_to(acted.watched, LOST, 1)
        await comes_to(acted.watched, SETTLED, 1)
        assert len(await acted.watched.expectations()) == 1


async def test_10_a_signature_has_a_row_and_a_referrer_is_judged_with_its_subject(
    tmp_path: Path,
) -> None:
    image = images.image("signed")
    signature, referrer = images.signature(image), images.referrer(image)
    tag = images.signature_tag(image)
    async with acting(
        tmp_path,
        "sig",
        policies={"to-1": {"pattern": "sig/**"}},
        harbor_settings={"claim_wait": "300ms"},
    ) as acted:
        acted.harbor.push("sig/app", "1", image)
        acted.harbor.push("sig/app", tag, signature)
        acted.harbor.push("sig/app", "", referrer)
        row = await acted.watched.row(reference=tag, state="verified", level="readable")
        assert (row["digest"], row["origin"]) == (signature.digest, "push")
        await acted.watched.row(reference="1", state="verified", level="readable")
        await acted.idle()
        # What nothing claims comes after the referrer, which then had its time.
        alone = acted.harbor.push("sig/app", "", images.image("alone"))
        await acted.watched.row(reference=alone, state="verified")
        rows = await acted.watched.expectations()
        assert {one["reference"] for one in rows} == {"1", tag, alone}
        (row,) = [one for one in rows if one["reference"] == "1"]

        async def beside() -> bool:
            told = (await acted.watched.one(row["id"]))["accessories"]
            found = {one["digest"]: (one["at_destination"], one["found_by"]) for one in told}
            return found == {signature.digest: (True, ["tag"]), referrer.digest: (True, [])}

        await until(beside, told="both beside their image")
        assert acted.registry.digest("sig/app", referrer.digest) == referrer.digest
        await nothing_ever_failed(acted.watched)


READER = {"username": "reader", "password": "reader-secret"}


@contextlib.asynccontextmanager
async def with_accounts(
    tmp_path: Path, *, known: bool = True
) -> AsyncIterator[tuple[LabHarbor, LabRegistry, Watched]]:
    """A destination where Harbor pushes as `pusher` and we look as `reader`, if that is known."""
    users = {"pusher": "pushpass", READER["username"]: READER["password"]}
    async with LabHarbor().serving() as harbor, LabRegistry(users=users).serving() as registry:
        harbor.create_registry("cluster3", registry.url, username="pusher", password="pushpass")
        harbor.create_policy("to-3", "cluster3", pattern="cred/**")
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password}
        own = [{"name": "cluster3", "url": registry.url, **READER}]
        config = settings_file(tmp_path, login, {"deadline": "4s"}, more_destinations=own)
        if not known:
            assert registry.users is not None
            registry.users.pop(READER["username"])
        async with running(config) as watched:
            harbor.create_webhook_policy("cred", watched.webhook_url, auth_header=SECRET)
            if not known:
                yield harbor, registry, watched
                return
            harbor.push("cred/app", "before", images.image("before"))
            await watched.row(reference="before", state="verified")
            yield harbor, registry, watched


async def test_15_while_the_destination_refuses_us_too_nothing_is_missing_or_lost(
    tmp_path: Path,
) -> None:
    async with with_accounts(tmp_path) as (harbor, registry, watched):
        assert registry.users is not None
        kept = dict(registry.users)
        registry.users.clear()
        harbor.push("cred/app", "1", images.image("1"))
        await watched.row(reference="1", state="unknown", reason="unauthorized")
        await harbor.idle()
        row = await watched.row(reference="1", reason="unauthorized", overdue=True)
        assert row["state"] == "unknown"
        assert (await watched.row(reference="before"))["state"] == "verified"
        await nothing_ever_failed(watched)
        assert READER["password"] not in str([await watched.one(row["id"])])
        registry.users.update(kept)
        await watched.row(reference="1", state="failed", reason="execution_failed")


async def test_15_a_destination_that_knows_harbor_alone_is_a_finding_until_it_knows_us(
    tmp_path: Path,
) -> None:
    async with with_accounts(tmp_path, known=False) as (harbor, registry, watched):
        harbor.push("cred/app", "1", images.image("1"))
        told = await finding(watched, "destination_unauthorized")
        assert READER["password"] not in str(told)
        row = await watched.row(reference="1", state="unknown", reason="unauthorized", overdue=True)
        await harbor.idle()
        await comes_to(watched, "syncwatch_destination_up", 0)
        await nothing_ever_failed(watched)
        assert registry.users is not None
        registry.users[READER["username"]] = READER["password"]
        await watched.row(id=row["id"], state="verified")

        async def up() -> bool:
            found = "destination_unauthorized" in await watched.finding_names()
            return not found and await watched.metric("syncwatch_destination_up") == 1

        await until(up, told="the end of the finding")


async def test_15_where_harbor_alone_is_refused_its_last_attempt_decides(tmp_path: Path) -> None:
    async with with_accounts(tmp_path) as (harbor, registry, watched):
        assert registry.users is not None
        registry.users.pop("pusher")
        harbor.push("cred/app", "1", images.image("1"))
        row = await watched.row(reference="1", state="failed", reason="execution_failed")
        await harbor.idle()
        (task,) = harbor.tasks(harbor.executions()[0]["id"])
        assert task["status"] == "Failed"
        told = await seen_in_time(watched, row)
        assert {what for what in told if what.startswith("failed")} == {"failed/execution_failed"}
        assert "destination_unauthorized" not in await watched.finding_names()
        assert (await watched.row(reference="before"))["state"] == "verified"
        await comes_to(watched, "syncwatch_executions_total", 1, status="Failed")
        assert await watched.metric(FALSE_SUCCESS) == 0
