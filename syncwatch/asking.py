"""The commands' side of the API: where the daemon is, and one question to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from syncwatch.errors import ConfigError, MalformedError, OutboundError, SyncwatchError
from syncwatch.outbound import Outbound

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8081"
BODY = 64 * 1024 * 1024


class RefusedError(SyncwatchError):
    """The daemon answered, and not with what was asked for; `status` is that of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


async def ask(
    path: str,
    *,
    url: str = "",
    config: Path | None = None,
    token_file: Path | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The daemon's JSON answer; with a `body` it is sent by POST, what is None left out.

    Raises SyncwatchError when it cannot be had, RefusedError where the daemon says why not, and
    ConfigError for a `url` that is none.
    """
    base = _base(url, config)
    headers = {"Accept": "application/json"}
    if token := _token(token_file):
        headers["Authorization"] = f"Bearer {token}"
    outbound = Outbound(timeout=30.0)
    try:
        answer = await outbound.ask(
            "GET" if body is None else "POST",
            base + path,
            headers=headers,
            json=_filled(body),
            body_limit=BODY,
        )
    except OutboundError as error:
        raise SyncwatchError(
            f"no syncwatch answers: {error.message}",
            cure="is it running? name it with --url or SYNCWATCH_URL",
        ) from None
    finally:
        await outbound.close()
    return _read(answer.status, answer.body, base)


def _filled(body: dict[str, Any] | None) -> dict[str, Any] | None:
    if body is None:
        return None
    return {name: value for name, value in body.items() if value is not None}


def _base(url: str, config: Path | None) -> str:
    if url:
        return _checked(url).rstrip("/")
    if config is None:
        return DEFAULT_URL
    from syncwatch.config import load  # noqa: PLC0415 - only where a file is given

    address = load(config, serving=False).listen
    host = "127.0.0.1" if address.host in ("0.0.0.0", "::") else address.host  # noqa: S104
    return f"http://[{host}]:{address.port}" if ":" in host else f"http://{host}:{address.port}"


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        # It is not shown: people put passwords into URLs.
        raise ConfigError(["--url: not an address; write it as http://127.0.0.1:8081"])
    return url


def _token(token_file: Path | None) -> str:
    if token_file is None:
        return os.environ.get("SYNCWATCH_TOKEN", "")
    try:
        return token_file.read_text().strip()
    except OSError as error:
        raise SyncwatchError(f"{token_file} cannot be read: {error.strerror}") from None


def _read(status: int, body: bytes, base: str) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(body)
    except msgspec.DecodeError:
        told = None
    if not isinstance(told, dict):
        raise MalformedError(f"{base} answers, but it is not syncwatch")
    if status not in (200, 202):
        words = told.get("error", {}).get("message", f"status {status}")
        raise RefusedError(f"{base} says: {words}", status)
    return told
