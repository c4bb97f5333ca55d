"""Looks at Debian's docker-registry whose files were damaged under it, as disks do it.

With `remembering` the registry keeps what it knows of blobs in memory, as Debian sets it up, and
promises bytes of files that are gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers.damage import How, damage, unlink_blob, unlink_manifest
from servers.docker_registry import DockerRegistry, docker_registry
from servers.pictures import PLATFORMS, push_by_buildah, push_by_skopeo

from syncwatch.lab.images import Image, digest_of, image, index, platforms
from syncwatch.model import Held, Level, Reason
from verify.test_docker_registry import looking_at

if TYPE_CHECKING:
    from pathlib import Path

    from syncwatch.model import Observation

pytestmark = pytest.mark.real

IMAGE = image("one", layers=2)
CONFIG, FIRST, LAST = map(digest_of, IMAGE.blobs)
INDEX = platforms("many", "amd64", "arm64", "s390x")
CHILD = INDEX.children[1]


async def look(registry: DockerRegistry, what: Image, level: Level = Level.READABLE) -> Observation:
    async with looking_at(registry.url) as client:
        return await client.look("a/b", "v1", {what.digest}, level)


@pytest.mark.parametrize("remembering", [False, True])
@pytest.mark.parametrize("part", [CONFIG, FIRST, LAST])
@pytest.mark.parametrize("how", ["remove", "truncate", "empty"])
async def test_a_damaged_blob_is_a_flaw(
    tmp_path: Path, how: How, part: str, remembering: bool
) -> None:
    async with docker_registry(tmp_path, remembering=remembering) as registry:
        await registry.push("a/b", "v1", IMAGE)
        whole = await look(registry, IMAGE)
        damage(registry, part, how)
        seen = await look(registry, IMAGE)
        plain = await look(registry, IMAGE, Level.MATCHED)
    assert (whole.level, whole.problem, dict(whole.flaws)) == (Level.READABLE, None, {})
    gone = how == "remove" and not remembering
    flaw = seen.flaws[IMAGE.digest]
    assert flaw.reason is (Reason.BLOB_MISSING if gone else Reason.BLOB_UNREADABLE)
    assert part in flaw.detail
    assert (seen.served, seen.level, seen.problem) == (IMAGE.digest, Level.MATCHED, None)
    assert (plain.level, dict(plain.flaws)) == (Level.MATCHED, {})


@pytest.mark.parametrize("remembering", [False, True])
async def test_a_blob_of_the_right_length_and_wrong_bytes_is_not_seen_by_its_last_byte(
    tmp_path: Path, remembering: bool
) -> None:
    async with docker_registry(tmp_path, remembering=remembering) as registry:
        await registry.push("a/b", "v1", IMAGE)
        damage(registry, LAST, "alter")
        seen = await look(registry, IMAGE)
    assert (seen.level, seen.problem, dict(seen.flaws)) == (Level.READABLE, None, {})


async def test_a_blob_that_only_other_repositories_have_is_missing(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", IMAGE)
        unlink_blob(registry, "a/b", LAST)
        seen = await look(registry, IMAGE)
    assert seen.flaws[IMAGE.digest].reason is Reason.BLOB_MISSING
    assert seen.level is Level.MATCHED


async def test_a_tag_whose_manifest_is_gone_names_nothing(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", IMAGE)
        damage(registry, IMAGE.digest, "remove")
        seen = await look(registry, IMAGE)
    assert (seen.served, seen.level, seen.problem) == (None, None, None)
    assert seen.held == {IMAGE.digest: Held.ABSENT}


async def test_a_manifest_that_its_repository_lost_is_absent(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", IMAGE)
        unlink_manifest(registry, "a/b", IMAGE.digest)
        seen = await look(registry, IMAGE)
    assert (seen.served, seen.level, seen.problem) == (None, None, None)
    assert seen.held == {IMAGE.digest: Held.ABSENT}


async def test_a_tag_is_lost_while_its_image_is_all_there(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", IMAGE)
        registry.lose_tag("a/b", "v1")
        seen = await look(registry, IMAGE)
    assert (seen.served, seen.problem) == (None, None)
    assert seen.held == {IMAGE.digest: Held.PRESENT}


@pytest.mark.parametrize("how", ["truncate", "empty"])
async def test_a_manifest_that_is_no_document_any_more_makes_the_registry_fail(
    tmp_path: Path, how: How
) -> None:
    # It answers 500, as it does when its storage is away: that is no missing image.
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", IMAGE)
        damage(registry, IMAGE.digest, how)
        seen = await look(registry, IMAGE)
    assert (seen.problem, seen.level, seen.held) == (Reason.SERVER_ERROR, None, {})


async def test_an_altered_manifest_is_corrupt(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", IMAGE)
        damage(registry, IMAGE.digest, "alter")
        seen = await look(registry, IMAGE)
    assert (seen.held, seen.level) == ({IMAGE.digest: Held.CORRUPT}, None)


@pytest.mark.parametrize(
    ("how", "reason"),
    [("remove", Reason.CHILD_MISSING), ("alter", Reason.MANIFEST_CORRUPT)],
)
async def test_a_damaged_child_is_a_flaw_of_the_index(
    tmp_path: Path, how: How, reason: Reason
) -> None:
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", INDEX)
        damage(registry, CHILD.digest, how)
        seen = await look(registry, INDEX)
    assert seen.flaws[INDEX.digest].reason is reason
    assert CHILD.digest in seen.flaws[INDEX.digest].detail
    assert "arm64" in seen.flaws[INDEX.digest].detail
    assert (seen.level, seen.problem) == (Level.MATCHED, None)


async def test_a_child_that_its_repository_lost_is_missing(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", INDEX)
        unlink_manifest(registry, "a/b", CHILD.digest)
        seen = await look(registry, INDEX)
    assert seen.flaws[INDEX.digest].reason is Reason.CHILD_MISSING


async def test_a_child_that_is_no_document_any_more_leaves_the_index_unknown(
    tmp_path: Path,
) -> None:
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", INDEX)
        damage(registry, CHILD.digest, "truncate")
        seen = await look(registry, INDEX)
    assert (seen.problem, dict(seen.flaws)) == (Reason.SERVER_ERROR, {})
    assert seen.level is Level.MATCHED


async def test_a_layer_of_one_platform_that_is_gone_is_named_with_its_platform(
    tmp_path: Path,
) -> None:
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", INDEX)
        damage(registry, CHILD.layer_digests[0], "remove")
        seen = await look(registry, INDEX)
    flaw = seen.flaws[INDEX.digest]
    assert flaw.reason is Reason.BLOB_MISSING
    assert "linux/arm64" in flaw.detail


async def test_an_index_of_indexes_is_walked_to_its_last_blob(tmp_path: Path) -> None:
    nested = index(index(IMAGE))
    async with docker_registry(tmp_path) as registry:
        await registry.push("a/b", "v1", nested)
        whole = await look(registry, nested)
        damage(registry, LAST, "truncate")
        seen = await look(registry, nested)
    assert whole.level is Level.READABLE
    assert seen.flaws[nested.digest].reason is Reason.BLOB_UNREADABLE


async def test_what_buildah_built_for_three_platforms_is_readable(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry, looking_at(registry.url) as client:
        digest = await push_by_buildah(tmp_path, f"{registry.host}/a/b:v1")
        seen = await client.look("a/b", "v1", {digest}, Level.READABLE)
    assert (seen.level, seen.problem, dict(seen.flaws)) == (Level.READABLE, None, {})
    # The layers are the same for all; each platform has its own manifest and configuration.
    asked = [one.url.rpartition("/a/b/")[2].partition("/")[0] for one in seen.requests]
    assert asked.count("manifests") == 2 + len(PLATFORMS)
    assert asked.count("blobs") == len(PLATFORMS) + 2


@pytest.mark.parametrize("what", [image("deep", layers=20), INDEX])
async def test_what_skopeo_copied_is_readable(tmp_path: Path, what: Image) -> None:
    async with docker_registry(tmp_path) as registry:
        digest = await push_by_skopeo(tmp_path, f"{registry.host}/a/b:v1", what)
        seen = await look(registry, what)
    assert digest == what.digest
    assert (seen.level, seen.problem, dict(seen.flaws)) == (Level.READABLE, None, {})
