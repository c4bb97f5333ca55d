"""Hostile peers, one row each, over real sockets: what `Outbound` makes of them."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trustme

from syncwatch.errors import OutboundError
from syncwatch.outbound import Outbound, kind_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET = "hunter2"
BOMB = gzip.compress(bytes(20_000_000))


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Peer:
    """A server that reads one request head per connection, says `words`, and then `ends`."""

    def __init__(self, words: bytes, ends: str) -> None:
        self.words = words
        self.ends = ends
        self.heads: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.words)
                if not await self.end(writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def end(self, writer: asyncio.StreamWriter) -> bool:
        if self.ends == "hang":
            await asyncio.Event().wait()
        if self.ends == "reset":
            linger = b"\1\0\0\0\0\0\0\0"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        while self.ends in {"endless", "drip"}:
            writer.write(b"x" if self.ends == "drip" else b"x" * 4096)
            await writer.drain()
            await asyncio.sleep(0.01 if self.ends == "drip" else 0)
        await writer.drain()
        return self.ends == "keep"


@asynccontextmanager
async def peer(
    words: bytes = b"", ends: str = "close", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    it = Peer(words, ends)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await it.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    it.port = server.sockets[0].getsockname()[1]
    try:
        yield it
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def outbound(**settings: object) -> AsyncIterator[Outbound]:
    it = Outbound(**{"timeout": 5.0, **settings})  # type: ignore[arg-type]
    try:
        yield it
    finally:
        await it.close()


ENDLESS = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("words", "ends", "kind", "says"),
    [
        pytest.param(b"", "close", "unreachable", "closed before", id="closes without a word"),
        pytest.param(b"", "reset", "unreachable", "reset", id="resets without a word"),
        pytest.param(b"", "hang", "unreachable", "within 0.3 s", id="says nothing"),
        pytest.param(ENDLESS, "drip", "unreachable", "within 0.3 s", id="drips for ever"),
        pytest.param(ENDLESS, "endless", "unreadable_answer", "longer than 1000", id="never ends"),
        pytest.param(
            answer(b"x" * 9)[:-5], "close", "unreachable", "middle of the body", id="body cut"
        ),
        pytest.param(
            CHUNKED + b"5\r\nhel", "close", "unreachable", "middle of the body", id="chunk cut"
        ),
        pytest.param(
            CHUNKED + b"zz\r\nhello", "close", "unreadable_answer", "not", id="chunk garbled"
        ),
        pytest.param(b"SSH-2.0-x\r\n\r\n", "close", "unreadable_answer", "not HTTP", id="not HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
            "close",
            "unreadable_answer",
            "not HTTP",
            id="a header too long",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 10_000 + b"\r\n",
            "close",
            "unreadable_answer",
            "not HTTP",
            id="headers too many",
        ),
        pytest.param(
            answer(BOMB[:900], "Content-Encoding: gzip"),
            "keep",
            "unreadable_answer",
            "longer than 1000",
            id="a gzip bomb",
        ),
        pytest.param(
            answer(gzip.compress(b"abc")[:-4], "Content-Encoding: gzip"),
            "keep",
            "unreadable_answer",
            "too early",
            id="gzip cut",
        ),
        pytest.param(
            answer(gzip.compress(b"a") + b"x" * 1000, "Content-Encoding: gzip"),
            "keep",
            "unreadable_answer",
            "longer than 1000",
            id="a long tail behind gzip",
        ),
        pytest.param(
            answer(b"abc", "Content-Encoding: gzip"),
            "keep",
            "unreadable_answer",
            "not",
            id="gzip that is none",
        ),
        pytest.param(
            answer(b"abc", "Content-Encoding: br"),
            "keep",
            "unreadable_answer",
            "not asked for",
            id="a coding not asked for",
        ),
    ],
)
async def test_a_peer_that_misbehaves_is_an_error_in_our_words(
    words: bytes, ends: str, kind: str, says: str
) -> None:
    seen: list[str] = []
    async with (
        peer(words, ends) as there,
        outbound(timeout=0.3, observe=lambda code, _seconds: seen.append(code)) as out,
    ):
        with pytest.raises(OutboundError, match=says) as caught:
            await out.ask(
                "GET",
                f"{there.url}/v2/?token={SECRET}",
                headers={"Authorization": SECRET},
                body_limit=1000,
            )
    assert caught.value.kind == kind
    assert str(caught.value).startswith(f"{there.url}: ")
    assert SECRET not in str(caught.value)
    assert seen == ["error"]


async def test_a_refused_connection_is_unreachable() -> None:
    async with peer() as there:
        url = there.url
    async with outbound() as out:
        with pytest.raises(OutboundError, match="refused") as caught:
            await out.ask("GET", url + "/")
    assert caught.value.kind == "unreachable"


async def test_a_name_that_is_not_known_is_unreachable() -> None:
    async with outbound() as out:
        with pytest.raises(OutboundError) as caught:
            await out.ask("GET", "http://nowhere.invalid/")
    assert caught.value.kind == "unreachable"
    assert str(caught.value).startswith("http://nowhere.invalid:80: ")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://a/",
        "http://",
        "/v2/",
        "http://a/ b",
        "http://a/\r\nX: y",
        "http://[::/",
        "http://ü/",
    ],
)
async def test_what_is_no_url_of_http_is_not_asked(url: str) -> None:
    async with outbound() as out:
        with pytest.raises(OutboundError) as caught:
            await out.ask("GET", url)
    assert caught.value.kind in {"unreadable_answer", "unreachable"}


async def test_userinfo_of_a_url_is_in_no_error() -> None:
    async with outbound() as out:
        with pytest.raises(OutboundError) as caught:
            await out.ask("GET", f"http://me:{SECRET}@nowhere.invalid/")
    assert SECRET not in repr(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "body"),
    [
        pytest.param(answer(b"hello"), b"hello", id="as it is"),
        pytest.param(answer(b""), b"", id="empty"),
        pytest.param(CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello", id="chunked"),
        pytest.param(
            answer(gzip.compress(b"hello"), "Content-Encoding: gzip"), b"hello", id="gzip"
        ),
        pytest.param(
            answer(zlib.compress(b"hello"), "Content-Encoding: deflate"), b"hello", id="deflate"
        ),
    ],
)
async def test_a_body_is_read_whole(words: bytes, body: bytes) -> None:
    seen: list[str] = []
    async with (
        peer(words, "keep") as there,
        outbound(observe=lambda code, _seconds: seen.append(code)) as out,
    ):
        got = await out.ask("GET", there.url + "/")
    assert (got.status, got.body) == (200, body)
    assert 0 < got.seconds < 5
    assert seen == ["200"]


async def test_a_body_as_long_as_the_limit_is_let_through() -> None:
    async with peer(answer(b"x" * 1000), "keep") as there, outbound() as out:
        assert len((await out.ask("GET", there.url + "/", body_limit=1000)).body) == 1000


async def test_the_head_that_is_sent_says_who_asks_and_wants_no_coding() -> None:
    async with peer(answer(b""), "keep") as there, outbound(user_agent="someone/1") as out:
        await out.ask("GET", there.url + "/a%2Fb?c=%20", headers={"Accept": "text/plain"})
        await out.ask("GET", there.url + "/", headers={"User-Agent": "another/2"})
    first, second = there.heads
    assert first.startswith(b"GET /a%2Fb?c=%20 HTTP/1.1\r\n")
    assert b"\r\nUser-Agent: someone/1\r\n" in first
    assert b"\r\nAccept-Encoding: identity\r\n" in first
    assert b"\r\nUser-Agent: another/2\r\n" in second
    assert b"someone" not in second


async def test_a_cookie_is_never_sent_back() -> None:
    async with peer(answer(b"", "Set-Cookie: sid=1"), "keep") as there, outbound() as out:
        await out.ask("GET", there.url + "/")
        await out.ask("GET", there.url + "/")
    assert not any(b"cookie" in head.lower() for head in there.heads)


async def test_a_redirect_is_an_answer() -> None:
    words = answer(b"", "Location: http://elsewhere.invalid/", status="307 Temporary Redirect")
    async with peer(words, "keep") as there, outbound() as out:
        got = await out.ask("GET", there.url + "/")
    assert got.status == 307
    assert got.headers["Location"] == "http://elsewhere.invalid/"


async def test_a_head_has_no_body_and_keeps_its_connection() -> None:
    words = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nContent-Encoding: br\r\n\r\n"
    async with peer(words, "keep") as there, outbound() as out:
        for _ in range(3):
            assert (await out.ask("HEAD", there.url + "/")).body == b""
    assert len(there.heads) == 3


async def test_no_more_requests_are_under_way_than_allowed_and_waiting_is_no_timeout() -> None:
    now = most = 0
    gate = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        await reader.readuntil(b"\r\n\r\n")
        now += 1
        most = max(most, now)
        if now == 2:
            gate.set()
        await gate.wait()
        await asyncio.sleep(0.05)
        now -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, outbound(timeout=0.4, concurrency=2) as out:
        answers = await asyncio.gather(*(out.ask("GET", url) for _ in range(30)))
    assert [one.status for one in answers] == [200] * 30
    assert most == 2


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="private")


def server_side(authority: trustme.CA, name: str) -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def pem(authority: trustme.CA, folder: Path) -> Path:
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


async def test_a_private_authority_is_trusted_when_named(
    authority: trustme.CA, tmp_path: Path
) -> None:
    tls = server_side(authority, "127.0.0.1")
    async with (
        peer(answer(b"hello"), "keep", tls) as there,
        outbound(ca_file=pem(authority, tmp_path)) as out,
    ):
        assert (await out.ask("GET", f"https://127.0.0.1:{there.port}/")).body == b"hello"


async def test_a_certificate_is_not_looked_at_when_that_was_wished(authority: trustme.CA) -> None:
    tls = server_side(authority, "elsewhere.example")
    async with (
        peer(answer(b"hello"), "keep", tls) as there,
        outbound(insecure_skip_verify=True) as out,
    ):
        assert (await out.ask("GET", f"https://127.0.0.1:{there.port}/")).body == b"hello"


async def test_an_unknown_authority_is_a_tls_error(authority: trustme.CA) -> None:
    tls = server_side(authority, "127.0.0.1")
    async with peer(answer(b""), "keep", tls) as there, outbound() as out:
        with pytest.raises(OutboundError, match=r"not accepted: .*certificate") as caught:
            await out.ask("GET", f"https://127.0.0.1:{there.port}/")
    assert caught.value.kind == "tls_error"


async def test_a_certificate_of_another_name_is_a_tls_error(
    authority: trustme.CA, tmp_path: Path
) -> None:
    async with (
        peer(answer(b""), "keep", server_side(authority, "elsewhere.example")) as there,
        outbound(ca_file=pem(authority, tmp_path)) as out,
    ):
        with pytest.raises(OutboundError, match=r"127\.0\.0\.1") as caught:
            await out.ask("GET", f"https://127.0.0.1:{there.port}/")
    assert caught.value.kind == "tls_error"


async def test_a_port_without_tls_is_a_tls_error() -> None:
    async with peer(answer(b""), "close") as there, outbound() as out:
        there.serve = plain  # type: ignore[method-assign]
        with pytest.raises(OutboundError, match="does not speak TLS") as caught:
            await out.ask("GET", f"https://127.0.0.1:{there.port}/")
    assert caught.value.kind == "tls_error"


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["absent", "empty of any"])
async def test_a_ca_file_that_cannot_be_used_is_a_tls_error(
    content: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    async with peer(answer(b""), "keep") as there, outbound(ca_file=path) as out:
        with pytest.raises(OutboundError, match=r"CA file .*ca\.pem") as caught:
            await out.ask("GET", there.url + "/")
    assert caught.value.kind == "tls_error"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, None),
        (206, None),
        (307, "unreadable_answer"),
        (400, "unreadable_answer"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not_found"),
        (412, "policy_blocked"),
        (429, "rate_limited"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_each_status_has_one_word(status: int, kind: str | None) -> None:
    assert kind_of(status) == kind
