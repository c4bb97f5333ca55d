"""Is this a place that fetches what it is asked for? There a look creates what it looks for.

Asked before the first look at a place: a cache answers every question with its upstream's image,
and keeps it, so that the answer says nothing of what Harbor brought there. Two kinds are known.

docker-registry with `proxy.remoteurl`: asked for a digest that cannot exist, an ordinary registry
says 404, and a cache 500 with its upstream's error as `detail` (distribution 2.8.2 to 3.1.1,
registry/handlers/manifests.go maps its own error only; seen on Debian's 2.8.2).
A proxy-cache project of a Harbor: its `registry_id` is set (Harbor, api/v2.0/swagger.yaml,
Project; harbor/server/middleware/repoproxy).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from syncwatch.model import HOUR, MINUTE, Millis
from syncwatch.outbound import BODY_LIMIT
from syncwatch.verify.refusal import is_absence, is_bare, refusal

if TYPE_CHECKING:
    from syncwatch.outbound import Answer
    from syncwatch.verify.visit import Registry, Visit

NOBODY = "sha256:" + "0" * 64
"""A digest that no bytes have."""

REMEMBERED = 1000
"""How many projects of one Harbor are remembered; the oldest goes first."""

ORDINARY_FOR = HOUR
SUSPECT_FOR = MINUTE
"""How long an answer is good for: a place that passes through may be put right any time."""

_UPSTREAM_KEYS = ({"errors"}, {"ParseErr", "StatusCode"}, {"Status"}, {"Op", "URL"})
"""What a cache's `detail` holds of its upstream's answer (registry/client/errors.go)."""


class _Error(msgspec.Struct):
    code: str = ""
    detail: object = None


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


class _Project(msgspec.Struct):
    registry_id: int | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    words: str
    until: Millis


class Passing:
    """What is known of one destination's places; `is_harbor` says which kind to look for."""

    def __init__(self, registry: Registry, *, is_harbor: bool) -> None:
        self._registry = registry
        self._is_harbor = is_harbor
        self._known: dict[str, _Known] = {}

    async def words(self, visit: Visit) -> str:
        """Why a look at the visit's repository would create what it looks for; "" if not.

        Where it cannot be told, "" too: the look itself will say what we may not ask. Raises
        OutboundError where no answer came or one of trouble: then a look might create it.
        """
        place = visit.repository.partition("/")[0] if self._is_harbor else ""
        known, now = self._known.get(place), self._registry.clock()
        if known is not None and now < known.until:
            return known.words
        told = await (
            self._of_project(visit, place) if self._is_harbor else self._of_registry(visit)
        )
        while len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        lasts = ORDINARY_FOR if told == "" else SUSPECT_FOR
        self._known[place] = _Known(told or "", now + lasts)
        return told or ""

    async def is_nowhere(self, visit: Visit) -> bool:
        """Whether a Harbor says, to an accepted credential, that the project does not exist.

        Its /v2 answers 401 there, whatever the credential (server/middleware/v2auth).
        """
        if not self._is_harbor or self._registry.authentication.is_anonymous:
            return False
        answer = await self._asked(visit, visit.repository.partition("/")[0])
        return answer.status == 404 and is_absence(answer)

    async def _asked(self, visit: Visit, project: str) -> Answer:
        url = f"{self._registry.url}/api/v2.0/projects/{quote(project, safe='')}"
        login = self._registry.authentication.by_password().headers
        headers = {**login, "X-Is-Resource-Name": "true"}
        answer, _ = await visit.trail.follow("GET", url, headers, BODY_LIMIT)
        return answer

    async def _of_registry(self, visit: Visit) -> str | None:
        answer = await visit.ask_for_manifest(NOBODY)
        if answer.status == 404:
            return "" if is_absence(answer) or is_bare(answer) else None
        if not (answer.status == 500 and _is_of_upstream(answer)):
            self._demand_an_answer(answer)
            return None
        return "it is a cache that fetches what it is asked for (proxy.remoteurl)"

    async def _of_project(self, visit: Visit, project: str) -> str | None:
        answer = await self._asked(visit, project)
        if answer.status != 200:
            self._demand_an_answer(answer)
            return None
        try:
            read = msgspec.json.decode(answer.body, type=_Project)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not read.registry_id:
            return ""
        return f"project {project} is a proxy cache, which fetches what it is asked for"

    def _demand_an_answer(self, answer: Answer) -> None:
        if answer.status == 429 or answer.status >= 500:
            raise refusal(answer, self._registry.place, self._registry.clock())


def _is_of_upstream(answer: Answer) -> bool:
    try:
        errors = msgspec.json.decode(answer.body, type=_Errors).errors
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    details = [one.detail for one in errors if one.code == "UNKNOWN"]
    return any(
        isinstance(detail, dict) and any(keys <= set(detail) for keys in _UPSTREAM_KEYS)
        for detail in details
    )
