"""What `LabRegistry` holds and loses: damaged bytes, object stores, caches, all kinds of images."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from test_registry_faults import Client

from syncwatch.lab import images
from syncwatch.lab.registry import Fault, LabRegistry
from syncwatch.lab.storage import ObjectStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WEB = images.image("web", layers=2)
INDEX = images.platforms("web")
LAYER = WEB.layer_digests[0]


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[LabRegistry]:
    async with LabRegistry("cluster1").serving() as running:
        running.push("team/web", "1.0", WEB)
        running.push("team/web", "multi", INDEX)
        yield running


@pytest_asyncio.fixture
async def client(registry: LabRegistry) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield Client(registry, session)


async def test_a_blob_short_of_its_last_byte_answers_with_the_one_before(
    registry: LabRegistry, client: Client
) -> None:
    body = registry.contents.bytes[LAYER]
    last = len(body) - 1
    registry.fault(Fault.TRUNCATED_206)
    assert await client.blob(Range=f"bytes={last}-{last}") == 206
    assert client.body == body[last - 1 : last]
    assert client.headers["Content-Range"] == f"bytes {last - 1}-{last - 1}/{last}"
    assert (await client.blob(), client.body) == (200, body[:-1])


async def test_ranges_may_be_ignored(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.NO_RANGES)
    assert await client.blob(Range="bytes=5-5") == 200
    assert client.body == registry.contents.bytes[LAYER]


async def test_answers_may_come_without_a_length(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.NO_LENGTH)
    assert (await client.manifest(), client.body) == (200, WEB.manifest)
    assert "Content-Length" not in client.headers
    assert await client.manifest(method="HEAD") == 200
    assert "Content-Length" not in client.headers
    assert await client.blob(Range="bytes=5-5") == 206
    assert (len(client.body), "Content-Range" in client.headers) == (1, True)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.STORAGE_FORBIDDEN, 403, b"<Code>AccessDenied</Code>"),
        (Fault.STORAGE_NOT_FOUND, 404, b"<Code>NoSuchKey</Code>"),
        (Fault.STORAGE_DOWN, 503, b"<Code>SlowDown</Code>"),
    ],
)
@pytest.mark.parametrize("separate", [False, True])
async def test_the_storage_behind_a_redirect_fails(
    registry: LabRegistry, client: Client, fault: Fault, status: int, code: bytes, *, separate: bool
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if separate:
            await stack.enter_async_context(ObjectStore(registry).serving())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        registry.fault(fault, repository="team/web", reference=LAYER, times=1)
        assert await client.blob() == 307
        location = client.headers["Location"]
        async with session.get(location) as answer:
            assert (answer.status, code in await answer.read()) == (status, True)
        async with session.get(location) as answer:
            assert answer.status == 200
        assert await client.blob() == 200


async def test_an_object_store_is_another_host_and_sees_who_brings_an_authorization(
    registry: LabRegistry, client: Client
) -> None:
    registry.fault(Fault.REDIRECT)
    size = len(registry.contents.bytes[LAYER])
    async with ObjectStore(registry).serving() as store, aiohttp.ClientSession() as session:
        assert await client.blob() == 307
        location = client.headers["Location"]
        assert location.startswith(f"{store.url}/storage/team/web/{LAYER}?X-Amz-")
        assert store.url.partition(":")[2] != registry.url.partition(":")[2]
        async with session.get(location, headers={"Range": f"bytes={size - 1}-"}) as answer:
            assert (answer.status, len(await answer.read())) == (206, 1)
        async with session.get(location, headers={"Authorization": "Basic eDp5"}) as answer:
            assert answer.status == 400
        registry.fault(Fault.CUT_BODY)
        async with session.get(location) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        registry.clear()
        registry.lose_blob(LAYER)
        async with session.get(location) as answer:
            assert answer.status == 404
    assert [(one.status, one.authorized) for one in store.requests] == [
        (206, False),
        (400, True),
        (200, False),
        (404, False),
    ]
    assert registry.redirect_to is None


async def test_a_blob_is_truncated_corrupted_or_emptied(
    registry: LabRegistry, client: Client
) -> None:
    body = registry.contents.bytes[LAYER]
    last = len(body) - 1
    registry.corrupt_blob(LAYER)
    assert (await client.blob(), len(client.body)) == (200, len(body))
    assert images.digest_of(client.body) != LAYER
    registry.truncate_blob(LAYER)
    assert (await client.blob("HEAD"), client.headers["Content-Length"]) == (200, str(last))
    assert await client.blob(Range=f"bytes={last}-{last}") == 416
    registry.truncate_blob(LAYER, by=10)
    assert (await client.blob(), len(client.body)) == (200, last - 10)
    registry.empty_blob(LAYER)
    assert (await client.blob(), client.body) == (200, b"")


async def test_a_manifest_is_served_in_other_bytes(registry: LabRegistry, client: Client) -> None:
    registry.corrupt_manifest("team/web", WEB.digest)
    assert (await client.manifest(), client.headers["Docker-Content-Digest"]) == (200, WEB.digest)
    assert json.loads(client.body) == json.loads(WEB.manifest)
    assert images.digest_of(client.body) != WEB.digest


async def test_a_child_of_an_index_is_lost(registry: LabRegistry, client: Client) -> None:
    assert registry.lose_child("team/web", "multi", 1) == INDEX.children[1].digest
    assert await client.manifest("multi") == 200
    assert await client.manifest(INDEX.children[0].digest) == 200
    assert await client.manifest(INDEX.children[1].digest) == 404


def named(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every descriptor in a manifest."""
    parts = [*document.get("manifests", []), *document.get("layers", [])]
    return [document["config"], *parts] if "config" in document else parts


async def found(client: Client, image: images.Image, reference: str) -> None:
    """Every descriptor under a manifest answers with bytes of its digest and size."""
    assert await client.manifest(reference) == 200
    assert client.body == image.manifest
    children = dict(zip(image.child_digests, image.children, strict=True))
    for one in named(json.loads(image.manifest)):
        if one["mediaType"] in images.FOREIGN_TYPES:
            continue
        if one["digest"] in children:
            await found(client, children[one["digest"]], one["digest"])
            continue
        assert await client.ask(f"team/web/blobs/{one['digest']}") == 200
        algorithm = one["digest"].partition(":")[0]
        assert images.digest_of(client.body, algorithm) == one["digest"]
        assert len(client.body) == one["size"]


@pytest.mark.parametrize(
    "image",
    [
        images.attested("a"),
        images.attested("a", "amd64", empty_config=True),
        images.nested("n", 3),
        images.build_cache("c"),
        images.foreign("f"),
        images.foreign("f", f"{images.OCI_FOREIGN_LAYER}+gzip"),
        images.layered("zero", b"", b"x"),
        images.image("big", size=4 << 20),
        images.image("512", layers=2, algorithm="sha512"),
        images.index(images.image("512"), algorithm="sha512"),
        images.artifact("readme.md"),
        images.chart("web", "1.0.0"),
        images.signature(WEB),
    ],
)
async def test_every_kind_of_image_is_all_there(client: Client, image: images.Image) -> None:
    registry = client.registry
    assert registry.push("team/web", "it", image) == image.digest
    await found(client, image, "it")


def test_attestations_look_as_buildkit_makes_them() -> None:
    built = json.loads(images.attested("a", "amd64").manifest)["manifests"]
    assert built[1]["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert built[1]["annotations"] == {
        "vnd.docker.reference.digest": built[0]["digest"],
        "vnd.docker.reference.type": "attestation-manifest",
    }
    whole = images.attestation(WEB)
    assert json.loads(whole.blobs[0])["architecture"] == "unknown"
    assert json.loads(whole.manifest)["layers"][0]["mediaType"] == images.IN_TOTO
    bare = json.loads(images.attestation(WEB, empty_config=True).manifest)
    assert (bare["config"]["mediaType"], bare["config"]["size"]) == (images.EMPTY_CONFIG, 2)
    assert bare["subject"]["digest"] == WEB.digest


async def test_foreign_layers_are_named_and_not_there(client: Client) -> None:
    image = images.foreign("f")
    client.registry.push("team/web", "windows", image)
    layers = json.loads(image.manifest)["layers"]
    assert (layers[0]["mediaType"], layers[0]["urls"][0][:8]) == (
        images.DOCKER_FOREIGN_LAYER,
        "https://",
    )
    assert await client.ask(f"team/web/blobs/{layers[0]['digest']}") == 404


async def test_documents_that_nobody_would_write_are_served_as_they_are(client: Client) -> None:
    twice = images.raw(b'{"schemaVersion":2,"layers":[],"layers":[]}')
    for odd in (images.crowded_index(100_000), images.deep_json(10_000), twice):
        client.registry.push("team/web", "odd", odd)
        assert (await client.manifest("odd"), client.body) == (200, odd.manifest)


async def test_a_digest_in_capitals_is_invalid(client: Client) -> None:
    digits = LAYER.removeprefix("sha256:").upper()
    assert await client.ask(f"team/web/blobs/sha256:{digits}") == 400
    assert b"DIGEST_INVALID" in client.body


async def test_referrers_lie_under_the_fallback_tag(client: Client) -> None:
    sboms = images.referrer(WEB), images.referrer(WEB, "application/vnd.example.scan.v1")
    digest = client.registry.push_referrer_fallback("team/web", WEB, *sboms)
    assert await client.manifest(WEB.digest.replace(":", "-")) == 200
    assert client.headers["Docker-Content-Digest"] == digest
    listed = json.loads(client.body)["manifests"]
    assert [one["digest"] for one in listed] == [one.digest for one in sboms]
    assert listed[1]["artifactType"] == "application/vnd.example.scan.v1"
    assert await client.manifest(sboms[1].digest) == 200


@contextlib.asynccontextmanager
async def cached(upstream: LabRegistry) -> AsyncIterator[Client]:
    async with (
        LabRegistry("cache", pull_through=upstream.url).serving() as cache,
        aiohttp.ClientSession() as session,
    ):
        yield Client(cache, session)


async def test_a_look_at_a_cache_fetches_and_keeps(registry: LabRegistry) -> None:
    async with cached(registry) as client:
        assert await client.manifest("1.0", "HEAD") == 200
        assert client.registry.digest("team/web", "1.0") == WEB.digest
        assert (await client.blob(Range="bytes=5-5"), len(client.body) > 1) == (200, True)
        assert (await client.blob(Range="bytes=5-5"), len(client.body)) == (206, 1)
        asked = len(registry.requests)
        assert await client.manifest(WEB.digest) == 200
        assert len(registry.requests) == asked
        assert await client.ask("team/web/tags/list") == 200
        assert json.loads(client.body)["tags"] == ["1.0", "multi"]
        registry.lose_tag("team/web", "1.0")
        assert await client.manifest("1.0", "HEAD") == 200


async def test_a_cache_has_what_upstream_has_and_takes_nothing(registry: LabRegistry) -> None:
    async with cached(registry) as client:
        nowhere = "sha256:" + "1" * 64
        assert await client.manifest("nope") == 404
        assert (await client.manifest(nowhere), b"MANIFEST_UNKNOWN" in client.body) == (500, True)
        assert await client.ask(f"team/web/blobs/{nowhere}") == 404
        for method, path in (
            ("POST", "team/web/blobs/uploads/"),
            ("PUT", "team/web/manifests/2.0"),
            ("DELETE", f"team/web/manifests/{WEB.digest}"),
        ):
            assert (await client.ask(path, method), b"UNSUPPORTED" in client.body) == (405, True)
        assert await client.manifest() == 200
        await registry.stop()
        assert (await client.manifest(), await client.manifest("multi")) == (200, 404)
        assert (await client.manifest(nowhere), await client.blob()) == (500, 500)
