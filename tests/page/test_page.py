"""The page over HTTP, as a browser without a script sees it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from daemon.scene import DESTINATION, POLICY, Scene, edit, scene
from page_ground import RARELY, Put, Shown, digest, shown, swept
from running import until

from syncwatch.report.page import prose, showing
from syncwatch.report.page.searching import FOUND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from running import Watched

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HOSTILE = "<script>alert(1)</script>'\"&{{7*7}}"


@pytest_asyncio.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path, harbor=RARELY) as made:
        yield made


@pytest_asyncio.fixture
async def watched(ground: Scene) -> AsyncIterator[Watched]:
    """A daemon that has seen its policy and no push."""
    async with ground.watched() as running:
        await swept(running)
        yield running


async def put(watched: Watched, what: Any) -> Any:
    """Have `what(Put)` done in the daemon's store."""
    database, clock = watched.daemon._database, watched.daemon._clock
    return await database.write(lambda c: what(Put(c, clock.now())))


async def test_without_a_push_it_says_what_to_do(watched: Watched) -> None:
    page = await shown(watched, "/")
    assert page.status == 200
    assert "Nothing is expected yet" in page.text
    assert "No push seen yet." in page.text
    assert "syncwatch doctor" in page.text
    assert DESTINATION in page.text
    matrix = await shown(watched, "/images")
    assert "No push seen yet." in matrix.text
    assert "syncwatch setup" in matrix.text


async def test_a_push_is_followed_from_the_list_to_its_evidence(
    ground: Scene, watched: Watched
) -> None:
    pushed = ground.push("1.4.0")
    await watched.row(state="verified", reference="1.4.0")
    first = await shown(watched, "/")
    assert "Everything is where it should be" in first.text
    assert first.names == ["apps/web:1.4.0"]
    (address,) = first.links("/images/main/")
    page = await shown(watched, address.partition("#")[0])
    assert f'id="{address.partition("#")[2]}"' in page.html
    for words in ("verified", pushed, "pushed", "notified", "copied", "HEAD", "/v2/apps/web/"):
        assert words in page.text, words
    assert f"syncwatch explain apps/web:1.4.0 --on {DESTINATION}" in page.text
    pictures = [one for one in page.tags("svg") if one.get("class") == "way-picture"]
    assert pictures[0]["aria-label"] == (
        f"Its way to {DESTINATION}: pushed, then notified, then copied, then verified."
    )


async def test_what_is_wrong_comes_first_with_reason_and_words(watched: Watched) -> None:
    def fill(store: Put) -> None:
        store.one("apps/a", "1", state="failed", reason="blob_missing", message="A layer is gone.")
        store.one("apps/b", "1", state="unknown", reason="unreachable", message="No answer.")
        late = store.now - 120_000
        store.one("apps/c", "1", state="pending", reason="copying", overdue=True, deadline_at=late)
        store.one("apps/d", "1")

    await put(watched, fill)
    page = await shown(watched, "/")
    assert "1 image is not where it should be" in page.text
    wrong = page.text.index("What is wrong now")
    end = page.text.index("Destinations", wrong)
    told = page.text[wrong:end]
    places = [told.index(one) for one in ("A layer is gone.", "2 min late", "No answer.")]
    assert places == sorted(places)
    assert "No complete answer: refused, reset, no such name" in told
    for reason in ("blob_missing", "unreachable", "copying"):
        assert f"/words#{reason}" in page.links()
    assert "apps/d" not in told


async def test_an_error_of_the_set_up_is_not_hidden_by_good_images(
    ground: Scene, watched: Watched
) -> None:
    await put(watched, lambda store: store.one("apps/web", "1"))
    ground.stop_starting()

    async def said() -> bool:
        return "The set-up has an error" in (await shown(watched, "/")).text

    await until(said, told="the headline")
    page = await shown(watched, "/")
    assert "malformed_pattern" in page.text
    assert "Everything is where it should be" not in page.text


async def test_unknown_looks_neither_good_nor_missing(watched: Watched) -> None:
    await put(watched, lambda store: store.one("a/b", "1", state="unknown", reason="tls_error"))
    page = await shown(watched, "/")
    assert "1 image could not be looked at" in page.text
    assert "Neither there nor missing: not known." in page.text
    assert "Everything is where it should be" not in page.text
    matrix = await shown(watched, "/images")
    (cell,) = [one for one in matrix.tags("a") if "cell" in (one.get("class") or "")]
    assert cell["class"] == "cell cell-unknown"


async def test_every_answer_has_the_headers_of_a_page_that_trusts_nothing(
    watched: Watched,
) -> None:
    for path in ("/", "/images", "/policies", "/words", "/nowhere", "/?state=no", "/images/x/y:1"):
        page = await shown(watched, path)
        assert page.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY, path
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert not [attrs for _, attrs in page.elements if "style" in attrs]
        assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
        assert "style" not in [tag for tag, _ in page.elements]


async def test_files_are_kept_for_ever_under_the_hash_of_what_is_in_them(watched: Watched) -> None:
    page = await shown(watched, "/")
    named = [one.get("src") or one.get("href") for one in page.tags("script") + page.tags("link")]
    assert len(named) == 3
    for name in named:
        assert re.fullmatch(r"/files/[a-z]+\.[0-9a-f]{16}\.(js|css|svg)", name or "")
        async with watched.session.get(f"{watched.daemon.url}{name}") as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (await shown(watched, "/files/style.css")).status == 404
    assert (await shown(watched, "/files/..%2fshowing.py")).status == 404


async def test_hostile_names_are_words_and_nothing_else(ground: Scene, watched: Watched) -> None:
    def fill(store: Put) -> None:
        store.one(f"apps/{HOSTILE}", HOSTILE, state="failed", reason="missing", message=HOSTILE)

    await put(watched, fill)
    edit(ground.harbor, POLICY, name=HOSTILE)

    async def renamed() -> bool:
        return HOSTILE in (await shown(watched, "/policies")).text

    await until(renamed, told="the new name")
    address = f"/images/main/{quote(f'apps/{HOSTILE}')}:{quote(HOSTILE, ':')}"
    asked = f"/?q={quote(HOSTILE)}"
    for path in ("/", "/images", "/policies", asked, address):
        page = await shown(watched, path)
        assert page.status == 200, path
        assert "<script>alert" not in page.html, path
        assert "<script>alert(1)</script>" in page.text, path
        assert "{{7*7}}" in page.text, path
    (first, *_) = (await shown(watched, "/")).links("/images/main/")
    page = await shown(watched, first.partition("#")[0])
    assert page.status == 200
    assert "syncwatch explain 'apps/<script>" in page.text


async def test_no_secret_of_an_address_or_message_is_shown(watched: Watched) -> None:
    def fill(store: Put) -> None:
        message = "https://robot:hunter2@registry.example.com said Bearer abcdef123456"
        store.one("apps/web", "1", state="unknown", reason="unauthorized", message=message)

    await put(watched, fill)
    for path in ("/", "/images/main/apps/web:1", "/?state=unknown"):
        page = await shown(watched, path)
        assert "registry.example.com" in page.html
        assert "hunter2" not in page.html
        assert "abcdef123456" not in page.html


async def test_pages_go_forward_and_back(watched: Watched) -> None:
    names = [("apps/web", f"{number:03}") for number in range(120)]
    await put(watched, lambda store: store.many(names))
    wanted = [f"apps/web:{number:03}" for number in reversed(range(120))]
    first = await shown(watched, "/")
    assert "120 in all" in first.text
    assert first.names == wanted[:50]
    assert first.link("prev") is None
    second = await shown(watched, first.link("next") or "")
    assert second.names == wanted[50:100]
    third = await shown(watched, second.link("next") or "")
    assert third.names == wanted[100:]
    assert third.link("next") is None
    back = await shown(watched, third.link("prev") or "")
    assert back.names == wanted[50:100]
    top = await shown(watched, back.link("prev") or "")
    assert top.names == wanted[:50]
    assert top.link("prev") is None


async def test_the_matrix_goes_forward_and_back(watched: Watched) -> None:
    names = [("apps/web", f"{number:03}") for number in range(70)]
    await put(watched, lambda store: store.many(names))
    wanted = [f"apps/web:{number:03}" for number in range(70)]
    first = await shown(watched, "/images")
    assert first.names == wanted[:50]
    second = await shown(watched, first.link("next") or "")
    assert second.names == wanted[50:]
    back = await shown(watched, second.link("prev") or "")
    assert back.names == wanted[:50]
    assert back.link("prev") is None


@pytest.fixture
def searched() -> dict[str, list[str]]:
    """What is typed, and what it finds."""
    return {
        "web": ["apps/web:1.4.0", "apps/web:1.5.0"],
        "apps/web:1.4": ["apps/web:1.4.0"],
        "WEB": ["apps/web:1.4.0", "apps/web:1.5.0"],
        "1.5.0": ["apps/web:1.5.0"],
        "mirror/api": ["team/api:2"],
        "team/api:2": ["team/api:2"],
        "harbor.example.com/team/api": ["team/api:2"],
        "team/api:2@" + digest(0xABCDEF0): ["team/api:2"],
        "sha256:" + digest(0xABCDEF0)[7:]: ["team/api:2"],
        digest(0xABCDEF0)[7:-1]: ["team/api:2"],
        "100%": [],
        "a_p": [],
        "nothing": [],
    }


async def test_search_finds_names_of_either_side_references_and_digests(
    watched: Watched, searched: dict[str, list[str]]
) -> None:
    def fill(store: Put) -> None:
        store.many([("apps/web", "1.4.0"), ("apps/web", "1.5.0")])
        store.one("team/api", "2", there="mirror/api", digest=digest(0xABCDEF0))

    await put(watched, fill)
    for typed, wanted in searched.items():
        found = await shown(watched, f"/?q={quote(typed, '')}")
        if "0" * 40 in typed and "@" not in typed:
            # The digests of the others begin with as many zeros.
            assert set(wanted) <= set(found.names), typed
        else:
            assert sorted(found.names) == wanted, typed
        matrix = await shown(watched, f"/images?q={quote(typed, '')}")
        assert sorted(matrix.names) == sorted(found.names), typed
    nothing = await shown(watched, "/?q=apps/nothing:1")
    assert "Nothing fits." in nothing.text
    assert "syncwatch explain apps/nothing:1" in nothing.text


async def test_the_host_of_a_destination_narrows_a_search_to_it(
    ground: Scene, watched: Watched
) -> None:
    await put(watched, lambda store: store.one("apps/web", "1"))
    host = ground.registry.url.partition("://")[2]
    assert (await shown(watched, f"/?q={host}/apps/web:1")).names == ["apps/web:1"]


async def test_a_search_that_finds_too_many_says_so(watched: Watched) -> None:
    names = [("apps/web", f"{number:04}") for number in range(FOUND + 1)]
    await put(watched, lambda store: store.many(names))
    for path in ("/?q=apps", "/images?q=apps"):
        page = await shown(watched, path)
        assert "More than 1,000 names fit" in page.text
        assert len(page.names) == 50
    assert "More than" not in (await shown(watched, "/?q=apps/web:0001")).text


async def test_filters_narrow_on_the_server(watched: Watched) -> None:
    def fill(store: Put) -> None:
        store.one("apps/a", "1")
        store.one("apps/b", "1", state="failed", reason="missing", overdue=True)
        store.one("apps/c", "1", state="closed", reason="superseded")
        store.one("apps/d", "1", state="pending", reason="queued")

    await put(watched, fill)
    expected = {
        "state=failed": ["b"],
        "state=any": ["d", "c", "b", "a"],
        "state=open": ["d", "b"],
        "state=closed": ["c"],
        "reason=superseded": ["c"],
        "overdue=1": ["b"],
        f"policy={POLICY}": ["d", "b", "a"],
        f"destination={DESTINATION}&state=verified": ["a"],
        "harbor=main": ["d", "b", "a"],
        "harbor=other": [],
        "policy=other": [],
        "destination=other": [],
    }
    for query, wanted in expected.items():
        page = await shown(watched, f"/?{query}")
        assert page.names == [f"apps/{one}:1" for one in wanted], query
        assert f"{len(wanted)} in all" in page.text or not wanted, query
    empty_form = await shown(watched, "/?state=&reason=&q=")
    assert "What is wrong now" in empty_form.text
    owed = await shown(watched, "/images?owed=1")
    assert owed.names == ["apps/b:1", "apps/d:1"]


@pytest.mark.parametrize(
    "path",
    [
        "/?state=nonsense",
        "/?reason=nonsense",
        "/?overdue=perhaps",
        "/?before=abc",
        "/?before=1&after=2",
        "/?before=" + "9" * 30,
        "/?q=%00",
        "/?q=a%0ab",
        "/?q=" + "a" * 513,
        "/?stat=failed",
        "/?refresh=1",
        "/?refresh=x",
        "/images?before=!!",
        "/images?after=WzEsMl0",
        "/images?after=" + "W" * 200,
        "/images?owed=x",
        "/images/main/a%00b:1",
        "/images/main/" + "a" * 7000,
        "/?state=closed&state=open",
        "/?state=&state=open",
        "/images?q=a&q=b",
        "/?refresh=10&refresh=20",
        "/policies?x=1",
        "/words?x=1",
    ],
)
async def test_what_cannot_be_meant_is_a_page_with_400(watched: Watched, path: str) -> None:
    page = await shown(watched, path)
    assert page.status == 400
    assert "That cannot be asked" in page.text


async def test_what_is_not_there_is_a_page_with_404(watched: Watched) -> None:
    for path in ("/nowhere", "/images/other/apps/web:1", "/images/main/apps/nothing:1", "/files/x"):
        page = await shown(watched, path)
        assert page.status == 404, path
        assert page.links("/"), path
    for path in ("/images/main/a%0d%0aX:1", "/a%0ab", "/%0a", "/metrics%0a", "/api%0a", "/a%0d%0a"):
        page = await shown(watched, path)
        assert (page.status, "There is no such page" in page.text) == (404, True), path
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'"), path
    unexpected = await shown(watched, "/images/main/apps/nothing:1")
    assert "That does not say that it is missing" in unexpected.text
    assert "syncwatch explain apps/nothing:1" in unexpected.text
    for path in ("/api/v1/nowhere", "/api", "/webhook/main"):
        async with watched.session.get(watched.daemon.url + path) as answer:
            assert answer.status in (404, 405), path
            assert answer.content_type == "application/json", path


async def test_an_address_without_a_tag_is_a_search(watched: Watched) -> None:
    page = await shown(watched, "/images/main/apps/web")
    assert page.status == 303
    assert page.headers["Location"] == "/images?q=apps%2Fweb"


async def test_it_reloads_itself_without_a_script_only_when_asked(watched: Watched) -> None:
    def reloads(page: Shown) -> list[str | None]:
        return [one["content"] for one in page.tags("meta") if one.get("http-equiv") == "refresh"]

    assert reloads(await shown(watched, "/")) == []
    assert reloads(await shown(watched, "/?refresh=10")) == ["10"]
    assert "/?refresh=10" in (await shown(watched, "/")).links()


async def test_policies_are_shown_with_their_findings_and_cures(
    ground: Scene, watched: Watched
) -> None:
    ground.harbor.create_policy("keeps-old", DESTINATION, pattern="other/**", override=False)

    async def found() -> bool:
        return "override_off" in await watched.finding_names()

    await until(found, told="the finding")
    page = await shown(watched, "/policies")
    place = page.text.index("keeps-old")
    assert "override_off" in page.text[place : page.text.index("Findings about the rest")]
    assert "To do" in page.text
    assert "event_based" in page.text
    assert "/words#finding-override_off" in page.links()


async def test_every_word_that_the_page_links_to_has_its_place(watched: Watched) -> None:
    page = await shown(watched, "/words")
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    words = prose.words()
    assert set(words.reasons) | set(words.states) <= set(ids)
    assert {f"finding-{name}" for name in words.findings} <= set(ids)


def test_the_script_stays_small() -> None:
    script = showing.HERE / "files" / "page.js"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 80


def test_the_words_are_those_of_the_docs() -> None:
    data = Path(__file__).parent.parent.parent / "docs" / "data"
    for name in ("reasons.toml", "findings.toml"):
        assert (prose.PROSE / name).read_bytes() == (data / name).read_bytes()


async def test_the_store_away_is_said_and_nothing_false_is_shown(watched: Watched) -> None:
    await put(watched, lambda store: store.one("apps/web", "1"))
    database = watched.daemon._database
    reader, database._reader = database._reader, None
    try:
        for path in ("/", "/images", "/policies", "/images/main/apps/web:1"):
            page = await shown(watched, path)
            assert page.status == 503, path
            assert "Nothing is shown, because nothing can be said now" in page.text
            assert "apps/web" not in page.text.replace(path, "")
            assert "verified" not in page.text
    finally:
        database._reader = reader


async def test_a_harbor_that_is_silent_is_not_hidden_by_good_images(
    ground: Scene, watched: Watched
) -> None:
    await put(watched, lambda store: store.one("apps/web", "1"))
    await ground.harbor.stop()

    async def said() -> bool:
        return "Harbor main does not answer" in (await shown(watched, "/")).text

    await until(said, told="the headline")
    await ground.harbor.start()
