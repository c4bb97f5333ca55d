"""What the answer to a GET of a blob's last byte proves, row by row."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from syncwatch.lab import images
from syncwatch.lab.registry import Fault, LabRegistry
from syncwatch.model import Level, Observation, Reason
from verify.table import API, HTML, PAGE, Clock, Says, client_of, error, manifest, serving

if TYPE_CHECKING:
    from syncwatch.lab.images import Image
    from verify.table import Rows, TableRegistry

LAYER = bytes(range(256)) * 4
N = len(LAYER)
IMAGE = images.layered("bytes", LAYER)
L = IMAGE.layer_digests[0]
GONE = error(404, "BLOB_UNKNOWN", "blob unknown to registry")


def part(first: int, last: int, total: int | str = N, body: bytes | None = None) -> Says:
    """206 with a part of the layer, or with other bytes under its name."""
    sent = LAYER[first : last + 1] if body is None else body
    return Says(206, sent, {**API, "Content-Range": f"bytes {first}-{last}/{total}"})


def said(content_range: str | None, body: bytes = LAYER[-1:], **headers: str) -> Says:
    """206 with any Content-Range, or none."""
    more = {} if content_range is None else {"Content-Range": content_range}
    return Says(206, body, {**API, **more, **headers})


def unsatisfied(content_range: str | None) -> Says:
    return Says(416, b"", {} if content_range is None else {"Content-Range": content_range})


def raw(length: int, body: bytes = b"", status: str = "200 OK") -> Says:
    """A head that promises `length` bytes, some of them, and the end of the connection."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n"
    if status.startswith("206"):
        head += f"Content-Range: bytes {N - 1}-{N - 1}/{N}\r\n"
    return Says(raw=f"{head}\r\n".encode() + body)


def moved(location: str | None, status: int = 307) -> Says:
    return Says(status, b"", {} if location is None else {"Location": location})


LAST = part(N - 1, N - 1)


def rows_of(image: Image, layer: Says | list[Says]) -> Rows:
    """A registry that has the image, and answers for its layer as it is told."""
    config = Says(200, image.blobs[0])
    return {
        ("*", "v1"): manifest(image.digest, image.manifest),
        ("*", image.digest): manifest(image.digest, image.manifest),
        ("GET", image.config_digest): config,
        ("GET", image.layer_digests[0]): layer,
    }


async def looked(
    layer: Says | list[Says], image: Image = IMAGE, **extra: Says
) -> tuple[Observation, TableRegistry]:
    rows = rows_of(image, layer) | {("GET", name): says for name, says in extra.items()}
    async with serving(rows) as registry, client_of(registry.url, clock=Clock()) as client:
        seen = await client.look("a/b", "v1", [image.digest], level=Level.READABLE)
        return seen, registry


def verdict(seen: Observation, image: Image = IMAGE) -> Reason | None:
    """What the look found: a flaw, a problem, or None where all was proven."""
    flaw = seen.flaws.get(image.digest)
    assert not (flaw and seen.problem)
    found = flaw.reason if flaw else seen.problem
    assert (found is None) == (seen.level is Level.READABLE)
    return found


PROOFS = {
    "the last byte": LAST,
    "the last byte of something whose length nobody knows": part(N - 1, N - 1, "*"),
    "a wider part with the last byte in it": part(0, N - 1),
    "a header in odd case": said(f"BYTES {N - 1}-{N - 1}/{N}"),
    "200 and all of it": Says(200, LAYER),
    "200 and its length, and then the connection ends": raw(N, b"a"),
}


@pytest.mark.parametrize("answer", PROOFS.values(), ids=PROOFS)
async def test_this_proves_a_blob(answer: Says) -> None:
    seen, _ = await looked(answer)
    assert verdict(seen) is None, (seen.detail, seen.flaws)
    assert seen.proven == {L, IMAGE.config_digest}


SHORTER = {
    "a part of something longer": part(N - 1, N - 1, N + 1),
    "the last byte that there is": part(N - 2, N - 2, N - 1),
    "206 without a byte": part(N - 1, N - 1, body=b""),
    "206 without a byte or a word of it": said(None, b""),
    "206 that ends before its byte": raw(1, status="206 Partial Content"),
    "416 and one byte less": unsatisfied(f"bytes */{N - 1}"),
    "416 and nothing there": unsatisfied("bytes */0"),
    "416 without a word": unsatisfied(None),
    "200 and one byte less": Says(200, LAYER[:-1]),
    "200 and one byte more": Says(200, LAYER + b"a"),
    "200 and nothing": Says(200, b""),
    "200 that ends before it begins": raw(N),
}


@pytest.mark.parametrize("answer", SHORTER.values(), ids=SHORTER)
async def test_this_is_no_whole_blob(answer: Says) -> None:
    seen, _ = await looked(answer)
    assert verdict(seen) is Reason.BLOB_UNREADABLE, seen.detail
    assert L in seen.flaws[IMAGE.digest].detail
    assert L not in seen.proven


STRANGE = {
    "206 without saying which part": said(None),
    "206 of other units": said(f"items {N - 1}-{N - 1}/{N}"),
    "206 backwards": said(f"bytes {N - 1}-{N - 2}/{N}"),
    "206 beyond its own end": said(f"bytes {N - 1}-{N - 1}/{N - 1}"),
    "206 in digits of another script": said(f"bytes ١-١/{N}"),
    "206 in more digits than there are bytes anywhere": said(f"bytes 0-{'9' * 40}/{'9' * 41}"),
    "206 with the first byte": part(0, 0),
    "206 with fewer bytes than it names": part(N - 3, N - 1, body=b"a"),
    "206 with more bytes than it names": part(N - 1, N - 1, body=b"a" * 9),
    "206 in several parts": said(None, b"--x--", **{"Content-Type": "multipart/byteranges"}),
    "206 of something packed": said(f"bytes {N - 1}-{N - 1}/{N}", **{"Content-Encoding": "gzip"}),
    "416 for a byte that is there": unsatisfied(f"bytes */{N}"),
    "a web page": PAGE,
    "204": Says(204),
    "410": Says(410),
    "a redirect to nowhere": moved(None),
    "a redirect to what is no address": moved("javascript:alert(1)"),
    "a redirect with a password in it": moved("http://user:word@127.0.0.1:9/"),
    "a redirect that asks for another method": moved("here", 303),
    "a redirect to itself": moved(L),
}


@pytest.mark.parametrize("answer", STRANGE.values(), ids=STRANGE)
async def test_this_tells_nothing_of_a_blob(answer: Says) -> None:
    seen, _ = await looked(answer, here=LAST)
    assert verdict(seen) is Reason.UNREADABLE_ANSWER
    assert seen.level is Level.MATCHED
    assert L not in seen.proven


ABSENT = {
    "in a registry's words": GONE,
    "in Harbor's words": error(404, "NOT_FOUND", "blob not found"),
    "without a word": Says(404),
    # A proxy's page: the manifests answered a moment ago, so it is this blob that is not there.
    "as a web page": Says(404, HTML, {"Content-Type": "text/html"}),
}


@pytest.mark.parametrize("answer", ABSENT.values(), ids=ABSENT)
async def test_404_for_a_blob_is_a_missing_blob(answer: Says) -> None:
    seen, _ = await looked(answer)
    assert verdict(seen) is Reason.BLOB_MISSING


REFUSED = {
    401: Reason.UNAUTHORIZED,
    403: Reason.FORBIDDEN,
    429: Reason.RATE_LIMITED,
    500: Reason.SERVER_ERROR,
    502: Reason.SERVER_ERROR,
    503: Reason.SERVER_ERROR,
    504: Reason.SERVER_ERROR,
}


@pytest.mark.parametrize("status", REFUSED)
@pytest.mark.parametrize("behind", [False, True], ids=["at once", "behind a redirect"])
async def test_a_refusal_of_a_blob_tells_nothing_of_it(status: int, behind: bool) -> None:
    answer = Says(status, b"no")
    seen, _ = await looked(moved("there") if behind else answer, there=answer)
    assert verdict(seen) is REFUSED[status]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_followed_to_the_byte(status: int) -> None:
    seen, registry = await looked(moved("there", status), there=LAST)
    assert verdict(seen) is None
    asked = [one for one in registry.requests if one.path.endswith("/there")]
    assert [one.headers["Range"] for one in asked] == [f"bytes={N - 1}-{N - 1}"]


async def test_404_behind_a_redirect_is_a_missing_blob() -> None:
    seen, _ = await looked(moved("there"), there=Says(404, b"<Error/>"))
    assert verdict(seen) is Reason.BLOB_MISSING


@pytest.mark.parametrize(("hops", "expected"), [(5, None), (6, Reason.UNREADABLE_ANSWER)])
async def test_five_redirects_are_followed_and_no_sixth(hops: int, expected: Reason | None) -> None:
    chain = {f"hop{number}": moved(f"hop{number + 1}") for number in range(1, hops)}
    seen, _ = await looked(moved("hop1"), **chain, **{f"hop{hops}": LAST})
    assert verdict(seen) is expected


async def test_a_blob_is_asked_for_once_and_for_its_last_byte_alone() -> None:
    twice = images.layered("twice", LAYER, LAYER)
    seen, registry = await looked(LAST, twice)
    assert verdict(seen, twice) is None
    asked = [one for one in registry.requests if one.path.endswith(L)]
    assert [one.headers.get("Range") for one in asked] == [f"bytes={N - 1}-{N - 1}"]


async def test_a_connection_that_dies_once_is_no_short_blob() -> None:
    seen, registry = await looked([raw(1, status="206 Partial Content"), LAST])
    assert verdict(seen) is None
    assert registry.asked.count(("GET", L)) == 2


async def test_a_blob_of_no_byte_is_asked_for_whole() -> None:
    image = images.layered("empty", b"")
    seen, registry = await looked(Says(200, b""), image)
    assert verdict(seen, image) is None
    (asked,) = [one for one in registry.requests if one.path.endswith(image.layer_digests[0])]
    assert "Range" not in asked.headers


def resized(size: Any) -> Image:
    """The image, its layer's descriptor with another size."""
    document = json.loads(IMAGE.manifest)
    document["layers"][0]["size"] = size
    return images.Image(IMAGE.media_type, json.dumps(document).encode(), IMAGE.blobs)


SIZES = {
    0: (Says(200, LAYER), Reason.BLOB_UNREADABLE),
    N + 1: (unsatisfied(f"bytes */{N}"), Reason.BLOB_UNREADABLE),
    10**25: (unsatisfied(f"bytes */{N}"), Reason.BLOB_UNREADABLE),
    -1: (LAST, Reason.UNREADABLE_ANSWER),
    1.5: (LAST, Reason.UNREADABLE_ANSWER),
    "1": (LAST, Reason.UNREADABLE_ANSWER),
    None: (LAST, Reason.UNREADABLE_ANSWER),
}


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_a_size_that_is_not_the_blobs_is_never_proven(size: Any) -> None:
    image = resized(size)
    answer, expected = SIZES[size]
    seen, _ = await looked(answer, image)
    assert verdict(seen, image) is expected


async def test_of_a_blob_under_two_sizes_the_larger_has_to_be_there() -> None:
    document = json.loads(IMAGE.manifest)
    document["layers"].append({**document["layers"][0], "size": N + 1})
    image = images.Image(IMAGE.media_type, json.dumps(document).encode(), IMAGE.blobs)
    seen, _ = await looked(unsatisfied(f"bytes */{N}"), image)
    assert verdict(seen, image) is Reason.BLOB_UNREADABLE


async def test_of_a_huge_blob_without_ranges_only_the_beginning_is_read() -> None:
    image = resized(10 * 2**30)
    rows = rows_of(image, raw(10 * 2**30, b"a" * 100_000))
    async with serving(rows) as registry, client_of(registry.url) as client:
        tracemalloc.start()
        seen = await client.look("a/b", "v1", [image.digest], level=Level.READABLE)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert verdict(seen, image) is None
    assert most < 16 * 2**20


async def test_what_asks_for_a_pause_on_a_blob_gets_it() -> None:
    rows = rows_of(IMAGE, Says(429, b"", {"Retry-After": "7"}))
    clock = Clock(now=1_000)
    async with serving(rows) as registry, client_of(registry.url, clock=clock) as client:
        seen = await client.look("a/b", "v1", [IMAGE.digest], level=Level.READABLE)
        assert client.quiet_until == 8_000
    assert verdict(seen) is Reason.RATE_LIMITED


@pytest.mark.parametrize(
    ("missing", "slow"),
    [(0, 1), (1, 0), (0, 0), (1, 1)],
)
async def test_a_missing_blob_is_missing_whatever_else_could_not_be_asked(
    missing: int, slow: int
) -> None:
    image = images.layered("two", b"the first", b"the second")
    registry = LabRegistry()
    registry.slow_seconds = 0.2
    registry.push("a/b", "v1", image)
    layers = image.layer_digests
    registry.fault(Fault.BLOB_NOT_FOUND, "a/b", layers[missing])
    registry.fault(Fault.SERVER_ERROR, "a/b", layers[1 - missing])
    registry.fault(Fault.SLOW, "a/b", layers[slow])
    async with registry.serving(), client_of(registry.url) as client:
        seen = await client.look("a/b", "v1", [image.digest], level=Level.READABLE)
    assert image.digest in seen.flaws, seen.detail
    assert seen.flaws[image.digest].reason is Reason.BLOB_MISSING


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.artifact.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ],
)
async def test_an_entry_of_a_type_unknown_here_may_lie_among_the_manifests(media_type: str) -> None:
    other = images.raw(b'{"mediaType":"of another kind"}', media_type)
    image = images.index(images.image("known"), other)
    registry = LabRegistry()
    registry.push("a/b", "v1", image)
    async with registry.serving(), client_of(registry.url) as client:
        seen = await client.look("a/b", "v1", [image.digest], level=Level.READABLE)
    assert seen.flaws == {}
