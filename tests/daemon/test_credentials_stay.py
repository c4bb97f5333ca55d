"""Credentials stay where they belong: with the registry, and in no text that anybody reads."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import ssl
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trustme
from running import SECRET, Watched, running, settings_file, until
from verify.table import Says, client_of, manifest, serving

from syncwatch.errors import OutboundError
from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import Fault, LabRegistry
from syncwatch.lab.storage import SIGNATURE, ObjectStore
from syncwatch.lab.tokens import Tokens
from syncwatch.model import Level, Reason
from syncwatch.outbound import Outbound
from syncwatch.runtime import redact

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from verify.table import Rows, TableRegistry

    from syncwatch.lab.images import Image
    from syncwatch.lab.tokens import Access
    from syncwatch.model import Observation

USER, PASSWORD = "reader", "the-word-of-the-reader"
ME = (USER, PASSWORD)
ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
TOKEN = "t0ken-of-the-reader"
SIGNED = [part.partition("=")[2] for part in SIGNATURE.split("&")][-1]

IMAGE = images.platforms("stays")
OF_BLOBS = (
    Fault.BLOB_UNAUTHORIZED,
    Fault.BLOB_FORBIDDEN,
    Fault.REDIRECT,
    Fault.REDIRECT_LOOP,
    Fault.STORAGE_FORBIDDEN,
    Fault.STORAGE_NOT_FOUND,
    Fault.STORAGE_DOWN,
)
OF_ALL = (
    Fault.UNAUTHORIZED,
    Fault.FORBIDDEN,
    Fault.SERVER_ERROR,
    Fault.HTML,
    Fault.RESET,
    Fault.HEADER_FLOOD,
    Fault.GIANT_HEADER,
    Fault.EXPIRED_TOKEN,
    Fault.ABORT_BODY,
)


class Remembering(Tokens):
    """Tokens that remember each word they gave, revoked or not."""

    def __init__(self) -> None:
        super().__init__(time.time, 300)
        self.words: set[str] = set()

    def issue(self, holder: str, access: Iterable[Access]) -> dict[str, Any]:
        answer = super().issue(holder, access)
        self.words.add(answer["token"])
        return answer


def guarded(*, bearer: bool) -> tuple[LabRegistry, Remembering]:
    registry = LabRegistry("guarded", users={USER: PASSWORD}, bearer=bearer)
    registry.tokens = tokens = Remembering()
    return registry, tokens


# --- on the wire -----------------------------------------------------------------------------


def challenge(registry: TableRegistry, scheme: str, realm: str = "") -> Says:
    realm = realm or f"{registry.url}/token"
    words = 'Basic realm="r"' if scheme == "basic" else f'Bearer realm="{realm}",service="r"'
    return Says(401, b"", {"WWW-Authenticate": words})


def token() -> Says:
    return Says(200, json.dumps({"token": TOKEN}).encode(), {"Content-Type": "application/json"})


def contents() -> Rows:
    """All of the image: the index, its children, their blobs."""
    rows: Rows = {("*", "v1"): manifest(IMAGE.digest, IMAGE.manifest)}
    for one in (IMAGE, *IMAGE.children):
        rows["*", one.digest] = _typed(one)
        for blob in one.blobs:
            rows["*", images.digest_of(blob)] = Says(200, blob)
    return rows


def _typed(image: Image) -> Says:
    return Says(200, image.manifest, {"Content-Type": image.media_type})


def moving(registry: TableRegistry, scheme: str, target: str) -> Rows:
    """A registry that asks who comes, then sends everybody on, whatever they want."""
    names = [name for _, name in contents()]
    rows: Rows = {
        ("*", name): Says(307, headers={"Location": f"{target}/v2/a/b/x/{name}?{SIGNATURE}"})
        for name in names
    }
    first = rows["*", "v1"]
    assert isinstance(first, Says)
    return rows | {("*", "v1"): [challenge(registry, scheme), first], ("GET", "token"): token()}


async def look_at(url: str, **settings: Any) -> Observation:
    async with client_of(url, credentials=[ME], **settings) as client:
        return await client.look("a/b", "v1", [IMAGE.digest], level=Level.READABLE)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["another host", "another port"])
@pytest.mark.parametrize("scheme", ["basic", "bearer"])
async def test_no_redirect_takes_the_credential_along(scheme: str, host: str) -> None:
    async with serving({}) as registry, serving(contents()) as elsewhere:
        registry.rows = moving(registry, scheme, f"http://{host}:{elsewhere.port}")
        seen = await look_at(registry.url)
    assert seen.level is Level.READABLE, seen.detail
    sent = "Basic " + ENCODED if scheme == "basic" else f"Bearer {TOKEN}"
    to_registry = [one for one in registry.requests if "/v2/" in one.path][1:]
    assert {one.headers.get("Authorization") for one in to_registry} == {sent}
    wanted = {name for _, name in contents()}
    assert {one.path.rpartition("/")[2] for one in elsewhere.requests} == wanted
    assert set(elsewhere.sent("Authorization")) == {None}
    for one in elsewhere.requests:
        assert PASSWORD not in str(one.headers)
        assert ENCODED not in str(one.headers)
        assert TOKEN not in str(one.headers)


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
async def test_no_redirect_takes_the_credential_from_https_to_http(
    scheme: str, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with serving({}, tls) as registry, serving(contents()) as elsewhere:
        registry.rows = moving(registry, scheme, elsewhere.url)
        seen = await look_at(registry.url, ca_file=tmp_path / "ca.pem")
    assert seen.level is Level.READABLE, seen.detail
    assert set(elsewhere.sent("Authorization")) == {None}


@pytest.mark.parametrize("asks", ["basic", "bearer"])
@pytest.mark.parametrize("scheme", ["basic", "bearer"])
async def test_whom_we_were_sent_to_gets_no_credential_by_asking(scheme: str, asks: str) -> None:
    async with serving({}) as registry, serving({}) as elsewhere:
        wants = challenge(elsewhere, asks)
        elsewhere.rows = dict.fromkeys(contents(), wants)
        registry.rows = moving(registry, scheme, elsewhere.url.replace("127.0.0.1", "localhost"))
        seen = await look_at(registry.url)
    assert seen.problem is Reason.UNAUTHORIZED
    assert set(elsewhere.sent("Authorization")) == {None}
    assert "token" not in {name for _, name in elsewhere.asked}


@pytest.mark.parametrize("part", ["v1", "top", "child", "blob"])
async def test_a_token_realm_of_strangers_is_never_asked_at_whatever_part(part: str) -> None:
    name = {
        "v1": "v1",
        "top": IMAGE.digest,
        "child": IMAGE.children[0].digest,
        "blob": IMAGE.children[0].layer_digests[0],
    }[part]
    async with serving({("GET", "token"): token()}) as stranger, serving(contents()) as registry:
        realm = f"http://localhost:{stranger.port}/token"
        registry.rows["*", name] = challenge(registry, "bearer", realm)
        seen = await look_at(registry.url)
    assert seen.problem is Reason.UNAUTHORIZED
    assert stranger.asked == []
    assert set(registry.sent("Authorization")) == {None}


async def test_an_error_holds_no_query_in_any_of_its_texts() -> None:
    outbound = Outbound(timeout=2.0)
    url = f"http://127.0.0.1:9/storage/blob?{SIGNATURE}"
    try:
        with pytest.raises(OutboundError) as caught:
            await outbound.ask("GET", url, headers={"Authorization": f"Bearer {TOKEN}"})
    finally:
        await outbound.close()
    texts = "".join(traceback.format_exception(caught.value)) + str(caught.value.__dict__)
    assert "unreachable" in texts
    assert SIGNED not in texts
    assert TOKEN not in texts


@pytest.mark.parametrize("fault", [*OF_BLOBS, *OF_ALL, Fault.TOKEN_DOWN])
@pytest.mark.parametrize("bearer", [False, True], ids=["basic", "bearer"])
async def test_what_a_look_tells_under_a_fault_holds_no_secret(
    *, fault: Fault, bearer: bool
) -> None:
    registry, tokens = guarded(bearer=bearer)
    image = images.image("one")
    registry.push("a/b", "v1", image)
    registry.fault(fault)
    async with (
        registry.serving(),
        ObjectStore(registry).serving() as store,
        client_of(registry.url, credentials=[ME]) as client,
    ):
        seen = await client.look("a/b", "v1", [image.digest], level=Level.READABLE)
        root = await client.ping()
    assert secrets_in(repr(seen) + repr(root), tokens) == []
    assert not any(one.authorized for one in store.requests)
    assert bool(store.requests) == (fault is Fault.REDIRECT or fault.startswith("storage"))


# --- in words of others ----------------------------------------------------------------------

STORED = "https://storage.example.com/b/o"


@pytest.mark.parametrize(
    "told",
    [
        f'Get "{STORED}?{SIGNATURE}&X-Amz-Credential=hunter2": 403',
        f'Get "{STORED}?X-Goog-Algorithm=a&X-Goog-Credential=hunter2%2Fauto&x=1": 403',
        f"{STORED}?X-Goog-SignedHeaders=host&X-Goog-Signature=hunter2",
        f"{STORED}?x-goog-security-token=hunter2",
        f"{STORED}?X-Goog-Content-Sha256=hunter2",
        f"{STORED}?Policy=hunter2__&Signature=hunter2~&Key-Pair-Id=hunter2",
        f"{STORED}?Expires=1&key-pair-id=hunter2",
        f"{STORED}?sv=2021-08-06&sr=b&sig=hunter2%3D&se=2026-01-01",
        f"<a href='{STORED}?sr=b&amp;sig=hunter2&amp;se=1'>moved</a>",
        f'{{"detail":"{STORED}?sr=b\\u0026sig=hunter2"}}',
        "https://harbor.example.com/service/token?service=r&password=hunter2",
        "password=hunter2&grant_type=password",
        'grant_type=password&password="hunter2 hunter2"&x=1',
        '{"form":"password=\\"hunter2 hunter2\\""}',
        "grant_type=refresh_token&refresh_token=hunter2",
        "client_secret=hunter2&client_id=c",
        "moved to https://h/cb#access_token=hunter2",
        "CLIENT_SECRET=hunter2",
    ],
)
def test_what_somebody_said_is_kept_without_what_signs_or_logs_in(told: str) -> None:
    kept = redact(told)
    assert "hunter2" not in kept
    assert SIGNED not in kept
    assert "***" in kept
    # What says where and what stays.
    assert [one for one in (STORED, "403", "moved") if (one in told) != (one in kept)] == []


@pytest.mark.parametrize(
    "told",
    [
        "policy=to-cluster1 signature=none sig=11 key-pair-id=3",
        "http://127.0.0.1:8081/?policy=to-cluster1&destination=cluster1",
        "the design, policies and signatures; Policy=to-cluster1",
        "https://harbor.example.com/service/token?service=r&scope=repository:a/b:pull",
        "a password has to be set; write password: WORD, and no access_token",
        "grant_type=password&username=reader",
        f"{STORED}?x-google=1&designature=2",
    ],
)
def test_words_that_are_no_secret_are_kept(told: str) -> None:
    assert redact(told) == told


# --- in the daemon ---------------------------------------------------------------------------


def secrets_in(text: str, tokens: Remembering, *more: str) -> list[str]:
    known = (PASSWORD, ENCODED, SIGNED, "X-Amz-Signature", SECRET, *tokens.words, *more)
    return [one for one in known if one in text]


async def texts_of(watched: Watched, rows: list[dict[str, Any]]) -> str:
    """All that the daemon tells anybody."""
    paths = ["/metrics", "/", "/readyz", "/healthz", "/api/v1/status", "/api/v1/findings"]
    paths += ["/api/v1/expectations?all=1&limit=1000"]
    for one in rows:
        paths.append(f"/api/v1/expectations/{one['id']}")
        image = f"{one['source_repository']}:{one['reference']}"
        paths += [f"/api/v1/explain?image={image}", f"/api/v1/gate?image={image}&max_age=1h"]
    told = []
    for path in paths:
        async with watched.session.get(watched.daemon.url + path) as answer:
            told.append(f"{answer.headers}\n{await answer.text()}")
    return "\n".join(told)


async def play(watched: Watched, harbor: LabHarbor, registry: LabRegistry) -> list[dict[str, Any]]:
    """A repository for each fault; the rows once each has been looked at."""
    for fault in (*OF_BLOBS, *OF_ALL):
        name = f"guarded/{fault.replace('_', '-')}"
        registry.push(name, "1.0", images.image(name))
        registry.fault(fault, name)
        harbor.push(name, "1.0", images.image(name))

    async def looked_at() -> list[dict[str, Any]] | None:
        rows = await watched.expectations()
        done = [one for one in rows if one["state"] != "pending"]
        return rows if len(done) == len(OF_BLOBS) + len(OF_ALL) else None

    return await until(looked_at, within=40.0, told="a verdict for each fault")


@pytest.mark.slow
@pytest.mark.parametrize("bearer", [False, True], ids=["basic", "bearer"])
async def test_under_each_fault_no_secret_is_in_any_log_metric_page_or_answer(
    *, bearer: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry, tokens = guarded(bearer=bearer)
    caplog.set_level(logging.INFO)
    async with contextlib.AsyncExitStack() as stack:
        harbor = await stack.enter_async_context(LabHarbor().serving())
        await stack.enter_async_context(registry.serving())
        store = await stack.enter_async_context(ObjectStore(registry).serving())
        harbor.create_project("guarded")
        # Harbor's own login is another one, so that what is found is ours.
        registry.users = {USER: PASSWORD, "harbor": "harbors-own-word"}
        harbor.create_registry(
            "guarded", registry.url, username="harbor", password="harbors-own-word"
        )
        harbor.create_policy("guarded", "guarded", pattern="guarded/**")
        robot, word = harbor.create_robot("syncwatch")
        entry = {"name": "guarded", "url": registry.url, "username": USER, "password": PASSWORD}
        login = {"url": harbor.url, "username": robot, "password": word}
        terms = {"deadline": "5m", "grace": "200ms", "retry_longest": "4s"}
        config = settings_file(tmp_path, login, terms, more_destinations=[entry])
        logs = stack.enter_context(structlog.testing.capture_logs())
        watched = await stack.enter_async_context(running(config))
        harbor.create_webhook_policy("guarded", watched.webhook_url, auth_header=SECRET)
        rows = await play(watched, harbor, registry)
        texts = await texts_of(watched, rows)
    ours = [one for one in registry.requests if one.user_agent.startswith("harbor-registry")]
    assert any(one.authorized for one in ours)
    assert store.requests
    assert not any(one.authorized for one in store.requests)
    assert secrets_in(texts, tokens, word, "harbors-own-word") == []
    assert secrets_in(f"{logs}{caplog.text}", tokens, word, "harbors-own-word") == []
    # What was searched holds the words of faults, and the address that was signed.
    assert "answered 403" in texts
    assert f"{store.url}/storage/guarded/redirect/" in texts
    assert len(logs) > len(rows)
    assert bool(tokens.words) == bearer
