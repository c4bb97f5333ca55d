"""What is no HTTP, or too much of it, is refused as JSON, and no byte of it is shown again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from syncwatch.report.routing import errors_as_json
from syncwatch.report.serving import Runner


async def greet(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def sent(lines: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """The status line, the headers and the body of what comes back; the connection is then over."""
    app = web.Application(middlewares=[errors_as_json])
    app.add_routes([web.get("/", greet)])
    runner = Runner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(lines)
        told = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
    finally:
        await runner.cleanup()
    head, _, body = told.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    pairs = [line.decode().split(": ", 1) for line in headers]
    return status, {one[0]: one[1] for one in pairs}, body


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        pytest.param(
            b"GET /?" + b"x" * 9000 + b" HTTP/1.1\r\nHost: here\r\n\r\n", "longer", id="a long line"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer s3cret\x00\r\n\r\n",
            "no HTTP",
            id="a NUL",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: here\r\nAuthorization: " + b"s3cret" * 2000 + b"\r\n\r\n",
            "longer",
            id="a long header",
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "no HTTP", id="TLS"),
        pytest.param(b"what is this?\r\n\r\n", "no HTTP", id="words"),
    ],
)
async def test_what_cannot_be_read_is_refused_as_json(
    lines: bytes, words: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[Any]
) -> None:
    status, headers, body = await sent(lines)
    assert status.startswith(b"HTTP/1.") and b" 400 " in status
    assert headers["Content-Type"].startswith("application/json")
    told = json.loads(body)["error"]
    assert told["code"] == "bad_request"
    assert words in told["message"]
    shown = capsys.readouterr()
    assert "s3cret" not in caplog.text + shown.out + shown.err + body.decode()


async def test_what_can_be_read_is_answered_as_ever() -> None:
    status, headers, body = await sent(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    assert (status, body) == (b"HTTP/1.1 200 OK", b"hello")
    assert headers["Content-Type"].startswith("text/plain")
