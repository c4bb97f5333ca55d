"""Webhooks in: authenticate, bound, check that it is a JSON object, write it durably, answer.

Comes in: `POST /webhook/{harbor}`. Goes out: a row of `store.deliveries`, which `plan` takes.
Nothing else happens before the answer, because Harbor waits three seconds and then tries again,
three times in all (jobservice, webhook_job.go). What could not be made durable is answered 503.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from aiohttp import web

from syncwatch.errors import MalformedError, StoreError
from syncwatch.harbor import wire
from syncwatch.runtime import is_one_of, log
from syncwatch.store.deliveries import Inbox, NewDelivery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from syncwatch.model import Millis
    from syncwatch.runtime import Clock, Signals

BODY_LIMIT = 1024 * 1024
"""The largest webhook body in bytes; a larger one is answered 413."""

ANSWER_WITHIN = 2.5
"""Seconds to become durable in; Harbor gives up after three."""

RETRY_AFTER = "10"


class Intake:
    """The webhook endpoint.

    `accepted` gives for each harbor the Authorization values that are right (None: anybody may
    send), `same_for` how long an equal body counts as a repeat. `observe(harbor, event, outcome)`
    is told once a request.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        accepted: Mapping[str, Callable[[], Sequence[str] | None]],
        same_for: Mapping[str, Millis],
        clock: Clock,
        signals: Signals,
        observe: Callable[[str, str, str], None],
    ) -> None:
        self._inbox = inbox
        self._accepted = accepted
        self._same_for = same_for
        self._clock = clock
        self._signals = signals
        self._observe = observe

    def routes(self) -> list[web.RouteDef]:
        """The one route."""
        return [web.post("/webhook/{harbor}", self.receive)]

    async def receive(self, request: web.Request) -> web.Response:
        """Answer one delivery: 202, 401, 400, 413, 404 or 503."""
        harbor = request.match_info["harbor"]
        if harbor not in self._accepted:
            return _answer(404, "not_found", "No Harbor of that name is configured.")
        if not self._is_harbor(harbor, request.headers.get("Authorization")):
            self._observe(harbor, "", "unauthorized")
            return _answer(401, "unauthorized", "The Authorization value is not the agreed one.")
        try:
            body = await _read(request)
        except (web.RequestPayloadError, ConnectionError):
            self._observe(harbor, "", "malformed")
            return _answer(400, "malformed", "The body ended early or is not coded as it says.")
        if body is None:
            self._observe(harbor, "", "too_large")
            return _answer(413, "too_large", f"A delivery may have {BODY_LIMIT} bytes at most.")
        try:
            payload = wire.read_object(body)
        except MalformedError as error:
            self._observe(harbor, "", "malformed")
            return _answer(400, "malformed", f"Not a delivery of Harbor's: {error.message}.")
        return await self._keep(harbor, payload, body)

    def _is_harbor(self, harbor: str, given: str | None) -> bool:
        accepted = self._accepted[harbor]()
        if accepted is None:
            return True
        return is_one_of(given or "", accepted)

    async def _keep(self, harbor: str, payload: dict[str, object], body: bytes) -> web.Response:
        event, identity = wire.event_type(payload), wire.cloud_event_id(payload)
        delivery = NewDelivery(
            harbor=harbor,
            received_at=self._clock.now(),
            sameness=f"id:{identity}" if identity else f"body:{hashlib.sha256(body).hexdigest()}",
            same_for=None if identity else self._same_for[harbor],
            event=event,
            body=body,
        )
        try:
            fresh = await self._inbox.add(delivery, ANSWER_WITHIN)
        except StoreError as error:
            self._observe(harbor, event, "not_durable")
            log.warning("delivery_not_durable", harbor=harbor, reason=str(error))
            return _answer(503, "not_durable", "It could not be stored; send it again.")
        self._observe(harbor, event, _outcome(event, payload, fresh=fresh))
        self._signals.wake(f"plan {harbor}")
        return web.Response(status=202)


def _outcome(event: str, payload: dict[str, object], *, fresh: bool) -> str:
    if not fresh:
        return "duplicate"
    if event not in (wire.PUSH, wire.DELETE, wire.REPLICATION):
        return "ignored"
    return "accepted" if wire.read_payload(payload).understood else "ignored"


async def _read(request: web.Request) -> bytes | None:
    """The body, None when it is too large. What is too large is not read to its end."""
    if (request.content_length or 0) > BODY_LIMIT:
        return None
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > BODY_LIMIT:
            return None
    return bytes(body)


def _answer(status: int, code: str, message: str) -> web.Response:
    headers = {"Retry-After": RETRY_AFTER} if status == 503 else {}
    return web.json_response(
        {"error": {"code": code, "message": message}}, status=status, headers=headers
    )
