"""Verdicts on what a real Harbor did: its recorded webhooks and answers, played to the daemon."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from running import until
from scenarios_harbor import millis
from scenarios_recorded import Play, playing, pushes

from syncwatch.lab import images

if TYPE_CHECKING:
    from pathlib import Path

SETTLED = "syncwatch_expectations_settled_total"
FALSE_SUCCESS = "syncwatch_false_success_total"
EXECUTIONS = "syncwatch_executions_total"
WEBHOOKS = "syncwatch_webhooks_total"


async def seen_in_time(play: Play, row: dict[str, Any]) -> list[str]:
    """What a row went through, in order."""
    told = await play.watched.one(row["id"])
    return [one["what"] for one in told["timeline"]]


async def nothing_ever_failed(play: Play) -> None:
    for row in await play.watched.expectations():
        told = await seen_in_time(play, row)
        assert not [what for what in told if what.startswith("failed")], told


async def looked_again(play: Play, row_id: str, number: int) -> None:
    """Soon Harbor claims once more to have copied it, which makes one more look."""
    before = (await play.watched.one(row_id))["observed_at"]
    await play.advance(20)
    told = json.loads(json.dumps(play.recording.webhooks[-1]))
    told["body"]["occur_at"] += number + 1
    await play.deliver(told)

    async def looked() -> bool:
        return (await play.watched.one(row_id))["observed_at"] != before

    await until(looked, told="one more look")


async def counted(play: Play, status: str, number: int) -> None:
    async def is_so() -> bool:
        return await play.watched.metric(EXECUTIONS, status=status) == number

    await until(is_so, told=f"{number} executions {status}")


async def test_01_lag_begins_at_the_push_and_the_webhook_came_five_seconds_later(
    tmp_path: Path,
) -> None:
    async with playing("01-push-single", tmp_path) as play:
        await play.webhooks(1)
        row = await play.watched.row(state="pending")
        assert row["pushed_at"] == row["expected_at"] == "2026-11-23T14:11:56.966Z"
        waited = millis(row["notified_at"]) - millis(row["pushed_at"])
        assert 4840 - 300 <= waited < 10_000
        await play.webhooks()
        row = await play.watched.row(state="verified")
        assert (row["digest"], row["origin"]) == (play.digest("edea795d"), "push")
        assert (row["repository"], row["reference"]) == ("library1/alpine", "latest")
        assert len(await play.watched.expectations()) == 1
        assert await play.watched.metric(SETTLED, result="met") == 1
        lag = await play.watched.metric("syncwatch_lag_seconds_sum")
        # The webhook alone took so long; ours is added, and a busy machine's.
        assert 4.8 <= lag < 30
        notified = await play.watched.metric(
            "syncwatch_milestone_seconds_sum", milestone="notified"
        )
        assert 4.5 <= notified < 10
        await play.advance(30)
        await counted(play, "Succeed", 1)


WEB = images.platforms("web 1.4.0")
INDEX = {"fa2b9a19": WEB, "d600161f": WEB.children[0], "b4880e12": WEB.children[1]}


async def test_02_an_index_is_one_expectation_and_its_children_none(tmp_path: Path) -> None:
    async with playing("02-push-index-cloudevents", tmp_path, given=INDEX) as play:
        await play.webhooks()
        await play.watched.row(state="verified")
        assert len(await play.watched.expectations()) == 1
        # What nothing claims waits as long as the children did, and a little later.
        alone = images.image("alone")
        play.put("apps/team/web", "", alone, play.clock.now() / 1000)
        await play.deliver(_by_digest(play, alone.digest))
        await play.advance(61)
        await play.watched.row(reference=alone.digest)
        rows = [
            row for row in await play.watched.expectations() if row["reference"] != alone.digest
        ]
        assert [(row["reference"], row["digest"]) for row in rows] == [("1.4.0", WEB.digest)]
        assert rows[0]["pushed_at"] == "2026-11-23T14:12:40.507Z"
        assert (rows[0]["source_repository"], rows[0]["repository"]) == (
            "apps/team/web",
            "mirror/team/web",
        )
        assert await play.watched.metric(SETTLED, result="met") == 1


def _by_digest(play: Play, digest: str) -> dict[str, Any]:
    """The recorded delivery of a child, as that of another digest, under an id of its own."""
    told = json.loads(json.dumps(pushes(play)[0]))
    resource = told["body"]["data"]["resources"][0]
    resource["tag"] = resource["digest"] = digest
    told["body"]["id"] = "00000000-0000-0000-0000-000000000001"
    return told


async def test_05_old_bytes_under_a_moved_tag_are_one_false_success(tmp_path: Path) -> None:
    async with playing("05-override-false-succeeds-with-old-bytes", tmp_path) as play:
        await play.until(1795443610)
        first = await play.watched.row(state="verified", digest=play.digest("a2eb40a"))
        await play.webhooks()
        second = await play.watched.row(state="pending", digest=play.digest("596567d"))
        await play.advance(31)
        await play.watched.row(state="failed", reason="not_overridden", within=8)
        old = await play.watched.one(first["id"])
        assert (old["state"], old["reason"]) == ("closed", "superseded")
        assert await play.watched.metric(FALSE_SUCCESS) == 1
        for number in range(5):
            await looked_again(play, second["id"], number)
        row = await play.watched.one(second["id"])
        assert (row["state"], row["reason"]) == ("failed", "not_overridden")
        assert await play.watched.metric(FALSE_SUCCESS) == 1


FLAT = {f"flat/{path}": images.image(path) for path in ("image", "b/image", "b/c/image")}


def put_flat(play: Play) -> None:
    for number, (repository, image) in enumerate(FLAT.items()):
        play.put(repository, "1", image, 1795443640 + number)


@pytest.mark.parametrize(
    ("policy", "ended", "wanted"),
    [
        ("flat2-n-0", 1795444865, {name: f"n/{name}" for name in FLAT}),
        ("flat2-n-1", 1795444895, {name: f"n{name[4:]}" for name in FLAT}),
        ("flat2-n_m-1", 1795444930, {name: f"n/m{name[4:]}" for name in FLAT}),
        ("flat2--2", 1795444800, {name: name for name in FLAT}),
    ],
)
async def test_07_each_level_lands_on_its_name(
    tmp_path: Path, policy: str, ended: float, wanted: dict[str, str]
) -> None:
    async with playing("07-flattening-and-namespace", tmp_path, before=put_flat) as play:
        await play.until(ended)
        for source, destination in wanted.items():
            row = await play.watched.row(
                policy=policy, source_repository=source, repository=destination, state="verified"
            )
            assert (row["origin"], row["digest"]) == ("run", FLAT[source].digest)


async def test_07_of_three_sources_on_one_name_the_one_served_is_verified(tmp_path: Path) -> None:
    async with playing("07-flattening-and-namespace", tmp_path, before=put_flat) as play:
        await play.until(1795444815)
        await play.watched.row(policy="flat2-n--1", state="verified")
        await play.advance(31)

        async def judged() -> dict[str, tuple[str, str | None]] | None:
            rows = await play.watched.expectations(policy="flat2-n--1")
            told = {row["source_repository"]: (row["state"], row["reason"]) for row in rows}
            final = [state for state, _ in told.values() if state in ("verified", "failed")]
            return told if len(final) == 3 else None

        assert await until(judged, within=8, told="three verdicts") == {
            "flat/image": ("verified", None),
            "flat/b/image": ("failed", "name_collision"),
            "flat/b/c/image": ("failed", "name_collision"),
        }
        found = [one for one in await play.watched.findings() if one["finding"] == "name_collision"]
        assert "flat2-n--1" in found[0]["message"]
        assert await play.watched.metric("syncwatch_lost_total") == 0


async def test_07_a_level_too_deep_is_a_failed_run_and_a_finding(tmp_path: Path) -> None:
    async with playing("07-flattening-and-namespace", tmp_path, before=put_flat) as play:
        await play.until(1795444901.5)
        await counted(play, "Failed", 1)
        assert await play.watched.expectations(policy="flat2-n-2") == []

        async def found() -> list[dict[str, Any]]:
            told = await play.watched.findings()
            return [one for one in told if one["finding"] == "flattening_too_deep"]

        (finding,) = await until(found, within=4, told="the finding")
        assert "flat2-n-2" in finding["message"]
        assert "flat/image" in finding["message"]


async def test_08_an_empty_success_is_counted_and_told(tmp_path: Path) -> None:
    async with playing("08-empty-success", tmp_path) as play:
        await play.webhooks()
        await counted(play, "Succeed", 1)
        (policy,) = (await play.watched.status())["policies"]
        assert policy["last_execution"]["status_text"] == "no resources need to be replicated"
        assert policy["last_execution"]["status"] == "Succeed"
        assert await play.watched.expectations() == []


async def test_09_an_attempt_that_failed_is_not_the_end(tmp_path: Path) -> None:
    async with playing("09-destination-down-then-up", tmp_path) as play:
        await play.registry.stop()
        await play.webhooks(3)
        await play.watched.row(reference="1", state="unknown", reason="unreachable")
        # By now Harbor calls the whole execution Failed, which is not its last word.
        await play.until(1795443975)
        await play.registry.start()
        waiting = await play.watched.row(state="pending", reason="retrying", within=30)
        assert await play.watched.metric(EXECUTIONS) == 0
        await play.webhooks()
        row = await play.watched.row(state="verified")
        assert row["id"] == waiting["id"]
        await nothing_ever_failed(play)
        await play.until(1795444040)
        await counted(play, "Succeed", 1)
        assert await play.watched.metric(EXECUTIONS, status="Failed") == 0


async def test_11_a_chart_is_verified_like_any_artifact(tmp_path: Path) -> None:
    chart = images.chart("demo", "0.1.0")
    async with playing("11-helm-chart", tmp_path, given={"0bc0f76": chart}) as play:
        await play.webhooks()
        row = await play.watched.row(state="verified")
        assert (row["digest"], row["reference"], row["origin"]) == (chart.digest, "0.1.0", "push")
        assert await play.watched.metric(SETTLED, result="met") == 1


MANY = {"97b0d35a": images.image("b untagged"), "76ceccd0": images.image("a untagged")}


async def test_12_a_run_by_hand_expects_what_it_selects_and_settles_nothing(
    tmp_path: Path,
) -> None:
    async with playing("12-manual-run-many-tags", tmp_path, given=MANY) as play:
        for repository, untagged in (("many/a", "76ceccd0"), ("many/b", "97b0d35a")):
            play.put(repository, "dev-1", images.image(f"{repository} dev"), 1795444184)
            for number in range(4):
                image = images.image(f"{repository} {number}")
                play.put(repository, f"v{number}", image, 1795444185 + number)
            play.put(repository, "", MANY[untagged], 1795444189)
        await play.webhooks()

        async def verified() -> bool:
            return len(await play.watched.expectations(state="verified")) == 10

        await until(verified, told="ten verified rows")
        rows = await play.watched.expectations()
        wanted = {(f"many/{name}", f"v{number}") for name in "ab" for number in range(4)}
        wanted |= {("many/a", MANY["76ceccd0"].digest), ("many/b", MANY["97b0d35a"].digest)}
        assert {(row["repository"], row["reference"]) for row in rows} == wanted
        assert len(rows) == 10
        assert {row["origin"] for row in rows} == {"run"}
        assert await play.watched.metric(SETTLED) == 0
        assert not await play.watched.metric("syncwatch_lag_seconds_count")


async def the_burst_ended_well(play: Play) -> None:
    last = play.digest("a85c2174")
    row = await play.watched.row(state="verified", digest=last)
    assert row["pushed_at"] == "2026-11-23T14:30:16.800Z"
    await nothing_ever_failed(play)
    for row in await play.watched.expectations():
        if row["digest"] != last:
            assert (row["state"], row["reason"]) == ("closed", "superseded")
    assert len(await play.watched.expectations(state="verified")) == 1
    assert await play.watched.metric(SETTLED, result="missed") == 0


async def test_13_a_burst_ends_verified_at_its_last_digest(tmp_path: Path) -> None:
    async with playing("13-mutable-tag-burst", tmp_path) as play:
        await play.webhooks()
        await the_burst_ended_well(play)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_13_in_whatever_order_its_webhooks_come(tmp_path: Path, seed: int) -> None:
    async with playing("13-mutable-tag-burst", tmp_path) as play:
        deliveries = list(play.recording.webhooks)
        random.Random(seed).shuffle(deliveries)
        play.steps = [step for step in play.steps if step.delivery is None]
        await play.until(1795444217)
        for delivery in deliveries:
            await play.deliver(delivery)
        await the_burst_ended_well(play)

        async def all_told() -> bool:
            return len(await play.watched.expectations()) == 5

        await until(all_told, told="a row for each push")
        await the_burst_ended_well(play)
        assert await play.watched.metric(SETTLED, result="excused") == 4
        assert await play.watched.metric(SETTLED, result="met") == 1


async def test_14_three_attempts_at_a_delivery_are_one(tmp_path: Path) -> None:
    async with playing("14-webhook-target-fails", tmp_path) as play:
        await play.webhooks()
        image = next(iter(play.images.values()))
        await play.watched.row(state="pending", digest=image.digest)
        play.registry.push("hookfail/app", "1", image)
        await play.watched.row(state="verified")
        assert len(await play.watched.expectations()) == 1
        assert await play.watched.metric(WEBHOOKS, outcome="accepted") == 2
        assert await play.watched.metric(WEBHOOKS, outcome="duplicate") == 4
        assert await play.watched.metric(SETTLED, result="met") == 1


async def test_17_the_same_digest_begins_nothing_and_a_move_back_does(tmp_path: Path) -> None:
    async with playing("17-repush-same-digest-and-move-tag-back", tmp_path) as play:
        one, two = play.digest("f829319"), play.digest("0985f68")
        await play.webhooks(3)
        first = await play.watched.row(state="verified", digest=one)
        await play.webhooks(3)
        await play.until(1795444620)
        assert [row["id"] for row in await play.watched.expectations()] == [first["id"]]
        await play.webhooks(3)
        await play.watched.row(state="verified", digest=two)
        await play.webhooks(3)
        row = await play.watched.row(
            state="verified", digest=one, pushed_at="2026-11-23T14:37:12.674Z"
        )
        assert [
            (row["digest"], row["state"], row["reason"])
            for row in await play.watched.expectations()
        ] == [
            (one, "closed", "superseded"),
            (two, "closed", "superseded"),
            (one, "verified", None),
        ]
        assert row["id"] != first["id"]
        assert await play.watched.metric(SETTLED, result="met") == 3


async def test_18_one_malformed_pattern_and_the_healthy_policy_never_starts(
    tmp_path: Path,
) -> None:
    async with playing("18-two-policies-one-cannot-start", tmp_path, deadline="10s") as play:
        await play.webhooks(1)
        first = await play.watched.row(state="pending", reason="waiting")
        assert (first["policy"], first["repository"]) == ("two-b-healthy", "ok/two/app")
        await play.until(1795444676)
        row = await play.watched.row(state="failed")
        assert (row["id"], row["reason"], row["overdue"]) == (first["id"], "not_started", True)
        told = {one["finding"]: one["message"] for one in await play.watched.findings()}
        assert "two-c-bad-pattern" in told["malformed_pattern"]
        assert "two-a-too-deep" in told["flattening_too_deep"]
        assert "two/app" in told["flattening_too_deep"]
        await play.webhooks()
        row = await play.watched.row(state="verified", policy="two-b-healthy")
        assert (row["digest"], row["reference"]) == (play.digest("ce28d0b"), "2")
        await counted(play, "Failed", 1)

        async def culprit_gone() -> bool:
            return "malformed_pattern" not in await play.watched.finding_names()

        await until(culprit_gone, told="the end of the finding")
        await play.watched.row(id=first["id"], state="failed", reason="not_started")
        assert len(await play.watched.expectations()) == 2


async def test_18_a_run_for_another_tag_claims_nothing_about_the_one_not_started(
    tmp_path: Path,
) -> None:
    async with playing("18-two-policies-one-cannot-start", tmp_path, deadline="10s") as play:
        await play.webhooks(1)
        await play.until(1795444676)
        first = await play.watched.row(state="failed", reason="not_started")
        # Webhooks are lost from here on; the run for tag 2 began 14 s after the push of tag 1.
        play.steps = [step for step in play.steps if step.delivery is None]
        await play.until(1795444680)
        await play.advance(40)
        await counted(play, "Succeed", 1)
        before = (await play.watched.one(first["id"]))["observed_at"]
        await play.advance(601)

        async def looked() -> bool:
            return (await play.watched.one(first["id"]))["observed_at"] != before

        await until(looked, told="one more look")
        row = await play.watched.one(first["id"])
        assert (row["state"], row["reason"]) == ("failed", "not_started")
        assert await play.watched.metric(FALSE_SUCCESS) == 0


async def test_19_what_was_pushed_while_disabled_comes_by_a_run_only(tmp_path: Path) -> None:
    async with playing("19-disabled-then-enabled", tmp_path) as play:
        await play.webhooks(1)
        await play.until(1795444701.2)
        await play.webhooks(3)
        newer = await play.watched.row(state="verified")
        assert (newer["reference"], newer["origin"]) == ("2", "push")
        assert len(await play.watched.expectations()) == 1
        await play.webhooks()
        older = await play.watched.row(state="verified", reference="1")
        assert (older["origin"], older["digest"]) == ("run", play.digest("486ecd2"))
        await play.advance(30)
        await counted(play, "Succeed", 2)
        assert [row["id"] for row in await play.watched.expectations()] == [
            newer["id"],
            older["id"],
        ]
        assert await play.watched.metric(SETTLED, result="met") == 1
        assert await play.watched.metric(SETTLED) == 1


async def test_20_a_tag_that_the_source_does_not_have_makes_no_row(tmp_path: Path) -> None:
    async with playing("20-reading-the-feed-and-a-tag", tmp_path) as play:
        told = json.loads(json.dumps(pushes(play)[0]))
        told["body"]["event_data"]["resources"][0]["tag"] = "nope"
        await play.deliver(told)
        await play.webhooks()
        row = await play.watched.row(state="verified")
        assert (row["reference"], row["pushed_at"]) == ("1", "2026-11-23T14:57:12.780Z")
        assert len(await play.watched.expectations()) == 1


@pytest.mark.parametrize(
    ("name", "given"), [("01-push-single", {}), ("02-push-index-cloudevents", INDEX)]
)
async def test_the_same_deliveries_ten_times_change_nothing(
    tmp_path: Path, name: str, given: dict[str, images.Image]
) -> None:
    async with playing(name, tmp_path, given=given) as play:
        await play.webhooks()
        await play.watched.row(state="verified")
        before = await play.watched.metric(WEBHOOKS, outcome="accepted")
        for _ in range(5):
            for delivery in play.recording.webhooks:
                await play.deliver(delivery)
        # An equal body of the Default format is news again after an hour, and still no new push.
        await play.advance(3700)
        for _ in range(5):
            for delivery in play.recording.webhooks:
                await play.deliver(delivery)
        await counted(play, "Succeed", 3 if given else 1)
        assert await play.watched.states() == [("1.4.0" if given else "latest", "verified", None)]
        assert await play.watched.metric(SETTLED, result="met") == 1
        assert await play.watched.metric("syncwatch_lag_seconds_count") == 1
        repeated = await play.watched.metric(WEBHOOKS, outcome="duplicate")
        again = 0 if given else len(play.recording.webhooks)
        assert repeated == 10 * len(play.recording.webhooks) - again
        assert await play.watched.metric(WEBHOOKS, outcome="accepted") == before + again
