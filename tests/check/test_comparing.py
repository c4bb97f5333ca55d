"""What `check` compares, and what it makes of each thing it finds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import yaml
from compared import compared, comparison_of, counted
from daemon.scene import REPOSITORY, edit, scene
from running import until
from servers.docker_registry import docker_registry

from syncwatch.check.looking import Manner
from syncwatch.errors import ConfigError
from syncwatch.lab import images
from syncwatch.lab.harbor import READ_ONLY_ROBOT
from syncwatch.lab.registry import Fault, LabRegistry
from syncwatch.model import Level, State
from syncwatch.plan.matching import Filter

if TYPE_CHECKING:
    from pathlib import Path

    from daemon.scene import Scene


IN_APPS = [
    entry | {"namespace": "apps"} if entry["kind"] == "project" else entry
    for entry in READ_ONLY_ROBOT
]


async def pushed(here: Scene, *tags: str, repository: str = REPOSITORY) -> None:
    """Tags at the source, and copied by Harbor."""
    for tag in tags:
        here.push(tag, repository=repository)
    await here.harbor.idle()


async def test_what_is_there_is_verified_as_deep_as_the_settings_say(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, "1.0", "1.1")
        found = await compared(here.config)
        assert (found.code, found.states) == (
            0,
            {"apps/web:1.0": "verified", "apps/web:1.1": "verified"},
        )
        assert {row.level for row in found.rows} == {Level.READABLE}
        matched = await compared(here.config, manner=Manner(level=Level.MATCHED))
        assert {row.level for row in matched.rows} == {Level.MATCHED}


async def test_each_way_to_be_wrong_has_its_own_reason(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, "good", "gone", "untagged", "old", "holed", "garbled", "refused")
        registry = here.registry
        registry.lose_manifest(REPOSITORY, here.harbor.artifact(REPOSITORY, "gone").digest)
        registry.lose_tag(REPOSITORY, "gone")
        registry.lose_tag(REPOSITORY, "untagged")
        registry.push(REPOSITORY, "old", images.image("what was there before"))
        registry.lose_blob(images.image("holed").layer_digests[0])
        registry.corrupt_manifest(REPOSITORY, here.harbor.artifact(REPOSITORY, "garbled").digest)
        registry.fault(Fault.POLICY_BLOCKED, reference="refused")
        found = await compared(here.config)
        assert found.states == {
            "apps/web:good": "verified",
            "apps/web:gone": "failed: missing",
            "apps/web:untagged": "failed: tag_missing",
            "apps/web:old": "failed: digest_mismatch",
            "apps/web:holed": "failed: blob_missing",
            "apps/web:garbled": "failed: manifest_corrupt",
            "apps/web:refused": "failed: policy_blocked",
        }
        assert found.code == 1


async def test_quick_compares_names_and_says_why_one_differs(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, "good", "gone", "old", "holed")
        here.registry.lose_tag(REPOSITORY, "gone")
        here.registry.push(REPOSITORY, "old", images.image("what was there before"))
        here.registry.lose_blob(images.image("holed").layer_digests[0])
        here.registry.requests.clear()
        found = await compared(here.config, manner=Manner(quick=True))
        assert found.states == {
            "apps/web:good": "verified",
            "apps/web:gone": "failed: tag_missing",
            "apps/web:old": "failed: digest_mismatch",
            "apps/web:holed": "verified",
        }
        assert found.row("apps/web:holed").level is None
        assert found.tally.as_json()["names_only"] is True
        asked = [one for one in here.registry.requests if one.path.endswith("/good")]
        assert [one.method for one in asked] == ["HEAD"]


@pytest.mark.real
@pytest.mark.parametrize("quick", [False, True], ids=["readable", "quick"])
async def test_a_docker_registry_is_compared_as_it_is(tmp_path: Path, quick: bool) -> None:
    async with scene(tmp_path) as here, docker_registry(tmp_path) as real:
        for tag in ("good", "good-too", "gone", "old", "holed"):
            here.push(tag)
            was = "what was there before" if tag == "old" else tag
            await real.push(REPOSITORY, tag, images.image(was))
        real.lose_tag(REPOSITORY, "gone")
        real.lose_blob(images.image("holed").layer_digests[0])
        here.harbor.create_registry("real", real.url)
        here.harbor.create_policy("to-real", "real", pattern="apps/**")
        found = await compared(here.config, destinations=("real",), manner=Manner(quick=quick))
        assert found.states == {
            "apps/web:good": "verified",
            "apps/web:good-too": "verified",
            "apps/web:gone": "failed: tag_missing",
            "apps/web:old": "failed: digest_mismatch",
            "apps/web:holed": "verified" if quick else "failed: blob_missing",
        }


async def test_quick_does_not_believe_a_cache_that_says_304_to_everything(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, "old")
        here.registry.push(REPOSITORY, "old", images.image("what was there before"))
        here.registry.fault(Fault.NOT_MODIFIED_LIE)
        found = await compared(here.config, manner=Manner(quick=True))
        assert found.code != 0


async def test_a_destination_that_cannot_be_asked_is_unknown_never_missing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, *map(str, range(12)))
        await here.registry.stop()
        one = await compared(here.config, "apps/web:1")
        assert (one.states, one.code) == ({"apps/web:1": "unknown: unreachable"}, 4)
        found = await compared(here.config, manner=Manner(quick=True))
        assert set(found.states.values()) == {"unknown: unreachable"}
        assert (len(found.rows), found.code) == (12, 4)


async def test_a_wrong_password_is_unknown_and_not_tried_for_every_image(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, *map(str, range(60)))
        here.registry.users = {"reader": "right"}
        document = yaml.safe_load(here.config.read_text())
        login = {"username": "reader", "password": "wrong-secret"}
        document["destinations"].append({"name": "cluster1", "url": here.registry.url, **login})
        here.config.write_text(yaml.safe_dump(document))
        here.registry.requests.clear()
        found = await compared(here.config)
        assert set(found.states.values()) == {"unknown: unauthorized"}
        assert (len(found.rows), found.code) == (60, 4)
        assert len(here.registry.requests) < 60
        assert "wrong-secret" not in str(found.rows)


async def test_a_registry_that_wants_to_be_left_alone_is_waited_for_but_not_for_long(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, *map(str, range(20)))
        here.registry.retry_after = 1
        here.registry.fault(Fault.RATE_LIMITED, times=1)
        assert (await compared(here.config)).code == 0
        here.registry.retry_after = 3600
        here.registry.fault(Fault.RATE_LIMITED)
        here.registry.requests.clear()
        found = await compared(here.config)
        assert set(found.states.values()) == {"unknown: rate_limited"}
        assert len(here.registry.requests) < 20


@pytest.mark.parametrize("quick", [False, True], ids=["readable", "quick"])
async def test_a_cache_that_fetches_what_it_is_asked_for_is_not_asked(
    tmp_path: Path, quick: bool
) -> None:
    async with (
        scene(tmp_path) as here,
        LabRegistry(pull_through=here.registry.url).serving() as cache,
    ):
        await pushed(here, "1.0")
        here.harbor.create_registry("cache", cache.url)
        here.harbor.create_policy("to-cache", "cache", pattern="apps/**")
        found = await compared(here.config, destinations=("cache",), manner=Manner(quick=quick))
        assert found.states == {"apps/web:1.0": "unknown: pull_through"}
        assert cache.digest(REPOSITORY, "1.0") is None


async def test_harbor_that_refuses_a_project_leaves_it_unknown(tmp_path: Path) -> None:
    async with scene(tmp_path, permissions=IN_APPS) as here:
        await pushed(here, "1.0")
        here.harbor.create_project("secret")
        here.harbor.push("secret/plans", "1.0", images.image("plans"))
        here.harbor.create_policy("secrets", "cluster1", pattern="secret/**")
        found = await compared(here.config)
        assert found.states == {"apps/web:1.0": "verified", "secret/**": "unknown: forbidden"}
        assert found.code == 4
        assert "project secret" in found.row("secret/**").message


async def test_harbor_that_does_not_answer_is_said(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.harbor.stop()
        found = await compared(here.config)
        assert (found.rows, found.code) == ([], 4)
        assert "main" in found.tally.problems[0]
        await here.harbor.start()


async def test_the_scope_narrows_what_is_compared(tmp_path: Path) -> None:
    async with scene(tmp_path) as here, LabRegistry().serving() as second:
        here.harbor.create_registry("cluster2", second.url)
        here.harbor.create_policy("to-cluster2", "cluster2", pattern="apps/**")
        await pushed(here, "1.0", "2.0-rc1")
        await pushed(here, "1.0", repository="apps/deep/api")
        await pushed(here, "1.0", repository="library/other")

        async def seen(*references: str, **scope: tuple[str, ...]) -> list[str]:
            found = await compared(here.config, *references, **scope)
            assert found.code == 0
            return sorted(f"{row.image} {row.destination}" for row in found.rows)

        assert len(await seen()) == 6
        assert await seen(policies=("to-cluster2",), tags=("*rc*",)) == [
            "apps/web:2.0-rc1 cluster2"
        ]
        assert await seen(destinations=("cluster1",), repositories=("apps/deep/**",)) == [
            "apps/deep/api:1.0 cluster1"
        ]
        assert await seen("apps/web:1.0") == ["apps/web:1.0 cluster1", "apps/web:1.0 cluster2"]
        assert await seen(f"{second.host}/apps/web:1.0") == ["apps/web:1.0 cluster2"]
        digest = here.harbor.artifact(REPOSITORY, "1.0").digest
        assert len(await seen(f"{here.harbor.host}/apps/web@{digest}")) == 2


async def test_nothing_in_scope_is_not_good(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, "1.0")
        assert (await compared(here.config, tags=("never",))).code == 4
        found = await compared(here.config, "apps/web:9")
        assert (found.code, found.tally.absent) == (1, ["Harbor main has no apps/web:9."])


@pytest.mark.parametrize("pattern", ["apps/**", "**"])
async def test_a_host_that_is_nobodys_is_named(tmp_path: Path, pattern: str) -> None:
    async with scene(tmp_path) as here:
        edit(here.harbor, "to-cluster1", filters=[Filter("name", pattern)])
        here.harbor.create_project("a.b")
        await pushed(here, "1.0")
        await pushed(here, "1.0", repository="a.b/web")
        for name in ("nobody.io/x:1", "localhost:5000/x:1"):
            for others in ((), (f"{here.registry.host}/apps/web:1.0",)):
                found = await compared(here.config, name, *others)
                assert (found.code, len(found.rows)) == (1, len(others))
                (words,) = found.tally.absent
                assert "is the host of no Harbor and no destination here" in words
        dotted = await compared(here.config, "a.b/web:1.0")
        assert dotted.code == (0 if pattern == "**" else 1)


async def test_a_name_there_is_sought_only_where_a_rule_may_bring_it_from(tmp_path: Path) -> None:
    async with scene(tmp_path, permissions=IN_APPS) as here:
        edit(here.harbor, "to-cluster1", namespace="mirror", replace_count=1)
        here.harbor.create_project("deep")
        here.harbor.create_policy("deep", "cluster1", pattern="deep/**", namespace="x")
        await pushed(here, "1.0")
        found = await compared(here.config, f"{here.registry.host}/mirror/web:1.0")
        assert (found.code, found.images) == (0, ["apps/web:1.0"])
        assert (await compared(here.config)).code == 4
        edit(here.harbor, "deep", namespace="")
        found = await compared(here.config, f"{here.registry.host}/mirror/web:1.0")
        assert (found.code, found.images) == (0, ["apps/web:1.0"])


async def test_a_rule_that_is_off_is_compared_only_by_its_name(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, "1.0")
        edit(here.harbor, "to-cluster1", enabled=False)
        assert (await compared(here.config)).rows == []
        assert (await compared(here.config, policies=("to-cluster1",))).code == 0


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param({"policies": ("to-cluster",)}, id="a rule"),
        pytest.param({"destinations": ("cluster",)}, id="a destination"),
        pytest.param({"harbors": ("mian",)}, id="a harbor"),
    ],
)
async def test_a_name_that_nothing_has_is_told_with_the_nearest(
    tmp_path: Path, scope: dict[str, tuple[str, ...]]
) -> None:
    async with scene(tmp_path) as here:
        with pytest.raises(ConfigError, match="did you mean"):
            await compared(here.config, **scope)


async def test_what_is_older_than_the_rule_is_missing_and_says_so(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        edit(here.harbor, "to-cluster1", enabled=False)
        here.push("1.0")
        pushed_at = here.harbor.world.now()

        async def time_passed() -> bool:
            return here.harbor.world.now() > pushed_at + 0.01

        await until(time_passed)
        edit(here.harbor, "to-cluster1", enabled=True)
        row = (await compared(here.config)).row("apps/web:1.0")
        assert (row.state, row.reason, row.older_than_rule) == ("failed", "missing", True)
        assert "older than the rule" in row.message


async def test_what_the_next_scheduled_run_brings_is_not_yet_there(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        edit(here.harbor, "to-cluster1", enabled=False)
        here.harbor.create_policy(
            "yearly", "cluster1", pattern="apps/**", trigger="scheduled", cron="0 0 0 1 1 *"
        )
        here.push("1.0")
        found = await compared(here.config)
        assert found.states == {"apps/web:1.0": "pending: scheduled"}
        assert found.code == 3


async def test_a_tag_that_moved_meanwhile_is_compared_as_it_is_now(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, "1.0")
        here.registry.fault(Fault.HANG)
        here.registry.requests.clear()
        comparison, rows = comparison_of(here.config)
        running = asyncio.create_task(comparison.run())

        async def being_looked_at() -> bool:
            return comparison.tally.expected == 1 and comparison.tally.checked == 0

        await until(being_looked_at)
        edit(here.harbor, "to-cluster1", enabled=False)
        newer = here.push("1.0", "newer")
        here.registry.push(REPOSITORY, "1.0", images.image("newer"))
        here.registry.clear()
        await running
        assert [(row.state, row.digest) for row in rows] == [(State.VERIFIED, newer)]


async def test_sources_that_share_a_name_there_are_called_a_collision(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        edit(here.harbor, "to-cluster1", enabled=False)
        here.harbor.create_policy("flat", "cluster1", namespace="all", replace_count=-1)
        await pushed(here, "1.0", repository="apps/a/web")
        here.harbor.push("apps/b/web", "1.0", images.image("another"))
        await here.harbor.idle()
        found = await compared(here.config)
        assert sorted(found.states.values()) == ["failed: name_collision", "verified"]


async def test_a_flattening_too_deep_and_a_malformed_pattern_are_told(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await pushed(here, "1.0")
        here.harbor.create_policy("deep", "cluster1", namespace="x", replace_count=3)
        here.harbor.create_policy("broken", "cluster1", pattern="{apps/**")
        found = await compared(here.config)
        told = {row.policy: (str(row.state), str(row.reason)) for row in found.rows}
        assert told["deep"] == ("failed", "not_started")
        assert told["to-cluster1"] == ("verified", "None")
        assert "Rule broken" in found.tally.problems[0]


async def test_listing_waits_while_a_destination_is_slow(tmp_path: Path) -> None:
    async with scene(tmp_path, harbor={"timeout": "30s"}, destination={"timeout": "30s"}) as here:
        edit(here.harbor, "to-cluster1", enabled=False)
        image = images.image("small")
        for number in range(30):
            for tag in range(100):
                body = image.manifest + b" " * tag
                one = images.Image(image.media_type, body, image.blobs)
                here.harbor.push(f"apps/s{number:02}", f"t{tag}", one)
                here.registry.push(f"apps/s{number:02}", f"t{tag}", one)
        edit(here.harbor, "to-cluster1", enabled=True)
        comparison, rows = comparison_of(here.config, manner=Manner(quick=True))
        here.registry.fault(Fault.HANG)
        here.registry.requests.clear()
        running = asyncio.create_task(comparison.run())

        async def waits() -> bool:
            before = comparison.tally.found
            await asyncio.sleep(0.2)
            return before > 0 and comparison.tally.found == before

        await until(waits)
        assert comparison.tally.found <= 5 * 8
        here.registry.clear()
        await running
        assert counted(rows) == {"verified": 3000}
        assert (comparison.tally.found, comparison.tally.expected) == (3000, 3000)
