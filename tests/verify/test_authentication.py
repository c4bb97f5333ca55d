"""Which credential goes where, how often, and where it must not go."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from syncwatch.model import Reason
from syncwatch.verify.challenge import Challenge, challenges, realm_refusal, related
from verify.table import IMAGE, Clock, Says, client_of, manifest, serving

if TYPE_CHECKING:
    from pathlib import Path

    from verify.table import Rows, TableRegistry

D = IMAGE.digest
BASIC = Says(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
ME = ("me", "hunter2")


def bearer(realm: str, extra: str = "") -> Says:
    value = f'Bearer realm="{realm}",service="the registry"{extra}'
    return Says(401, headers={"WWW-Authenticate": value})


def token(word: str = "t1", **more: object) -> Says:
    return Says(200, json.dumps({"token": word, **more}).encode())


class Guarded:
    """Rows for a registry that takes the tokens in `good`, with its token service beside it."""

    def __init__(self, *good: str) -> None:
        self.good = set(good)

    def rows(self, registry: TableRegistry, tokens: Says | list[Says]) -> Rows:
        guard = self

        class _Rows(dict):  # type: ignore[type-arg]
            def get(self, key: tuple[str, str], default: object = None) -> object:
                if key == ("GET", "token"):
                    return dict.get(self, key)
                sent = registry.requests[-1].headers.get("Authorization", "")
                good = sent.removeprefix("Bearer ") in guard.good
                return manifest() if good else bearer(f"{registry.url}/token")

        return _Rows({("GET", "token"): tokens})


async def test_a_token_is_kept_until_shortly_before_it_ends() -> None:
    clock = Clock()
    async with serving({}) as registry:
        registry.rows = Guarded("t1", "t2").rows(
            registry, [token("t1", expires_in=120), token("t2", expires_in=120)]
        )
        async with client_of(registry.url, clock=clock, credentials=[ME]) as client:
            for now in (0, 89_000, 91_000):
                clock.now = 1_000_000 + now
                assert (await client.look("a/b", "v1", [D])).proves(D)
    asked = [request for request in registry.requests if request.path == "/token"]
    assert [request.rel_url.raw_query_string for request in asked] == [
        "service=the%20registry&scope=repository:a/b:pull"
    ] * 2
    assert registry.sent("Authorization").count("Bearer t1") == 4
    assert registry.sent("Authorization").count("Bearer t2") == 2
    assert registry.sent("Authorization").count(None) == 1


@pytest.mark.parametrize(
    ("expires_in", "seconds"), [(None, 45), (0, 45), (-5, 45), ("300", 270), (8, 6), (1e300, 86370)]
)
async def test_a_token_lives_a_minute_if_it_does_not_say(expires_in: object, seconds: int) -> None:
    clock = Clock()
    async with serving({}) as registry:
        registry.rows = Guarded("t1").rows(registry, token("t1", expires_in=expires_in))
        async with client_of(registry.url, clock=clock) as client:
            for now in (0, seconds - 1, seconds):
                clock.now = 1_000_000 + now * 1000
                await client.look("a/b", "v1", [D])
    asked = [path for _, path in registry.asked]
    assert asked == ["v1", "token", "v1", D, "v1", D, "token", "v1", D]


async def test_a_token_revoked_in_the_middle_is_renewed_once() -> None:
    async with serving({}) as registry:
        guard = Guarded("t1")
        registry.rows = guard.rows(registry, [token("t1"), token("t2")])
        async with client_of(registry.url, credentials=[ME]) as client:
            assert (await client.look("a/b", "v1", [D])).proves(D)
            guard.good = {"t2"}
            looks = await asyncio.gather(*(client.look("a/b", "v1", [D]) for _ in range(5)))
    assert all(seen.proves(D) for seen in looks)
    assert [path for _, path in registry.asked].count("token") == 2


async def test_a_useless_token_is_unauthorized_and_not_asked_for_again() -> None:
    async with serving({}) as registry:
        registry.rows = Guarded().rows(registry, token("useless"))
        async with client_of(registry.url, credentials=[ME]) as client:
            seen = await client.look("a/b", "v1", [D])
    assert seen.problem is Reason.UNAUTHORIZED
    assert [path for _, path in registry.asked] == ["v1", "token", "v1"]


async def test_a_token_for_one_repository_is_not_used_for_another() -> None:
    async with serving({}) as registry:
        registry.rows = Guarded("t1", "t2").rows(registry, [token("t1"), token("t2")])
        async with client_of(registry.url) as client:
            await client.look("a/b", "v1", [D])
            await client.look("c", "v1", [D])
    scopes = [request.query.get("scope") for request in registry.requests if request.query]
    assert scopes == ["repository:a/b:pull", "repository:c:pull"]
    assert registry.sent("Authorization")[-2:] == ["Bearer t2"] * 2


async def test_no_more_than_a_thousand_tokens_are_kept() -> None:
    async with serving({}) as registry:
        registry.rows = Guarded("t1").rows(registry, token("t1"))
        async with client_of(registry.url) as client:
            for number in range(1002):
                await client.look(f"r{number}", "v1", [])
            before = len(registry.asked)
            await client.look("r1001", "v1", [])
            kept = len(registry.asked)
            await client.look("r0", "v1", [])
    assert kept - before == 1
    assert registry.asked[kept:] == [("GET", "token"), ("HEAD", "v1")]


@pytest.mark.parametrize(
    ("says", "problem"),
    [
        (Says(401), "unauthorized"),
        (Says(403), "forbidden"),
        (Says(404), "unreadable_answer"),
        (Says(412), "unreadable_answer"),
        (Says(429, headers={"Retry-After": "7"}), "rate_limited"),
        (Says(500), "server_error"),
        (Says(close=True), "unreachable"),
        (Says(200, b"<html>"), "unreadable_answer"),
        (Says(200, b"[]"), "unreadable_answer"),
        (Says(200, b"{}"), "unreadable_answer"),
        (Says(200, b'{"token":""}'), "unreadable_answer"),
        (Says(200, b'{"token":7}'), "unreadable_answer"),
        (Says(200, b'{"token":"a\\nb"}'), "unreadable_answer"),
        (Says(200, b'{"token":"' + b"x" * 70_000 + b'"}'), "unreadable_answer"),
        (Says(307, headers={"Location": "token"}), "unreadable_answer"),
    ],
)
async def test_a_token_service_that_gives_none_is_the_problem(says: Says, problem: str) -> None:
    async with serving({}) as registry:
        registry.rows = Guarded("t1").rows(registry, says)
        async with client_of(registry.url, credentials=[ME]) as client:
            seen = await client.look("a/b", "v1", [D])
    assert seen.problem is Reason(problem)
    assert "hunter2" not in repr(seen)
    assert "scope" not in repr(seen)


async def test_access_token_is_another_name_for_token() -> None:
    async with serving({}) as registry:
        registry.rows = Guarded("t1").rows(registry, Says(200, b'{"access_token":"t1"}'))
        async with client_of(registry.url) as client:
            assert (await client.look("a/b", "v1", [D])).proves(D)


async def test_a_password_rotated_while_it_was_sent_is_read_again_after_the_401() -> None:
    credentials = [("me", "old")]
    old, new = "Basic bWU6b2xk", "Basic bWU6bmV3"

    class Rotating(dict):  # type: ignore[type-arg]
        def get(self, _key: object, _default: object = None) -> Says:
            sent = registry.sent("Authorization")[-1]
            if sent == old:
                credentials.append(("me", "new"))
            return manifest() if sent == new else BASIC

    async with serving({}) as registry:
        registry.rows = Rotating()
        async with client_of(registry.url, credentials=credentials) as client:
            # The first 401 is the registry's question, so the old password is already the answer.
            assert (await client.look("a/b", "v1", [D])).problem is Reason.UNAUTHORIZED
            credentials.append(("me", "old"))
            seen = await client.look("a/b", "v1", [D])
    assert seen.proves(D)
    assert registry.sent("Authorization") == [None, old, old, new, new]


async def test_the_same_wrong_password_is_not_sent_twice() -> None:
    async with (
        serving({("*", "v1"): BASIC}) as registry,
        client_of(registry.url, credentials=[ME]) as client,
    ):
        first = await client.look("a/b", "v1", [D])
        second = await client.look("a/b", "v1", [D])
    assert first.problem is second.problem is Reason.UNAUTHORIZED
    assert [sent is not None for sent in registry.sent("Authorization")] == [False, True, True]


async def test_a_password_that_is_wanted_and_not_configured_is_said() -> None:
    async with serving({("*", "v1"): BASIC}) as registry, client_of(registry.url) as client:
        seen = await client.look("a/b", "v1", [D])
    assert seen.problem is Reason.UNAUTHORIZED
    assert "none is configured" in seen.detail


async def test_a_user_name_that_cannot_be_sent_is_said() -> None:
    async with (
        serving({("*", "v1"): BASIC}) as registry,
        client_of(registry.url, credentials=[("a:b", "pw")]) as client,
    ):
        seen = await client.look("a/b", "v1", [D])
    assert seen.problem is Reason.UNAUTHORIZED
    assert "colon" in seen.detail


async def test_a_realm_of_strangers_is_asked_for_nothing_unless_listed() -> None:
    async with serving({("GET", "token"): token("t1")}) as stranger:
        realm = f"http://localhost:{stranger.port}/token"
        rows: Rows = {("*", "v1"): [bearer(realm), bearer(realm), manifest()], ("*", D): manifest()}
        async with serving(rows) as registry:
            async with client_of(registry.url, credentials=[ME]) as client:
                refused = await client.look("a/b", "v1", [D])
            assert stranger.asked == []
            listed = ("localhost",)
            async with client_of(registry.url, credentials=[ME], token_realms=listed) as client:
                allowed = await client.look("a/b", "v1", [D])
    assert refused.problem is Reason.UNAUTHORIZED
    assert "localhost, outside its domain" in refused.detail
    assert allowed.proves(D)
    assert stranger.sent("Authorization") == ["Basic bWU6aHVudGVyMg=="]


async def test_a_realm_that_redirects_to_strangers_is_not_followed() -> None:
    async with serving({("GET", "token"): token("t1")}) as stranger:
        moved = Says(307, headers={"Location": f"http://localhost:{stranger.port}/token"})
        async with serving({}) as registry:
            registry.rows = Guarded("t1").rows(registry, moved)
            async with client_of(registry.url, credentials=[ME]) as client:
                seen = await client.look("a/b", "v1", [D])
    assert seen.problem is Reason.UNAUTHORIZED
    assert stranger.asked == []


async def test_a_realm_does_not_step_down_from_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with serving({("GET", "token"): token("t1")}) as plain:
        rows: Rows = {("*", "v1"): bearer(f"{plain.url}/token")}
        async with (
            serving(rows, tls) as registry,
            client_of(
                registry.url, credentials=[ME], ca_file=ca_file, token_realms=("127.0.0.1",)
            ) as client,
        ):
            seen = await client.look("a/b", "v1", [D])
    assert seen.problem is Reason.UNAUTHORIZED
    assert "steps down" in seen.detail
    assert plain.asked == []


async def test_a_ping_with_a_credential_asks_the_token_service_who_we_are() -> None:
    async with serving({}) as registry:
        registry.rows = Guarded("t1").rows(registry, [token("t1"), Says(401)])
        async with client_of(registry.url, credentials=[ME]) as client:
            good = await client.ping()
        async with client_of(registry.url, credentials=[ME]) as client:
            bad = await client.ping()
    assert (good.problem, bad.problem) == (None, Reason.UNAUTHORIZED)
    asked = [request for request in registry.requests if request.path == "/token"]
    assert [request.rel_url.raw_query_string for request in asked] == ["service=the%20registry"] * 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([""], []),
        (["Basic"], [Challenge("basic")]),
        (["Basic realm=x"], [Challenge("basic", {"realm": "x"})]),
        (
            ['Bearer realm="https://a/t?x=1,2",service="s",scope="repository:a:pull,push"'],
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://a/t?x=1,2",
                        "service": "s",
                        "scope": "repository:a:pull,push",
                    },
                )
            ],
        ),
        (
            ['BEARER Realm = "a\\"b" , error=invalid, Basic realm="y"', "Negotiate abc=="],
            [
                Challenge("bearer", {"realm": 'a"b', "error": "invalid"}),
                Challenge("basic", {"realm": "y"}),
                Challenge("negotiate", {"abc": "="}),
            ],
        ),
        (
            ["Bearer realm=https://a/t,service=s"],
            [Challenge("bearer", {"realm": "https://a/t", "service": "s"})],
        ),
        (["realm=x"], []),
    ],
)
def test_challenges_are_read(values: list[str], expected: list[Challenge]) -> None:
    assert challenges(values) == expected


def test_a_challenge_made_to_take_long_does_not() -> None:
    assert challenges(['a="' + "\\" * 8000, "a " * 4000, "=" * 8000, ", " * 4000]) is not None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("r.example.com", "r.example.com", True),
        ("r.example.com", "R.Example.com.", True),
        ("r.example.com", "auth.example.com", True),
        ("example.com", "auth.example.com", True),
        ("a.b.example.com", "c.example.com", True),
        ("r.example.com", "example.org", False),
        ("r.example.com", "evil-example.com", False),
        ("r.example.com", "com", False),
        ("r.example.co.uk", "evil.co.uk", False),
        ("r.example.co.uk", "auth.example.co.uk", True),
        ("registry", "auth", False),
        ("registry", "registry", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "9.0.0.1", False),
        ("::1", "::1", True),
        ("::1", "::2", False),
        ("1.0.0.1", "evil.0.0.1", False),
    ],
)
def test_hosts_are_related_by_their_registrable_domain(
    one: str, other: str, expected: bool
) -> None:
    assert related(one, other) is expected
    assert related(other, one) is expected


@pytest.mark.parametrize(
    ("realm", "says"),
    [
        ("https://r.example.com/token", None),
        ("https://r.example.com:8443/token", None),
        ("https://auth.example.com/token", None),
        ("https://auth.elsewhere.net/token", None),
        ("https://AUTH.elsewhere.net:444/token", None),
        ("https://listed.net:5001/token", None),
        ("https://listed.net/token", "outside"),
        ("http://r.example.com/token", "steps down"),
        ("http://auth.elsewhere.net/token", "steps down"),
        ("https://example.net/token", "outside"),
        ("https://me:pw@r.example.com/token", "no URL"),
        ("https://", "no URL"),
        ("https:///token", "no URL"),
        ("https://r.example.com:99999999/", "no URL"),
        ("token", "no URL"),
        ("", "no URL"),
        ("file:///etc/passwd", "no URL"),
        ("https://r.example.com/\r\nX: y", "no URL"),
    ],
)
def test_a_realm_is_obeyed_only_at_home(realm: str, says: str | None) -> None:
    listed = {"auth.elsewhere.net", "listed.net:5001"}
    words = realm_refusal("https://r.example.com", realm, listed)
    assert words is None if says is None else words is not None and says in words
