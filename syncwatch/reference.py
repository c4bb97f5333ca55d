"""Pure: the REF that people and manifests write, and whose name it is.

`[HOST/]REPOSITORY[:TAG|@DIGEST]`. Without a host, or with Harbor's, the repository is the source's
name; with a destination's host it is the name there (the design, section 6, "REF"). What is taken
for a host, and the tag that stands in for none, are Docker's rules (distribution/reference,
normalize.go: splitDockerDomain and TagNameOnly), which Kubernetes follows too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from syncwatch.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

K = TypeVar("K")

DEFAULT_TAG = "latest"
"""The tag that is meant where neither tag nor digest is written."""

LONGEST = 255
"""Characters of a repository's name, as registries and Docker have it."""

FORM = "[HOST/]REPOSITORY[:TAG|@DIGEST]"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = re.compile(r"(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)(?::[0-9]{1,5})?")
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Reference:
    """An image as it was written: `host` in lower case ("" for none), `tag` and `digest` ("" for
    none). One of the two is set; where both are, both have to fit."""

    host: str
    repository: str
    tag: str
    digest: str

    def __str__(self) -> str:
        host = f"{self.host}/" * bool(self.host)
        tag, digest = f":{self.tag}" * bool(self.tag), f"@{self.digest}" * bool(self.digest)
        return f"{host}{self.repository}{tag}{digest}"


def parse(text: str) -> Reference:
    """What a REF says. Raises MalformedError, whose message names the place and the cure."""
    if _SCHEME.match(text):
        raise MalformedError(f"{_shown(text)} is a URL; write {FORM}, without scheme")
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise MalformedError(
            f"{_shown(digest)} is no digest; write @sha256: and 64 digits of 0-9 and a-f"
        )
    host, name = _split_host(name)
    repository, colon, tag = name.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise MalformedError(
            f"{_shown(tag)} is no tag; it has up to 128 letters, digits, '_', '.' and '-'"
        )
    _check_repository(repository)
    return Reference(host, repository, tag if tag or digest else DEFAULT_TAG, digest)


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    lowered = first.lower()
    if not slash or not (set(first) & set(".:") or lowered == "localhost" or first != lowered):
        return "", name
    if not _HOST.fullmatch(lowered):
        raise MalformedError(f"{_shown(first)} is no host; write HOST or HOST:PORT before the /")
    return lowered, rest


def _check_repository(name: str) -> None:
    if _REPOSITORY.fullmatch(name) and len(name) <= LONGEST:
        return
    if not name:
        raise MalformedError(f"no repository is named; write {FORM}")
    cure = f"it has up to {LONGEST} small letters, digits, and '.', '_', '-' or '/' between them"
    raise MalformedError(f"{_shown(name)} is no repository; {cure}")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 64 else f"{text[:60]}...")


@dataclass(frozen=True, slots=True)
class Hosts:
    """Whose a host is: names of Harbors, and ids of destinations, by host in lower case."""

    harbors: Mapping[str, frozenset[str]]
    destinations: Mapping[str, frozenset[int]]

    @classmethod
    def of(
        cls, harbors: Mapping[str, str], destinations: Mapping[int, tuple[str, str | None]]
    ) -> Hosts:
        """From the URL of each Harbor, and (URL, pull host or None) of each destination."""
        ours: dict[str, set[str]] = defaultdict(set)
        theirs: dict[str, set[int]] = defaultdict(set)
        for name, url in harbors.items():
            for host in _hosts(url):
                ours[host].add(name)
        for destination_id, (url, pull_host) in destinations.items():
            for host in (*_hosts(url), *([pull_host.lower()] if pull_host else [])):
                theirs[host].add(destination_id)
        return cls(_frozen(ours.items()), _frozen(theirs.items()))


def _frozen(pairs: Iterable[tuple[str, set[K]]]) -> dict[str, frozenset[K]]:
    return {host: frozenset(owners) for host, owners in pairs}


def _hosts(url: str) -> list[str]:
    """The host of a URL, with its port written and, where it is the scheme's own, left out."""
    parts = urlsplit(url.lower())
    port, host = _PORTS.get(parts.scheme), parts.netloc.rpartition("@")[2]
    bare = host.removesuffix(f":{port}")
    return [bare, f"{bare}:{port}"] if parts.port in (None, port) else [host]


@dataclass(frozen=True, slots=True)
class Meant:
    """Which images a REF may mean.

    `repository` is the source's name at any of `harbors` (None: at every one), or the name at any
    of `destinations`, by id. `stranger` is the host where it is nobody's, else "".
    """

    repository: str
    tag: str
    digest: str
    harbors: frozenset[str] | None
    destinations: frozenset[int]
    stranger: str = ""


def meant(reference: Reference, hosts: Hosts) -> Meant:
    """What a REF means among these hosts.

    A first part that looks like a host and is nobody's may be a Harbor project with a dot in its
    name: then it belongs to the source's name.
    """
    one, what = reference, (reference.tag, reference.digest)
    if not one.host:
        return Meant(one.repository, *what, harbors=None, destinations=frozenset())
    harbors = hosts.harbors.get(one.host, frozenset())
    destinations = hosts.destinations.get(one.host, frozenset())
    if harbors or destinations:
        return Meant(one.repository, *what, harbors=harbors, destinations=destinations)
    name = f"{one.host}/{one.repository}"
    whole = _REPOSITORY.fullmatch(name) is not None and len(name) <= LONGEST
    return Meant(
        name if whole else one.repository,
        *what,
        harbors=None if whole else frozenset(),
        destinations=frozenset(),
        stranger=one.host,
    )
