"""Verdicts on recordings of what Harbor hides: deletions, lost layers, revoked credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from running import until
from scenarios_recorded import playing

from syncwatch.lab import images

if TYPE_CHECKING:
    from pathlib import Path

    from scenarios_recorded import Play

SETTLED = "syncwatch_expectations_settled_total"
FALSE_SUCCESS = "syncwatch_false_success_total"
LOST = "syncwatch_lost_total"
EXECUTIONS = "syncwatch_executions_total"
NONE_GONE_WRONG = {FALSE_SUCCESS: 0, LOST: 0}


async def measured(play: Play, **wanted: float) -> None:
    """These metrics come to these sums."""

    found: dict[str, float | None] = {}

    async def are() -> bool:
        found.update({name: await play.watched.metric(name) for name in wanted})
        return found == wanted

    try:
        await until(are, told=str(wanted))
    except AssertionError as error:
        raise AssertionError(f"{error}; found: {found}") from None


async def settled(play: Play, operation: str, result: str) -> float | None:
    return await play.watched.metric(SETTLED, operation=operation, result=result)


async def words_in_time(play: Play, row: dict[str, Any]) -> list[str]:
    """What a row went through, in order: `pending/copying`, `verified` and so on."""
    told = await play.watched.one(row["id"])
    return [one["what"] for one in told["timeline"]]


async def looked_again(play: Play, row: dict[str, Any]) -> dict[str, Any]:
    """The row after one more look."""
    before = (await play.watched.one(row["id"]))["observed_at"]

    async def again() -> dict[str, Any] | None:
        told = await play.watched.one(row["id"])
        return told if told["observed_at"] != before else None

    told: dict[str, Any] = await until(again, told="one more look")
    return told


ENDED_BY_DELETION = {
    ("v1", "copy", "closed", "deleted_at_source"),
    ("stable", "copy", "closed", "deleted_at_source"),
    ("stable", "deletion", "closed", "deletion_unsupported"),
    ("v1", "deletion", "verified", None),
}


async def all_rows(play: Play) -> set[tuple[str, str, str, str | None]]:
    rows = await play.watched.expectations()
    found = {(row["reference"], row["operation"], row["state"], row["reason"]) for row in rows}
    assert len(found) == len(rows), rows
    return found


async def test_03_a_tag_by_the_api_is_verified_and_deletions_are_told_apart(
    tmp_path: Path,
) -> None:
    async with playing("03-retag-and-delete", tmp_path) as play:
        await play.webhooks(3)
        first = await play.watched.row(reference="v1", state="verified")
        assert first["origin"] == "push"
        await play.webhooks(2)
        second = await play.watched.row(reference="stable", state="verified")
        assert (second["origin"], second["digest"]) == ("tag", first["digest"])
        assert second["pushed_at"] == second["expected_at"] == "2026-11-23T14:17:41.408Z"
        assert second["notified_at"] is None
        await play.webhooks(2)
        row = await play.watched.row(reference="stable", operation="deletion", state="closed")
        assert (row["reason"], row["overdue"]) == ("deletion_unsupported", False)
        ended = await play.watched.one(second["id"])
        assert (ended["state"], ended["reason"]) == ("closed", "deleted_at_source")
        assert "deletion_unsupported" in await play.watched.finding_names()
        assert await settled(play, "deletion", "excused") == 1
        await play.webhooks(2)
        assert (await play.watched.row(reference="v1", operation="copy"))["state"] == "verified"
        await play.webhooks()
        row = await play.watched.row(reference="v1", operation="deletion", state="verified")
        assert row["required_level"] == "matched"
        assert (row["origin"], row["digest"]) == ("deletion", first["digest"])
        assert play.registry.digest("tags/app", "v1") is None
        assert await settled(play, "deletion", "met") == 1
        await play.advance(700)
        await measured(play, **{EXECUTIONS: 4}, **NONE_GONE_WRONG)
        assert await all_rows(play) == ENDED_BY_DELETION
        assert await settled(play, "copy", "met") == 2
        assert await play.watched.metric(SETTLED, result="missed") == 0
        assert await play.watched.metric(SETTLED) == 4


async def test_03_a_deletion_is_proven_as_deep_as_matched(tmp_path: Path) -> None:
    async with playing("03-retag-and-delete", tmp_path) as play:
        await play.webhooks()
        row = await play.watched.row(reference="v1", operation="deletion", state="verified")
        assert (row["level"], row["required_level"]) == ("matched", "matched")


async def test_03_without_one_webhook_the_executions_tell_the_same(tmp_path: Path) -> None:
    async with playing("03-retag-and-delete", tmp_path) as play:
        play.steps = [step for step in play.steps if step.delivery is None]
        await play.until(1795443460)
        await play.watched.row(reference="v1", state="verified", origin="push")
        await play.until(1795443490)
        await play.watched.row(reference="stable", state="verified", origin="tag")
        await play.until(1795443527)
        await play.watched.row(
            reference="stable", operation="deletion", reason="deletion_unsupported"
        )
        await play.until(1795443570)
        await play.watched.row(reference="v1", operation="deletion", state="verified")
        await play.advance(700)
        await measured(play, **{EXECUTIONS: 4}, **NONE_GONE_WRONG)
        assert await all_rows(play) == ENDED_BY_DELETION
        assert await play.watched.metric(SETTLED) == 4


async def test_06_a_layer_that_went_after_it_was_verified_is_one_loss_and_one_false_success(
    tmp_path: Path,
) -> None:
    async with playing("06-destination-lost-a-blob", tmp_path) as play:
        await play.webhooks(3)
        row = await play.watched.row(state="verified", level="readable")
        (image,) = play.images.values()
        (layer,) = image.layer_digests
        play.registry.lose_blob(layer)
        await play.until(1795443669.3)
        await until(lambda: is_known(play, 67), told="the run by hand")
        await play.webhooks()
        await play.advance(31)
        await measured(play, **{FALSE_SUCCESS: 1, LOST: 1})
        lost = await play.watched.row(state="failed")
        assert (lost["id"], lost["origin"]) == (row["id"], "push")
        assert (lost["reason"], lost["level"]) == ("blob_missing", "matched")
        assert layer in lost["message"]
        assert "it was verified until 2026-11-23T14:2" in lost["message"]
        for _ in range(2):
            await play.advance(601)
            lost = await looked_again(play, lost)
        assert (lost["state"], lost["reason"]) == ("failed", "blob_missing")
        await measured(play, **{FALSE_SUCCESS: 1, LOST: 1})
        assert await play.watched.metric(EXECUTIONS, status="Succeed") == 2
        # It was there in time once, and that was settled.
        assert await settled(play, "copy", "met") == 1
        assert await play.watched.metric(SETTLED) == 1
        assert len(await play.watched.expectations()) == 1


async def is_known(play: Play, execution: int) -> bool:
    (policy,) = (await play.watched.status())["policies"]
    return bool(policy["last_execution"]) and policy["last_execution"]["execution_id"] == execution


async def test_06_where_the_webhooks_of_the_run_come_before_the_run_is_read(
    tmp_path: Path,
) -> None:
    async with playing("06-destination-lost-a-blob", tmp_path) as play:
        await play.webhooks(3)
        row = await play.watched.row(state="verified", level="readable")
        (image,) = play.images.values()
        (layer,) = image.layer_digests
        play.registry.lose_blob(layer)
        await play.until(1795443668)
        play.steps.sort(key=lambda step: step.delivery is None)
        await play.webhooks()
        await looked_again(play, row)
        await play.advance(31)
        await play.watched.row(state="failed", reason="blob_missing")
        await play.advance(70)
        await measured(play, **{FALSE_SUCCESS: 1, LOST: 1})


IMAGE = images.image("signed")
SIGNATURE, REFERRER = images.signature(IMAGE), images.referrer(IMAGE)
SIGNED = {"039b0ca": IMAGE, "1d18751": SIGNATURE, "e253598": REFERRER}


async def shown_beside(play: Play, row: dict[str, Any], wanted: dict[str, list[str]]) -> None:
    """These accessories, by digest, come to be at the destination, found in these ways."""

    async def are() -> bool:
        told = (await play.watched.one(row["id"]))["accessories"]
        there = [one for one in told if one["at_destination"]]
        return {one["digest"]: one["found_by"] for one in there} == wanted

    await until(are, told=f"accessories {wanted}")


async def test_10_a_signature_is_an_expectation_and_a_referrer_is_its_subjects(
    tmp_path: Path,
) -> None:
    async with playing("10-signature-and-referrer", tmp_path, given=SIGNED) as play:
        await play.webhooks()
        signature = await play.watched.row(
            reference=images.signature_tag(IMAGE), state="verified", level="readable"
        )
        assert (signature["origin"], signature["digest"]) == ("push", SIGNATURE.digest)
        image = await play.watched.row(reference="1", state="verified", level="readable")
        assert image["digest"] == IMAGE.digest
        # Harbor lists the referrer beside its subject, which claims it.
        await play.advance(61)
        await play.advance(61)
        await measured(play, **{EXECUTIONS: 3}, **NONE_GONE_WRONG)
        assert len(await play.watched.expectations()) == 2
        assert await settled(play, "copy", "met") == 2
        assert await play.watched.metric(SETTLED) == 2
        # docker-registry 2.8.2 has no referrers API: nothing there lists the referrer.
        await shown_beside(play, image, {SIGNATURE.digest: ["tag"], REFERRER.digest: []})
        told = (await play.watched.one(image["id"]))["accessories"]
        assert {(one["digest"], one["type"], one["reference"]) for one in told} == {
            (SIGNATURE.digest, "signature.cosign", images.signature_tag(IMAGE)),
            (REFERRER.digest, "subject.accessory", None),
        }
        assert "signatures_filtered" not in await play.watched.finding_names()


ACCOUNT = ("reader", "destination-secret")
REVOKED = "15-destination-credentials-revoked"


async def test_15_a_destination_that_knows_us_no_more_is_unknown_and_nothing_is_missing(
    tmp_path: Path,
) -> None:
    async with playing(REVOKED, tmp_path, account=ACCOUNT) as play:
        assert play.registry.users is not None
        play.registry.users.clear()
        await play.webhooks()
        row = await play.watched.row(state="unknown", reason="unauthorized", within=30)
        assert row["level"] is None
        assert "destination_unauthorized" in await play.watched.finding_names()
        await play.until(1795444580)
        await measured(play, **{EXECUTIONS: 1}, **NONE_GONE_WRONG)
        await play.advance(700)
        row = await play.watched.row(state="unknown", reason="unauthorized", overdue=True)
        told = await words_in_time(play, row)
        assert not [what for what in told if what.startswith("failed")], told
        assert ACCOUNT[1] not in str(await play.watched.one(row["id"]))
        # Once we may ask again, what Harbor gave up on is said to be so.
        play.registry.users.update([ACCOUNT])
        await play.advance(61)
        row = await play.watched.row(state="failed", within=30)
        assert row["reason"] == "execution_failed"

        async def answers() -> bool:
            return "destination_unauthorized" not in await play.watched.finding_names()

        await until(answers, told="the end of the finding")


async def test_15_where_only_harbors_credential_was_revoked_the_third_attempt_is_the_last(
    tmp_path: Path,
) -> None:
    async with playing(REVOKED, tmp_path, account=ACCOUNT) as play:
        await play.webhooks(3)
        row = await play.watched.row(state="pending", reason="retrying")
        await play.webhooks(2)
        await play.until(1795444538)
        row = await looked_again(play, row)
        assert (row["state"], row["reason"]) == ("pending", "retrying")
        await play.webhooks()
        row = await play.watched.row(state="failed")
        assert (row["reason"], row["overdue"]) == ("execution_failed", False)
        assert "execution 135 failed" in row["message"]
        await play.until(1795444580)
        await measured(play, **{EXECUTIONS: 1}, **NONE_GONE_WRONG)
        assert await play.watched.metric(EXECUTIONS, status="Failed") == 1
        assert "destination_unauthorized" not in await play.watched.finding_names()
        # A late arrival, by whatever way, is a recovery.
        (image,) = play.images.values()
        play.registry.push("cred/app", "1", image)
        await play.advance(61)
        await play.watched.row(state="verified", id=row["id"])
        assert await settled(play, "copy", "met") == 1


@pytest.mark.parametrize("tells", [True, False], ids=["told by webhooks", "told by the feed"])
async def test_15_two_of_three_attempts_are_never_the_end(tmp_path: Path, tells: bool) -> None:
    async with playing(REVOKED, tmp_path, account=ACCOUNT) as play:
        await play.webhooks(1)
        row = await play.watched.row(state="pending")
        if not tells:
            play.steps = [step for step in play.steps if step.delivery is None]
        for second in (1795444433, 1795444460, 1795444500, 1795444538):
            await play.until(second)
            row = await looked_again(play, row)
            assert row["state"] == "pending", row["message"]
        await play.until(1795444580)
        assert "failed/missing" not in await words_in_time(play, row)
