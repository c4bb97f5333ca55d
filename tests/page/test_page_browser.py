"""The page in Chromium: with and without a script, on a phone and a desk, light and dark.

Set PAGE_PICTURES to a folder to keep the pictures of what was looked at.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import axe_playwright_python
import pytest
import pytest_asyncio
from daemon.scene import Scene, edit, scene
from page_ground import RARELY, Put, swept
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from running import Watched, until
from servers import needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
PHONE, DESK = 360, 1280
PATHS = {
    "first": "/",
    "list": "/?q=apps&state=any",
    "images": "/images",
    "image": "/images/main/apps/web:1.0.0",
    "failed": "/images/main/apps/api:2.0.0",
    "policies": "/policies",
    "words": "/words",
    "unexpected": "/images/main/apps/nothing:1",
    "asked wrong": "/?state=nonsense",
}
LOOKED_AT_BY_AXE = ((PHONE, "dark"), (DESK, "light"))
LONG = "apps/" + "a-rather-long-name-of-a-team/" * 4 + "service"


@dataclass
class Ground:
    """A daemon with good and bad images, and a browser."""

    made: Scene
    watched: Watched
    browser: Browser

    def url(self, path: str) -> str:
        return self.watched.daemon.url + path

    @asynccontextmanager
    async def visit(self, path: str = "/", **context: Any) -> AsyncIterator[Visit]:
        """A page of its own, on which nothing may have gone wrong at the end."""
        kept = await self.browser.new_context(**context)
        visit = Visit(kept, await kept.new_page())
        visit.page.on("console", visit.heard)
        visit.page.on("pageerror", lambda error: visit.wrong.append(str(error)))
        await visit.page.goto(self.url(path))
        try:
            yield visit
            assert visit.wrong == []
        finally:
            await kept.close()


@dataclass
class Visit:
    """A page in the browser, and what its console said."""

    context: BrowserContext
    page: Page
    wrong: list[str] = field(default_factory=list)

    def heard(self, message: Any) -> None:
        # Chromium says of every answer 4xx that it is one.
        if message.type in ("error", "warning") and "status of 40" not in message.text:
            self.wrong.append(message.text)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    chromium = needs("chromium")
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(
            scene(tmp_path_factory.mktemp("page"), harbor=RARELY)
        )
        watched = await stack.enter_async_context(made.watched())
        edit(made.harbor, "to-cluster1", override=False)
        await swept(watched)
        await _images(made, watched)
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        stack.push_async_callback(browser.close)
        yield Ground(made, watched, browser)


async def _images(made: Scene, watched: Watched) -> None:
    """Images of every kind: real ones, and beside them what takes long to come about."""
    made.push("1.0.0")
    made.push("2.0.0", repository="apps/api")
    await watched.row(state="verified", reference="1.0.0")
    await watched.row(state="verified", reference="2.0.0")
    made.registry.lose_manifest("apps/api", made.harbor.artifact("apps/api", "2.0.0").digest)
    database, clock = watched.daemon._database, watched.daemon._clock

    def fill(connection: Any) -> None:
        put = Put(connection, clock.now())
        late = put.now - 3_720_000
        put.one(LONG, "v1", state="failed", reason="blob_missing", message=f"{LONG} lacks a layer.")
        put.one("apps/db", "3", state="unknown", reason="unreachable", message="No answer.")
        put.one("apps/job", "4", state="pending", reason="copying", overdue=True, deadline_at=late)
        put.one("apps/new", "5", state="pending", reason="queued")
        put.one("apps/old", "6", state="closed", reason="superseded", closed_at=put.now)
        put.many([("apps/many", f"{number:03}") for number in range(60)])

    await database.write(fill)
    await watched.row(state="failed", reference="2.0.0", within=30)


async def axe(page: Page) -> list[str]:
    """What axe calls serious or critical."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    told = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:120]} {node['any'][:1]}"
        for one in told["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


async def keep(page: Page, name: str) -> None:
    """A picture for people, where they want one."""
    folder = os.environ.get("PAGE_PICTURES")
    if folder:
        await page.screenshot(path=f"{folder}/{name}.png", full_page=True)


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_whole_readable_and_quiet(
    ground: Ground, width: int, scheme: str
) -> None:
    found: dict[str, list[str]] = {}
    looks = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    async with ground.visit("/", **looks) as visit:
        page = visit.page
        for name, path in PATHS.items():
            await page.goto(ground.url(path))
            wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert await page.evaluate(wider) <= 0, f"{name} is wider than {width}"
            assert await page.locator("h1").count() == 1
            await keep(page, f"{name}-{width}-{scheme}")
            wrong = await axe(page) if (width, scheme) in LOOKED_AT_BY_AXE else []
            if wrong:
                found[name] = wrong
    assert found == {}


async def test_without_a_script_links_and_forms_do_it_all(ground: Ground) -> None:
    looks = {"viewport": {"width": PHONE, "height": 740}, "java_script_enabled": False}
    async with ground.visit("/", **looks) as visit:
        page = visit.page
        await expect(page.get_by_role("link", name="load this page again")).to_be_visible()
        await page.get_by_label("Image, digest or name").fill("apps/many")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator(".list tbody tr")).to_have_count(50)
        await page.get_by_role("link", name="Older").click()
        await expect(page.locator(".list tbody tr")).to_have_count(10)
        await page.get_by_label("Image, digest or name").fill("apps/web")
        await page.get_by_role("button", name="Search").click()
        await page.locator(".list .image").first.click()
        await expect(page.locator("h1")).to_have_text("apps/web:1.0.0")
        await page.locator("details summary").first.click()
        await expect(page.locator(".requests").first).to_be_visible()
        await keep(page, "evidence-360-light")


@pytest.mark.parametrize("width", [PHONE, DESK])
async def test_what_belongs_apart_stands_apart_and_what_is_in_a_line_in_a_line(
    ground: Ground, width: int
) -> None:
    size = {"width": width, "height": 900}
    async with ground.visit("/?state=failed&q=zzz", viewport=size) as visit:
        boxes = await visit.page.evaluate(
            """() => Object.fromEntries(Object.entries({
              heading: "h1", form: ".search", sentence: ".empty p:has(+ .command)",
              command: ".empty .command", check: ".filters .check", clear: ".filters a",
            }).map(([name, path]) => {
              const text = document.createRange();
              text.selectNodeContents(document.querySelector(path).lastChild);
              const box = document.querySelector(path).getBoundingClientRect();
              return [name, {top: box.top, bottom: box.bottom,
                             text: text.getBoundingClientRect().bottom}];
            }))"""
        )
        assert boxes["form"]["top"] - boxes["heading"]["bottom"] >= 8
        assert boxes["command"]["top"] - boxes["sentence"]["bottom"] >= 8
        if width == DESK:
            assert abs(boxes["clear"]["text"] - boxes["check"]["text"]) < 1


async def test_by_keyboard_one_comes_to_the_search_and_to_the_first_row(ground: Ground) -> None:
    async with ground.visit("/?state=verified", viewport={"width": DESK, "height": 900}) as visit:
        page = visit.page
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="To the content")).to_be_focused()
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await page.keyboard.press("Tab")
        await expect(page.locator("#q")).to_be_focused()
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.evaluate(outline) == "solid"
        first = page.locator(".list tbody .image").first
        for _ in range(12):
            await page.keyboard.press("Tab")
            if await first.evaluate("one => one === document.activeElement"):
                break
        await expect(first).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("h1.name")).to_be_visible()


async def _with_clock(visit: Visit, ground: Ground, path: str) -> Page:
    """The page with a clock that the test moves."""
    page = await visit.context.new_page()
    page.on("console", visit.heard)
    await page.clock.install()
    await page.goto(ground.url(path))
    return page


async def test_it_refreshes_itself_and_keeps_its_place(ground: Ground) -> None:
    async with ground.visit("/words", viewport={"width": DESK, "height": 700}) as visit:
        page = await _with_clock(visit, ground, "/")
        told = await page.locator("#as-of-time").get_attribute("datetime")
        await page.evaluate("scrollTo(0, 900)")
        ground.made.push("9.9.9")
        await ground.watched.row(state="verified", reference="9.9.9")
        assert await page.get_by_text("apps/web:9.9.9").count() == 0
        await page.clock.run_for(10_500)
        await expect(page.get_by_text("apps/web:9.9.9").first).to_be_attached()
        assert await page.locator("#as-of-time").get_attribute("datetime") != told
        assert await page.evaluate("scrollY") == 900


async def test_who_types_is_not_disturbed_and_details_stay_open(ground: Ground) -> None:
    async with ground.visit("/words", viewport={"width": DESK, "height": 700}) as visit:
        page = await _with_clock(visit, ground, "/")
        await page.locator("#q").fill("apps/w")
        await page.evaluate("document.querySelector('main').dataset.same = 'yes'")
        async with page.expect_response(lambda answer: answer.url == ground.url("/")):
            await page.clock.run_for(10_500)
        await page.clock.run_for(1000)
        assert await page.evaluate("document.querySelector('main').dataset.same") == "yes"
        assert await page.locator("#q").input_value() == "apps/w"
        page = await _with_clock(visit, ground, PATHS["image"])
        look = page.locator("details.look").first
        await look.evaluate("one => { one.open = true }")
        await page.evaluate("document.querySelector('main').dataset.same = 'yes'")
        await page.clock.run_for(10_500)
        await expect(page.locator("main[data-same]")).to_have_count(0)
        assert await page.locator("details.look[open]").count() == 1


async def test_it_says_when_syncwatch_no_longer_answers_and_when_it_does_again(
    ground: Ground,
) -> None:
    async with ground.visit("/words") as visit:
        page = await visit.context.new_page()
        await page.clock.install()
        await page.goto(ground.url("/"))
        shown = await page.locator("h1").text_content()
        await page.route("**/*", lambda route: route.abort())
        await page.clock.run_for(10_500)
        trouble = page.locator("#as-of-trouble")
        await expect(trouble).to_have_text("syncwatch does not answer: what is shown is old.")
        assert await page.locator("h1").text_content() == shown
        await page.unroute("**/*")
        database = ground.watched.daemon._database
        reader, database._reader = database._reader, None
        await page.clock.run_for(10_500)
        await expect(trouble).to_have_text("syncwatch answers 503: what is shown is old.")
        database._reader = reader
        await page.clock.run_for(10_500)
        await expect(trouble).to_have_text("")


async def test_a_tab_that_nobody_sees_asks_nothing(ground: Ground) -> None:
    async with ground.visit("/words") as visit:
        page = await _with_clock(visit, ground, "/")
        asked: list[str] = []

        def heard(request: Any) -> None:
            if request.resource_type == "fetch":
                asked.append(request.url)

        page.on("request", heard)
        hide = "Object.defineProperty(document, 'hidden', {get: () => window.unseen})"
        await page.evaluate(f"window.unseen = true; {hide}")
        await page.clock.run_for(60_000)
        assert asked == []
        await page.evaluate("window.unseen = false")
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

        async def asks() -> bool:
            await asyncio.sleep(0)
            return bool(asked)

        await until(asks, told="a request")


async def test_signing_in_by_hand(tmp_path: Path, ground: Ground) -> None:
    async with scene(tmp_path, token="let-me-in") as made, made.watched() as watched:
        locked = Ground(made, watched, ground.browser)
        async with locked.visit("/policies", viewport={"width": PHONE, "height": 700}) as visit:
            page = visit.page
            assert await axe(page) == []
            await keep(page, "sign-in-360-light")
            await page.get_by_label("Token").fill("wrong")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("alert")).to_have_text("That is not the token.")
            await page.get_by_label("Token").fill("let-me-in")
            await page.keyboard.press("Enter")
            await expect(page.locator("h1")).to_have_text("Policies")
            assert await page.evaluate("document.cookie") == ""
            await page.get_by_role("button", name="Sign out").click()
            await expect(page.locator("h1")).to_have_text("Sign in")
