"""Looks at Debian's docker-registry, as it really is."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from servers import needs
from servers.docker_registry import PASSWORD, USER, docker_registry, token_realm

from syncwatch.lab.images import image, platforms
from syncwatch.model import Held, Level, Reason
from syncwatch.outbound import Outbound
from syncwatch.verify.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.real

IMAGE = image("one")
OTHER = image("other")
INDEX = platforms("many")


@asynccontextmanager
async def looking_at(
    url: str, credentials: tuple[str, str] | None = None, **settings: Any
) -> AsyncIterator[RegistryClient]:
    outbound = Outbound(timeout=10, **settings)
    try:
        yield RegistryClient(
            url=url,
            outbound=outbound,
            credentials=lambda: credentials,
            clock=lambda: int(time.time() * 1000),
        )
    finally:
        await outbound.close()


@pytest.mark.parametrize("what", [IMAGE, image("docker", docker=True), INDEX])
async def test_a_tag_that_names_the_digest_is_matched(tmp_path: Path, what: Any) -> None:
    async with docker_registry(tmp_path) as registry, looking_at(registry.url) as client:
        await registry.push("a/b", "v1", what)
        seen = await client.look("a/b", "v1", {what.digest})
    assert seen.proves(what.digest)
    assert seen.level is Level.MATCHED
    assert [(one.method, one.status, one.digest) for one in seen.requests] == [
        ("HEAD", 200, what.digest),
        ("GET", 200, what.digest),
    ]
    assert seen.requests[0].url == f"{registry.url}/v2/a/b/manifests/v1"


async def test_a_manifest_without_a_tag_is_matched_by_its_digest(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry, looking_at(registry.url) as client:
        await registry.push("a/b", IMAGE.digest, IMAGE)
        seen = await client.look("a/b", IMAGE.digest, {IMAGE.digest})
        absent = await client.look("a/b", OTHER.digest, {OTHER.digest})
    assert seen.proves(IMAGE.digest)
    assert [one.method for one in seen.requests] == ["GET"]
    assert (absent.problem, absent.served, absent.held) == (
        None,
        None,
        {OTHER.digest: Held.ABSENT},
    )


async def test_an_empty_registry_has_nothing(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry, looking_at(registry.url) as client:
        seen = await client.look("a/b", "v1", {IMAGE.digest})
    assert (seen.problem, seen.served, seen.level) == (None, None, None)
    assert seen.held == {IMAGE.digest: Held.ABSENT}
    assert [one.method for one in seen.requests] == ["HEAD", "GET", "HEAD"]


async def test_a_missing_tag_leaves_its_digest_there(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry, looking_at(registry.url) as client:
        await registry.push("a/b", "v1", IMAGE)
        registry.lose_tag("a/b", "v1")
        seen = await client.look("a/b", "v1", {IMAGE.digest, OTHER.digest})
    assert (seen.problem, seen.served) == (None, None)
    assert seen.held == {IMAGE.digest: Held.PRESENT, OTHER.digest: Held.ABSENT}


async def test_a_tag_that_names_another_digest_says_which(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry, looking_at(registry.url) as client:
        await registry.push("a/b", "v1", IMAGE)
        await registry.push("a/b", "v1", OTHER)
        seen = await client.look("a/b", "v1", {IMAGE.digest})
    assert (seen.problem, seen.served) == (None, OTHER.digest)
    assert seen.held == {IMAGE.digest: Held.PRESENT}


async def test_a_digest_deleted_underneath_its_tag_is_absent(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry, looking_at(registry.url) as client:
        await registry.push("a/b", "v1", IMAGE)
        await registry.delete("a/b", IMAGE.digest)
        seen = await client.look("a/b", "v1", {IMAGE.digest})
    assert seen.problem is None
    assert seen.held == {IMAGE.digest: Held.ABSENT}


async def test_a_manifest_whose_file_is_gone_is_absent(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry, looking_at(registry.url) as client:
        await registry.push("a/b", "v1", IMAGE)
        registry.lose_blob(IMAGE.digest)
        seen = await client.look("a/b", "v1", {IMAGE.digest})
    assert seen.problem is None
    assert seen.held == {IMAGE.digest: Held.ABSENT}


async def test_a_manifest_with_altered_bytes_is_corrupt(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry, looking_at(registry.url) as client:
        await registry.push("a/b", "v1", IMAGE)
        registry.alter_blob(IMAGE.digest, IMAGE.manifest + b" ")
        seen = await client.look("a/b", "v1", {IMAGE.digest})
    assert (seen.problem, seen.served, seen.level) == (None, IMAGE.digest, None)
    assert seen.held == {IMAGE.digest: Held.CORRUPT}
    assert IMAGE.digest in seen.detail


async def test_behind_htpasswd_the_credential_is_sent_once_it_is_asked_for(tmp_path: Path) -> None:
    async with (
        docker_registry(tmp_path, htpasswd=True) as registry,
        looking_at(registry.url, (USER, PASSWORD)) as client,
    ):
        await registry.push("a/b", "v1", IMAGE)
        first = await client.look("a/b", "v1", {IMAGE.digest})
        second = await client.look("a/b", "v1", {IMAGE.digest})
        answers = await client.ping()
    assert [one.status for one in first.requests] == [401, 200, 200]
    assert [one.status for one in second.requests] == [200, 200]
    assert first.proves(IMAGE.digest)
    assert second.proves(IMAGE.digest)
    assert answers.problem is None


@pytest.mark.parametrize("credentials", [None, (USER, "wrong")])
async def test_a_wrong_or_missing_password_is_unauthorized(
    tmp_path: Path, credentials: tuple[str, str] | None
) -> None:
    async with (
        docker_registry(tmp_path, htpasswd=True) as registry,
        looking_at(registry.url, credentials) as client,
    ):
        await registry.push("a/b", "v1", IMAGE)
        looks = [await client.look("a/b", "v1", {IMAGE.digest}), await client.ping()]
    for seen in looks:
        assert (seen.problem, seen.served, seen.held) == (Reason.UNAUTHORIZED, None, {})
        assert "wrong" not in repr(seen)


async def test_a_token_is_fetched_once_for_a_repository(tmp_path: Path) -> None:
    async with (
        token_realm(tmp_path) as realm,
        docker_registry(tmp_path, realm=realm) as registry,
        looking_at(registry.url, (USER, PASSWORD)) as client,
    ):
        for repository in ("a/b", "c"):
            await registry.push(repository, "v1", INDEX)
        looks = await asyncio.gather(
            *(client.look("a/b", "v1", {INDEX.digest}) for _ in range(5)),
            client.look("c", "v1", {INDEX.digest}),
        )
        answers = await client.ping()
    assert all(seen.proves(INDEX.digest) for seen in looks)
    assert sorted(realm.asked) == [
        ("test-registry", "", True),
        ("test-registry", "repository:a/b:pull", True),
        ("test-registry", "repository:c:pull", True),
    ]
    assert answers.problem is None


async def test_a_token_service_that_says_200_to_a_wrong_password_is_seen_through(
    tmp_path: Path,
) -> None:
    async with (
        token_realm(tmp_path) as realm,
        docker_registry(tmp_path, realm=realm) as registry,
        looking_at(registry.url, (USER, "wrong")) as client,
    ):
        await registry.push("a/b", "v1", IMAGE)
        seen = await client.look("a/b", "v1", {IMAGE.digest})
    assert (seen.problem, seen.held) == (Reason.UNAUTHORIZED, {})
    assert len(realm.asked) == 1


async def test_over_tls_the_authority_has_to_be_known(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    async with docker_registry(tmp_path, tls=authority) as registry:
        async with looking_at(registry.url, ca_file=ca_file) as client:
            trusted = await client.look("a/b", "v1", {IMAGE.digest})
        async with looking_at(registry.url) as client:
            unknown = await client.look("a/b", "v1", {IMAGE.digest})
    assert (trusted.problem, trusted.held) == (None, {IMAGE.digest: Held.ABSENT})
    assert unknown.problem is Reason.TLS_ERROR


async def test_what_skopeo_copied_is_matched(tmp_path: Path) -> None:
    skopeo = needs("skopeo")
    for name in ("source", "destination"):
        (tmp_path / name).mkdir()
    async with (
        docker_registry(tmp_path / "source") as source,
        docker_registry(tmp_path / "destination") as destination,
        looking_at(destination.url) as client,
    ):
        await source.push("a/b", "v1", INDEX)
        copying = await asyncio.create_subprocess_exec(
            *(skopeo, "--insecure-policy", "copy", "--quiet", "--all"),
            *("--src-tls-verify=false", "--dest-tls-verify=false"),
            f"docker://{source.host}/a/b:v1",
            f"docker://{destination.host}/a/b:v1",
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await copying.communicate()
        assert copying.returncode == 0, errors.decode()
        seen = await client.look("a/b", "v1", {INDEX.digest})
    assert seen.proves(INDEX.digest)
