"""Questions to the gate of a running daemon."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from running import Watched


@dataclass
class Told:
    """What the gate answered: status, body and headers."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def there(self) -> dict[str, dict[str, Any]]:
        return {one["destination"]: one for one in self.body["destinations"]}

    @property
    def short(self) -> tuple[int, str | None, str | None]:
        """(status, state, reason)."""
        return self.status, self.body["state"], self.body["reason"]


async def gate(
    watched: Watched, image: str, *destinations: str, post: bool = False, **query: str
) -> Told:
    """The gate's answer about an image at these destinations."""
    asked = [("image", image), *(("destination", one) for one in destinations), *query.items()]
    method = "POST" if post else "GET"
    url = watched.daemon.url + "/api/v1/gate"
    async with watched.session.request(method, url, params=asked) as answer:
        return Told(answer.status, await answer.json(), answer.headers)


@contextlib.asynccontextmanager
async def crowd(watched: Watched) -> AsyncIterator[Watched]:
    """The same daemon, asked over as many connections as there are questions."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield replace(watched, session=session)
