"""What each fault of `LabRegistry` does to a client, and that it stays where it was put."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import ssl
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio
import trustme

from syncwatch.lab import images
from syncwatch.lab.registry import Fault, LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WEB = images.image("web", layers=2)
INDEX = images.platforms("web")
ACCEPT_ALL = f"{images.OCI_INDEX}, {images.OCI_MANIFEST}"
LAYER = WEB.layer_digests[0]


class Client:
    """Asks one registry and keeps what came back."""

    def __init__(self, registry: LabRegistry, session: aiohttp.ClientSession) -> None:
        self.registry = registry
        self._session = session
        self.body = b""
        self.headers: dict[str, str] = {}

    async def ask(self, path: str, method: str = "GET", **headers: str) -> int:
        """The status; redirects are not followed."""
        named = {"Accept": ACCEPT_ALL, **headers}
        async with self._session.request(
            method, f"{self.registry.url}/v2/{path}", headers=named, allow_redirects=False
        ) as answer:
            self.body = await answer.read()
            self.headers = dict(answer.headers)
            return answer.status

    async def manifest(self, reference: str = "1.0", method: str = "GET") -> int:
        return await self.ask(f"team/web/manifests/{reference}", method)

    async def blob(self, method: str = "GET", **headers: str) -> int:
        return await self.ask(f"team/web/blobs/{LAYER}", method, **headers)


@pytest_asyncio.fixture
async def registry() -> AsyncIterator[LabRegistry]:
    async with LabRegistry("cluster1").serving() as running:
        running.push("team/web", "1.0", WEB)
        running.push("team/web", "multi", INDEX)
        yield running


@pytest_asyncio.fixture
async def client(registry: LabRegistry) -> AsyncIterator[Client]:
    limit = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=limit) as session:
        yield Client(registry, session)


async def test_without_faults_everything_is_there(client: Client) -> None:
    assert await client.manifest(method="HEAD") == 200
    assert client.headers["Docker-Content-Digest"] == WEB.digest
    assert await client.manifest() == 200
    assert client.body == WEB.manifest
    assert await client.blob() == 200
    assert images.digest_of(client.body) == LAYER


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.UNAUTHORIZED, 401, b"UNAUTHORIZED"),
        (Fault.FORBIDDEN, 403, b"DENIED"),
        (Fault.TAG_NOT_FOUND, 404, b"MANIFEST_UNKNOWN"),
        (Fault.GET_NOT_FOUND, 404, b"MANIFEST_UNKNOWN"),
        (Fault.POLICY_BLOCKED, 412, b"PROJECTPOLICYVIOLATION"),
        (Fault.RATE_LIMITED, 429, b"TOOMANYREQUESTS"),
        (Fault.SERVER_ERROR, 500, b"UNKNOWN"),
        (Fault.BAD_GATEWAY, 502, b"UNKNOWN"),
        (Fault.UNAVAILABLE, 503, b"UNAVAILABLE"),
    ],
)
async def test_a_fault_answers_with_its_status_until_cleared(
    registry: LabRegistry, client: Client, fault: Fault, status: int, code: bytes
) -> None:
    registry.fault(fault)
    assert await client.manifest() == status
    assert code in client.body
    registry.clear()
    assert await client.manifest() == 200


async def test_rate_limiting_says_when_to_come_back(registry: LabRegistry, client: Client) -> None:
    registry.retry_after = 7
    registry.fault(Fault.RATE_LIMITED)
    await client.manifest()
    assert client.headers["Retry-After"] == "7"


async def test_tags_digests_and_gets_fail_apart(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.TAG_NOT_FOUND)
    assert (await client.manifest(), await client.manifest(WEB.digest)) == (404, 200)
    registry.clear()
    registry.fault(Fault.DIGEST_NOT_FOUND)
    assert (await client.manifest(), await client.manifest(WEB.digest)) == (200, 404)
    registry.clear()
    registry.fault(Fault.GET_NOT_FOUND)
    assert (await client.manifest(method="HEAD"), await client.manifest()) == (200, 404)


async def test_a_fault_keeps_to_its_repository_reference_and_times(
    registry: LabRegistry, client: Client
) -> None:
    registry.fault(Fault.SERVER_ERROR, repository="team/other")
    registry.fault(Fault.SERVER_ERROR, repository="team/web", reference="multi")
    assert (await client.manifest(), await client.manifest("multi")) == (200, 500)
    registry.clear()
    registry.fault(Fault.SERVER_ERROR, times=2)
    assert [await client.manifest() for _ in range(3)] == [500, 500, 200]


async def test_connections_are_reset_or_refused(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.RESET, times=1)
    # A client repeats a GET once by itself; a POST it does not.
    with pytest.raises(aiohttp.ClientError):
        await client.ask("team/web/blobs/uploads/", "POST")
    await registry.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.manifest()
    await registry.start()
    assert await client.manifest() == 200


async def test_hanging_lasts_until_cleared(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.HANG)
    asked = asyncio.ensure_future(client.manifest())
    done, _ = await asyncio.wait({asked}, timeout=0.1)
    assert not done
    registry.clear()
    assert await asked == 200


async def test_a_hanging_registry_can_be_stopped(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.HANG)
    asked = asyncio.ensure_future(client.ask("team/web/blobs/uploads/", "POST"))
    await asyncio.sleep(0)
    await registry.stop()
    with pytest.raises(aiohttp.ClientError):
        await asked


async def test_slow_answers_come_late_and_drips_byte_by_byte(
    registry: LabRegistry, client: Client
) -> None:
    loop = asyncio.get_running_loop()
    registry.slow_seconds, registry.drip_seconds = 0.05, 0.0005
    registry.fault(Fault.SLOW)
    began = loop.time()
    assert await client.manifest() == 200
    assert loop.time() - began >= 0.05
    registry.clear()
    registry.fault(Fault.DRIP)
    began = loop.time()
    assert await client.manifest() == 200
    assert client.body == WEB.manifest
    assert loop.time() - began >= 0.0005 * len(WEB.manifest)


async def test_html_comes_instead_of_json(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.HTML)
    assert await client.manifest() == 200
    assert client.headers["Content-Type"].startswith("text/html")


async def test_manifests_lie_about_their_digest(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.WRONG_DIGEST)
    await client.manifest()
    assert client.headers["Docker-Content-Digest"] != WEB.digest
    registry.clear()
    registry.fault(Fault.NO_DIGEST)
    await client.manifest()
    assert "Docker-Content-Digest" not in client.headers
    registry.clear()
    registry.fault(Fault.ALTERED)
    await client.manifest()
    assert client.headers["Docker-Content-Digest"] == WEB.digest
    assert images.digest_of(client.body) != WEB.digest


async def test_an_index_hides_from_who_does_not_accept_indexes(
    registry: LabRegistry, client: Client
) -> None:
    registry.fault(Fault.ACCEPT_TRAP)
    path = "team/web/manifests/multi"
    assert await client.ask(path, Accept=images.OCI_MANIFEST) == 404
    assert b"OCI index found, but accept header does not support OCI indexes" in client.body
    assert await client.ask(path, Accept=ACCEPT_ALL) == 200
    assert await client.ask("team/web/manifests/1.0", Accept=images.OCI_MANIFEST) == 200


async def test_blobs_are_lost_truncated_or_empty(registry: LabRegistry, client: Client) -> None:
    size = len(registry.contents.bytes[LAYER])
    registry.fault(Fault.BLOB_NOT_FOUND, reference=LAYER)
    assert await client.blob() == 404
    registry.clear()
    registry.fault(Fault.BLOB_TRUNCATED)
    assert (await client.blob(), len(client.body)) == (200, size // 2)
    assert await client.blob(Range=f"bytes={size - 1}-{size - 1}") == 416
    registry.clear()
    registry.fault(Fault.EMPTY_206)
    assert (await client.blob(Range="bytes=0-0"), client.body) == (206, b"")
    registry.clear()
    assert (await client.blob(Range="bytes=-1"), len(client.body)) == (206, 1)
    assert client.headers["Content-Range"] == f"bytes {size - 1}-{size - 1}/{size}"


async def test_blobs_move_to_another_host_that_wants_no_authorization(
    registry: LabRegistry, client: Client
) -> None:
    registry.fault(Fault.REDIRECT)
    assert await client.blob() == 307
    elsewhere = client.headers["Location"]
    assert not elsewhere.startswith(registry.url)
    async with aiohttp.ClientSession() as session:
        async with session.get(elsewhere) as answer:
            assert hashlib.sha256(await answer.read()).hexdigest() == LAYER.removeprefix("sha256:")
        async with session.get(elsewhere, headers={"Authorization": "Bearer x"}) as answer:
            assert answer.status == 400
    assert [one.authorized for one in registry.requests[-2:]] == [False, True]


async def test_blobs_may_be_redirected_for_ever(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.REDIRECT_LOOP)
    assert await client.blob() == 307
    assert client.headers["Location"] == f"{registry.url}/v2/team/web/blobs/{LAYER}"


async def test_things_get_lost_for_good(registry: LabRegistry, client: Client) -> None:
    registry.lose_blob(LAYER)
    assert (await client.manifest(), await client.blob(), await client.blob("HEAD")) == (
        200,
        404,
        404,
    )
    registry.lose_tag("team/web", "1.0")
    assert (await client.manifest(), await client.manifest(WEB.digest)) == (404, 200)
    registry.lose_manifest("team/web", WEB.digest)
    assert await client.manifest(WEB.digest) == 404


async def test_manifests_are_deleted_by_digest_only(registry: LabRegistry, client: Client) -> None:
    assert await client.manifest(method="DELETE") == 400
    assert b"DIGEST_INVALID" in client.body
    assert await client.manifest(WEB.digest, "DELETE") == 202
    assert await client.manifest() == 404


async def test_every_request_is_in_the_log(registry: LabRegistry, client: Client) -> None:
    await client.manifest("nope", "HEAD")
    await client.ask("", Authorization="Basic eDp5")
    first, second = registry.requests
    assert (first.method, first.path, first.status) == ("HEAD", "/v2/team/web/manifests/nope", 404)
    assert (first.authorized, second.authorized) == (False, True)


async def test_basic_authentication_follows_the_users() -> None:
    async with (
        LabRegistry("cluster1", users={"reader": "secret"}).serving() as registry,
        aiohttp.ClientSession() as session,
    ):
        client = Client(registry, session)
        registry.push("team/web", "1.0", WEB)
        assert await client.manifest() == 401
        assert client.headers["WWW-Authenticate"] == 'Basic realm="cluster1"'
        good = aiohttp.encode_basic_auth("reader", "secret")
        assert await client.ask("team/web/manifests/1.0", Authorization=good) == 200
        registry.users = {"reader": "changed"}
        assert await client.ask("team/web/manifests/1.0", Authorization=good) == 401


async def test_bearer_tokens_come_from_the_realm_and_hold_what_they_were_made_for() -> None:
    async with (
        LabRegistry("cluster1", users={"reader": "secret"}, bearer=True).serving() as registry,
        aiohttp.ClientSession() as session,
    ):
        client = Client(registry, session)
        registry.push("team/web", "1.0", WEB)
        registry.push("team/other", "1.0", WEB)
        assert await client.manifest() == 401
        assert client.headers["WWW-Authenticate"] == (
            f'Bearer realm="{registry.url}/token",service="cluster1",'
            'scope="repository:team/web:pull"'
        )
        url = f"{registry.url}/token?service=cluster1&scope=repository:team/web:pull"
        async with session.get(url) as refused:
            assert refused.status == 401
        good = {"Authorization": aiohttp.encode_basic_auth("reader", "secret")}
        async with session.get(url, headers=good) as answer:
            token = f"Bearer {(await answer.json())['token']}"
        assert await client.ask("team/web/manifests/1.0", Authorization=token) == 200
        assert await client.ask("team/other/manifests/1.0", Authorization=token) == 401
        registry.fault(Fault.TOKEN_DOWN)
        async with session.get(url, headers=good) as answer:
            assert answer.status == 500
        registry.tokens.revoke()
        assert await client.ask("team/web/manifests/1.0", Authorization=token) == 401


async def test_it_speaks_tls_with_the_certificate_it_is_given() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with (
        LabRegistry("cluster1", tls=server).serving() as registry,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"{registry.url}/v2/", ssl=trusting) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"{registry.url}/v2/")


async def test_referrers_are_served_when_wanted() -> None:
    signed = images.referrer(WEB)
    async with (
        LabRegistry("cluster1", referrers=True).serving() as registry,
        LabRegistry("old").serving() as old,
        aiohttp.ClientSession() as session,
    ):
        for one in (registry, old):
            one.push("team/web", "1.0", WEB)
            one.push("team/web", signed.digest, signed)
        client = Client(registry, session)
        assert await client.ask(f"team/web/referrers/{WEB.digest}") == 200
        assert signed.digest.encode() in client.body
        assert await Client(old, session).ask(f"team/web/referrers/{WEB.digest}") == 404


async def sent(registry: LabRegistry, path: str, **headers: str) -> bytes:
    """All that comes until the connection ends, as it comes."""
    port = int(registry.host.partition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"GET /v2/{path} HTTP/1.1", "Host: lab", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_unavailability_may_say_for_how_long(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.UNAVAILABLE)
    await client.manifest()
    assert "Retry-After" not in client.headers
    registry.unavailable_for = 9
    await client.manifest()
    assert client.headers["Retry-After"] == "9"


async def test_rate_limits_are_told_in_good_answers(registry: LabRegistry, client: Client) -> None:
    registry.retry_after = 30
    registry.fault(Fault.RATE_LIMIT_HEADERS)
    assert (await client.manifest(), client.headers["RateLimit-Remaining"]) == (200, "0")
    assert client.headers["RateLimit-Reset"] == "30"
    assert await client.manifest("nope") == 404
    assert "RateLimit-Remaining" not in client.headers


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.BLOB_UNAUTHORIZED, 401), (Fault.BLOB_FORBIDDEN, 403)]
)
async def test_blobs_alone_are_refused(
    registry: LabRegistry, client: Client, fault: Fault, status: int
) -> None:
    registry.fault(fault)
    assert (await client.manifest(), await client.blob()) == (200, status)


async def test_a_page_comes_instead_of_a_blob_alone(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.BLOB_HTML)
    assert (await client.manifest(), client.body) == (200, WEB.manifest)
    assert await client.blob(Range="bytes=5-5") == 200
    assert client.body.startswith(b"<!doctype html>")


async def test_a_body_is_cut_in_good_order_or_by_a_reset(
    registry: LabRegistry, client: Client
) -> None:
    path = "team/web/manifests/1.0"
    registry.fault(Fault.CUT_BODY, times=2)
    head, _, body = (await sent(registry, path)).partition(b"\r\n\r\n")
    assert (head.startswith(b"HTTP/1.1 200 OK"), body) == (True, b"")
    assert f"Content-Length: {len(WEB.manifest)}".encode() in head
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.manifest()
    assert await client.manifest() == 200
    registry.fault(Fault.ABORT_BODY)
    with pytest.raises(ConnectionResetError):
        await sent(registry, path)
    assert [one.status for one in registry.requests] == [200, 200, 200, 200]


@pytest.mark.parametrize("path", ["team/web/manifests/1.0", f"team/web/blobs/{LAYER}"])
async def test_an_endless_body_ends_when_the_client_goes_away(
    registry: LabRegistry, path: str
) -> None:
    registry.fault(Fault.ENDLESS)
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{registry.url}/v2/{path}")
        assert len(await answer.content.readexactly(4 << 20)) == 4 << 20
        assert registry.requests == []
        answer.close()
    for _ in range(500):
        if registry.requests:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("the registry is still sending")


@pytest.mark.parametrize("path", ["team/web/manifests/1.0", f"team/web/blobs/{LAYER}"])
async def test_a_gzip_bomb_is_small_on_the_wire(registry: LabRegistry, path: str) -> None:
    registry.fault(Fault.GZIP_BOMB)
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(f"{registry.url}/v2/{path}") as answer,
    ):
        body = await answer.read()
        assert answer.headers["Content-Encoding"] == "gzip"
    assert len(body) < 1 << 20
    with gzip.open(io.BytesIO(body)) as unpacked:
        unpacked.seek(64 << 20)
        assert unpacked.read(1)


async def test_headers_flood_or_grow(registry: LabRegistry) -> None:
    registry.fault(Fault.HEADER_FLOOD, times=1)
    head, _, body = (await sent(registry, "team/web/manifests/1.0")).partition(b"\r\n\r\n")
    assert (head.count(b"\r\n") > 5_000, body) == (True, WEB.manifest)
    registry.fault(Fault.GIANT_HEADER, times=1)
    head, _, body = (await sent(registry, "team/web/manifests/1.0")).partition(b"\r\n\r\n")
    assert (len(head) > 1 << 20, body) == (True, WEB.manifest)


async def test_not_modified_may_be_a_lie(registry: LabRegistry, client: Client) -> None:
    registry.fault(Fault.NOT_MODIFIED_LIE)
    path = "team/web/manifests/1.0"
    assert await client.ask(path, **{"If-None-Match": '"anything"'}) == 304
    assert await client.ask(path) == 200


async def test_a_token_runs_out_in_the_middle_of_a_walk() -> None:
    async with (
        LabRegistry("cluster1", users={"u": "p"}, bearer=True).serving() as registry,
        aiohttp.ClientSession() as session,
    ):
        registry.push("team/web", "1.0", WEB)
        client = Client(registry, session)

        async def token() -> str:
            url = f"{registry.url}/token?scope=repository:team/web:pull"
            given = {"Authorization": aiohttp.encode_basic_auth("u", "p")}
            async with session.get(url, headers=given) as answer:
                return f"Bearer {(await answer.json())['token']}"

        old = await token()
        registry.fault(Fault.EXPIRED_TOKEN, reference=LAYER, times=1)
        manifest, blob = "team/web/manifests/1.0", f"team/web/blobs/{LAYER}"
        assert await client.ask(manifest, Authorization=old) == 200
        assert await client.ask(blob, Authorization=old) == 401
        assert client.headers["WWW-Authenticate"].startswith("Bearer realm=")
        assert await client.ask(manifest, Authorization=old) == 401
        assert await client.ask(blob, Authorization=await token()) == 200


async def test_a_challenge_may_name_a_realm_elsewhere() -> None:
    async with (
        LabRegistry("cluster1", users={"u": "p"}, bearer=True).serving() as registry,
        aiohttp.ClientSession() as session,
    ):
        registry.realm = "http://elsewhere.example.com/token"
        client = Client(registry, session)
        assert await client.manifest() == 401
        assert 'realm="http://elsewhere.example.com/token"' in client.headers["WWW-Authenticate"]
