"""Debian's nginx before a registry, as people run it: proxy, redirects to storage, TLS, faults.

What nginx does with a kind of request is nginx's own directives, in a string. The functions and
constants below name the ways that matter; several are joined with `+`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from servers import free_port, listening, needs, needs_file, tls_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import trustme

ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")

GONE = "return 444;\n"
"""The connection is closed without an answer."""

CHUNKED = "sub_filter_types *; sub_filter 'not in any answer' '';\n"
"""Bodies go through a filter, which leaves no Content-Length: they are chunked."""

WITHOUT_RANGES = "proxy_set_header Range ''; proxy_hide_header Accept-Ranges; max_ranges 0;\n"
"""200 with the whole body, whatever range was asked for."""

GZIPPED = "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;\n"
"""Whole bodies are compressed for whoever takes gzip; nginx leaves 206 alone."""


def page(status: int, retry_after: int | None = None) -> str:
    """nginx's own HTML page of a status; `retry_after` in seconds."""
    header = "" if retry_after is None else f"add_header Retry-After {retry_after} always; "
    return f"{header}return {status};\n"


def drip(after: int, rate: int = 1) -> str:
    """`rate` bytes in a second once `after` bytes of an answer, head and all, are out."""
    return f"proxy_buffering on; limit_rate_after {after}; limit_rate {rate};\n"


def late(seconds: float) -> str:
    """Each answer begins so much later."""
    return f"echo_sleep {seconds}; echo_exec @registry;\n"


@dataclass(frozen=True)
class Asked:
    """A request that nginx has answered, as its log has it. `place` is `front` or `storage`."""

    place: str
    method: str
    path: str
    status: int
    host: str
    authorization: str
    byte_range: str


@dataclass
class Nginx:
    """A running nginx; `storage_url` is where blobs lie that the front redirects to."""

    url: str
    storage_url: str
    folder: Path
    process: asyncio.subprocess.Process

    async def asked(self, place: str = "", *, at_least: int = 0) -> list[Asked]:
        """What was asked so far, in order; waits until it is as many as `at_least`."""
        async for _ in _trials("so many requests"):
            found = [one for one in self._log() if place in ("", one.place)]
            if len(found) >= at_least:
                return found
        raise AssertionError

    async def answering(self) -> None:
        """Wait until an answer is under way to someone, by nginx's own count."""
        async with aiohttp.ClientSession() as session:
            async for _ in _trials("an answer under way"):
                async with session.get(f"{self.url}/of-this-test/status", ssl=False) as answer:
                    # The last line is `Reading: 0 Writing: 1 Waiting: 0`; one is our own.
                    if int((await answer.text()).split("Writing: ")[1].split()[0]) > 1:
                        return

    async def die(self) -> None:
        """Kill all of it at once: connections end where they are, and nobody listens any more."""
        workers = self._workers()
        self.process.kill()
        for one in workers:
            os.kill(one, signal.SIGKILL)
        await self.process.wait()

    def _workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(one) for one in children.read_text().split()}

    def _log(self) -> list[Asked]:
        rows = map(json.loads, (self.folder / "asked.log").read_text().splitlines())
        return [Asked(**{**row, "status": int(row["status"])}) for row in rows]


async def _trials(what: str, seconds: float = 20) -> AsyncIterator[None]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        await asyncio.sleep(0.02)
    raise TimeoutError(f"never came: {what}")


@asynccontextmanager
async def nginx(
    folder: Path,
    upstream: str,
    *,
    manifests: str = "",
    blobs: str = "",
    everything: str = "",
    storage: Path | None = None,
    storage_host: str = "localhost",
    at_storage: str = "",
    tls: trustme.CA | None = None,
    names: tuple[str, ...] = ("127.0.0.1", "localhost"),
) -> AsyncIterator[Nginx]:
    """nginx before the registry at `upstream`, for the length of a `with` block.

    `manifests`, `blobs` and `everything` are directives for those requests. With `storage` (a
    docker-registry's directory) blobs are not proxied: who may read at the registry is sent by 307
    to a server of files at `storage_host` that asks for no credential; `at_storage` are directives
    there. With `tls` both speak TLS, with a certificate of that authority for `names`.
    """
    program, port, storage_port = needs("nginx"), free_port(), free_port()
    folder = folder / "nginx"
    folder.mkdir(exist_ok=True)
    scheme = "https" if tls else "http"
    storage_url = f"{scheme}://{storage_host}:{storage_port}"
    front = _front(upstream, everything, manifests, blobs, storage_url if storage else "")
    servers = _server("front", port, front, _speaking(tls, folder, names))
    if storage is not None:
        files = f"location / {{ root {storage}/docker/registry/v2; {at_storage} }}\n"
        servers += _server("storage", storage_port, files, _speaking(tls, folder, names))
    path = folder / "nginx.conf"
    path.write_text(_whole(folder, servers))
    with (folder / "nginx.out").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            program, "-p", str(folder), "-c", str(path), "-e", str(folder / "nginx.err"),
            stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        await listening(port, process, _said(folder))
        yield Nginx(f"{scheme}://127.0.0.1:{port}", storage_url, folder, process)
    finally:
        if process.returncode is None:
            process.terminate()  # its workers end with it, which a kill would leave behind
        await process.wait()


def _said(folder: Path) -> Callable[[], str]:
    return lambda: (folder / "nginx.out").read_text() + (folder / "nginx.err").read_text()


def _whole(folder: Path, servers: str) -> str:
    """The configuration: in the foreground, without root, everything written inside `folder`."""
    log = {
        "place": "$place",
        "method": "$request_method",
        "path": "$request_uri",
        "status": "$status",
        "host": "$http_host",
        "authorization": "$http_authorization",
        "byte_range": "$http_range",
    }
    temporary = "".join(
        f"{one}_temp_path {folder}/{one};\n"
        for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    echo = f"load_module {needs_file(ECHO)};\n" if "echo_" in servers else ""
    # Workers that root starts are another user's by default, who may not read pytest's directory.
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"""{echo}{user}daemon off; worker_processes 1; pid {folder}/nginx.pid;
error_log {folder}/nginx.err;
events {{ worker_connections 512; }}
http {{
log_format asked escape=json '{json.dumps(log)}';
default_type application/octet-stream;
client_max_body_size 0;
{temporary}{servers}}}
"""


def _server(place: str, port: int, locations: str, speaking: str) -> str:
    log = "access_log asked.log asked;"
    return f"server {{ listen 127.0.0.1:{port}{speaking} set $place {place}; {log}\n{locations}}}\n"


def _speaking(tls: trustme.CA | None, folder: Path, names: tuple[str, ...]) -> str:
    if tls is None:
        return ";"
    files = tls_files(tls, folder, *names)
    return f" ssl; ssl_certificate {files['certificate']}; ssl_certificate_key {files['key']};"


def _front(upstream: str, everything: str, manifests: str, blobs: str, storage_url: str) -> str:
    """The locations of the registry's own name."""
    proxy = (
        "proxy_http_version 1.1; proxy_set_header Connection '';"
        " proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;"
        f" proxy_pass {upstream};"
    )
    redirect = "auth_request /of-this-test/allowed; try_files /of-this-test/none @storage;"

    def location(pattern: str, ways: str, otherwise: str = proxy) -> str:
        # The echo module and a proxy are both the one that makes the answer: only one can be.
        return f"location {pattern} {{ {ways}{'' if 'echo_exec' in ways else otherwise} }}\n"

    return (
        location("/", everything)
        + location("~ ^/v2/.+/manifests/", everything + manifests)
        + location(
            '~ "^/v2/.+/blobs/(?<algorithm>[a-z0-9]+):(?<prefix>[0-9a-f]{2})(?<rest>[0-9a-f]+)$"',
            everything + blobs,
            redirect if storage_url else proxy,
        )
        + location("@registry", "")
        + location(
            "@storage", f"return 307 {storage_url}/blobs/$algorithm/$prefix/$prefix$rest/data;"
        )
        + location("= /of-this-test/allowed", f"internal; {proxy[:-1]}/v2/;", "")
        + location("= /of-this-test/status", "access_log off; stub_status;", "")
    )
