"""Looks at a docker-registry behind Debian's nginx: object storage, TLS, and what proxies break."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from servers import free_port
from servers.damage import How, damage
from servers.docker_registry import PASSWORD, USER, DockerRegistry, docker_registry
from servers.nginx import (
    CHUNKED,
    GONE,
    GZIPPED,
    WITHOUT_RANGES,
    Nginx,
    drip,
    late,
    nginx,
    page,
)

from syncwatch.lab.images import digest_of, image, platforms
from syncwatch.model import Level, Reason
from syncwatch.outbound import Outbound
from syncwatch.verify.registry import RegistryClient
from verify.test_docker_registry import looking_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from syncwatch.model import Observation

pytestmark = pytest.mark.real

IMAGE = image("one", layers=2, size=9000)
INDEX = platforms("many")
CONFIG, FIRST, LAST = map(digest_of, IMAGE.blobs)
READER = (USER, PASSWORD)


@asynccontextmanager
async def behind(
    tmp_path: Path, *, stored_apart: bool = False, htpasswd: bool = False, **ways: Any
) -> AsyncIterator[tuple[DockerRegistry, Nginx]]:
    """A docker-registry with IMAGE as a/b:v1, and nginx before it."""
    async with docker_registry(tmp_path, htpasswd=htpasswd) as registry:
        await registry.push("a/b", "v1", IMAGE)
        storage = registry.storage if stored_apart else None
        async with nginx(tmp_path, registry.url, storage=storage, **ways) as front:
            yield registry, front


async def look(front: Nginx, **settings: Any) -> Observation:
    async with looking_at(front.url, **settings) as client:
        return await client.look("a/b", "v1", {IMAGE.digest}, Level.READABLE)


def is_whole(seen: Observation) -> bool:
    return (seen.level, seen.problem, dict(seen.flaws)) == (Level.READABLE, None, {})


def says_nothing_is_lost(seen: Observation) -> bool:
    absent = [held for held in seen.held.values() if held.value != "present"]
    return not seen.flaws and not absent


async def test_what_a_proxy_passes_on_is_readable(tmp_path: Path) -> None:
    async with behind(tmp_path) as (_, front):
        assert is_whole(await look(front))


async def test_bytes_are_proven_at_an_object_store_that_never_sees_the_password(
    tmp_path: Path,
) -> None:
    async with behind(tmp_path, stored_apart=True, htpasswd=True) as (_, front):
        seen = await look(front, credentials=READER)
        stored = await front.asked("storage", at_least=3)
        fronted = await front.asked("front", at_least=5)
    assert is_whole(seen)
    assert [one.authorization for one in stored] == ["", "", ""]
    assert {one.host.partition(":")[0] for one in stored} == {"localhost"}
    assert {one.status for one in stored} == {206}
    assert {one.byte_range for one in stored} == {
        f"bytes={len(blob) - 1}-{len(blob) - 1}" for blob in IMAGE.blobs
    }
    assert any(one.authorization for one in fronted if "/blobs/" in one.path)


async def test_a_store_on_another_port_of_the_same_host_sees_no_password_either(
    tmp_path: Path,
) -> None:
    ways = {"stored_apart": True, "htpasswd": True, "storage_host": "127.0.0.1"}
    async with behind(tmp_path, **ways) as (_, front):
        seen = await look(front, credentials=READER)
        stored = await front.asked("storage", at_least=3)
    assert is_whole(seen)
    assert [one.authorization for one in stored] == ["", "", ""]


async def test_without_the_password_nobody_is_sent_to_the_store(tmp_path: Path) -> None:
    async with behind(tmp_path, stored_apart=True, htpasswd=True) as (_, front):
        seen = await look(front)
        stored = await front.asked("storage")
    assert (seen.problem, seen.held) == (Reason.UNAUTHORIZED, {})
    assert stored == []


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("remove", Reason.BLOB_MISSING),
        ("truncate", Reason.BLOB_UNREADABLE),
        ("empty", Reason.BLOB_UNREADABLE),
    ],
)
async def test_what_a_store_lost_is_a_flaw(tmp_path: Path, how: How, reason: Reason) -> None:
    async with behind(tmp_path, stored_apart=True) as (registry, front):
        damage(registry, LAST, how)
        seen = await look(front)
    assert seen.flaws[IMAGE.digest].reason is reason
    assert LAST in seen.flaws[IMAGE.digest].detail
    assert seen.level is Level.MATCHED


@pytest.mark.parametrize(
    ("way", "problem"),
    [
        ("return 401;", Reason.UNAUTHORIZED),
        ("return 403;", Reason.FORBIDDEN),
        (page(500), Reason.SERVER_ERROR),
        (page(503, 7), Reason.SERVER_ERROR),
        (page(429, 7), Reason.RATE_LIMITED),
        (GONE, Reason.UNREACHABLE),
    ],
)
async def test_a_store_that_cannot_be_read_is_no_lost_blob(
    tmp_path: Path, way: str, problem: Reason
) -> None:
    ways = {"stored_apart": True, "htpasswd": True, "at_storage": way}
    async with behind(tmp_path, **ways) as (_, front):
        seen = await look(front, credentials=READER)
        stored = await front.asked("storage", at_least=1)
    assert (seen.problem, seen.level) == (problem, Level.MATCHED)
    assert says_nothing_is_lost(seen)
    assert {one.authorization for one in stored} == {""}


@pytest.mark.parametrize("stored_apart", [False, True])
async def test_a_private_authority_is_trusted_when_its_certificate_is_given(
    tmp_path: Path, stored_apart: bool
) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with behind(tmp_path, tls=authority, stored_apart=stored_apart) as (_, front):
        assert is_whole(await look(front, ca_file=ca_file))


async def test_an_authority_that_nobody_knows_is_a_tls_error(tmp_path: Path) -> None:
    async with behind(tmp_path, tls=trustme.CA()) as (_, front):
        seen = await look(front)
    assert (seen.problem, seen.held, dict(seen.flaws)) == (Reason.TLS_ERROR, {}, {})


async def test_a_store_with_a_certificate_for_another_name_is_a_tls_error(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    ways = {"tls": authority, "stored_apart": True, "names": ("127.0.0.1",)}
    async with behind(tmp_path, **ways) as (_, front):
        seen = await look(front, ca_file=ca_file)
    assert (seen.problem, seen.level) == (Reason.TLS_ERROR, Level.MATCHED)
    assert says_nothing_is_lost(seen)


@pytest.mark.parametrize(
    ("way", "problem"),
    [
        (page(404), Reason.UNREADABLE_ANSWER),
        (page(404, 7), Reason.UNREADABLE_ANSWER),
        (page(502), Reason.SERVER_ERROR),
        (page(502, 7), Reason.SERVER_ERROR),
        (page(503), Reason.SERVER_ERROR),
        (page(503, 7), Reason.SERVER_ERROR),
        (page(429, 7), Reason.RATE_LIMITED),
        (page(403), Reason.FORBIDDEN),
        (page(200), Reason.UNREADABLE_ANSWER),
        (GONE, Reason.UNREACHABLE),
    ],
)
async def test_a_proxy_that_answers_for_itself_is_never_a_missing_image(
    tmp_path: Path, way: str, problem: Reason
) -> None:
    async with behind(tmp_path, everything=way) as (_, front):
        seen = await look(front)
    assert (seen.problem, seen.level, seen.held, dict(seen.flaws)) == (problem, None, {}, {})


@pytest.mark.parametrize(
    ("way", "problem"),
    [
        (page(502), Reason.SERVER_ERROR),
        (page(503, 7), Reason.SERVER_ERROR),
        (page(429, 7), Reason.RATE_LIMITED),
        (page(403), Reason.FORBIDDEN),
        (GONE, Reason.UNREACHABLE),
    ],
)
async def test_a_proxy_that_breaks_only_blobs_leaves_the_manifest_matched(
    tmp_path: Path, way: str, problem: Reason
) -> None:
    async with behind(tmp_path, blobs=way) as (_, front):
        seen = await look(front)
    assert (seen.problem, seen.level) == (problem, Level.MATCHED)
    assert says_nothing_is_lost(seen)


@pytest.mark.parametrize(("way", "seconds"), [(page(503, 7), 7), (page(429, 30), 30)])
async def test_retry_after_of_a_proxy_is_obeyed(tmp_path: Path, way: str, seconds: int) -> None:
    async with (
        behind(tmp_path, everything=way) as (_, front),
        looking_at(front.url) as client,
    ):
        seen = await client.look("a/b", "v1", {IMAGE.digest}, Level.READABLE)
    assert 0 <= client.quiet_until - (seen.began_at + seconds * 1000) < 5000


async def test_a_proxy_whose_registry_is_gone_is_a_server_error(tmp_path: Path) -> None:
    async with nginx(tmp_path, f"http://127.0.0.1:{free_port()}") as front:
        seen = await look(front)
    assert (seen.problem, seen.held) == (Reason.SERVER_ERROR, {})
    assert seen.requests[-1].status == 502


async def test_nginx_that_died_is_unreachable(tmp_path: Path) -> None:
    async with behind(tmp_path) as (_, front):
        pass
    seen = await look(front)
    assert (seen.problem, seen.held) == (Reason.UNREACHABLE, {})


@pytest.mark.parametrize("repository", ["a/b", "many"])
async def test_a_connection_cut_in_the_middle_of_a_manifest_is_no_missing_image(
    tmp_path: Path, repository: str
) -> None:
    what = IMAGE if repository == "a/b" else INDEX
    async with (
        behind(tmp_path, manifests=drip(after=450)) as (registry, front),
        looking_at(front.url) as client,
    ):
        await registry.push("many", "v1", INDEX)
        looking = asyncio.create_task(client.look(repository, "v1", {what.digest}, Level.READABLE))
        await front.asked(at_least=1)  # the HEAD, so that what is under way is the GET
        await front.answering()
        await front.die()
        seen = await looking
    assert (seen.problem, seen.level, seen.held) == (Reason.UNREACHABLE, None, {})
    assert not seen.flaws


async def test_a_proxy_that_dies_while_it_is_asked_for_blobs_is_unreachable(
    tmp_path: Path,
) -> None:
    async with behind(tmp_path, blobs=late(30)) as (_, front):
        looking = asyncio.create_task(look(front))
        await front.answering()
        await front.die()
        seen = await looking
    assert (seen.problem, seen.level) == (Reason.UNREACHABLE, Level.MATCHED)
    assert says_nothing_is_lost(seen)


async def test_a_proxy_that_is_late_is_waited_for(tmp_path: Path) -> None:
    async with behind(tmp_path, blobs=late(0.2), manifests=late(0.1)) as (_, front):
        assert is_whole(await look(front))


@pytest.mark.parametrize("part", ["manifests", "blobs"])
async def test_a_proxy_that_is_too_late_is_unreachable(tmp_path: Path, part: str) -> None:
    async with behind(tmp_path, **{part: late(30)}) as (_, front):
        outbound = Outbound(timeout=0.5)
        client = RegistryClient(
            url=front.url, outbound=outbound, credentials=lambda: None, clock=lambda: 0
        )
        seen = await client.look("a/b", "v1", {IMAGE.digest}, Level.READABLE)
        await outbound.close()
    assert seen.problem is Reason.UNREACHABLE
    assert says_nothing_is_lost(seen)


@pytest.mark.parametrize(
    ("manifests", "blobs"),
    [
        (CHUNKED, ""),
        ("", CHUNKED),
        ("", WITHOUT_RANGES),
        ("", WITHOUT_RANGES + CHUNKED),
        (CHUNKED, WITHOUT_RANGES + CHUNKED),
        (GZIPPED, GZIPPED),
        (GZIPPED, GZIPPED + WITHOUT_RANGES),
    ],
)
async def test_bodies_without_length_without_ranges_or_compressed_are_readable_all_the_same(
    tmp_path: Path, manifests: str, blobs: str
) -> None:
    async with behind(tmp_path, manifests=manifests, blobs=blobs) as (_, front):
        assert is_whole(await look(front))


@pytest.mark.parametrize("blobs", [WITHOUT_RANGES, WITHOUT_RANGES + CHUNKED, CHUNKED])
@pytest.mark.parametrize("how", ["truncate", "empty"])
async def test_a_short_blob_is_seen_without_ranges_and_without_lengths_too(
    tmp_path: Path, how: How, blobs: str
) -> None:
    async with behind(tmp_path, blobs=blobs) as (registry, front):
        damage(registry, LAST, how)
        seen = await look(front)
    assert seen.flaws[IMAGE.digest].reason is Reason.BLOB_UNREADABLE
