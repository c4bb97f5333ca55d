"""Asking one Harbor: few questions, each bounded, each answer a value of `wire`.

What a question costs Harbor was measured (docs/harbor.md): a robot account is cheap, a local
user's password costs 0.1 s of CPU a question. No cookie is kept: a session cookie would make
Harbor ask for a CSRF token (server/middleware/csrf).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

import aiohttp

from syncwatch.errors import Fault, MalformedError, OutboundError
from syncwatch.harbor import wire
from syncwatch.harbor.listed import Project, Repository
from syncwatch.outbound import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncwatch.model import Millis
    from syncwatch.outbound import Answer, Outbound

T = TypeVar("T")

PAGE_SIZE = 100
"""The largest page Harbor allows (api/v2.0/swagger.yaml); above it answers 422."""

PAGES = 200
"""The most pages read of one list, so that a Harbor that never ends a list cannot hold us."""

_WITH_ALL = {"sort": "id", "with_tag": "true", "with_label": "true", "with_accessory": "true"}

BODY = 16 * 1024 * 1024
"""Bound of one answer in bytes; a page of 100 artifacts with long annotations is about 1 MiB."""


class HarborClient:
    """The questions we ask one Harbor. Every method raises OutboundError for an unusable answer.

    `credentials` gives user name and password at each use; `forget` has their files read again,
    after a 401.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        outbound: Outbound,
        credentials: Callable[[], tuple[str, str] | None],
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._api = url.rstrip("/") + "/api/v2.0"
        self._outbound = outbound
        self._credentials = credentials
        self._forget = forget

    async def system_info(self) -> wire.SystemInfo:
        """/systeminfo: version and clock. Raises OutboundError `unauthorized` when we are nobody.

        Wrong credentials do not fail, they see less (recording 16): no `harbor_version`.
        """
        info = await self.one(wire.SystemInfo, "/systeminfo")
        if not info.harbor_version:
            self._forget()
            raise self._error("unauthorized", "does not accept our credentials: it shows less")
        return info

    async def policies(self) -> list[wire.Policy]:
        """All replication policies."""
        return await self.all(wire.Policy, "/replication/policies", sort="id")

    async def policy_is_gone(self, policy_id: int) -> bool:
        """True only on Harbor's own NOT_FOUND for this policy."""
        return await self._is_gone(f"/replication/policies/{policy_id}")

    async def registry_is_gone(self, registry_id: int) -> bool:
        """True only on Harbor's own NOT_FOUND for this registry endpoint."""
        return await self._is_gone(f"/registries/{registry_id}")

    async def registries(self) -> list[wire.RegistryEndpoint]:
        """All registry endpoints."""
        return await self.all(wire.RegistryEndpoint, "/registries", sort="id")

    async def executions(self, page: int) -> list[wire.Execution]:
        """One page of the feed of all executions, newest first (recording 20)."""
        return await self.page(wire.Execution, "/replication/executions", page, sort="-id")

    async def execution(self, execution_id: int) -> wire.Execution | None:
        """One execution; None when Harbor no longer has it: purged, which is not failed."""
        return await self.one_or_none(wire.Execution, f"/replication/executions/{execution_id}")

    async def tasks(self, execution_id: int) -> list[wire.Task]:
        """The tasks of an execution, one a repository; empty when it was purged."""
        try:
            return await self.all(
                wire.Task, f"/replication/executions/{execution_id}/tasks", sort="id"
            )
        except OutboundError as error:
            if error.kind == "not_found":
                return []
            raise

    async def artifact(self, repository: str, reference: str) -> wire.SourceArtifact | None:
        """What a tag or digest names at the source now; None when Harbor says NOT_FOUND."""
        path = f"{repository_path(repository)}/artifacts/{quote(reference, safe='')}"
        return await self.one_or_none(
            wire.SourceArtifact, path, with_tag="true", with_label="true", with_accessory="true"
        )

    async def artifacts(self, repository: str) -> list[wire.SourceArtifact]:
        """The artifacts of a repository as a manual run lists them; empty when it is not there.

        Children of an index and accessories are inside their artifact (reg/adapter/harbor).
        """
        try:
            return await self.all(
                wire.SourceArtifact,
                f"{repository_path(repository)}/artifacts",
                **_WITH_ALL,
            )
        except OutboundError as error:
            if error.kind == "not_found":
                return []
            raise

    async def send(self, method: str, path: str, body: object = None) -> Answer:
        """One request that changes something, answered whatever its status (see `writing`)."""
        url, headers = self._api + path, self._headers()
        return await self._outbound.ask(method, url, headers=headers, json=body, body_limit=BODY)

    async def projects(self) -> list[Project]:
        """The projects that we may see: all for a robot of all projects (server, project.go)."""
        return await self.all(Project, "/projects", sort="project_id", with_detail="false")

    async def project(self, name: str) -> Project | None:
        """One project; None when Harbor says NOT_FOUND."""
        return await self.one_or_none(Project, f"/projects/{quote(name, safe='')}")

    async def repositories_with(self, part: str, page: int) -> list[Repository]:
        """A page of all repositories whose name has a part, of those that we may see.

        Needs no permission, and holds what is permitted (recording 16; lib/q/builder.go, `=~`).
        """
        query = {"sort": "repository_id", "q": f"name=~{part}"}
        return await self.page(Repository, "/repositories", page, **query)

    async def repositories(
        self, project: str, page: int, *, after: int = 0, changed_since: Millis | None = None
    ) -> list[Repository]:
        """A page of a project's repositories, by their id.

        Those with ids above `after`, or those that changed since a moment of Harbor's clock: its
        `q` takes whole seconds without a zone (lib/q/builder.go). Empty for no such project.
        """
        query = {"sort": "repository_id"}
        if changed_since is not None:
            moment = datetime.fromtimestamp(changed_since // 1000, UTC)
            query["q"] = f"update_time=[{moment:%Y-%m-%dT%H:%M:%S}~]"
        elif after:
            query["q"] = f"repository_id=[{after + 1}~]"
        path = f"/projects/{quote(project, safe='')}/repositories"
        try:
            return await self.page(Repository, path, page, **query)
        except OutboundError as error:
            if error.kind == "not_found":
                return []
            raise

    async def artifact_page(self, repository: str, page: int) -> list[wire.SourceArtifact]:
        """A page of a repository's artifacts, the oldest first; empty when it is not there."""
        try:
            return await self.page(
                wire.SourceArtifact, f"{repository_path(repository)}/artifacts", page, **_WITH_ALL
            )
        except OutboundError as error:
            if error.kind == "not_found":
                return []
            raise

    async def close(self) -> None:
        """Give the connections back."""
        await self._outbound.close()

    async def all(self, kind: type[T], path: str, **query: str) -> list[T]:
        """Every item of a list, page by page; `path` is below /api/v2.0."""
        found: list[T] = []
        for page in range(1, PAGES + 1):
            rows = await self.page(kind, path, page, **query)
            found += rows
            if len(rows) < PAGE_SIZE:
                return found
        raise self._error("unreadable_answer", f"does not end its list {path}")

    async def page(self, kind: type[T], path: str, page: int, **query: str) -> list[T]:
        """One page of a list, the first is 1; a full one has `PAGE_SIZE` items."""
        answer = await self._ask(path, page=str(page), page_size=str(PAGE_SIZE), **query)
        return self._read(lambda: wire.read_list(kind, answer.body), path)

    async def one(self, kind: type[T], path: str, **query: str) -> T:
        """One thing; Harbor's NOT_FOUND is an OutboundError `not_found`."""
        answer = await self._ask(path, **query)
        return self._read(lambda: wire.read_as(kind, answer.body), path)

    async def one_or_none(self, kind: type[T], path: str, **query: str) -> T | None:
        """One thing; None on Harbor's own NOT_FOUND."""
        try:
            return await self.one(kind, path, **query)
        except OutboundError as error:
            if error.kind == "not_found":
                return None
            raise

    async def _is_gone(self, path: str) -> bool:
        try:
            await self._ask(path)
        except OutboundError as error:
            if error.kind == "not_found":
                return True
            raise
        return False

    async def _ask(self, path: str, **query: str) -> Answer:
        url = self._api + path + ("?" + urlencode(query) if query else "")
        answer = await self._outbound.ask("GET", url, headers=self._headers(), body_limit=BODY)
        return self._checked(answer, path)

    def _checked(self, answer: Answer, path: str) -> Answer:
        kind = kind_of(answer.status)
        if kind is None:
            return answer
        # A proxy's 404 page proves nothing; only Harbor's own error body does.
        if kind == "not_found" and not wire.says_not_found(answer.body):
            kind = "unreadable_answer"
        if kind == "unauthorized":
            self._forget()
        raise self._error(kind, f"answered {answer.status} to {path}", status=answer.status)

    def _headers(self) -> dict[str, str]:
        credentials = self._credentials()
        # Without it Harbor reads a project named 123 as an id (api.md §1).
        headers = {"Accept": "application/json", "X-Is-Resource-Name": "true"}
        if credentials:
            headers["Authorization"] = aiohttp.encode_basic_auth(*credentials)
        return headers

    def _read(self, read: Callable[[], T], path: str) -> T:
        try:
            return read()
        except MalformedError as error:
            raise self._error("unreadable_answer", f"{path}: {error.message}") from None

    def _error(self, kind: str, what: str, status: int | None = None) -> OutboundError:
        error = OutboundError(kind, f"Harbor {self.name} {what}", status=status)
        error.fault = Fault.HARBOR
        return error


def repository_path(repository: str) -> str:
    """The API's path of a repository: what follows the project is encoded twice (api.md §1)."""
    project, _, rest = repository.partition("/")
    name = quote(quote(rest, safe=""), safe="")
    return f"/projects/{quote(project, safe='')}/repositories/{name}"
