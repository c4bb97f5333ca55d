"""Why an image does not go there, each cause planted once; and what is told of one that does."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from running import Watched, until
from scene import DESTINATION, POLICY, REPOSITORY, Scene, edit, scene

from syncwatch.explain.causes import Cause, Image
from syncwatch.explain.filters import kept_back
from syncwatch.lab import images
from syncwatch.lab.faults import Fault
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry
from syncwatch.model import Rules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EXPLAIN = "/api/v1/explain"
FIELDS = {"harbor", "policy", "covers", "why", "destination", "repository", "expected_since"}


async def told(watched: Watched, image: str, **query: str) -> dict[str, Any]:
    """The answer for an image, whose shape is the contract's."""
    answer = await watched.get(EXPLAIN, image=image, **query)
    assert {"image", "digest", "rules", "expectations"} <= answer.keys(), answer
    assert all(one.keys() >= FIELDS for one in answer["rules"])
    return answer


async def rule(watched: Watched, image: str, policy: str = POLICY, **query: str) -> dict[str, Any]:
    """What one policy does with an image."""
    answer = await told(watched, image, **query)
    return next(one for one in answer["rules"] if one["policy"] == policy)


def refused(found: dict[str, Any], cause: str, *words: str) -> None:
    """The policy does not bring it, for that cause, and the sentence has these words in it."""
    assert (found["covers"], found["cause"]) == (False, cause), found
    assert found["expected_since"] is None
    for one in words:
        assert one in found["why"], found["why"]


@contextlib.asynccontextmanager
async def planted(
    directory: Path, *, webhooks: bool = True, top: dict[str, Any] | None = None, **values: Any
) -> AsyncIterator[tuple[Scene, Watched]]:
    """The scene with a second policy `planted`, and the daemon."""
    async with scene(directory, **(top or {})) as stage:
        stage.harbor.create_policy("planted", DESTINATION, **values)
        async with stage.watched(webhooks=webhooks) as watched:
            yield stage, watched


def tags(value: str, decoration: str = "matches") -> list[dict[str, Any]]:
    return [{"type": "tag", "value": value, "decoration": decoration}]


async def test_a_name_filter_that_misses_is_named_with_its_pattern(tmp_path: Path) -> None:
    async with planted(tmp_path, pattern="apps/*") as (_, watched):
        found = await rule(watched, "apps/team/web:v1", "planted")
        refused(found, "name_filter", "'apps/*'", "apps/team/web does not")
        # It need not be there: the other policy would bring it when it is pushed.
        answer = await told(watched, "apps/team/web:v1")
        assert (answer["digest"], answer["answer"]) == (None, "yes")
        assert answer["message"] == (
            "apps/team/web:v1, pushed now, would go to cluster1 as apps/team/web:v1."
        )
        first = answer["rules"][0]
        assert (first["policy"], first["covers"], first["cause"]) == (POLICY, True, None)
        assert first["expected_since"] is None
        answer = await told(watched, "apps:v1")
        assert (answer["answer"], answer["expectations"]) == ("no", [])


async def test_a_tag_filter_that_misses_is_named_with_its_pattern(tmp_path: Path) -> None:
    async with planted(tmp_path, pattern="apps/**", filters=tags("v*")) as (stage, watched):
        stage.push("latest")
        refused(
            await rule(watched, f"{REPOSITORY}:latest", "planted"),
            "tag_filter",
            "tags that match 'v*', and latest does not",
        )
        digest = "sha256:" + "0" * 64
        found = await rule(watched, f"{REPOSITORY}@{digest}", "planted")
        refused(found, "tag_filter", "an image without a tag does not")


async def test_a_tag_that_is_excluded_is_named_with_the_pattern(tmp_path: Path) -> None:
    excluded = tags("dev-*", "excludes")
    async with planted(tmp_path, pattern="apps/**", filters=excluded) as (_, watched):
        found = await rule(watched, f"{REPOSITORY}:dev-1", "planted")
        refused(found, "tag_excluded", "excludes tags that match 'dev-*', and dev-1 does")
        assert (await rule(watched, f"{REPOSITORY}:v1", "planted"))["covers"] is True


async def test_a_label_filter_never_lets_a_push_through(tmp_path: Path) -> None:
    wanted = [{"type": "label", "value": ["release"], "decoration": "matches"}]
    async with planted(tmp_path, filters=wanted) as (stage, watched):
        stage.push("v1")
        stage.harbor.label(REPOSITORY, "v1", stage.harbor.create_label("release"))
        found = await rule(watched, f"{REPOSITORY}:v1", "planted")
        refused(found, "labels_never_match", "label release", "push events carry no labels")


async def test_a_schedule_sees_labels_and_says_which_is_missing(tmp_path: Path) -> None:
    wanted = [{"type": "label", "value": ["release"], "decoration": "matches"}]
    cron = {"trigger": "scheduled", "cron": "0 0 3 * * *"}
    async with planted(tmp_path, filters=wanted, **cron) as (stage, watched):
        stage.push("v1")
        found = await rule(watched, f"{REPOSITORY}:v1", "planted")
        refused(found, "label_filter", "wants the label release, and the image has none")
        stage.harbor.label(REPOSITORY, "v1", stage.harbor.create_label("release"))
        assert (await rule(watched, f"{REPOSITORY}:v1", "planted"))["covers"] is True


async def test_a_disabled_policy_says_since_when(tmp_path: Path) -> None:
    async with planted(tmp_path, pattern="apps/**", enabled=False) as (stage, watched):
        refused(
            await rule(watched, f"{REPOSITORY}:v1", "planted"),
            "disabled",
            "is disabled since 20",
            "not even later",
        )
        # What is pushed before it is enabled is not copied when it is (recording 19).
        stage.push("v1")
        await watched.row(reference="v1", state="verified")
        edit(stage.harbor, "planted", enabled=True)

        async def enabled() -> bool:
            found = await rule(watched, f"{REPOSITORY}:v1", "planted")
            return found["cause"] == "disabled_when_pushed"

        await until(enabled, told="the policy enabled")
        refused(
            await rule(watched, f"{REPOSITORY}:v1", "planted"),
            "disabled_when_pushed",
            "It was pushed at 20",
            "while policy planted was disabled; it is enabled since 20",
        )
        assert (await rule(watched, f"{REPOSITORY}:v2", "planted"))["covers"] is True


async def test_a_policy_run_by_hand_copies_nothing_until_it_is_run(tmp_path: Path) -> None:
    by_hand = {"trigger": "manual", "namespace": "mirror"}
    async with planted(tmp_path, pattern="apps/**", **by_hand) as (stage, watched):
        stage.push("v1")
        await watched.row(reference="v1", state="verified", policy=POLICY)
        refused(
            await rule(watched, f"{REPOSITORY}:v1", "planted"),
            "manual",
            "only when it is run by hand",
            "mirror/apps/web",
        )
        stage.harbor.run("planted")
        row = await watched.row(state="verified", policy="planted", origin="run")
        found = await rule(watched, f"{REPOSITORY}:v1", "planted")
        assert (found["covers"], found["repository"]) == (True, "mirror/apps/web")
        assert found["expected_since"] == row["expected_at"]
        assert found["why"].startswith("A run of policy planted brought it.")


async def test_what_was_pushed_before_the_policy_was_made_has_both_dates(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        stage.push("v1")
        pushed_by = stage.harbor.world.now()

        async def later() -> bool:
            # Harbor tells both to the millisecond.
            return stage.harbor.world.now() > pushed_by + 0.002

        await until(later)
        stage.harbor.create_policy("younger", DESTINATION, pattern="apps/**", namespace="mirror")
        async with stage.watched() as watched:
            answer = await told(watched, f"{REPOSITORY}:v1")
            pushed = answer["sources"][0]["pushed_at"][:19]
            found = next(one for one in answer["rules"] if one["policy"] == "younger")
            refused(
                found,
                "before_rule",
                f"It was pushed at {pushed}Z, before policy younger was made (20",
                "only what is pushed from then on",
            )
            # The other one is older than the image, and syncwatch is younger than both: nothing is
            # written down of it, so it is looked at.
            found = await rule(watched, f"{REPOSITORY}:v1")
            assert (found["covers"], found["cause"]) == (True, "before_watching")
            assert (answer["answer"], answer["expectations"]) == ("yes", [])
            assert (found["look"]["level"], found["look"]["problem"]) == ("readable", None)
            assert "it is there (readable, seen at" in answer["message"]


async def test_a_baseline_image_that_is_gone_or_cannot_be_asked_for_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        digest = stage.push("v1")
        await stage.harbor.idle()
        stage.registry.lose_tag(REPOSITORY, "v1")
        stage.registry.lose_manifest(REPOSITORY, digest)
        async with stage.watched() as watched:
            answer = await told(watched, f"{REPOSITORY}:v1")
            assert answer["answer"] == "no"
            assert "it is not there" in answer["message"]
            await stage.registry.stop()
            answer = await told(watched, f"{REPOSITORY}:v1")
            assert answer["answer"] == "cannot_tell"
            assert f"{DESTINATION} could not be asked for it" in answer["message"]
            assert await watched.expectations() == []


async def test_what_was_pushed_before_the_present_scope_has_both_dates(tmp_path: Path) -> None:
    async with planted(tmp_path, pattern="apps/**", filters=tags("v*")) as (stage, watched):
        stage.push("latest")
        await watched.row(reference="latest", state="verified")
        policy = stage.harbor.policy("planted")
        edit(stage.harbor, "planted", filters=[one for one in policy.filters if one.type != "tag"])

        async def seen() -> bool:
            found = await rule(watched, f"{REPOSITORY}:latest", "planted")
            return found["cause"] == "before_scope"

        await until(seen, told="the wider scope")
        refused(
            await rule(watched, f"{REPOSITORY}:latest", "planted"),
            "before_scope",
            "before policy planted got its present scope (20",
            "Until then: Policy planted copies tags that match 'v*', and latest does not.",
        )


async def test_a_malformed_pattern_stops_its_own_policy_and_every_other(tmp_path: Path) -> None:
    async with planted(tmp_path, pattern="{a") as (stage, watched):
        stage.push("v1")
        refused(
            await rule(watched, f"{REPOSITORY}:v1", "planted"),
            "malformed_pattern",
            "The name filter '{a' of policy planted is malformed",
        )
        refused(
            await rule(watched, f"{REPOSITORY}:v1"),
            "malformed_elsewhere",
            "The name filter '{a' of policy planted",
            "stops every event-based policy of Harbor main",
        )
        answer = await told(watched, f"{REPOSITORY}:v1")
        assert answer["answer"] == "no"


async def test_a_malformed_pattern_of_a_disabled_policy_stops_no_other(tmp_path: Path) -> None:
    async with planted(tmp_path, pattern="{a", enabled=False) as (_, watched):
        assert (await rule(watched, f"{REPOSITORY}:v1"))["covers"] is True


async def test_flattening_too_deep_for_a_repository_is_told_in_harbors_words(
    tmp_path: Path,
) -> None:
    deep = {"namespace": "mirror", "replace_count": 2}
    async with planted(tmp_path, pattern="apps/**", **deep) as (_, watched):
        refused(
            await rule(watched, f"{REPOSITORY}:v1", "planted"),
            "flattening_too_deep",
            '"apps/web" contains only 1 path components',
            "flattening level is 2",
        )
        found = await rule(watched, "apps/team/web:v1", "planted")
        assert (found["covers"], found["repository"]) == (True, "mirror/web")


async def test_two_sources_under_one_name_are_named(tmp_path: Path) -> None:
    flat = {"namespace": "mirror", "replace_count": -1}
    async with planted(tmp_path, pattern="apps/**", **flat) as (stage, watched):
        stage.push("v1", "one")
        await watched.row(policy="planted", state="verified")
        stage.push("v1", "other", "apps/team/web")
        await watched.row(policy="planted", source_repository="apps/team/web", state="verified")
        found = await rule(watched, f"{REPOSITORY}:v1", "planted")
        assert (found["covers"], found["cause"]) == (True, "name_collision")
        assert "to mirror/web, and apps/team/web arrives there too" in found["why"]
        assert (await told(watched, f"{REPOSITORY}:v1"))["answer"] == "no"
        # By the name there, both are meant.
        answer = await told(watched, f"{stage.registry.host}/mirror/web:v1")
        known = {one["repository"] for one in answer["sources"]}
        assert known == {REPOSITORY, "apps/team/web"}


async def test_what_the_configuration_ignores_is_not_expected(tmp_path: Path) -> None:
    top = {"ignore": [{"repository": "apps/**", "reference": "dev-*"}]}
    async with planted(tmp_path, top=top, pattern="apps/**") as (_, watched):
        refused(
            await rule(watched, f"{REPOSITORY}:dev-1", "planted"),
            "ignored",
            "the configuration ignores it: repository 'apps/**', reference 'dev-*'",
        )
        assert (await rule(watched, f"{REPOSITORY}:v1", "planted"))["covers"] is True


async def test_a_policy_that_pulls_brings_nothing_out(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        for name, trigger in (("pulls", "scheduled"), ("never", "event_based")):
            stage.harbor.create_policy(name, DESTINATION, trigger=trigger, cron="0 0 3 * * *")
            edit(stage.harbor, name, pull=True)
        async with stage.watched() as watched:
            refused(await rule(watched, f"{REPOSITORY}:v1", "pulls"), "pull_mode", "pulls into")
            found = await rule(watched, f"{REPOSITORY}:v1", "never")
            refused(found, "remote_source", "so it never runs")


async def test_a_schedule_names_its_next_run(tmp_path: Path) -> None:
    cron = {"trigger": "scheduled", "cron": "0 30 3 * * *"}
    async with planted(tmp_path, pattern="apps/**", **cron) as (stage, watched):
        for image in ("v1", "not-there"):
            found = await rule(watched, f"{REPOSITORY}:{image}", "planted")
            assert found["covers"] is True
            assert found["expected_since"].endswith("T03:30:00.000Z")
            assert "the next run is at" in found["why"]
            stage.push("v1")


async def test_a_tag_that_stays_because_of_override_off_is_told(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        stage.harbor.policy(POLICY).override = False
        async with stage.watched() as watched:
            digest = stage.push("v1", "one")
            await watched.row(state="verified")
            stage.push("v1", "two")
            await watched.row(state="failed", reason="not_overridden")
            found = await rule(watched, f"{REPOSITORY}:v1")
            refused(found, "not_overridden", "does not override", digest)
            assert (await told(watched, f"{REPOSITORY}:v1"))["answer"] == "no"


async def test_what_was_pushed_before_the_destination_moved_stays_behind(tmp_path: Path) -> None:
    async with (
        LabRegistry().serving() as second,
        scene(tmp_path) as stage,
        stage.watched() as watched,
    ):
        stage.push("v1")
        await watched.row(state="verified")
        (row,) = stage.harbor.world.registries.values()
        before, row.url = row.url, second.url

        async def moved() -> bool:
            return (await rule(watched, f"{REPOSITORY}:v1"))["covers"] is False

        await until(moved, told="the end of the destination")
        refused(
            await rule(watched, f"{REPOSITORY}:v1"),
            "before_scope",
            f"copied to cluster1 at {before}, which Harbor no longer has",
        )
        (one,) = (await told(watched, f"{REPOSITORY}:v1"))["expectations"]
        assert (one["state"], one["reason"]) == ("closed", "destination_gone")
        assert (await rule(watched, f"{REPOSITORY}:v2"))["covers"] is True


async def test_what_went_there_has_its_timeline_and_what_waits_says_so(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        digest = stage.push("v1")
        row = await watched.row(state="verified")
        answer = await told(watched, f"{REPOSITORY}:v1")
        assert (answer["digest"], answer["answer"]) == (digest, "yes")
        (found,) = answer["rules"]
        assert (found["covers"], found["cause"], found["destination"]) == (True, None, DESTINATION)
        assert found["expected_since"] == row["expected_at"]
        (one,) = answer["expectations"]
        assert {name: one[name] for name in row if name != "observed_at"}.keys() <= row.keys()
        assert [line["what"] for line in one["timeline"]][-1:] != []
        for image in (
            f"{REPOSITORY}@{digest}",
            f"{stage.harbor.host}/{REPOSITORY}:v1",
            f"{stage.registry.host}/{REPOSITORY}:v1",
        ):
            other = await told(watched, image)
            assert (other["digest"], other["answer"]) == (digest, "yes"), other
            assert [each["id"] for each in other["expectations"]] == [row["id"]]

        stage.registry.fault(Fault.FORBIDDEN, REPOSITORY)
        stage.push("v2")
        await watched.row(reference="v2", state="unknown")
        answer = await told(watched, f"{REPOSITORY}:v2")
        assert (answer["rules"][0]["covers"], answer["answer"]) == (True, "cannot_tell")
        assert "unknown/forbidden" in answer["message"]


async def test_while_harbor_is_away_the_store_stands_in_and_it_is_said(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        digest = stage.push("v1")
        await watched.row(state="verified")
        await stage.harbor.stop()
        answer = await told(watched, f"{REPOSITORY}:v1")
        (source,) = answer["sources"]
        assert (source["read_from"], source["digest"]) == ("store", digest)
        assert (answer["digest"], answer["answer"]) == (digest, "yes")
        assert "Harbor main" in source["problem"]
        assert source["problem"] in answer["message"]
        unknown = await told(watched, f"{REPOSITORY}:v2")
        assert (unknown["rules"][0]["covers"], unknown["answer"]) == (True, "cannot_tell")


async def test_a_destination_that_is_named_is_the_only_one_told_of(tmp_path: Path) -> None:
    async with LabRegistry().serving() as second, scene(tmp_path) as stage:
        stage.harbor.create_registry("cluster2", second.url)
        stage.harbor.create_policy("to-cluster2", "cluster2", pattern="other/**")
        async with stage.watched() as watched:
            answer = await told(watched, f"{REPOSITORY}:v1", destination="cluster2")
            assert [one["policy"] for one in answer["rules"]] == ["to-cluster2"]
            assert answer["answer"] == "no"
            assert answer["message"].startswith(f"{REPOSITORY}:v1 does not go to cluster2: Policy")
            both = await told(watched, f"{REPOSITORY}:v1")
            assert {one["destination"] for one in both["rules"]} == {DESTINATION, "cluster2"}
            for query, status in (
                ({"image": "apps/web:v1", "destination": "cluster3"}, 404),
                ({"image": "nowhere.example.net/apps/web:v1"}, 404),
                ({"image": "apps/Web"}, 400),
                ({"image": f"{second.host}/apps/web:v1", "destination": DESTINATION}, 400),
                ({}, 400),
                ({"image": "apps/web", "img": "x"}, 400),
            ):
                async with watched.session.get(watched.daemon.url + EXPLAIN, params=query) as got:
                    assert got.status == status, query
                    assert (await got.json())["error"]["message"]


async def test_a_name_there_that_may_be_of_many_sources_is_said_to_be(tmp_path: Path) -> None:
    flat = {"namespace": "mirror", "replace_count": -1}
    async with planted(tmp_path, **flat) as (stage, watched):
        there = f"{stage.registry.host}/mirror/web:v1"
        found = await rule(watched, there, "planted")
        assert (found["covers"], found["cause"]) == (None, "name_ambiguous")
        assert (await told(watched, there))["answer"] == "cannot_tell"
        found = await rule(watched, f"{stage.registry.host}/elsewhere/web:v1", "planted")
        refused(found, "name_elsewhere", "but to mirror/")
        # What was seen to arrive there is known.
        stage.push("v1")
        await watched.row(policy="planted", state="verified")
        found = await rule(watched, there, "planted")
        assert (found["covers"], found["source_repository"]) == (True, REPOSITORY)


async def test_a_policy_that_copies_to_another_place_now_says_so(tmp_path: Path) -> None:
    async with (
        LabRegistry().serving() as second,
        scene(tmp_path) as stage,
        stage.watched() as watched,
    ):
        elsewhere = stage.harbor.create_registry("cluster2", second.url)
        stage.push("v1")
        row = await watched.row(state="verified")
        edit(stage.harbor, POLICY, registry_id=elsewhere)

        async def moved() -> bool:
            found = await rule(watched, f"{REPOSITORY}:v2", destination=DESTINATION)
            return found["covers"] is False

        await until(moved, told="the policy's new destination")
        found = await rule(watched, f"{REPOSITORY}:v2", destination=DESTINATION)
        refused(found, "destination_changed", "copies it to cluster2")
        # What it had promised before is expected there as ever.
        for query in (
            {"image": f"{REPOSITORY}:v1", "destination": DESTINATION},
            {"image": f"{stage.registry.host}/{REPOSITORY}:v1"},
        ):
            answer = await told(watched, **query)
            assert (answer["rules"][0]["destination"], answer["answer"]) == (DESTINATION, "yes")
            assert [one["id"] for one in answer["expectations"]] == [row["id"]]


async def test_a_child_of_an_index_is_judged_inside_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        index = images.index(images.image("a"), images.image("b"))
        stage.harbor.push(REPOSITORY, "v1", index)
        await watched.row(reference="v1", state="verified")
        child = images.image("a").digest
        answer = await told(watched, f"{REPOSITORY}@{child}")
        assert (answer["digest"], answer["answer"]) == (child, "yes")
        assert "is part of an index" in answer["message"]


async def test_a_project_with_a_dot_is_no_host_before_anything_was_pushed(tmp_path: Path) -> None:
    async with planted(tmp_path, pattern="named.here/**") as (stage, watched):
        stage.harbor.create_project("a.b")
        edit(stage.harbor, POLICY, filters=[])
        for image in ("a.b/x.y:latest", "named.here/web:v1"):

            async def covered(image: str = image) -> bool:
                found = await watched.get(EXPLAIN, image=image)
                return any(one["covers"] for one in found.get("rules", ()))

            await until(covered, told=image)
        found = await watched.get(EXPLAIN, image="c.d/x:latest")
        assert found["error"]["message"].endswith(
            "c.d is the host of no Harbor and no destination here."
        )
        await stage.harbor.stop()
        assert (await told(watched, "c.d/x:latest"))["answer"] == "cannot_tell"


async def test_each_of_two_harbors_answers(tmp_path: Path) -> None:
    async with LabHarbor().serving() as other, scene(tmp_path) as stage:
        user, password = other.create_robot("syncwatch")
        stage.config.write_text(
            stage.config.read_text().replace(
                "harbors:\n",
                "harbors:\n- {name: second, webhook: {authorization: x}, "
                f"url: '{other.url}', username: '{user}', password: '{password}'}}\n",
            )
        )
        other.create_registry("cluster9", stage.registry.url)
        other.create_policy("to-cluster9", "cluster9", pattern="**")
        other.push(REPOSITORY, "v1", images.image("v1"))
        async with stage.watched() as watched:
            answer = await told(watched, f"{REPOSITORY}:v9")
            assert {(one["harbor"], one["policy"]) for one in answer["rules"]} == {
                ("main", POLICY),
                ("second", "to-cluster9"),
            }
            answer = await told(watched, f"{other.host}/{REPOSITORY}:v9")
            assert [one["harbor"] for one in answer["rules"]] == ["second"]


def test_every_cause_has_its_heading_and_no_other_is_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (.+)$", page, flags=re.MULTILINE) == list(Cause)


ORACLE = Path(__file__).parents[1] / "oracle" / "filters.json"


def test_the_filter_named_refuses_where_harbors_own_function_does() -> None:
    asked = 0
    for case in json.loads(ORACLE.read_text(encoding="utf-8")):
        filters = tuple(
            (one["type"], _frozen(one["value"]), one.get("decoration", ""))
            for one in case["filters"]
        )
        by_hand = Rules(True, "manual", "", filters, "", 0, True, False, True)
        for one in case["artifacts"]:
            if len(one["tags"]) > 1 or len(case["artifacts"]) > 1:
                continue
            asked += 1
            reference = one["tags"][0] if one["tags"] else one["digest"]
            image = Image(case["repository"], reference, one["digest"], labels=tuple(one["labels"]))
            found = kept_back("any", by_hand, image)
            malformed = found is not None and found.cause is Cause.MALFORMED_PATTERN
            assert malformed == bool(case["error"]), case
            assert (found is None) == (bool(case["selected"]) and not case["error"]), case
    assert asked > 100


def _frozen(value: str | list[str]) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else tuple(value)
