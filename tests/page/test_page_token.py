"""Who may see the page where a token is configured."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest_asyncio
from daemon.scene import Scene, scene
from page_ground import shown
from running import until

from syncwatch.model import HOUR
from syncwatch.report.page.signing import COOKIE, WRONG_AT_ONCE
from syncwatch.runtime import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from running import Watched

TOKEN = "correct horse & battery+staple"
PAGES = ("/", "/images", "/images/main/apps/web:1", "/policies", "/words", "/nowhere")


class SetClock(Clock):
    """The real clock, and as much later as a test wants."""

    def __init__(self) -> None:
        self.later = 0

    def now(self) -> int:
        return super().now() + self.later


@pytest_asyncio.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Scene]:
    (tmp_path / "token").write_text(TOKEN + "\n")
    async with scene(tmp_path, token_file=str(tmp_path / "token")) as made:
        yield made


@pytest_asyncio.fixture
async def clock() -> SetClock:
    return SetClock()


@pytest_asyncio.fixture
async def watched(locked: Scene, clock: SetClock) -> AsyncIterator[Watched]:
    async with locked.watched(clock=clock) as running:
        yield running


async def sign_in(
    watched: Watched, token: str, then: str = "/", **headers: str
) -> tuple[int, str, str, str]:
    """Status, where it leads, the cookie's whole line, and the page."""
    url, form = watched.daemon.url + "/sign-in", {"token": token, "next": then}
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.post(url, data=form, headers=headers, allow_redirects=False) as answer,
    ):
        told = answer.headers
        line = told.get("Set-Cookie", "")
        return answer.status, told.get("Location", ""), line, await answer.text()


def cookie_of(line: str) -> str:
    return line.partition(";")[0]


async def test_without_the_token_every_page_is_the_form_for_it(watched: Watched) -> None:
    for path in PAGES:
        page = await shown(watched, path)
        assert page.status == 401, path
        assert page.headers["WWW-Authenticate"].startswith("Bearer")
        assert "Sign in" in page.text
        assert page.tags("form")[0]["action"] == "/sign-in"
        then = next(one for one in page.tags("input") if one.get("name") == "next")
        assert then["value"] == path
        assert "cluster1" not in page.html
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    async with watched.session.get(watched.daemon.url + "/files/x") as answer:
        assert answer.status == 404


async def test_a_program_sends_the_token_as_to_the_api(watched: Watched) -> None:
    assert (await shown(watched, "/", Authorization=f"Bearer {TOKEN}")).status == 200
    assert (await shown(watched, "/", Authorization=f"bearer {TOKEN}")).status == 200
    for wrong in ("Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer \udcff"):
        page = await shown(watched, "/", Authorization=wrong)
        assert page.status == 401, wrong


async def test_a_browser_gets_a_cookie_that_opens_the_page_and_not_the_api(
    watched: Watched,
) -> None:
    status, then, line, _ = await sign_in(watched, TOKEN, "/policies")
    assert (status, then) == (303, "/policies")
    assert line.startswith(f"{COOKIE}=")
    parts = {part.strip().lower() for part in line.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= parts
    assert "secure" not in parts
    assert TOKEN not in line
    for path in ("/", "/policies"):
        page = await shown(watched, path, Cookie=cookie_of(line))
        assert page.status == 200
        assert "Sign out" in page.text
    async with watched.session.get(
        watched.daemon.url + "/api/v1/status", headers={"Cookie": cookie_of(line)}
    ) as answer:
        assert answer.status == 401


async def test_behind_https_the_cookie_is_for_https_alone(watched: Watched) -> None:
    _, _, line, _ = await sign_in(watched, TOKEN, **{"X-Forwarded-Proto": "https"})
    assert "secure" in line.lower()


async def test_the_cookie_ends_after_twelve_hours_and_cannot_be_made_longer(
    watched: Watched, clock: SetClock
) -> None:
    _, _, line, _ = await sign_in(watched, TOKEN)
    cookie = cookie_of(line)
    until, _, signature = cookie.partition("=")[2].partition(".")
    forged = (
        f"{COOKIE}={int(until) + 1}.{signature}",
        f"{COOKIE}={until}.{'0' * 64}",
        f"{COOKIE}={until}.",
        f"{COOKIE}={until}",
        f"{COOKIE}=",
        f"{COOKIE}=²{until}.{signature}",
        f"{COOKIE}={TOKEN}",
    )
    for one in forged:
        assert (await shown(watched, "/", Cookie=one)).status == 401, one
    clock.later = 12 * HOUR - 60_000
    assert (await shown(watched, "/", Cookie=cookie)).status == 200
    clock.later = 12 * HOUR
    assert (await shown(watched, "/", Cookie=cookie)).status == 401


async def test_a_token_that_is_replaced_ends_its_cookies(watched: Watched, tmp_path: Path) -> None:
    _, _, line, _ = await sign_in(watched, TOKEN)
    (tmp_path / "token").write_text("another\n" + TOKEN + "\n")
    assert await watched.daemon.reload()
    assert (await shown(watched, "/", Cookie=cookie_of(line))).status == 200
    (tmp_path / "token").write_text("another\n")
    assert await watched.daemon.reload()
    assert (await shown(watched, "/", Cookie=cookie_of(line))).status == 401
    assert (await sign_in(watched, "another"))[0] == 303


async def test_signing_out_has_the_cookie_forgotten(watched: Watched) -> None:
    _, _, line, _ = await sign_in(watched, TOKEN)
    async with watched.session.post(
        watched.daemon.url + "/sign-out",
        headers={"Cookie": cookie_of(line)},
        allow_redirects=False,
    ) as answer:
        assert answer.status == 303
        assert "max-age=0" in answer.headers["Set-Cookie"].lower()


async def test_no_other_site_signs_anybody_out(watched: Watched) -> None:
    _, _, line, _ = await sign_in(watched, TOKEN)
    own = watched.daemon.url
    for headers, cookie, status in (
        ({"Sec-Fetch-Site": "cross-site"}, True, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": own}, True, 403),
        ({"Origin": "https://evil.example.com"}, True, 403),
        ({"Origin": "null"}, False, 303),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True, 303),
        ({"Origin": "null"}, True, 303),
        ({"Origin": own}, True, 303),
    ):
        sent = headers | ({"Cookie": cookie_of(line)} if cookie else {})
        async with watched.session.post(
            own + "/sign-out", headers=sent, allow_redirects=False
        ) as answer:
            assert answer.status == status, headers
            assert ("Set-Cookie" in answer.headers) == (cookie and status == 303), headers


async def test_after_signing_in_nobody_is_led_to_another_host(watched: Watched) -> None:
    for then in ("//evil.example.com", "https://evil.example.com", "/\\evil.example.com", "x", ""):
        assert (await sign_in(watched, TOKEN, then))[1] == "/", then
    assert (await sign_in(watched, TOKEN, "/?q=a%20b"))[1] == "/?q=a%20b"


async def test_wrong_tokens_wait_and_only_a_few_at_a_time(watched: Watched) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    status, _, line, page = await sign_in(watched, "wrong")
    assert (status, line) == (401, "")
    assert "That is not the token." in page
    assert loop.time() - began >= 1
    many = await asyncio.gather(*(sign_in(watched, "wrong") for _ in range(2 * WRONG_AT_ONCE)))
    statuses = [one[0] for one in many]
    assert statuses.count(401) == WRONG_AT_ONCE
    assert statuses.count(429) == WRONG_AT_ONCE
    assert (await sign_in(watched, TOKEN))[0] == 303


async def test_wrong_tokens_of_others_lock_out_nobody_who_has_the_right_one(
    watched: Watched,
) -> None:
    wrong = [asyncio.create_task(sign_in(watched, "wrong")) for _ in range(2 * WRONG_AT_ONCE)]

    async def refused_at_once() -> bool:
        return sum(one.done() for one in wrong) == WRONG_AT_ONCE

    await until(refused_at_once)
    assert (await sign_in(watched, TOKEN))[0] == 303
    assert not all(one.done() for one in wrong)
    await asyncio.gather(*wrong)


async def test_a_form_that_is_too_large_or_no_form_gets_nowhere(watched: Watched) -> None:
    url = watched.daemon.url + "/sign-in"
    async with watched.session.post(url, data=b"token=" + b"a" * 70_000) as answer:
        assert answer.status == 413
    async with watched.session.post(url, data=b"&".join([b"a=1"] * 20)) as answer:
        assert answer.status == 400
    async with watched.session.post(url, data=b"\xff\x00token=%ff%00") as answer:
        assert answer.status == 401
