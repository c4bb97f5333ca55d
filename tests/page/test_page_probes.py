"""What the page says of nodes that were made to pull: of one image, and of each cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from page_ground import Shown, shown
from playwright.async_api import async_playwright
from probe.probed_scene import probed
from running import until
from servers import needs
from servers.kubernetes_api import KubernetesApi, hangs, pulls, refuses
from test_page_browser import axe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.async_api import Browser
    from running import Watched

IMAGE = "/images/main/apps/web:1.0"
UNAUTHORIZED = "failed to resolve reference: 401 Unauthorized"
PHONE, DESK = 360, 1280


async def page_with(watched: Watched, path: str, word: str) -> Shown:
    """The page once it has a word on it."""

    async def found() -> Shown | None:
        page = await shown(watched, path)
        return page if page.status == 200 and word in page.text else None

    return await until(found, 20, f"{word!r} on {path}")


async def test_the_image_and_the_cluster_say_which_node_pulled_it(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
    ):
        digest = story.push("1.0")
        await watched.row(state="verified", reference="1.0")
        page = await page_with(watched, IMAGE, "What nodes of the cluster said")

        (name,) = [one["metadata"]["name"] for one in api.made]
        for words in ("on node-1", f"syncwatch-probe/{name}", "in cluster1", "probe: pulled"):
            assert words in page.text, words
        assert f"/apps/web@{digest}" in page.html.replace("<wbr>", "")
        assert "syncwatch probe apps/web:1.0 --on cluster1" in page.text
        (picture,) = [one for one in page.tags("svg") if one.get("class") == "way-picture"]
        assert str(picture["aria-label"]).endswith("then copied, then pulled, then verified.")
        first = await shown(watched, "/")
        assert "Clusters" in first.text
        assert "cluster1 yes 0 0 1 0 0" in first.text
        assert "pulled on node-1" in first.text


@pytest.mark.parametrize(
    ("script", "word", "counted"),
    [(refuses(UNAUTHORIZED), "unauthorized", "0 1 0"), (hangs, "inconclusive", "0 0 1")],
    ids=["refused", "hung"],
)
async def test_a_kubelet_that_did_not_pull_is_quoted(
    tmp_path: Path, script: Any, word: str, counted: str
) -> None:
    async with (
        KubernetesApi(script).serving() as api,
        probed(tmp_path, api, level="readable", timeout="500ms") as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        page = await page_with(watched, IMAGE, f"probe: {word}")

        assert UNAUTHORIZED in page.text or word == "inconclusive"
        # The registry serves it whole: that is what this destination asks for.
        assert "Proven readable, last" in page.text
        assert "verified" in page.text
        assert f"cluster said {word} just now; next in " in page.text
        first = await shown(watched, "/")
        assert f"cluster1 yes 0 0 {counted}" in first.text


async def test_a_cluster_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
    ):
        api.faults.refuse("list pods", 500, "etcd is gone")
        api.faults.refuse("create pods", 500, "etcd is gone")
        story.push("1.0")
        page = await page_with(watched, "/", "cluster_unreachable")

        assert "/words#finding-cluster_unreachable" in page.links("/words")
        assert "cluster1 no cluster_unreachable" in page.text


async def test_without_a_cluster_nothing_is_said_of_any(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", mode="off") as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        await watched.row(state="verified", reference="1.0")

        assert "Clusters" not in (await shown(watched, "/")).text
        assert "What nodes of the cluster said" not in (await shown(watched, IMAGE)).text


@pytest.mark.real
@pytest.mark.parametrize("script", [pulls, refuses(UNAUTHORIZED)], ids=["pulled", "refused"])
async def test_it_is_readable_in_a_browser(
    tmp_path: Path, script: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    chromium = needs("chromium")
    async with (
        KubernetesApi(script).serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
        async_playwright() as playwright,
    ):
        story.push("1.0")
        await page_with(watched, IMAGE, "probe: ")
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        wrong = [
            problem
            for width, scheme in ((PHONE, "dark"), (DESK, "light"))
            for path in ("/", IMAGE)
            for problem in await _looked_at(
                browser, watched.daemon.url + path, width, scheme, request.node.callspec.id
            )
        ]
        await browser.close()
        assert wrong == []


async def _looked_at(browser: Browser, url: str, width: int, scheme: Any, name: str) -> list[str]:
    """What is wrong with a page: wider than the screen, or in the way of somebody."""
    context = await browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    page = await context.new_page()
    await page.goto(url)
    await page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    over = await page.evaluate(wider)
    folder = os.environ.get("PAGE_PICTURES")
    if folder:
        kind = "image" if "/images/" in url else "first"
        path = f"{folder}/probe-{name}-{kind}-{width}-{scheme}.png"
        await page.screenshot(path=path, full_page=True)
    wrong = await axe(page)
    await context.close()
    return [*wrong, *([f"{url} is {over} wider than {width}"] if over > 0 else [])]
