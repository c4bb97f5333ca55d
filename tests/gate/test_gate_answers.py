"""Every answer of the gate, from a real cause, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from asking_the_gate import gate
from running import running, settings_file, until
from scene import DESTINATION, POLICY, REPOSITORY, edit, scene

from syncwatch.lab import images
from syncwatch.lab.faults import Fault
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = f"{REPOSITORY}:1.0"
ELSEWHERE = "sha256:" + "e" * 64


async def test_usable_where_harbor_copied_it_and_says_the_digest_to_pin(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        digest = stage.push("1.0")
        await watched.row(reference="1.0")
        told = await gate(watched, IMAGE, DESTINATION, wait="20s")
        assert told.short == (200, "verified", None), told.body
        assert told.body["digest"] == digest
        assert told.body["usable"] is True
        there = told.there[DESTINATION]
        assert there["digest"] == digest
        assert there["level"] == "readable"
        assert there["pull"] == f"{stage.registry.host}/{REPOSITORY}@{digest}"
        assert there["observed_at"] is not None


async def test_without_a_destination_all_that_expect_it_are_asked(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        told = await gate(watched, IMAGE, wait="20s")
        assert (told.status, list(told.there)) == (200, [DESTINATION]), told.body


async def test_the_name_at_the_destination_means_that_destination(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        digest = stage.push("1.0")
        name = f"{stage.registry.host}/{REPOSITORY}"
        for image in (f"{name}:1.0", f"{name}@{digest}", f"{name}:1.0@{digest}"):
            told = await gate(watched, image, wait="20s")
            assert (told.status, list(told.there)) == (200, [DESTINATION]), (image, told.body)
            assert told.body["digest"] == digest


@pytest.mark.parametrize(("pattern", "count"), [("**", 1), ("*/web", 1), ("apps/**", -1)])
async def test_a_name_at_the_destination_whose_source_flattening_hides_is_found(
    tmp_path: Path, pattern: str, count: int
) -> None:
    async with scene(tmp_path, destination={"deadline": "1h"}) as stage:
        edit(stage.harbor, POLICY, enabled=False)
        stage.harbor.create_policy(
            "flat", DESTINATION, pattern=pattern, namespace="mirror", replace_count=count
        )
        old = stage.push("old")
        await stage.harbor.idle()
        name = f"{stage.registry.host}/mirror/web"
        async with stage.watched() as watched:
            for image in (f"{name}:old", f"{name}@{old}"):
                told = await gate(watched, image)
                assert (told.status, told.body["digest"]) == (200, old), told.body
            stage.harbor.pause_queue()
            new = stage.push("new")
            told = await gate(watched, f"{name}:new")
            assert (told.status, told.body["digest"]) == (409, new), told.body
            stage.harbor.resume_queue()
            assert (await gate(watched, f"{name}:new", wait="20s")).status == 200
            told = await gate(watched, f"{stage.registry.host}/mirror/unheard:of")
            assert told.status == 503, told.body
            told = await gate(watched, f"{stage.registry.host}/elsewhere/web:old")
            assert told.status == 404, told.body


async def test_one_destination_that_is_unknown_says_nothing_of_the_others(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        told = await gate(watched, IMAGE, DESTINATION, "nope")
        assert told.status == 404
        assert {name: one["status"] for name, one in told.there.items()} == {
            DESTINATION: 200,
            "nope": 404,
        }
        best = await gate(watched, IMAGE, DESTINATION, "nope", any="1")
        assert (best.status, best.body["digest"]) == (200, told.there[DESTINATION]["digest"])


async def test_not_yet_while_no_execution_was_seen_and_held_until_it_is_there(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination={"deadline": "1h"}) as stage, stage.watched() as watched:
        stage.harbor.pause_queue()
        stage.push("1.0")
        await watched.row(reference="1.0")
        told = await gate(watched, IMAGE, DESTINATION)
        assert told.status == 409, told.body
        assert told.body["state"] == "pending"
        assert 1 <= int(told.headers["Retry-After"]) <= 30
        held = await gate(watched, IMAGE, DESTINATION, wait="300ms")
        assert held.status == 409
        stage.harbor.resume_queue()
        assert (await gate(watched, IMAGE, DESTINATION, wait="20s")).status == 200


async def test_a_push_that_nobody_told_of_is_not_yet(tmp_path: Path) -> None:
    """The push may be younger than the store: Harbor is asked for each question."""
    settings = {"poll_every": "1h", "sweep_every": "1h"}
    async with (
        scene(tmp_path, harbor=settings) as stage,
        stage.watched(webhooks=False) as watched,
    ):
        stage.harbor.pause_queue()
        digest = stage.push("1.0")
        told = await gate(watched, IMAGE, DESTINATION)
        assert told.short == (409, None, "waiting"), told.body
        assert told.body["digest"] == digest


async def test_failed_where_the_destination_lost_a_layer(tmp_path: Path) -> None:
    settings = {"proofs_kept": "1s"}
    async with scene(tmp_path, destination=settings) as stage, stage.watched() as watched:
        stage.push("1.0")
        assert (await gate(watched, IMAGE, wait="20s")).status == 200
        stage.registry.lose_blob(images.image("1.0").layer_digests[0])

        async def is_lost() -> bool:
            told = await gate(watched, IMAGE, DESTINATION, max_age="0s")
            return told.status == 422 and told.body["reason"] == "blob_missing"

        await until(is_lost)


async def test_failed_where_harbor_started_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path, destination={"deadline": "2s"}) as stage, stage.watched() as watched:
        stage.stop_starting()
        stage.push("1.0")
        told = await gate(watched, IMAGE, DESTINATION, wait="30s")
        assert told.short == (422, "failed", "not_started"), told.body
        assert "Retry-After" not in told.headers


async def test_cannot_ask_a_destination_that_is_away(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        assert (await gate(watched, IMAGE, wait="20s")).status == 200
        await stage.registry.stop()
        assert (await gate(watched, IMAGE)).status == 200, "seen within max_age"
        told = await gate(watched, IMAGE, max_age="0s")
        assert told.status == 503, told.body
        assert told.body["reason"] == "unreachable"
        assert "last seen" in told.body["message"]
        assert "Retry-After" in told.headers


async def test_cannot_tell_what_a_tag_names_while_harbor_is_away(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        digest = stage.push("1.0")
        assert (await gate(watched, IMAGE, wait="20s")).status == 200
        await stage.harbor.stop()
        told = await gate(watched, IMAGE, DESTINATION)
        assert told.status == 503
        assert told.body["reason"] == "harbor_unreachable"
        assert list(told.there) == [DESTINATION]
        by_digest = await gate(watched, f"{REPOSITORY}@{digest}", DESTINATION)
        assert by_digest.status == 200, "a digest needs no Harbor"


async def test_a_project_that_harbor_does_not_show_cannot_be_told(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        told = await gate(watched, "secret/web:1.0", DESTINATION)
        assert told.status == 503, told.body


async def test_absent_and_never_pushed(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        told = await gate(watched, f"{REPOSITORY}:nothing", DESTINATION, wait="20s")
        assert told.short == (404, None, None), told.body
        assert "Harbor has no image" in told.body["message"]


async def test_absent_where_no_rule_brings_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.harbor.create_project("other")
        stage.push("1.0", repository="other/web")
        for named in ([], [DESTINATION]):
            told = await gate(watched, "other/web:1.0", *named)
            assert told.short[:2] == (404, None), told.body
            assert POLICY in told.body["message"]


async def test_a_policy_made_a_moment_ago_may_bring_it(tmp_path: Path) -> None:
    settings = {"policies_every": "1h", "poll_every": "1h", "sweep_every": "1h"}
    async with (
        scene(tmp_path, harbor=settings) as stage,
        stage.watched(webhooks=False) as watched,
    ):
        stage.harbor.create_project("new")
        stage.harbor.pause_queue()
        stage.harbor.create_policy("young", DESTINATION, pattern="new/**")
        stage.push("1.0", repository="new/web")
        for named in ([], [DESTINATION]):
            told = await gate(watched, "new/web:1.0", *named)
            assert told.status == 409, told.body
            assert int(told.headers["Retry-After"]) > 0
            assert "younger than what is known of Harbor's policies" in told.body["message"]


async def test_of_two_harbors_the_one_that_brings_it_there_says_the_digest(
    tmp_path: Path,
) -> None:
    async with (
        LabHarbor().serving() as second,
        LabRegistry("cluster2").serving() as registry,
        scene(tmp_path) as stage,
    ):
        second.create_project("apps")
        second.create_registry("cluster2", registry.url)
        second.create_policy("to-cluster2", "cluster2", pattern="apps/**")
        user, password = second.create_robot("syncwatch")
        document = yaml.safe_load(stage.config.read_text())
        document["harbors"].append(
            document["harbors"][0]
            | {"name": "second", "url": second.url, "username": user, "password": password}
        )
        stage.config.write_text(yaml.safe_dump(document))
        async with stage.watched() as watched:
            digest = stage.push("1.0", "ours")
            other = second.push(REPOSITORY, "1.0", images.image("theirs"))
            told = await gate(watched, IMAGE, DESTINATION, wait="20s")
            assert (told.status, told.body["digest"]) == (200, digest), told.body
            told = await gate(watched, IMAGE, "cluster2", wait="20s")
            assert (told.status, told.body["digest"]) == (200, other), told.body
            await watched.row(reference="1.0", harbor="main", state="verified")
            stage.harbor.delete_artifact(REPOSITORY, "1.0")
            told = await gate(watched, IMAGE, DESTINATION, max_age="0s")
            assert told.body["digest"] in (None, digest), told.body


@pytest.mark.parametrize("image", ["docker.io/library/busybox:1", "stranger.example.com/a/b:1"])
async def test_absent_where_the_host_is_nobodys(tmp_path: Path, image: str) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        told = await gate(watched, image)
        assert told.status == 404
        assert "host of no Harbor" in told.body["message"]


async def test_absent_at_a_destination_that_is_unknown(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        told = await gate(watched, IMAGE, "cluster2")
        assert told.status == 404
        assert told.there["cluster2"]["status"] == 404
        assert "did you mean cluster1?" in told.body["message"]


async def test_a_baseline_image_is_looked_at_when_asked(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        digest = stage.push("old")
        await stage.harbor.idle()
        gone = stage.push("gone")
        await stage.harbor.idle()
        stage.registry.lose_tag(REPOSITORY, "gone")
        stage.registry.lose_manifest(REPOSITORY, gone)
        async with stage.watched() as watched:
            told = await gate(watched, f"{REPOSITORY}:old", DESTINATION)
            assert told.short == (200, None, None), told.body
            assert told.there[DESTINATION]["digest"] == digest
            assert await watched.expectations() == [], "asking expects nothing"
            absent = await gate(watched, f"{REPOSITORY}:gone", DESTINATION)
            assert absent.short == (404, None, "missing"), absent.body


async def test_a_tag_that_moved_is_not_usable_by_its_old_image(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0", "first")
        assert (await gate(watched, IMAGE, wait="20s")).status == 200
        stage.harbor.pause_queue()
        digest = stage.push("1.0", "second")
        told = await gate(watched, IMAGE, DESTINATION)
        assert told.status == 409, told.body
        assert told.body["digest"] == digest
        assert told.there[DESTINATION]["digest"] != digest
        stage.harbor.resume_queue()
        assert (await gate(watched, IMAGE, DESTINATION, wait="20s")).status == 200


async def test_deleted_at_its_source_and_absent(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        digest = stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await watched.row(reference="1.0", state="closed")
        stage.registry.lose_tag(REPOSITORY, "1.0")
        stage.registry.lose_manifest(REPOSITORY, digest)
        told = await gate(watched, IMAGE, DESTINATION, max_age="0s")
        assert told.short[:2] == (404, None), told.body


async def test_pushed_again_after_a_deletion_is_not_yet_before_it_is_planned(
    tmp_path: Path,
) -> None:
    settings = {"poll_every": "1h", "sweep_every": "1h"}
    async with scene(tmp_path, harbor=settings) as stage, stage.watched() as watched:
        digest = stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        await watched.row(reference="1.0", state="closed", reason="deleted_at_source")
        stage.registry.lose_tag(REPOSITORY, "1.0")
        stage.registry.lose_manifest(REPOSITORY, digest)
        stage.harbor.pause_queue()
        # Nobody tells of this push.
        stage.harbor.switches.drop_webhooks = True
        assert stage.push("1.0") == digest
        told = await gate(watched, IMAGE, DESTINATION, max_age="0s")
        assert told.short == (409, None, "waiting"), told.body


async def test_a_digest_that_is_not_there_cannot_be_told_while_harbor_is_away(
    tmp_path: Path,
) -> None:
    settings = {"poll_every": "1h", "sweep_every": "1h"}
    async with (
        scene(tmp_path, harbor=settings) as stage,
        stage.watched(webhooks=False) as watched,
    ):
        stage.harbor.pause_queue()
        digest = stage.push("1.0")
        image = f"{REPOSITORY}@{digest}"
        assert (await gate(watched, image, DESTINATION)).status == 409
        await stage.harbor.stop()
        for named in ([DESTINATION], []):
            told = await gate(watched, image, *named)
            assert told.short == (503, None, "harbor_unreachable"), told.body


async def test_a_part_of_an_index_that_is_not_there_is_not_waited_for(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        index = images.index(images.image("a"), images.image("b"))
        stage.harbor.push(REPOSITORY, "1.0", index)
        await watched.row(reference="1.0", state="verified")
        child = stage.registry.lose_child(REPOSITORY, "1.0")
        # As if it had been pushed a while ago.
        stage.harbor.switches.clock_skew = 180.0

        async def is_no() -> bool:
            told = await gate(watched, f"{REPOSITORY}@{child}", DESTINATION, max_age="0s")
            return told.status == 404

        await until(is_no)


async def test_the_digest_of_a_tag_that_moved_on_is_not_waited_for(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        old = stage.push("1.0", "old")
        await watched.row(reference="1.0", state="verified", digest=old)
        stage.push("1.0", "new")
        await watched.row(reference="1.0", state="closed", digest=old)
        stage.registry.lose_manifest(REPOSITORY, old)
        # As if it had been pushed a while ago.
        stage.harbor.switches.clock_skew = 180.0

        async def is_no() -> bool:
            told = await gate(watched, f"{REPOSITORY}@{old}", DESTINATION, max_age="0s")
            return told.status == 404

        await until(is_no)


async def test_what_a_policy_would_have_kept_and_is_gone_may_come(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        edit(stage.harbor, POLICY, override=False)
        async with stage.watched() as watched:
            old = stage.push("1.0", "old")
            await watched.row(reference="1.0", state="verified")
            stage.harbor.pause_queue()
            stage.harbor.switches.drop_webhooks = True
            stage.registry.lose_tag(REPOSITORY, "1.0")
            stage.registry.lose_manifest(REPOSITORY, old)
            stage.push("1.0", "new")
            told = await gate(watched, IMAGE, DESTINATION)
            assert told.status == 409, told.body


async def test_deeper_than_configured(tmp_path: Path) -> None:
    async with (
        scene(tmp_path, destination={"level": "matched"}) as stage,
        stage.watched() as watched,
    ):
        stage.push("1.0")
        assert (await gate(watched, IMAGE, wait="20s")).there[DESTINATION]["level"] == "matched"
        told = await gate(watched, IMAGE, level="readable")
        assert (told.status, told.there[DESTINATION]["level"]) == (200, "readable"), told.body
        stage.registry.lose_blob(images.image("1.0").layer_digests[0])
        stage.push("2.0", "1.0")
        assert (await gate(watched, f"{REPOSITORY}:2.0", wait="20s")).status == 200
        pulled = await gate(watched, IMAGE, level="pulled")
        assert pulled.status == 422
        assert "no probe" in pulled.body["message"]


async def test_always_200_for_tools_that_read_only_the_body(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        told = await gate(watched, f"{REPOSITORY}:nothing", DESTINATION, always="200")
        assert told.status == 200
        assert (told.body["status"], told.body["usable"]) == (404, False)


async def test_post_asks_the_same(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        told = await gate(watched, IMAGE, DESTINATION, post=True, wait="20s")
        assert told.status == 200


async def test_two_destinations_all_or_any(tmp_path: Path) -> None:
    async with LabRegistry("cluster2").serving() as second, scene(tmp_path) as stage:
        stage.harbor.create_registry("cluster2", second.url)
        stage.harbor.create_policy("to-cluster2", "cluster2", pattern="apps/**")
        second.fault(Fault.SERVER_ERROR)
        async with stage.watched() as watched:
            stage.push("1.0")
            await watched.row(reference="1.0", destination="cluster1", state="verified")
            both = await gate(watched, IMAGE)
            assert both.body["reason"] == "server_error", both.body
            assert {name: one["status"] for name, one in both.there.items()} == {
                "cluster1": 200,
                "cluster2": 503,
            }
            assert both.status == 503
            assert (await gate(watched, IMAGE, any="1")).status == 200
            assert (await gate(watched, IMAGE, "cluster1")).status == 200
            assert (await gate(watched, IMAGE, "cluster2", any="true")).status == 503


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "image"),
        ({"image": "apps/WEB:1"}, "image"),
        ({"image": "a/b:1", "destnation": "x"}, "did you mean destination?"),
        ({"image": "a/b:1", "wait": "55"}, "wait: not a duration"),
        ({"image": "a/b:1", "wait": "1h"}, "wait: 10m at most"),
        ({"image": "a/b:1", "level": "deep"}, "level"),
        ({"image": "a/b:1", "any": "yes"}, "any"),
        ({"image": "a/b:1", "always": "201"}, "always"),
        ({"image": "a/b:1", "max_age": "-1s"}, "max_age"),
    ],
)
async def test_a_question_that_cannot_be_meant_so(
    tmp_path: Path, query: dict[str, str], words: str
) -> None:
    config = settings_file(
        tmp_path, {"url": "http://127.0.0.1:9", "username": "a", "password": "b"}
    )
    async with running(config, ready=False) as watched:
        url = watched.daemon.url + "/api/v1/gate"
        async with watched.session.get(url, params=query) as answer:
            told = await answer.json()
        assert answer.status == 400
        assert words in told["error"]["message"], told
