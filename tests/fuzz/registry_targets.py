"""What a registry may send to say what it holds: manifests, ranges, refusals."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import seeds
from campaign import Target
from header_targets import header
from multidict import CIMultiDict, CIMultiDictProxy

from syncwatch.errors import MalformedError, OutboundError
from syncwatch.outbound import Answer
from syncwatch.verify import manifest
from syncwatch.verify.ranges import ContentRange, content_range, doubt
from syncwatch.verify.refusal import is_absence, is_bare, pause_when_spent, refusal

if TYPE_CHECKING:
    from collections.abc import Hashable

DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+(%[!-~]+)?\]", re.IGNORECASE)
NOW = 1_795_443_159_000

Pairs = tuple[tuple[str, Any], ...]
"""An object, so that a name may stand twice."""


def check_manifest(data: bytes) -> Hashable:
    """First line: Content-Type; the rest: the body."""
    first, _, body = data.partition(b"\n")
    content_type = header(first)
    claims = manifest.claims_to_be_one(body, content_type)
    known = manifest.bare_type(content_type) in manifest.INDEX_TYPES | manifest.MANIFEST_TYPES
    try:
        read = manifest.read(body, content_type)
    except MalformedError as error:
        assert claims == known
        return re.sub(r"\d+|'.*'|\".*\"", "", error.message), claims
    assert claims
    named = (*read.blobs, *read.children)
    for one in named:
        assert DIGEST.fullmatch(one.digest)
        assert one.size >= 0
        assert all(isinstance(text, str) for text in (one.media_type, one.platform, *one.urls))
    assert read.media_type in seeds.MANIFEST_TYPES
    assert not (read.blobs if read.is_index else read.children), "both an image and an index"
    assert [(one.digest, one.size) for one in named] == named_for_go(body), "Go reads another image"
    return read.is_index, len(read.blobs), len(read.children), tuple(map(_shape, named))[:3]


def _shape(one: manifest.Descriptor) -> Hashable:
    return (
        one.digest[:6],
        one.size.bit_length() // 16,
        bool(one.media_type),
        one.platform.count("/"),
    )


def named_for_go(body: bytes) -> list[tuple[object, object]]:
    """(digest, size) of all that the document names, as Go's encoding/json finds it.

    A name counts in whatever case, also with U+017F for s and U+212A for k; the last one holds.
    """
    pairs = json.loads(body.decode(), object_pairs_hook=tuple)
    config = _field(pairs, "config")
    lists = [_field(pairs, name) or [] for name in ("layers", "manifests")]
    named = [config] if config else []
    named += [one for each in lists for one in each]
    assert all(type(one) is tuple for one in named), "Go reads no such list"
    sizes = [_field(one, "size") for one in named]
    assert all(type(size) is int for size in sizes), "Go reads no such number"
    return [(_field(one, "digest"), size) for one, size in zip(named, sizes, strict=True)]


def _field(pairs: Pairs, name: str) -> Any:
    return next((value for key, value in reversed(pairs) if key.casefold() == name), None)


def check_range(data: bytes) -> Hashable:
    """First line: Content-Range; second: Content-Length; third: size and status; then the body."""
    lines = [*data.split(b"\n", 3), b"", b"", b""]
    text = header(lines[0])
    told = content_range(text)
    if told is not None:
        assert (told.first is None) == (told.last is None)
        assert told.first is not None or told.total is not None
        if told.first is not None and told.last is not None:
            assert 0 <= told.first <= told.last
            assert told.total is None or told.last < told.total
        assert all(part is None or 0 <= part < 10**19 for part in (told.first, told.total))
        assert text.isascii() and text.strip().lower().startswith("bytes")
        assert content_range(written(told)) == told
    return _shape_of(told), _check_doubt(lines, text)


def written(told: ContentRange) -> str:
    """The header again, in its plain form."""
    part = "*" if told.first is None else f"{told.first}-{told.last}"
    return f"bytes {part}/{'*' if told.total is None else told.total}"


def _shape_of(told: ContentRange | None) -> Hashable:
    return told and (told.first is None, told.total is None, (told.last or 0).bit_length() // 8)


def _check_doubt(lines: list[bytes], text: str) -> Hashable:
    headers = {"Content-Range": text, "Content-Length": header(lines[1])}
    size, _, status = lines[2].partition(b" ")
    wanted = int(size[:18]) if size.isdigit() else 42
    code = {b"200": 200, b"416": 416}.get(status, 206)
    told = doubt(Answer(code, _headers(headers), lines[3][:64], 0.1), wanted)
    if told is None and wanted:
        assert lines[3], "proven without a byte"
        assert code != 416
        if code == 206:
            proof = content_range(text)
            assert proof is not None and proof.last == wanted - 1
            assert proof.total in (None, wanted), "proven by another size"
    return told and told.reason, code


def check_refusal(data: bytes) -> Hashable:
    """First line: Retry-After; second: Content-Type; the rest: the body."""
    lines = [*data.split(b"\n", 2), b"", b""]
    pause = header(lines[0])
    remaining, _, reset = pause.partition(",")
    headers = _headers(
        {
            "Retry-After": pause,
            "RateLimit-Remaining": remaining,
            "RateLimit-Reset": reset,
            "Content-Type": header(lines[1]),
        }
    )
    spent = pause_when_spent(headers, NOW)
    assert spent is None or 0 < spent <= 86_400
    absent = is_absence(Answer(404, headers, lines[2], 0.1))
    bare = is_bare(Answer(404, headers, lines[2], 0.1))
    assert not (absent and lines[2].lstrip().startswith(b"<")), "a page became an absence"
    pauses = []
    for status in (404, 429, 503):
        error = refusal(Answer(status, headers, lines[2], 0.1), "https://registry:443", NOW)
        assert isinstance(error, OutboundError)
        assert error.retry_after is None or 0 <= error.retry_after <= 86_400
        pauses.append(error.retry_after and round(error.retry_after).bit_length())
    return absent, bare, spent and round(spent).bit_length(), tuple(pauses)


def _headers(values: dict[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(values))


_JSON = (
    b'"mediaType"|"MediaType"|"digest"|"Digest"|"size"|"layers"|"LAYERS"|"layer\xc5\xbf"|"manifests"|'
    b'"config"|"platform"|"urls"|"schemaVersion"|"subject"|"os"|{"|{}|[]|:|null|-1|2|1e3|'
    b'"sha512:|"sha256:|"layers":[],|"manifests":[],|"size":0,|"Size":0,|"digest":"",|"config":{'
).split(b"|") + [f'"{name}"'.encode() for name in seeds.MANIFEST_TYPES]
_RANGES = b"bytes |bytes|*|/|-|\n| |0|42|41|42\n|206|200|416|\xd9\xa3|+|0x|,".split(b"|")
_RETRIES = b"GMT|Fri, |Mon|31 |Dec|1999|23:59:59|+0000|-9999|+2400|:|0|text/plain|text/html".split(
    b"|"
)


TARGETS = (
    Target(
        "manifests",
        "manifests and indexes (`verify.manifest.read`, `claims_to_be_one`)",
        check_manifest,
        seeds.manifests,
        _JSON,
    ),
    Target(
        "ranges",
        "`Content-Range`, `Content-Length` (`verify.ranges.content_range`, `doubt`)",
        check_range,
        lambda: [
            f"{text}\n42\n42 {status}\n{body}".encode()
            for text in seeds.RANGES
            for status, body in ((200, "x" * 42), (206, "x"), (206, ""), (416, ""))
        ],
        _RANGES,
    ),
    Target(
        "refusals",
        "`Retry-After`, bodies of errors (`verify.refusal`)",
        check_refusal,
        lambda: [
            f"{retry}\n{kind}\n{body}".encode()
            for retry in seeds.RETRIES
            for kind in ("application/json", "text/html; charset=utf-8")
            for body in seeds.REFUSALS
        ],
        _RETRIES,
    ),
)
