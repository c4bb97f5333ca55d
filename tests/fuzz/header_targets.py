"""Headers by which the other side says where to go: challenges, token realms, redirects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import seeds
from campaign import Target
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from syncwatch import outbound
from syncwatch.errors import OutboundError
from syncwatch.outbound import Answer
from syncwatch.verify.challenge import Challenge, challenges, realm_refusal
from syncwatch.verify.trail import Trail

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")


def header(data: bytes) -> str:
    """The text that aiohttp makes of a header's bytes."""
    return data.decode("utf-8", "surrogateescape")


def check_challenges(data: bytes) -> Hashable:
    """Each line is one WWW-Authenticate header."""
    values = [header(line) for line in data.split(b"\n")]
    found = challenges(values)
    for one in found:
        assert TOKEN.fullmatch(one.scheme)
        assert all(TOKEN.fullmatch(name) for name in one.parameters)
    told = sum(len(one.scheme) + sum(map(len, one.parameters.values())) for one in found)
    assert told <= sum(map(len, values))
    assert challenges([rendered(found)]) == found, "written again it reads otherwise"
    assert challenges(map(rendered, ([one] for one in found))) == found
    known = ("bearer", "basic")
    return tuple((one.scheme in known, len(one.parameters).bit_length()) for one in found[:3])


def rendered(found: Iterable[Challenge]) -> str:
    """The challenges as one header, all values quoted."""
    return ", ".join(
        f"{one.scheme} {', '.join(f'{name}={quoted(v)}' for name, v in one.parameters.items())}"
        for one in found
    )


def quoted(text: str) -> str:
    """RFC 9110's quoted-string."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


REGISTRIES = {
    b"a": "https://registry.example.com",
    b"b": "http://registry.example.com:5000",
    b"c": "https://registry.example.co.uk",
    b"d": "https://192.0.2.1:5000",
    b"e": "https://registry",
    b"f": "https://[2001:db8::1]:5000",
}
LISTED = ("auth.docker.io", "tokens.example.net:8443", "192.0.2.7")


def check_realm(data: bytes) -> Hashable:
    """First byte: which registry; the rest: the realm that it names."""
    registry = REGISTRIES.get(data[:1], REGISTRIES[b"a"])
    realm = header(data[1:])
    words = realm_refusal(registry, realm, LISTED)
    if words is not None:
        assert not any(char in words for char in "@?#"), "the refusal shows more than a host"
        return words.partition(" at ")[0], registry
    asked = URL(realm.partition("#")[0] + "?service=x", encoded=True)
    home, host = urlsplit(registry), (asked.raw_host or "").lower()
    assert asked.scheme == "https" or home.scheme == "http", "https became http"
    assert asked.raw_user is None and asked.raw_password is None
    assert HOST.fullmatch(f"[{host}]" if ":" in host else host), "no host has that name"
    in_list = host in LISTED or f"{host}:{asked.port}" in LISTED
    assert in_list or within(home.hostname or "", host), "a stranger's host"
    return asked.scheme, in_list, min(host.count("."), 4), registry


def within(home: str, host: str) -> bool:
    """Whether `host` is `home`, or has its last two labels (three under a country's `co.uk`)."""
    host = host.rstrip(".")
    if (
        host == home
        or ":" in home
        or re.fullmatch(r"[\d.]+", home)
        or re.fullmatch(r"[\d.]+", host)
    ):
        return host == home
    labels = home.split(".")
    shared = ".".join(labels[-3:] if labels[-2:] == ["co", "uk"] else labels[-2:])
    return len(labels) > 1 and (host == shared or host.endswith("." + shared))


class _Redirecting:
    """Answers each request with a redirect to the next place of a list, and notes what it got."""

    def __init__(self, places: Iterable[str]) -> None:
        self._places = iter(places)
        self.asked: list[tuple[str, Mapping[str, str]]] = []

    async def ask(
        self, _method: str, url: str, *, headers: Mapping[str, str], **_: object
    ) -> Answer:
        self.asked.append((url, headers))
        outbound._target(url)
        place = next(self._places, None)
        given = {} if place is None else {"Location": place}
        return Answer(200 if place is None else 307, CIMultiDictProxy(CIMultiDict(given)), b"", 0.1)


def check_redirects(data: bytes) -> Hashable:
    """Each line is the Location of one redirect, on the way from a registry."""
    peer = _Redirecting(map(header, data.split(b"\n")))
    home = "https://registry.example.com/v2/a/manifests/v1"
    secret = {"Authorization": "Bearer x", "Accept": "*/*"}
    following = Trail(peer).follow("GET", home, secret, 1)  # type: ignore[arg-type]
    words = ""
    try:
        following.send(None)
    except StopIteration:
        pass
    except OutboundError as error:
        words = re.sub(r"https?://\S*", "", error.message)
    for url, headers in peer.asked if not words else peer.asked[:-1]:
        try:
            parts = urlsplit(url)
        except ValueError:  # brackets around what is no address; nobody answers there
            assert "Authorization" not in headers
            continue
        assert parts.scheme in ("http", "https") and parts.hostname, "no place to ask"
        assert not (parts.username or parts.password or parts.fragment)
        assert re.fullmatch(r"[!-~]+", url, re.ASCII), "no URL"
        if "Authorization" in headers:
            there = (parts.scheme, parts.hostname, parts.port or 443)
            assert there == ("https", "registry.example.com", 443), "a stranger got the credential"
    assert len(peer.asked) <= 6
    return len(peer.asked), words, peer.asked[-1][0][:6]


_AUTH = (
    b'Bearer|Basic|Negotiate| realm=| realm="|service="|scope="|error="|"|\\"|\\|, |,|=|==| = |"",|'
    b"realm|https://|registry.example.com|auth|\t|  "
).split(b"|")
_URLS = (
    b"http://|https://|HTTPS://|ftp://|//|\\|@|user:word@|:443|:80|:0|:65536|:|/|?|#|%2e|%2f|%40|.|..|"
    b"xn--|xn--a|xn--bcher-kva|[::1]|[|]|[v1.x]|127.0.0.1|0x7f.1|2130706433|example.com|.example.com|"
    b"evil.test|example.com.evil.test|evil.test/.example.com|auth.docker.io|tokens.example.net|co.uk|"
    b"192.0.2.1|192.0.2.7|\xe3\x80\x82|\xef\xbc\x8f|\xe2\x84\xaa|registry"
).split(b"|")


def _encoded(texts: Iterable[str], before: str = "") -> list[bytes]:
    return [(before + text).encode() for text in texts]


TARGETS = (
    Target(
        "challenges",
        "`WWW-Authenticate` (`verify.challenge.challenges`)",
        check_challenges,
        lambda: _encoded(seeds.AUTHENTICATE),
        _AUTH,
    ),
    Target(
        "realms",
        "token realms (`verify.challenge.realm_refusal`)",
        check_realm,
        lambda: [each for key in "abcdef" for each in _encoded(seeds.REALMS, key)],
        _URLS,
    ),
    Target(
        "redirects",
        "`Location` (`verify.trail.Trail.follow`)",
        check_redirects,
        lambda: _encoded((*seeds.REALMS, "/v2/x", "//cdn.example.net/x?a=%2F", "../y", "?a", "")),
        _URLS,
    ),
)
