"""The lab Harbor's token service and its /v2, which skopeo and buildah push to and pull from.

Who is refused how, from src/server/middleware/v2auth: without an Authorization header a Bearer
challenge, with one `Basic realm="harbor"`, always 401; a project that is not there is 401 too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from syncwatch.lab.distribution import (
    API_VERSION,
    Distribution,
    Kind,
    OciError,
    Target,
    json_answer,
    target_of,
)
from syncwatch.lab.identity import identify, who
from syncwatch.lab.tokens import Tokens, asked_access

if TYPE_CHECKING:
    from collections.abc import Callable

    from syncwatch.lab.artifacts import Artifacts
    from syncwatch.lab.contents import Manifest
    from syncwatch.lab.records import Project
    from syncwatch.lab.tokens import Access
    from syncwatch.lab.world import World

UNCOUNTED = "harbor-registry-client"
"""The one User-Agent whose pulls Harbor does not count (src/server/registry/manifest.go)."""

OPERATOR = web.RequestKey("operator", str)
_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}


class HarborV2(Distribution):
    """/v2 over the lab Harbor's contents; a push makes its rows and events."""

    def __init__(self, world: World, artifacts: Artifacts) -> None:
        super().__init__(world.contents, referrers=True)
        self._world = world
        self._artifacts = artifacts
        self._tokens = Tokens(world.now, world.times.token_lifetime)

    def routes(self) -> list[web.RouteDef]:
        """The token service and everything under /v2."""
        return [
            web.get("/service/token", self.give_token),
            web.route("*", "/v2{tail:.*}", self.handle),
        ]

    async def give_token(self, request: web.Request) -> web.Response:
        """A token for what the asker may of what was asked; wrong credentials are nobody's."""
        identity = identify(self._world, request)
        asked = asked_access(request.query.getall("scope", []))
        if not asked and not identity.known:
            raise OciError(401, "UNAUTHORIZED", "unauthorized")
        granted = [one for one in asked if identity.may_in(self._project(one[0]), *_named(one))]
        return json_answer(
            self._tokens.issue(identity.name, granted), content_type="application/json"
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Anything under /v2."""
        target = target_of(request)
        if target is None:
            raise OciError(404, "NOT_FOUND", "the requested path not found")
        request[OPERATOR] = self._admit(request, target)
        return await self.serve(request, target)

    def _admit(self, request: web.Request, target: Target) -> str:
        """Whose request it is. Raises OciError (401)."""
        header = request.headers.get("Authorization", "")
        operator, may = self._rights(header)
        if target.kind is Kind.BASE:
            if not operator:
                raise self._refusal(request, [], "unauthorized")
            return operator
        if target.kind is Kind.CATALOG:
            if not identify(self._world, request).may("catalog", "read"):
                raise self._refusal(request, [], "unauthorized to list catalog")
            return operator
        wanted = self._wanted(request, target)
        if not header and request.method in ("GET", "HEAD"):
            message = "authorize header needed to send HEAD to repository"
            raise self._refusal(request, wanted, message)
        for repository, action in wanted:
            if self._project(repository) is None:
                message = f"project {repository.partition('/')[0]} not found"
                headers = {**API_VERSION, "Www-Authenticate": ""}
                raise OciError(401, "UNAUTHORIZED", message, headers=headers)
            if not may((repository, action)):
                message = f"unauthorized to access repository: {repository}, action: {action}"
                raise self._refusal(request, wanted, message)
        return operator

    def _rights(self, header: str) -> tuple[str, Callable[[Access], bool]]:
        """The operator's name and what he may, by Basic credentials or a token of ours."""
        token = self._tokens.find(header.removeprefix("Bearer "))
        if token is not None:
            allowed = token.access
            return token.holder or "anonymous", lambda one: one in allowed
        identity = who(self._world, header)
        return identity.name, lambda one: identity.may_in(self._project(one[0]), *_named(one))

    def _wanted(self, request: web.Request, target: Target) -> list[Access]:
        wanted = [(target.repository, _ACTIONS.get(request.method, "push"))]
        if request.method == "POST" and request.query.get("from"):
            wanted.append((request.query["from"], "pull"))
        return wanted

    def _refusal(self, request: web.Request, wanted: list[Access], message: str) -> OciError:
        challenge = 'Basic realm="harbor"'
        if "Authorization" not in request.headers and target_of(request) != Target(Kind.CATALOG):
            realm = f"{request.url.origin()}/service/token"
            challenge = f'Bearer realm="{realm}",service="harbor-registry"'
            scopes = [
                f"repository:{repository}:{'pull,push' if action == 'push' else action}"
                for repository, action in wanted
            ]
            challenge += f',scope="{" ".join(scopes)}"' if scopes else ""
        headers = {**API_VERSION, "Www-Authenticate": challenge}
        return OciError(401, "UNAUTHORIZED", message, headers=headers)

    def _project(self, repository: str) -> Project | None:
        return self._world.project(repository.partition("/")[0], is_name=True)

    def manifest_pushed(
        self, request: web.Request, repository: str, reference: str, manifest: Manifest
    ) -> None:
        """Rows and events for what was pushed."""
        self._artifacts.manifest_pushed(repository, reference, manifest, request[OPERATOR])

    def manifest_pulled(
        self, request: web.Request, repository: str, reference: str, manifest: Manifest
    ) -> None:
        """Count the pull, unless it is one of Harbor's own kind."""
        if request.headers.get("User-Agent", "") != UNCOUNTED:
            tag = "" if ":" in reference else reference
            self._artifacts.pulled(repository, manifest.digest, tag, request[OPERATOR])

    def manifest_unknown(self, repository: str, reference: str) -> OciError:
        """404 in Harbor's words."""
        if self._world.repository(repository) is None:
            return OciError(404, "NOT_FOUND", f"repository {repository} not found")
        name = f"{repository}{'@' if ':' in reference else ':'}{reference}"
        return OciError(404, "NOT_FOUND", f"artifact {name} not found")

    def delete_manifest(self, request: web.Request, target: Target) -> web.Response:
        """DELETE by digest; a tag is 400 UNSUPPORTED."""
        if ":" not in target.reference:
            raise OciError(400, "UNSUPPORTED", "the operation isn't supported")
        artifact = self._artifacts.find(target.repository, target.reference)
        if artifact is None:
            raise self.manifest_unknown(target.repository, target.reference)
        self._artifacts.delete(artifact, request[OPERATOR])
        return web.Response(status=202, headers=API_VERSION)

    def referrers_of(self, repository: str, subject: str) -> list[Manifest]:
        """From the accessories, so that a cosign signature is among them (recording 10)."""
        artifact = self._artifacts.find(repository, subject)
        links = self._artifacts.accessories_of(artifact) if artifact else []
        found = (self._world.contents.manifest(repository, link.digest) for link in links)
        return [manifest for manifest in found if manifest is not None]


def _named(access: Access) -> tuple[str, str]:
    """The permission behind an access: everything on /v2 is about repositories."""
    return "repository", access[1]
