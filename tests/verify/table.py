"""A registry that is a table: for each request, the answers it gives, one after the other."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from syncwatch.lab.images import image
from syncwatch.outbound import Outbound
from syncwatch.verify.registry import RegistryClient

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

IMAGE = image("one")
OTHER = image("other")
API = {"Docker-Distribution-Api-Version": "registry/2.0"}
HTML = b"<!doctype html><title>proxy</title>"


@dataclass(frozen=True)
class Says:
    """One answer. `close` closes the connection instead; `raw` is sent as it is, then closed."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False
    raw: bytes = b""


def manifest(digest: str | None = IMAGE.digest, body: bytes = IMAGE.manifest) -> Says:
    headers = {"Content-Type": IMAGE.media_type, **API}
    if digest is not None:
        headers["Docker-Content-Digest"] = digest
    return Says(200, body, headers)


def error(status: int, code: str, message: str = "") -> Says:
    body = f'{{"errors":[{{"code":"{code}","message":"{message}","detail":{{"a":1}}}}]}}'.encode()
    return Says(status, body, {"Content-Type": "application/json", **API})


ABSENT = error(404, "MANIFEST_UNKNOWN", "manifest unknown")
PAGE = Says(200, HTML, {"Content-Type": "text/html"})

Rows = dict[tuple[str, str], Says | list[Says]]
"""(method, last part of the path) → answers; the last one stays. `*` stands for any method."""


@dataclass
class TableRegistry:
    rows: Rows
    port: int = 0
    scheme: str = "http"
    asked: list[tuple[str, str]] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def sent(self, header: str) -> list[str | None]:
        return [request.headers.get(header) for request in self.requests]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        key = (request.method, request.path.rpartition("/")[2])
        self.asked.append(key)
        self.requests.append(request)
        says = self.rows.get(key) or self.rows.get(("*", key[1]), ABSENT)
        if isinstance(says, list):
            says = says.pop(0) if len(says) > 1 else says[0]
        if says.close or says.raw:
            assert request.transport is not None
            request.transport.write(says.raw)
            request.transport.close()
        return web.Response(status=says.status, body=says.body, headers=says.headers)


@asynccontextmanager
async def serving(rows: Rows, tls: ssl.SSLContext | None = None) -> AsyncIterator[TableRegistry]:
    registry = TableRegistry(rows, scheme="https" if tls else "http")
    runner = web.ServerRunner(web.Server(registry.answer))  # type: ignore[arg-type]
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        registry.port = runner.addresses[0][1]
        yield registry
    finally:
        await runner.cleanup()


@dataclass
class Clock:
    now: int = 1_000_000

    def __call__(self) -> int:
        return self.now


@asynccontextmanager
async def client_of(
    url: str,
    *,
    credentials: list[tuple[str, str]] | None = None,
    clock: Clock | None = None,
    token_realms: tuple[str, ...] = (),
    **settings: object,
) -> AsyncIterator[RegistryClient]:
    """A client; the last of `credentials` is the one that holds, so a test may rotate it."""
    outbound = Outbound(**{"timeout": 5.0, **settings})  # type: ignore[arg-type]
    try:
        yield RegistryClient(
            url=url,
            outbound=outbound,
            credentials=lambda: credentials[-1] if credentials else None,
            clock=clock or Clock(),
            token_realms=token_realms,
        )
    finally:
        await outbound.close()
