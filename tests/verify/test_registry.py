"""What a look makes of a registry's answers, row by row."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from syncwatch.model import Held, Level, Observation, Reason
from verify.table import (
    ABSENT,
    API,
    HTML,
    IMAGE,
    OTHER,
    PAGE,
    Clock,
    Says,
    client_of,
    error,
    manifest,
    serving,
)

if TYPE_CHECKING:
    from verify.table import Rows

D = IMAGE.digest
TRAP = error(
    404, "MANIFEST_UNKNOWN", "OCI index found, but accept header does not support OCI indexes"
)
NOT_FOUND_PAGE = Says(404, HTML, {"Content-Type": "text/html"})


async def look(rows: Rows, reference: str = "v1", **settings: object) -> Observation:
    async with (
        serving(rows) as registry,
        client_of(registry.url, **settings) as client,  # type: ignore[arg-type]
    ):
        return await client.look("a/b", reference, [D])


async def test_a_look_says_what_was_asked_and_when() -> None:
    clock = Clock(now=5_000)
    seen = await look({("*", "v1"): manifest(), ("*", D): manifest()}, clock=clock)
    assert (seen.began_at, seen.at, seen.problem, seen.detail) == (5_000, 5_000, None, "")
    assert seen.level is Level.MATCHED
    assert seen.proves(D)
    assert all(one.seconds > 0 for one in seen.requests)


async def test_a_manifest_is_asked_for_so_that_no_pull_is_counted_and_no_index_is_hidden() -> None:
    async with (
        serving({("*", "v1"): manifest(), ("*", D): manifest()}) as registry,
        client_of(registry.url) as client,
    ):
        await client.look("a/b", "v1", [D])
    assert set(registry.sent("User-Agent")) == {"harbor-registry-client"}
    assert registry.sent("If-None-Match") == [None] * 2
    for accept in registry.sent("Accept"):
        assert set((accept or "").split(", ")) == {
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
        }


@pytest.mark.parametrize(
    ("rows", "served", "held"),
    [
        pytest.param({}, None, Held.ABSENT, id="nothing there"),
        pytest.param({("*", D): manifest()}, None, Held.PRESENT, id="the digest without its tag"),
        pytest.param(
            {("*", "v1"): manifest(OTHER.digest), ("*", D): manifest()},
            OTHER.digest,
            Held.PRESENT,
            id="the tag names another, the digest is there",
        ),
        pytest.param(
            {("*", "v1"): manifest(OTHER.digest)},
            OTHER.digest,
            Held.ABSENT,
            id="the tag names another, the digest is not there",
        ),
        pytest.param({("*", "v1"): manifest()}, D, Held.ABSENT, id="tag 200, digest 404"),
        pytest.param(
            {("*", "v1"): manifest(), ("HEAD", D): manifest(), ("GET", D): ABSENT},
            D,
            Held.ABSENT,
            id="HEAD 200, GET 404",
        ),
        pytest.param(
            {("*", "v1"): manifest(), ("HEAD", D): ABSENT, ("GET", D): manifest()},
            D,
            Held.PRESENT,
            id="HEAD 404, GET 200",
        ),
        pytest.param(
            {("HEAD", "v1"): Says(405), ("GET", "v1"): manifest(), ("*", D): manifest()},
            D,
            Held.PRESENT,
            id="HEAD not allowed",
        ),
        pytest.param(
            {("*", "v1"): manifest(None), ("*", D): manifest(None)},
            D,
            Held.PRESENT,
            id="no digest header anywhere",
        ),
        pytest.param(
            {("*", "v1"): manifest("nonsense"), ("*", D): manifest("nonsense")},
            D,
            Held.PRESENT,
            id="digest headers that are none",
        ),
        pytest.param(
            {("*", "v1"): manifest(None, OTHER.manifest), ("*", D): manifest(None)},
            OTHER.digest,
            Held.PRESENT,
            id="no digest header, another tag",
        ),
        pytest.param(
            {("*", "v1"): manifest(), ("*", D): manifest(OTHER.digest)},
            D,
            Held.PRESENT,
            id="HEAD by digest names another, and the bytes are right",
        ),
        pytest.param(
            {("*", "v1"): manifest(), ("*", D): manifest(D, OTHER.manifest)},
            D,
            Held.CORRUPT,
            id="other bytes under the digest",
        ),
        pytest.param(
            {("*", "v1"): manifest(), ("*", D): manifest(D, b"")}, D, Held.CORRUPT, id="no bytes"
        ),
        pytest.param(
            {("*", "v1"): manifest(), ("*", D): manifest(D, IMAGE.manifest[:-9])},
            D,
            Held.CORRUPT,
            id="bytes cut short",
        ),
        pytest.param(
            {("*", "v1"): Says(404, b"", API)}, None, Held.ABSENT, id="an empty 404 of a registry"
        ),
        pytest.param({("*", "v1"): error(404, "NAME_UNKNOWN")}, None, Held.ABSENT, id="no name"),
        pytest.param({("*", "v1"): error(404, "NOT_FOUND")}, None, Held.ABSENT, id="Harbor's word"),
        pytest.param(
            {
                ("*", "v1"): Says(307, headers={"Location": "/v2/a/b/manifests/moved"}),
                ("*", "moved"): manifest(),
                ("*", D): manifest(),
            },
            D,
            Held.PRESENT,
            id="a redirect at home",
        ),
        pytest.param(
            {
                ("*", "v1"): manifest(),
                ("HEAD", D): manifest(),
                ("GET", D): Says(
                    200,
                    gzip.compress(IMAGE.manifest),
                    {"Content-Type": IMAGE.media_type, "Content-Encoding": "gzip"},
                ),
            },
            D,
            Held.PRESENT,
            id="compressed though nobody asked",
        ),
    ],
)
async def test_what_is_there_is_told(rows: Rows, served: str | None, held: Held) -> None:
    seen = await look(rows)
    assert (seen.problem, seen.served, dict(seen.held)) == (None, served, {D: held})
    proven = served == D and held is Held.PRESENT
    assert seen.level is (Level.MATCHED if proven else None)


BOTH = {("*", "v1"): manifest(), ("*", D): manifest()}


@pytest.mark.parametrize(
    ("rows", "problem", "says"),
    [
        pytest.param({("*", "v1"): Says(401)}, "unauthorized", "401", id="401"),
        pytest.param({("*", "v1"): error(403, "DENIED")}, "forbidden", "403", id="403"),
        pytest.param({("*", "v1"): Says(412)}, "policy_blocked", "412", id="412"),
        pytest.param({**BOTH, ("GET", D): Says(412)}, "policy_blocked", "412", id="412 on GET"),
        pytest.param({("*", "v1"): Says(500)}, "server_error", "500", id="500"),
        pytest.param({("*", "v1"): Says(502, HTML)}, "server_error", "502", id="502"),
        pytest.param({**BOTH, ("GET", D): Says(503)}, "server_error", "503", id="503 on GET"),
        pytest.param({**BOTH, ("*", D): Says(403)}, "forbidden", "403", id="403 on digest"),
        pytest.param({("*", "v1"): Says(418)}, "unreadable_answer", "418", id="418"),
        pytest.param({("*", "v1"): Says(204)}, "unreadable_answer", "204", id="204"),
        pytest.param({("*", "v1"): PAGE}, "unreadable_answer", "no manifest", id="a page"),
        pytest.param(
            {**BOTH, ("*", D): PAGE}, "unreadable_answer", "no manifest", id="a page by digest"
        ),
        pytest.param(
            {("*", D): PAGE}, "unreadable_answer", "no manifest", id="a page for a digest untagged"
        ),
        pytest.param(
            {**BOTH, ("GET", D): Says(200, b'{"errors":[]}')},
            "unreadable_answer",
            "no manifest",
            id="JSON that is no manifest",
        ),
        pytest.param(
            {("*", "v1"): NOT_FOUND_PAGE}, "unreadable_answer", "not as a registry", id="404 page"
        ),
        pytest.param(
            {**BOTH, ("*", D): NOT_FOUND_PAGE},
            "unreadable_answer",
            "not as a registry",
            id="404 page by digest",
        ),
        pytest.param(
            {("*", "v1"): Says(404)}, "unreadable_answer", "not as a registry", id="a bare 404"
        ),
        pytest.param(
            {("*", "v1"): Says(404, b'{"message":"no route"}')},
            "unreadable_answer",
            "not as a registry",
            id="404 of a gateway",
        ),
        pytest.param(
            {("*", "v1"): error(404, "UNSUPPORTED")},
            "unreadable_answer",
            "not as a registry",
            id="404 for another reason",
        ),
        pytest.param(
            {("*", "v1"): TRAP}, "unreadable_answer", "not as a registry", id="the Accept trap"
        ),
        pytest.param(
            {("*", "v1"): Says(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}' + b" " * 70_000)},
            "unreadable_answer",
            "not as a registry",
            id="404 beyond its bound",
        ),
        pytest.param(
            {**BOTH, ("GET", D): manifest(D, b" " * (4 * 1024 * 1024 + 1))},
            "unreadable_answer",
            "longer than",
            id="a manifest beyond its bound",
        ),
        pytest.param(
            {("*", "v1"): Says(307, headers={"Location": "v1"})},
            "unreadable_answer",
            "redirected more than 5 times",
            id="a redirect loop",
        ),
        pytest.param(
            {("*", "v1"): Says(302)}, "unreadable_answer", "no place", id="a redirect to nothing"
        ),
        pytest.param(
            {("*", "v1"): Says(302, headers={"Location": "ftp://a/b"})},
            "unreadable_answer",
            "no place",
            id="a redirect out of HTTP",
        ),
        pytest.param(
            {("*", "v1"): Says(302, headers={"Location": "http://me:secret@127.0.0.1/"})},
            "unreadable_answer",
            "no place",
            id="a redirect with a password",
        ),
        pytest.param(
            {("*", "v1"): Says(302, headers={"Location": "/login"}), ("*", "login"): PAGE},
            "unreadable_answer",
            "no manifest",
            id="a redirect to a login page",
        ),
        pytest.param(
            {("*", "v1"): Says(304)}, "unreadable_answer", "304", id="304 that nobody asked for"
        ),
        pytest.param({("*", "v1"): Says(close=True)}, "unreachable", "closed", id="closed"),
        pytest.param({**BOTH, ("GET", D): Says(close=True)}, "unreachable", "closed", id="at last"),
    ],
)
async def test_where_nothing_may_be_concluded_the_problem_is_said(
    rows: Rows, problem: str, says: str
) -> None:
    seen = await look(rows)
    assert seen.problem is Reason(problem)
    assert says in seen.detail
    assert seen.detail.startswith("http://127.0.0.1:")
    assert (dict(seen.held), seen.level, seen.proves(D)) == ({}, None, False)
    assert "secret" not in repr(seen)


async def test_a_registry_that_is_away_is_unreachable() -> None:
    async with serving({}) as registry:
        url = registry.url
    async with client_of(url) as client:
        seen = await client.look("a/b", "v1", [D])
    assert seen.problem is Reason.UNREACHABLE
    assert [(one.method, one.status) for one in seen.requests] == [("HEAD", None)]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        ("Thu, 01 Jan 1970 00:17:40 GMT", 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("999999999999", 86_400),
    ],
)
async def test_retry_after_is_kept(header: str, seconds: int) -> None:
    clock = Clock(now=1_000_000)
    rows: Rows = {("*", "v1"): Says(429, headers={"Retry-After": header})}
    async with serving(rows) as registry, client_of(registry.url, clock=clock) as client:
        seen = await client.look("a/b", "v1", [D])
        assert client.quiet_until == 1_000_000 + seconds * 1000
    assert seen.problem is Reason.RATE_LIMITED
    assert f"left alone for {seconds} s" in seen.detail


@pytest.mark.parametrize("header", ["soon", "", "-1", "1e3", "Thu, 99 Jan"])
async def test_a_retry_after_that_is_none_is_not_kept(header: str) -> None:
    rows: Rows = {("*", "v1"): Says(429, headers={"Retry-After": header})}
    async with serving(rows) as registry, client_of(registry.url) as client:
        seen = await client.look("a/b", "v1", [D])
        assert client.quiet_until == 0
    assert seen.problem is Reason.RATE_LIMITED


async def test_a_reference_that_is_a_digest_is_asked_for_once() -> None:
    seen = await look({("*", D): manifest()}, reference=D)
    assert [one.method for one in seen.requests] == ["GET"]
    assert seen.proves(D)


async def test_of_a_digest_the_bytes_decide_and_no_header() -> None:
    seen = await look({("*", D): manifest(OTHER.digest)}, reference=D)
    assert (seen.served, dict(seen.held)) == (D, {D: Held.PRESENT})


async def test_a_bare_404_is_absence_only_where_v2_is_a_registrys() -> None:
    bare = Says(404, headers={"Content-Type": "text/plain"}, body=b"404 page not found")
    registry = await look({("*", "v1"): bare, ("*", D): bare, ("*", ""): Says(200)})
    proxy = await look({("*", "v1"): bare, ("*", D): bare, ("*", ""): bare})
    assert (registry.problem, registry.served, dict(registry.held)) == (
        None,
        None,
        {D: Held.ABSENT},
    )
    assert proxy.problem is Reason.UNREADABLE_ANSWER


async def test_a_look_that_wants_no_digest_says_what_the_tag_names() -> None:
    async with serving({("*", "v1"): manifest()}) as registry, client_of(registry.url) as client:
        there = await client.look("a/b", "v1", [])
        absent = await client.look("a/b", "v2", [])
    assert (there.served, len(there.requests), there.level) == (D, 1, None)
    assert (absent.served, absent.problem, len(absent.requests)) == (None, None, 2)


async def test_an_algorithm_that_is_not_known_is_not_asked_about() -> None:
    async with serving({}) as registry, client_of(registry.url) as client:
        seen = await client.look("a/b", "v1", ["md5:0cc175b9c0f1b6a831c399e269772661"])
    assert (seen.problem, seen.requests) == (Reason.UNREADABLE_ANSWER, ())


async def test_a_redirect_elsewhere_gets_no_credential_and_leaves_no_signature() -> None:
    async with serving({("*", "there"): manifest()}) as elsewhere:
        moved = Says(307, headers={"Location": f"{elsewhere.url}/there?X-Sig=s%2Fecret"})
        rows: Rows = {
            ("HEAD", "v1"): [Says(401, headers={"WWW-Authenticate": "Basic realm=x"}), manifest()],
            ("HEAD", D): manifest(),
            ("GET", D): moved,
        }
        async with (
            serving(rows) as registry,
            client_of(registry.url, credentials=[("me", "pw")]) as client,
        ):
            seen = await client.look("a/b", "v1", [D])
    assert seen.proves(D)
    assert registry.sent("Authorization")[1:] == ["Basic bWU6cHc="] * 2
    assert elsewhere.sent("Authorization") == [None]
    assert elsewhere.requests[0].raw_path == "/there?X-Sig=s%2Fecret"
    assert seen.requests[-1].url == f"{elsewhere.url}/there"


async def test_a_401_from_elsewhere_is_offered_nothing() -> None:
    asks = Says(401, headers={"WWW-Authenticate": "Basic realm=x"})
    async with serving({("*", "there"): asks}) as elsewhere:
        rows: Rows = {("*", "v1"): Says(307, headers={"Location": f"{elsewhere.url}/there"})}
        async with (
            serving(rows) as registry,
            client_of(registry.url, credentials=[("me", "pw")]) as client,
        ):
            seen = await client.look("a/b", "v1", [D])
    assert seen.problem is Reason.UNAUTHORIZED
    assert elsewhere.url in seen.detail
    assert elsewhere.sent("Authorization") == [None]


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        pytest.param(Says(200, b"{}", API), None, id="a registry"),
        pytest.param(Says(200, b"{}"), None, id="one that says little"),
        pytest.param(PAGE, "unreadable_answer", id="a web site"),
        pytest.param(Says(404, HTML), "unreadable_answer", id="another web site"),
        pytest.param(Says(503), "server_error", id="out of order"),
        pytest.param(
            Says(401, headers={"WWW-Authenticate": 'Bearer realm="http://127.0.0.1/t"'}),
            None,
            id="one that may give tokens to anybody",
        ),
        pytest.param(
            Says(401, headers={"WWW-Authenticate": "Basic realm=x"}),
            "unauthorized",
            id="one that wants a password",
        ),
    ],
)
async def test_a_ping_says_whether_the_registry_can_be_asked(
    says: Says, problem: str | None
) -> None:
    async with serving({("GET", ""): says}) as registry, client_of(registry.url) as client:
        seen = await client.ping()
    assert seen.problem == problem
    assert [one.url for one in seen.requests] == [f"{registry.url}/v2/"]
