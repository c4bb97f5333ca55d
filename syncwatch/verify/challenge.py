"""What a registry's 401 asks for (RFC 9110, 11.6.1), and whether its token realm may be obeyed.

Pure. A realm is an address that the other side dictates and that our password is then sent to.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's "token", a word
_PIECE = re.compile(
    rf'(?P<word>{_TOKEN})(?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]*)))?'
)
# Hosts are held to their grammar, because what yarl makes of others is no promise: it decodes
# `xn--` labels and raises for some, `[]@` is an IndexError. ASCII, or `[!-~]` ignoring case is
# also the Kelvin sign and the long s.
_REALM = re.compile(
    r"https?://(?:[^]\[/?#@]*@)?(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:[/?#][!-~]*)?",
    re.IGNORECASE | re.ASCII,
)

_SECOND_LEVELS = frozenset({"ac", "co", "com", "edu", "gob", "gov", "net", "or", "org"})
"""Under a country's domain these are everybody's: a.co.uk and b.co.uk are strangers."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate: `scheme` and the names of parameters in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def challenges(values: Iterable[str]) -> list[Challenge]:
    """All challenges of all WWW-Authenticate headers; what cannot be read is left out."""
    found: list[Challenge] = []
    for value in values:
        parameters: dict[str, str] | None = None
        for piece in _PIECE.finditer(value):
            word = piece["word"].lower()
            if piece["quoted"] is None and piece["bare"] is None:
                parameters = {}
                found.append(Challenge(word, parameters))
            elif parameters is not None:
                parameters.setdefault(word, _plain(piece))
    return found


def _plain(piece: re.Match[str]) -> str:
    if piece["quoted"] is None:
        return piece["bare"] or ""
    return re.sub(r"\\(.)", r"\1", piece["quoted"])


def realm_refusal(registry: str, realm: str, listed: Collection[str]) -> str | None:
    """Why `realm` may not be asked on behalf of the registry at URL `registry`; None if it may.

    `listed` are hosts, `host` or `host:port` in lower case, that are trusted though they lie
    outside the registry's domain. None may take the password from https down to http.
    """
    home = URL(registry, encoded=True)
    try:
        there = URL(realm, encoded=True) if _REALM.fullmatch(realm) else URL()
        port = there.port
    except ValueError:
        return "its token realm is no URL"
    if not there.raw_host or there.raw_user is not None or there.raw_password is not None:
        return "its token realm is no URL of a host"
    if home.scheme == "https" and there.scheme != "https":
        return "its token realm steps down from https to http"
    host = there.raw_host.lower()
    if {host, f"{host}:{port}"} & set(listed) or related(home.raw_host or "", host):
        return None
    return f"its token realm is at {host}, outside its domain, and token_realms does not list it"


def related(one: str, other: str) -> bool:
    """Whether two hosts are the same, or names under one registrable domain."""
    one, other = one.lower().rstrip("."), other.lower().rstrip(".")
    if one == other:
        return True
    if _is_address(one) or _is_address(other):
        return False
    shared = _shared_suffix(one.split("."), other.split("."))
    public = len(shared) == 2 and len(shared[1]) == 2 and shared[0] in _SECOND_LEVELS
    return len(shared) >= 2 and not public


def _shared_suffix(one: list[str], other: list[str]) -> list[str]:
    shared: list[str] = []
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        shared.insert(0, left)
    return shared


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
