"""The recorded scenarios acted out in the lab, with the daemon watching and webhooks delivered."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from running import SECRET, running, settings_file, until
from scenarios import Acted, Relay, acting, seen_in_time

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from pathlib import Path


async def settled(acted: Acted, result: str) -> float | None:
    return await acted.watched.metric("syncwatch_expectations_settled_total", result=result)


async def the_same_rows(acted: Acted, wanted: list[tuple[str, str, str | None]]) -> None:
    assert sorted(await acted.watched.states()) == sorted(wanted)


async def test_01_a_push_is_one_expectation_and_is_verified(tmp_path: Path) -> None:
    async with acting(tmp_path, "library1", policies={"to-1": {"pattern": "library1/**"}}) as acted:
        digest = acted.harbor.push("library1/alpine", "latest", images.image("app"))
        row = await acted.watched.row(state="verified")
        await acted.idle()
        assert (row["digest"], row["origin"]) == (digest, "push")
        assert (row["repository"], row["level"]) == ("library1/alpine", "readable")
        tag = next(iter(acted.harbor.world.tags.values()))
        (again,) = await acted.rows()
        assert milliseconds(again["pushed_at"]) == int(tag.push_time * 1000)
        assert await settled(acted, "met") == 1

        async def claimed() -> bool:
            return (await acted.rows())[0]["claimed_at"] is not None

        await until(claimed, told="the end that Harbor claims")
        assert len(await acted.rows()) == 1


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


async def test_02_an_index_is_one_expectation_with_its_children_inside(tmp_path: Path) -> None:
    policy = {"pattern": "apps/**", "namespace": "mirror", "replace_count": 1}
    async with acting(
        tmp_path,
        "apps",
        policies={"to-1": policy},
        harbor_settings={"claim_wait": "300ms"},
        cloud_events=True,
    ) as acted:
        digest = acted.harbor.push("apps/team/web", "1.4.0", images.platforms("web 1.4.0"))
        await acted.watched.row(state="verified", reference="1.4.0")
        # What nothing claims waits as long as the children did, and later.
        alone = acted.harbor.push("apps/team/web", "", images.image("alone"))
        await acted.watched.row(state="verified", reference=alone)
        await acted.idle()
        rows = await acted.rows()
        assert [(row["reference"], row["digest"]) for row in rows] == [
            ("1.4.0", digest),
            (alone, alone),
        ]
        assert {row["repository"] for row in rows} == {"mirror/team/web"}


async def test_05_succeed_with_old_bytes_is_a_false_success(tmp_path: Path) -> None:
    policy = {"pattern": "ovr/**", "override": False}
    async with acting(tmp_path, "ovr", policies={"to-1": policy}) as acted:
        acted.harbor.push("ovr/app", "latest", images.image("app"))
        first = await acted.watched.row(state="verified")
        acted.harbor.push("ovr/app", "latest", images.image("app 2"))
        second = await acted.watched.row(state="failed", within=6)
        assert second["reason"] == "not_overridden"
        await acted.idle()
        old = await acted.watched.one(first["id"])
        assert (old["state"], old["reason"]) == ("closed", "superseded")
        assert await acted.watched.metric("syncwatch_false_success_total") == 1
        assert await settled(acted, "met") == 1
        assert "override_off" in await acted.watched.finding_names()


LEVELS = {
    "none-2": ("", 2, ["flat/b/image", "flat/image", "image"]),
    "n1-0": ("n1", 0, ["n1/flat/b/c/image", "n1/flat/b/image", "n1/flat/image"]),
    "n2-1": ("n2", 1, ["n2/b/c/image", "n2/b/image", "n2/image"]),
    "n_m-1": ("n/m", 1, ["n/m/b/c/image", "n/m/b/image", "n/m/image"]),
}


def flatten(namespace: str, count: int) -> dict[str, Any]:
    return {
        "pattern": "flat/**",
        "trigger": "manual",
        "namespace": namespace,
        "replace_count": count,
    }


def push_flat(harbor: LabHarbor) -> dict[str, str]:
    paths = ("image", "b/image", "b/c/image")
    return {f"flat/{path}": harbor.push(f"flat/{path}", "1", images.image(path)) for path in paths}


async def test_07_each_level_of_a_run_by_hand_lands_on_its_name(tmp_path: Path) -> None:
    policies = {name: flatten(space, count) for name, (space, count, _) in LEVELS.items()}
    policies["none-2"]["replace_count"] = 0
    wanted = {name: names for name, (_, _, names) in LEVELS.items()}
    wanted["none-2"] = ["flat/b/c/image", "flat/b/image", "flat/image"]
    async with acting(tmp_path, "flat", policies=policies) as acted:
        pushed = push_flat(acted.harbor)
        for name in policies:
            acted.harbor.run(name)
        await acted.idle()
        for name, names in wanted.items():
            for destination in names:
                row = await acted.watched.row(policy=name, repository=destination, state="verified")
                assert (row["origin"], row["digest"]) == ("run", pushed[row["source_repository"]])
        assert len(await acted.rows()) == 12


async def test_07_three_sources_on_one_name_collide(tmp_path: Path) -> None:
    async with acting(tmp_path, "flat", policies={"n--1": flatten("n", -1)}) as acted:
        pushed = push_flat(acted.harbor)
        acted.harbor.run("n--1")
        await acted.idle()
        served = acted.registry.digest("n/image", "1")

        async def judged() -> bool:
            states = [row["state"] for row in await acted.rows()]
            return sorted(states) == ["failed", "failed", "verified"]

        await until(judged, within=5, told="one verified and two failed")
        rows = await acted.rows()
        assert {row["source_repository"]: row["digest"] for row in rows} == pushed
        assert {row["repository"] for row in rows} == {"n/image"}
        assert [row["digest"] for row in rows if row["state"] == "verified"] == [served]
        failed = {row["reason"] for row in rows if row["state"] == "failed"}
        assert failed == {"name_collision"}
        found = [
            one for one in await acted.watched.findings() if one["finding"] == "name_collision"
        ]
        assert found
        assert all("n--1" in one["message"] and "n/image" in one["message"] for one in found)


async def test_07_a_level_too_deep_fails_the_run_and_expects_nothing(tmp_path: Path) -> None:
    async with acting(tmp_path, "flat", policies={"n-2": flatten("n", 2)}) as acted:
        push_flat(acted.harbor)
        acted.harbor.run("n-2")
        await acted.idle()
        assert await acted.watched.metric("syncwatch_executions_total", status="Failed") == 1

        async def found() -> list[dict[str, Any]]:
            rows = await acted.watched.findings()
            return [one for one in rows if one["finding"] == "flattening_too_deep"]

        (finding,) = await until(found, within=4, told="the finding")
        assert "n-2" in finding["message"]
        assert "flat/image" in finding["message"]
        assert await acted.rows() == []


async def test_08_a_run_that_copies_nothing_is_counted_and_expects_nothing(tmp_path: Path) -> None:
    policy = {"pattern": "void/nothing-*", "trigger": "manual"}
    async with acting(tmp_path, "void", policies={"to-1": policy}) as acted:
        acted.harbor.push("void/app", "1", images.image("app"))
        acted.harbor.run("to-1")
        await acted.idle()
        assert await acted.watched.metric("syncwatch_executions_total", status="Succeed") == 1
        (told,) = (await acted.watched.status())["policies"]
        assert told["last_execution"]["status_text"] == "no resources need to be replicated"
        assert await acted.rows() == []


async def test_09_a_destination_that_comes_back_is_never_failed(tmp_path: Path) -> None:
    async with acting(tmp_path, "down", policies={"to-1": {"pattern": "down/**"}}) as acted:
        await acted.registry.stop()
        acted.harbor.push("down/app", "1", images.image("app"))

        async def attempt_failed() -> bool:
            runs = acted.harbor.executions()
            tasks = acted.harbor.tasks(runs[0]["id"]) if runs else []
            return bool(tasks) and tasks[0]["status"] == "Failed"

        await until(attempt_failed, told="the first attempt")
        await acted.watched.row(reference="1")
        await acted.registry.start()
        row = await acted.watched.row(state="verified")
        assert not [
            what for what in await seen_in_time(acted.watched, row) if what.startswith("failed")
        ]
        await acted.idle()
        assert await acted.watched.metric("syncwatch_executions_total", status="Succeed") == 1
        assert await acted.watched.metric("syncwatch_false_success_total") == 0


async def test_11_a_chart_is_verified_although_the_filter_says_image(tmp_path: Path) -> None:
    policy = {"pattern": "charts/**", "filters": [{"type": "resource", "value": "image"}]}
    async with acting(tmp_path, "charts", policies={"to-1": policy}) as acted:
        digest = acted.harbor.push("charts/demo", "0.1.0", images.chart("demo", "0.1.0"))
        row = await acted.watched.row(state="verified")
        assert (row["digest"], row["origin"]) == (digest, "push")


async def test_12_a_run_by_hand_expects_each_reference_and_settles_none(tmp_path: Path) -> None:
    policy = {
        "pattern": "many/**",
        "trigger": "manual",
        "filters": [{"type": "tag", "value": "dev-*", "decoration": "excludes"}],
    }
    async with acting(tmp_path, "many", policies={"to-1": policy}) as acted:
        untagged = []
        for name in ("many/a", "many/b"):
            acted.harbor.push(name, "dev-1", images.image(f"{name} dev"))
            for number in range(4):
                acted.harbor.push(name, f"v{number}", images.image(f"{name} {number}"))
            untagged.append(acted.harbor.push(name, "", images.image(f"{name} untagged")))
        acted.harbor.run("to-1")
        await acted.idle()

        async def all_verified() -> bool:
            return len(await acted.rows(state="verified")) == 10

        await until(all_verified, told="ten verified rows")
        rows = await acted.rows()
        wanted = {(f"many/{name}", f"v{number}") for name in "ab" for number in range(4)}
        wanted |= {("many/a", untagged[0]), ("many/b", untagged[1])}
        assert {(row["repository"], row["reference"]) for row in rows} == wanted
        assert len(rows) == 10
        assert {row["origin"] for row in rows} == {"run"}
        assert await acted.watched.metric("syncwatch_expectations_settled_total") == 0
        assert not await acted.watched.metric("syncwatch_lag_seconds_count")


async def test_13_a_burst_ends_verified_at_the_last_digest(tmp_path: Path) -> None:
    async with acting(tmp_path, "burst", policies={"to-1": {"pattern": "burst/**"}}) as acted:
        for number in range(5):
            last = acted.harbor.push("burst/app", "latest", images.image(f"burst {number}"))
        await acted.watched.row(state="verified", digest=last)
        await acted.idle()
        for row in await acted.rows():
            told = await seen_in_time(acted.watched, row)
            assert not [what for what in told if what.startswith("failed")]
            if row["digest"] != last:
                assert (row["state"], row["reason"]) == ("closed", "superseded")
        assert await settled(acted, "missed") == 0


@pytest.mark.parametrize("cloud_events", [False, True])
async def test_14_a_delivery_whose_answer_was_lost_changes_nothing_when_repeated(
    tmp_path: Path, *, cloud_events: bool
) -> None:
    async with LabHarbor().serving() as harbor, LabRegistry("cluster1").serving() as registry:
        harbor.create_registry("cluster1", registry.url)
        harbor.create_policy("to-1", "cluster1", pattern="hookfail/**")
        user, password = harbor.create_robot("syncwatch")
        account = {"url": harbor.url, "username": user, "password": password}
        async with (
            running(settings_file(tmp_path, account)) as watched,
            Relay(watched.webhook_url, lost=2).serving() as relay,
        ):
            harbor.create_webhook_policy(
                "hookfail",
                f"{relay.listener.url}/hook",
                auth_header=SECRET,
                event_types=["PUSH_ARTIFACT"],
                cloud_events=cloud_events,
            )
            harbor.push("hookfail/app", "1", images.image("app"))
            await watched.row(state="verified")
            await harbor.idle()
            assert [status for _, status in relay.taken] == [500, 500, 202]
            assert await watched.states() == [("1", "verified", None)]
            counted = "syncwatch_webhooks_total"
            assert await watched.metric(counted, outcome="accepted", event="PUSH_ARTIFACT") == 1
            assert await watched.metric(counted, outcome="duplicate", event="PUSH_ARTIFACT") == 2
            assert await watched.metric("syncwatch_expectations_settled_total", result="met") == 1


async def test_17_the_same_digest_begins_nothing_and_a_move_back_does(tmp_path: Path) -> None:
    async with acting(tmp_path, "re", policies={"to-1": {"pattern": "re/**"}}) as acted:
        one, two = images.image("app"), images.image("app 2")
        acted.harbor.push("re/app", "latest", one)
        first = await acted.watched.row(state="verified")
        acted.harbor.push("re/app", "latest", one)
        await acted.idle()
        await the_same_rows(acted, [("latest", "verified", None)])
        acted.harbor.push("re/app", "latest", two)
        await acted.watched.row(state="verified", digest=two.digest)
        acted.harbor.push("re/app", "latest", one)

        async def third() -> bool:
            rows = await acted.rows(state="verified", digest=one.digest)
            return bool(rows) and rows[-1]["id"] != first["id"]

        await until(third, told="the third generation verified")
        await acted.idle()
        assert [(row["digest"], row["state"], row["reason"]) for row in await acted.rows()] == [
            (one.digest, "closed", "superseded"),
            (two.digest, "closed", "superseded"),
            (one.digest, "verified", None),
        ]
        assert await settled(acted, "met") == 3


async def test_18_a_malformed_pattern_keeps_the_healthy_policy_from_starting(
    tmp_path: Path,
) -> None:
    policies: dict[str, dict[str, Any]] = {
        "two-a-too-deep": {"pattern": "two/**", "namespace": "n", "replace_count": 3},
        "two-b-healthy": {"pattern": "two/**", "namespace": "ok"},
        "two-c-bad-pattern": {"pattern": "two/[", "namespace": "bad"},
    }
    async with acting(
        tmp_path, "two", policies=policies, destination_settings={"deadline": "2s"}
    ) as acted:
        acted.harbor.push("two/app", "1", images.image("app"))
        await acted.watched.row(policy="two-b-healthy", state="pending", reason="waiting")
        row = await acted.watched.row(policy="two-b-healthy", state="failed")
        assert row["reason"] == "not_started"
        assert row["overdue"]
        told = {one["finding"]: one for one in await acted.watched.findings()}
        assert "two-c-bad-pattern" in told["malformed_pattern"]["message"]
        assert "two-a-too-deep" in told["flattening_too_deep"]["message"]
        del acted.harbor.world.policies[acted.harbor.policy("two-c-bad-pattern").id]
        acted.harbor.push("two/app", "2", images.image("app 2"))
        await acted.watched.row(policy="two-b-healthy", state="verified", reference="2")
        await acted.idle()
        assert len(await acted.rows()) == 2
        assert await acted.watched.metric("syncwatch_executions_total", status="Failed") == 1


async def test_18_a_harbor_that_answers_is_not_called_unreachable_at_the_deadline(
    tmp_path: Path,
) -> None:
    policies: dict[str, dict[str, Any]] = {
        "healthy": {"pattern": "two/**"},
        "bad-pattern": {"pattern": "two/[", "namespace": "bad"},
    }
    async with acting(
        tmp_path,
        "two",
        policies=policies,
        harbor_settings={"poll_every": "3s"},
        destination_settings={"deadline": "1s"},
    ) as acted:
        acted.harbor.push("two/app", "1", images.image("app"))
        row = await acted.watched.row(state="failed", reason="not_started")
        told = await seen_in_time(acted.watched, row)
        assert not [what for what in told if what.startswith("unknown")]


async def test_19_what_was_pushed_while_the_policy_was_disabled_is_baseline(
    tmp_path: Path,
) -> None:
    policy = {"pattern": "dis/**", "enabled": False}
    async with acting(tmp_path, "dis", policies={"to-1": policy}) as acted:
        acted.harbor.push("dis/app", "1", images.image("app"))

        async def enabled(wanted: str) -> bool:
            return await acted.watched.metric("syncwatch_policy_info", enabled=wanted) == 1

        async def told() -> bool:
            return await acted.watched.metric("syncwatch_webhooks_total", outcome="accepted") == 1

        await until(told, told="the webhook of the first push")
        enable(acted, "to-1")
        await until(lambda: enabled("true"), told="the policy seen enabled")
        newer = acted.harbor.push("dis/app", "2", images.image("app 2"))
        await acted.watched.row(state="verified", digest=newer)
        await acted.idle()
        await the_same_rows(acted, [("2", "verified", None)])
        acted.harbor.run("to-1")
        older = await acted.watched.row(state="verified", reference="1")
        await acted.idle()
        assert older["origin"] == "run"
        assert [(row["reference"], row["origin"]) for row in await acted.rows()] == [
            ("2", "push"),
            ("1", "run"),
        ]
        assert await settled(acted, "met") == 1


def enable(acted: Acted, policy: str) -> None:
    """As an administrator would in Harbor's pages."""
    record = acted.harbor.policy(policy)
    record.enabled, record.updated = True, acted.harbor.world.now()


async def test_19_a_push_just_after_its_policy_was_enabled_is_expected(tmp_path: Path) -> None:
    policy = {"pattern": "dis/**", "enabled": False}
    async with acting(
        tmp_path, "dis", policies={"to-1": policy}, harbor_settings={"policies_every": "60s"}
    ) as acted:
        enable(acted, "to-1")
        acted.harbor.push("dis/app", "1", images.image("app"))
        await acted.watched.row(state="verified", within=4)


async def test_20_what_the_source_does_not_have_is_not_expected(tmp_path: Path) -> None:
    async with acting(tmp_path, "feed", policies={"to-1": {"pattern": "feed/**"}}) as acted:
        digest = images.image("nope").digest
        told = {
            "type": "PUSH_ARTIFACT",
            "occur_at": int(acted.harbor.world.now()),
            "operator": "admin",
            "event_data": {
                "resources": [{"digest": digest, "tag": "nope", "resource_url": "h/feed/app:nope"}],
                "repository": {"name": "app", "namespace": "feed", "repo_full_name": "feed/app"},
            },
        }
        async with acted.watched.session.post(
            acted.watched.webhook_url, json=told, headers={"Authorization": SECRET}
        ) as answer:
            assert answer.status == 202
        acted.harbor.push("feed/app", "1", images.image("app"))
        await acted.watched.row(state="verified", reference="1")
        await acted.idle()
        await the_same_rows(acted, [("1", "verified", None)])


async def test_every_delivery_ten_times_changes_nothing(tmp_path: Path) -> None:
    async with acting(tmp_path, "library1", policies={"to-1": {"pattern": "library1/**"}}) as acted:
        acted.harbor.switches.webhook_copies = 10
        acted.harbor.push("library1/alpine", "latest", images.image("app"))
        await acted.watched.row(state="verified")
        await acted.idle()
        await the_same_rows(acted, [("latest", "verified", None)])
        counted = "syncwatch_webhooks_total"
        assert await acted.watched.metric(counted, outcome="accepted") == 3
        assert await acted.watched.metric(counted, outcome="duplicate") == 27
        assert await settled(acted, "met") == 1
        assert await acted.watched.metric("syncwatch_executions_total", status="Succeed") == 1
