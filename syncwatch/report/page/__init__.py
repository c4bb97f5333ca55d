"""The page at `/`: what is expected where, how late, what is wrong and why.

Made whole on the server; a small script refreshes it and nothing more. `asking` reads what a
browser wants; `searching`, `listing`, `overview`, `probes`, `matrix`, `image` and `rules` read
the store;
`picture` draws a timeline, `prose` has the words of docs/, `showing` makes the answer of it, and
`signing` decides who may see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from syncwatch.errors import StoreError
from syncwatch.model import Reason
from syncwatch.report.bodies import RefusedError, bad_request
from syncwatch.report.page import asking, image, listing, matrix, overview, rows, rules, showing
from syncwatch.report.page.rows import Names
from syncwatch.report.page.searching import Hosts
from syncwatch.report.page.signing import Door, form_of, is_page
from syncwatch.runtime import log
from syncwatch.store import reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from sqlalchemy import Connection

    from syncwatch.config import DestinationSettings
    from syncwatch.report.gauges import Surroundings
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination
    from syncwatch.store.reading import Snapshot

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ELSEWHERE = r"/{path:(?!(?:api|webhook)(?:/|\Z)|(?:healthz|readyz|metrics|openapi\.json)\Z)(?s:.*)}"
"""Every address but those of other parts, so that a slip of the fingers gets a page."""
TITLES = {
    400: "That cannot be asked",
    403: "That came from elsewhere",
    404: "There is no such page",
    413: "That is too much",
    429: "Not so fast",
    500: "Something broke here",
    503: "The store cannot be read",
}


class Page:
    """Serves the page.

    `token` gives the values that are accepted, None where everybody may read; `watched` the names
    of the harbors that are configured, `entry` what the configuration says of a destination, and
    `probed` whether the nodes of its cluster are made to pull.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        surroundings: Callable[[], Surroundings],
        token: Callable[[], Sequence[str] | None],
        watched: Callable[[], Collection[str]],
        entry: Callable[[Destination], DestinationSettings],
        probed: Callable[[DestinationSettings], bool],
    ) -> None:
        self._database = database
        self._clock = clock
        self._surroundings = surroundings
        self._watched = watched
        self._entry = entry
        self._probed = probed
        self._door = Door(clock, token)

    def routes(self) -> list[web.RouteDef]:
        """All routes of the page."""
        return [
            web.get("/", self._guarded(self.first)),
            web.get("/images", self._guarded(self.images)),
            web.get("/images/{harbor}/{image:.+}", self._guarded(self.image)),
            web.get("/policies", self._guarded(self.policies)),
            web.get("/words", self._guarded(self.words)),
            web.get("/files/{name}", self._told(self.file)),
            web.post("/sign-in", self._told(self.sign_in)),
            web.post("/sign-out", self._told(self.sign_out)),
            web.route("GET", ELSEWHERE, self._guarded(self._nowhere)),
        ]

    async def first(self, request: web.Request) -> web.Response:
        """What is wrong now, destinations, and the list; only the list where it is narrowed."""
        asked = asking.listing(request.query)
        top = not asked.narrowed and asked.before is None and asked.after is None
        now, around = self._clock.now(), self._surroundings()

        def read(connection: Connection, snapshot: Snapshot, names: Names) -> dict[str, Any]:
            found = listing.listed(
                connection, asked, snapshot, names, self._watched(), self._hosts(snapshot)
            )
            own, trouble = (self._entry, self._probed), self._database.trouble
            seen = (connection, snapshot, names, around, *own, trouble, now)
            return {"listed": found, "overview": overview.overview(*seen) if top else None}

        found = await self._read(read)
        return self._page(request, "first", asked=asked, reasons=list(Reason), **found)

    async def images(self, request: web.Request) -> web.Response:
        """Images by destinations."""
        asked = asking.matrix(request.query)

        def read(connection: Connection, snapshot: Snapshot, names: Names) -> dict[str, Any]:
            hosts = self._hosts(snapshot)
            return {"table": matrix.table(connection, asked, names, self._watched(), hosts)}

        return self._page(request, "images", asked=asked, **await self._read(read))

    async def image(self, request: web.Request) -> web.Response:
        """One image everywhere."""
        asking.values(request.query, ())
        harbor, path = request.match_info["harbor"], request.match_info["image"]
        if not (harbor + path).isprintable() or len(path) > asking.LONGEST:
            raise bad_request(f"A name has at most {asking.LONGEST} characters that can be seen.")
        wanted = asking.image_of(path)
        if wanted is None:
            return web.Response(
                status=303, headers={"Location": asking.href("/images", {"q": path})}
            )
        now = self._clock.now()

        def read(connection: Connection, _snapshot: Snapshot, names: Names) -> dict[str, Any]:
            key = (harbor, *wanted)
            return {"image": image.image(connection, key, names, self._watched(), now)}

        found = await self._read(read)
        if found["image"] is None:
            name = rows.named(*wanted)
            command = image.explain_command(name)
            told = {"name": name, "harbor": harbor, "command": command}
            return self._page(request, "unexpected", 404, **told)
        return self._page(request, "image", **found)

    async def policies(self, request: web.Request) -> web.Response:
        """Policies and findings."""
        asking.values(request.query, ())

        def read(connection: Connection, snapshot: Snapshot, names: Names) -> dict[str, Any]:
            return {"told": rules.rules(connection, snapshot, names, self._watched())}

        found = await self._read(read)
        return self._page(request, "policies", store_trouble=self._database.trouble, **found)

    async def words(self, request: web.Request) -> web.Response:
        """What states, reasons and findings mean."""
        asking.values(request.query, ())
        return self._page(request, "words")

    async def file(self, request: web.Request) -> web.Response:
        """A file of the page, for everybody: there is no secret in any."""
        found = showing.file(request.match_info["name"])
        return found or self._error(request, 404, "This file is not there; load the page anew.")

    async def sign_in(self, request: web.Request) -> web.Response:
        """Take a token and give a cookie."""
        form = await form_of(request)
        try:
            return await self._door.sign_in(request, form)
        except RefusedError as refused:
            if refused.status != 401:
                raise
            return self._ask_for_token(form.then, str(refused))

    async def sign_out(self, request: web.Request) -> web.Response:
        """Have the cookie forgotten."""
        return self._door.sign_out(request)

    async def _nowhere(self, request: web.Request) -> web.Response:
        return self._error(request, 404, "Look at what is wrong now, or search for an image.")

    async def _read(
        self, work: Callable[[Connection, Snapshot, Names], dict[str, Any]]
    ) -> dict[str, Any]:
        """What `work` reads, in one picture of the store with its snapshot."""
        watched = self._watched()

        def read(connection: Connection) -> dict[str, Any]:
            snapshot = reading.snapshot(connection, watched)
            names = Names(snapshot)
            return {"snapshot": snapshot, "names": names} | work(connection, snapshot, names)

        return await self._database.read_soon(read)

    def _hosts(self, snapshot: Snapshot) -> Hosts:
        return Hosts.of([one for one in snapshot.destinations if one.gone_at is None], self._entry)

    def _guarded(self, handler: Handler) -> Handler:
        """The handler for those who may see the page; the others get the form for the token."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            if not self._door.lets_in(request):
                return self._ask_for_token(request.path_qs, "")
            return await handler(request)

        return self._told(guarded)

    def _told(self, handler: Handler) -> Handler:
        """The handler, its errors as pages."""

        async def told(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except RefusedError as refused:
                return self._error(request, refused.status, str(refused))
            except StoreError as error:
                return self._error(request, 503, str(error))
            except web.HTTPException:
                raise
            except Exception as error:  # noqa: BLE001 - a bug must not answer without the headers
                where, name = _where(error), type(error).__name__
                log.error("page_crashed", path=request.path, error=name, where=where)
                return self._error(request, 500, "The log of syncwatch says where (page_crashed).")

        return told

    def _ask_for_token(self, then: str, wrong: str) -> web.Response:
        answer = showing.page(
            "sign_in",
            self._clock.now(),
            401,
            wrong=wrong,
            then=then if is_page(then) else "/",
        )
        answer.headers["WWW-Authenticate"] = 'Bearer realm="syncwatch"'
        return answer

    def _error(self, request: web.Request, status: int, words: str) -> web.Response:
        told = {"code": status, "title": TITLES.get(status, "That did not work"), "words": words}
        signed_in = self._door.has_cookie(request)
        return showing.page("error", self._clock.now(), status, signed_in=signed_in, **told)

    def _page(
        self, request: web.Request, template: str, status: int = 200, **values: Any
    ) -> web.Response:
        return showing.page(
            template,
            self._clock.now(),
            status,
            refresh=asking.refresh(request.query),
            signed_in=self._door.has_cookie(request),
            path=request.path,
            here=template,
            **values,
        )


def _where(error: BaseException) -> str:
    """The innermost place of an error as file:line. Its text stays out: it may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
