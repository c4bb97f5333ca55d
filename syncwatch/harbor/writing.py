"""Changing one Harbor: what `setup` sends, and what Harbor says to it.

Records are plain mappings here, and not structures: what Harbor has is sent back to it with one
field changed, so nothing may be lost that we do not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from syncwatch.errors import Fault, OutboundError, SyncwatchError
from syncwatch.outbound import kind_of

if TYPE_CHECKING:
    from syncwatch.harbor.client import HarborClient
    from syncwatch.outbound import Answer

Record = dict[str, Any]
"""Anything of Harbor's, as its API gives it."""

_API = "/api/v2.0"
_LONGEST = 300
_RESOURCES = {
    "registries": "registry",
    "replication": "replication-policy",
    "projects": "notification-policy",
    "robots": "robot",
}
_ACTIONS = {"POST": "create", "PUT": "update", "DELETE": "delete"}


class HarborRefusedError(SyncwatchError):
    """Harbor understood and would not; the message holds its own reason."""

    fault = Fault.USER


class HarborWriter:
    """The writing questions to one Harbor; paths are below /api/v2.0.

    Every method raises HarborRefusedError for a refusal (4xx) and OutboundError where Harbor
    cannot be asked or does not answer as Harbor does.
    """

    def __init__(self, client: HarborClient) -> None:
        self.client = client

    async def listed(self, path: str, **query: str) -> list[Record]:
        """All records of a list."""
        try:
            return await self.client.all(dict, path, **query)
        except OutboundError as error:
            raise _refusal(error, path) from None

    async def read(self, path: str) -> Record:
        """One record."""
        try:
            return await self.client.one(dict, path)
        except OutboundError as error:
            raise _refusal(error, path) from None

    async def strings(self, path: str) -> list[str]:
        """A list of words, not paged (`/replication/adapters`)."""
        try:
            return await self.client.one(list[str], path)
        except OutboundError as error:
            raise _refusal(error, path) from None

    async def is_healthy(self, endpoint: Record) -> bool:
        """Whether Harbor reaches an endpoint (`POST /registries/ping`).

        False is 400 "the registry is unhealthy", for which Harbor gives no reason (api.md §4).
        """
        answer = await self.client.send("POST", "/registries/ping", endpoint)
        if answer.status == 400:
            return False
        self._checked(answer, "POST", "/registries/ping")
        return True

    async def create(self, path: str, body: Record) -> tuple[str, Record]:
        """Make a thing; its own path, and what Harbor told of it ({} mostly)."""
        answer = self._checked(await self.client.send("POST", path, body), "POST", path)
        own = answer.headers.get("Location", "").partition(_API)[2]
        if not own:
            message = f"Harbor {self.client.name} does not say where it put what was made at {path}"
            raise OutboundError("unreadable_answer", message)
        return own, _document(answer.body)

    async def replace(self, path: str, body: Record) -> None:
        """Change a thing: for registries what the body names, for all else the whole."""
        self._checked(await self.client.send("PUT", path, body), "PUT", path)

    async def remove(self, path: str) -> None:
        """Delete a thing; 412 while something needs it."""
        self._checked(await self.client.send("DELETE", path), "DELETE", path)

    def _checked(self, answer: Answer, method: str, path: str) -> Answer:
        kind = kind_of(answer.status)
        if kind is None:
            return answer
        who = f"Harbor {self.client.name}"
        if not 400 <= answer.status < 500 or answer.status == 429:
            message = f"{who} answered {answer.status} to {method} {path}"
            raise OutboundError(kind, message, status=answer.status)
        if answer.status in (401, 403):
            raise HarborRefusedError(f"{who} {_denied(answer, method, path)}")
        said = _words(answer.body) or "no reason given"
        raise HarborRefusedError(f"{who} refused {method} {path} ({answer.status}): {said}")


def _denied(answer: Answer, method: str, path: str) -> str:
    said = _words(answer.body)
    if "read only" in said:
        return f"is in read-only mode: {method} {path} was refused"
    if answer.status == 401:
        return f"does not accept these credentials for {method} {path}"
    resource = _RESOURCES.get(path.split("/")[1], "")
    action = "read" if path.endswith("/ping") else _ACTIONS[method]
    return (
        f"does not let us {method} {path}: it takes the permission {resource}:{action}; ask as an "
        "administrator, or as a robot that has it"
    )


def _refusal(error: OutboundError, path: str) -> SyncwatchError:
    """A question that Harbor refused to us, which is no failure to ask."""
    if error.kind == "unauthorized":
        return HarborRefusedError(f"{error.message}: these credentials are not accepted")
    if error.kind == "forbidden":
        return HarborRefusedError(f"{error.message}: these credentials may not read {path}")
    return error


def _document(body: bytes) -> Record:
    try:
        found = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _words(body: bytes) -> str:
    """What an error body of Harbor's says, cut short (src/lib/http/error.go)."""
    try:
        message = _document(body)["errors"][0]["message"]
    except (KeyError, IndexError, TypeError):
        return ""
    return " ".join(str(message).split())[:_LONGEST]
