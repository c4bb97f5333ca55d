"""Pages of lists: what a page of tags holds, and where the next one is (RFC 8288, Link).

Pure. A target is an address that the other side dictates: it is only taken within the origin that
was asked, and Harbor's own are relative to the path of its API.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import msgspec
from yarl import URL

from syncwatch.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # noqa: S105 - RFC 9110's "token", a word
_VALUE = r'"((?:[^"\\]|\\.)*+)"|([^\s,;"]*+)'
# Nothing is given back (`*+`): blanks that two parts may claim would take time without end.
_PARAMETER = rf"\s*+;\s*+(?:({_TOKEN})(?:\s*+=\s*+(?:{_VALUE}))?+)?+"
_LINK = re.compile(rf"[\s,]*+<([^<>]*+)>((?:{_PARAMETER})*+)\s*+(?=,|$)")
_ONE = re.compile(_PARAMETER)
_TARGET = re.compile(r"[!-~]+")


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


def read_tags(body: bytes) -> list[str]:
    """The tags in one page of a repository's list; `null` is none. Raises MalformedError."""
    try:
        return msgspec.json.decode(body, type=_Tags).tags or []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedError("answers with what is no list of tags") from None


def next_page(values: Iterable[str], asked: str) -> str | None:
    """The URL of the page after the one at URL `asked`; None where there is none, or elsewhere."""
    home = URL(asked, encoded=True)
    for target in _nexts(values):
        try:
            there = URL(urljoin(asked, target), encoded=True).with_fragment(None)
            port = there.port
        except (ValueError, IndexError):  # yarl lets the latter out for `//[]@`
            continue
        if (there.scheme, there.raw_host, port) != (home.scheme, home.raw_host, home.port):
            continue
        if there.raw_user is None and there.raw_password is None:
            return str(there)
    return None


def _nexts(values: Iterable[str]) -> Iterator[str]:
    """Targets of all links that lead to the next page; the first `rel` of a link holds."""
    for value in values:
        at = 0
        while (found := _LINK.match(value, at)) is not None:
            at = found.end()
            if "next" in _relations(found[2]) and _TARGET.fullmatch(found[1]):
                yield found[1]


def _relations(parameters: str) -> list[str]:
    for one in _ONE.finditer(parameters):
        if one[1] is not None and one[1].lower() == "rel":
            text = one[3] if one[2] is None else re.sub(r"\\(.)", r"\1", one[2])
            return (text or "").lower().split()
    return []
