"""Causes planted in replication rules: the doctor names each one, and its cure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from clinic import DESTINATION, POLICY, clinic, named

from syncwatch.doctor.checks import Outcome
from syncwatch.lab import images
from syncwatch.model import Severity

if TYPE_CHECKING:
    from pathlib import Path

SUBJECT = f"policy {POLICY}"
TAGGED = {"type": "tag", "value": "v*"}


async def test_a_malformed_pattern_stops_all_other_rules(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.create_policy("broken", DESTINATION, pattern="apps/{a,b")
        one = await place.finding("malformed_pattern")
        assert one.subject == "policy broken"
        assert "stops every other event-based policy" in one.message


async def test_a_rule_waits_for_labels_that_no_push_has(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        wanted = [{"type": "label", "value": ["ready"]}]
        place.harbor.create_policy("labelled", DESTINATION, pattern="apps/**", filters=wanted)
        one = await place.finding("labels_never_match")
        assert one.subject == "policy labelled"


async def test_a_rule_is_event_based_with_a_remote_source(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_policy(pull=True)
        one = await place.finding("remote_source")
        assert one.subject == SUBJECT


async def test_a_rule_is_disabled(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_policy(enabled=False)
        one = await place.finding("policy_disabled")
        assert one.severity is Severity.INFO


async def test_a_rule_deletes_where_that_cannot_be_done(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_policy(deletion=True)
        one = await place.finding("deletion_unsupported")
        assert "docker-registry" in one.message


async def test_a_rules_name_filter_matches_nothing(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.create_policy("astray", DESTINATION, pattern="apps/*/*/image")
        one = await place.finding("matches_nothing")
        assert one.subject == "policy astray"
        assert "apps/*/*/image" in one.message


async def test_a_rules_tag_filter_matches_nothing(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.create_policy("tagged", DESTINATION, pattern="apps/**", filters=[TAGGED])
        one = await place.finding("matches_nothing")
        assert one.subject == "policy tagged"
        assert "'v*'" in one.message
        place.push(tag="v1")
        assert "matches_nothing" not in named(await place.findings())


@pytest.mark.parametrize("trigger", ["scheduled", "manual"])
async def test_the_labels_that_a_run_wants_are_on_nothing(tmp_path: Path, trigger: str) -> None:
    async with clinic(tmp_path) as place:
        wanted = {"type": "label", "value": ["approved"], "decoration": "matches"}
        cron = "0 0 0 * * *" if trigger == "scheduled" else ""
        place.harbor.create_policy(
            "labelled", DESTINATION, pattern="apps/**", filters=[wanted], trigger=trigger, cron=cron
        )
        one = await place.finding("matches_nothing")
        assert one.subject == "policy labelled"
        assert "approved" in one.message
        place.harbor.label("apps/web", "1.0", place.harbor.create_label("approved"))
        assert (await place.check("scope", "policy labelled")).outcome is Outcome.OK


async def test_a_malformed_filter_of_a_run_is_told_once(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        broken = {"type": "tag", "value": "{a", "decoration": "matches"}
        place.harbor.create_policy(
            "broken", DESTINATION, pattern="apps/**", filters=[broken], trigger="manual"
        )
        found = await place.findings()
        told = [one.finding for one in found if one.subject.startswith("policy broken")]
        assert told == ["malformed_pattern"]
        assert (await place.check("scope", "policy broken")).outcome is Outcome.CANNOT_TELL


async def test_of_a_repository_with_many_images_those_that_tell_are_kept(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        for number in range(30):
            place.push(tag=f"2.{number}")
        place.harbor.artifact("apps/web", "2.3").size = 500_000_000
        place.edit_policy(speed=1024, filters=[])
        place.harbor.create_policy("tagged", DESTINATION, pattern="apps/**", filters=[TAGGED])
        found = named(await place.findings())
        assert "bandwidth_low" in found
        assert "matches_nothing" not in found, "older images may pass"


async def test_flattening_is_too_deep_for_a_repository_in_scope(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_policy(namespace="mirror", replace_count=2)
        place.push("apps/team/web")
        one = await place.finding("flattening_too_deep")
        assert one.subject == f"{SUBJECT}: apps/web"
        assert "a whole run fails" in one.cure


async def test_flattening_lets_two_sources_land_on_one_name(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_policy(namespace="mirror", replace_count=-1)
        place.push("apps/team/web")
        one = await place.finding("name_collision")
        assert one.subject == f"{SUBJECT}: mirror/web"
        assert "apps/team/web and apps/web" in one.message


async def test_two_rules_write_one_name_from_different_sources(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.push("other/web")
        place.edit_policy(namespace="mirror", replace_count=1)
        place.harbor.create_policy(
            "second", DESTINATION, pattern="other/**", namespace="mirror", replace_count=1
        )
        one = await place.finding("name_collision")
        assert one.subject == f"{SUBJECT}: mirror/web"
        assert "second and to-cluster1" in one.message


async def test_one_image_by_two_rules_is_no_collision(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.create_policy("again", DESTINATION, pattern="apps/web")
        assert "name_collision" not in named(await place.findings())


async def test_override_is_off_and_a_tag_moves(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_policy(override=False)
        calm = [one for one in await place.findings() if one.finding == "override_off"]
        assert [(one.subject, one.severity) for one in calm] == [(SUBJECT, Severity.INFO)]
        place.push(tag="latest")
        found = [one for one in await place.findings() if one.finding == "override_off"]
        told = {one.subject: one.severity for one in found}
        assert told == {SUBJECT: Severity.INFO, f"{SUBJECT}: apps/web:latest": Severity.WARNING}
        place.edit_policy(override=True)
        assert "override_off" not in named(await place.findings())


async def test_the_bandwidth_is_too_low_for_an_image_in_scope(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        held = place.harbor.artifact("apps/web", "1.0")
        held.size = 500_000_000
        place.edit_policy(speed=1024)
        one = await place.finding("bandwidth_low")
        assert "64 min" in one.message  # 500 MB at 131,072 bytes/s: 3,815 s
        assert "1024 kilobits/s" in one.message
        place.edit_policy(speed=102_400)
        assert "bandwidth_low" not in named(await place.findings())


async def test_filters_keep_back_the_signature_of_what_they_take(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        signed = images.image("signed")
        place.push(tag="v1", image=signed)
        place.push(tag=images.signature_tag(signed), image=images.signature(signed))
        place.harbor.policy(POLICY).enabled = False
        place.harbor.create_policy("tagged", DESTINATION, pattern="apps/**", filters=[TAGGED])
        one = await place.finding("signatures_filtered")
        assert one.subject == "policy tagged"
        assert "apps/web:v1" in one.message
        assert images.signature_tag(signed) in one.message


async def test_harbor_itself_calls_the_endpoint_unhealthy(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        row = next(iter(place.harbor.world.registries.values()))
        row.status = "unhealthy"
        one = await place.finding("endpoint_unhealthy")
        assert one.subject == f"{SUBJECT}: {DESTINATION}"


async def test_a_schedule_never_comes(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_policy(trigger="scheduled", cron="0 0 0 31 2 *")
        one = await place.finding("schedule_invalid")
        assert one.subject == SUBJECT


async def test_what_a_rule_reaches_is_told_for_the_projects_that_are_shown(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.create_project("other")
        told = (await place.check("scope", SUBJECT)).message
        assert "1 repositories of 1 project in its scope that we may see: apps/web." in told


async def test_what_could_not_be_listed_is_not_called_nothing(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.refuse("repository", "list")
        assert "matches_nothing" not in named(await place.findings())
        assert (await place.check("scope", SUBJECT)).outcome is Outcome.CANNOT_TELL
        assert (await place.check("collisions", SUBJECT)).outcome is Outcome.CANNOT_TELL
