"""Bearer tokens of the lab: opaque words, kept with what they allow and until when."""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Access = tuple[str, str]
"""(repository, action); the action is `pull`, `push` or `delete`."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a token allows. `holder` is whoever asked for it; "" for nobody."""

    holder: str
    access: frozenset[Access]
    expires: float


class Tokens:
    """The tokens one token service has given out."""

    def __init__(self, now: Callable[[], float], lifetime: int) -> None:
        self._now = now
        self._lifetime = lifetime
        self._given: dict[str, Token] = {}

    def issue(self, holder: str, access: Iterable[Access]) -> dict[str, Any]:
        """The token service's answer: token, access_token, expires_in, issued_at."""
        word = secrets.token_urlsafe(24)
        now = self._now()
        self._given[word] = Token(holder, frozenset(access), now + self._lifetime)
        issued = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "token": word,
            "access_token": word,
            "expires_in": self._lifetime,
            "issued_at": issued,
        }

    def find(self, word: str) -> Token | None:
        """The token's meaning; None when it was never given or has run out."""
        token = self._given.get(word)
        return token if token and token.expires > self._now() else None

    def revoke(self) -> None:
        """Forget every token."""
        self._given.clear()


def asked_access(scopes: Iterable[str]) -> list[Access]:
    """The accesses that `scope=repository:NAME:ACTION,ACTION` parameters ask for."""
    asked: list[Access] = []
    for scope in " ".join(scopes).split():
        kind, _, rest = scope.partition(":")
        repository, _, actions = rest.rpartition(":")
        if kind == "repository":
            asked += [(repository, action) for action in actions.split(",") if action]
    return asked


def basic_credentials(header: str | None) -> tuple[str, str] | None:
    """User and password of an `Authorization: Basic` header; None when it is none."""
    scheme, _, word = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(word, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None
