"""The commands' side of the API: where the daemon is, and questions to it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import msgspec

from syncwatch.errors import ConfigError, MalformedError, OutboundError, SyncwatchError
from syncwatch.outbound import Outbound

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8081"
BODY = 64 * 1024 * 1024
AWAY = "is it running? name it with --url or SYNCWATCH_URL"
_OF_PROXIES = frozenset({429, *range(500, 600)})
"""Statuses of a proxy or load balancer that has no daemon to pass the question to."""


class RefusedError(SyncwatchError):
    """The daemon answered, and not with what was asked for; `status` is that of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class AwayError(SyncwatchError):
    """Nobody answers at the daemon's address, or a proxy answers in its place; it may come back."""

    retryable = True


@dataclass(frozen=True, slots=True)
class Told:
    """An answer of the daemon's; `retry_after` in seconds, None where it does not say."""

    status: int
    body: dict[str, Any]
    retry_after: float | None = None


class Daemon:
    """A daemon to be asked many questions over one pool of connections; `async with` closes it.

    At most `concurrency` are under way at once, each `timeout` seconds long at most.
    Raises ConfigError for a `url` that is none and for a token that cannot be read.
    """

    def __init__(
        self,
        *,
        url: str = "",
        config: Path | None = None,
        token_file: Path | None = None,
        timeout: float = 30.0,
        concurrency: int = 8,
    ) -> None:
        self.base = _base(url, config)
        token = _token(token_file)
        self._headers = {"Accept": "application/json"}
        self._headers |= {"Authorization": f"Bearer {token}"} if token else {}
        self._outbound = Outbound(timeout=timeout, concurrency=concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._outbound.close()

    async def ask(self, path: str, body: dict[str, Any] | None = None) -> Told:
        """Its answer, whatever the status; with a `body` it is sent by POST, without what is None.

        Raises AwayError where nobody answers, or what does is a proxy whose daemon is away, and
        MalformedError where what answers is not syncwatch.
        """
        method, filled = ("GET", None) if body is None else ("POST", _filled(body))
        try:
            answer = await self._outbound.ask(
                method, self.base + path, headers=self._headers, json=filled, body_limit=BODY
            )
        except OutboundError as error:
            raise AwayError(f"no syncwatch answers: {error.message}", cure=AWAY) from None
        told = _object(answer.body)
        if told is None and answer.status in _OF_PROXIES:
            raise AwayError(f"no syncwatch answers: {self.where}: status {answer.status}")
        if told is None:
            raise MalformedError(f"{self.where} answers, but it is not syncwatch")
        return Told(answer.status, told, _seconds(answer.headers.get("Retry-After", "")))

    @property
    def where(self) -> str:
        """Its address, without a login."""
        # People put passwords into URLs.
        scheme, _, rest = self.base.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"

    def refused(self, told: Told) -> RefusedError:
        """What to raise for an answer that is not what was asked for."""
        error = told.body.get("error")
        words = error.get("message") if isinstance(error, dict) else None
        return RefusedError(f"{self.where} says: {words or f'status {told.status}'}", told.status)


async def ask(
    path: str,
    *,
    url: str = "",
    config: Path | None = None,
    token_file: Path | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One question: the daemon's JSON answer; with a `body` it is sent by POST.

    Raises SyncwatchError when it cannot be had, RefusedError where the daemon says why not, and
    ConfigError for a `url` that is none and for a token that cannot be read.
    """
    async with Daemon(url=url, config=config, token_file=token_file) as daemon:
        told = await daemon.ask(path, body)
        if told.status not in (200, 202):
            raise daemon.refused(told)
        return told.body


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
        return _sendable("SYNCWATCH_TOKEN", os.environ.get("SYNCWATCH_TOKEN", ""))
    name = f"--token-file: {token_file}"
    try:
        return _sendable(name, token_file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{name} cannot be read: {error.strerror}"]) from None
    except ValueError:
        raise ConfigError([f"{name} is not UTF-8; it has to hold the token alone"]) from None


def _sendable(name: str, text: str) -> str:
    """The token as a header has it."""
    token = text.strip()
    if not token.isprintable():
        raise ConfigError([f"{name} has to hold the token alone, in one line"])
    return token


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        told = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return told if isinstance(told, dict) else None


def _seconds(text: str) -> float | None:
    """A Retry-After in seconds; None for a date, which no syncwatch sends."""
    return float(text) if re.fullmatch("[0-9]{1,6}", text) else None
