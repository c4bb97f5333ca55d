"""The lab Harbor's API: projects, repositories, artifacts, tags, accessories, labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from syncwatch.lab import rendering
from syncwatch.lab.answers import (
    RefusedError,
    bare,
    created,
    json_answer,
    json_body,
    not_found,
)
from syncwatch.lab.identity import (
    EVERY_PROJECT,
    SYSTEM,
    existing_project,
    identify,
    require,
    require_in_project,
    require_known,
)
from syncwatch.lab.listing import Condition, list_answer, parse_q
from syncwatch.lab.records import Label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from syncwatch.lab.artifacts import Artifacts
    from syncwatch.lab.identity import Identity
    from syncwatch.lab.records import Accessory, Artifact, Project, Repository, Tag
    from syncwatch.lab.world import World

_PROJECTS: dict[str, Callable[[Project], Any]] = {
    "project_id": lambda row: row.id,
    "name": lambda row: row.name,
    "creation_time": lambda row: row.created,
    "update_time": lambda row: row.updated,
    "public": lambda row: str(row.public).lower(),
}
_REPOSITORIES: dict[str, Callable[[Repository], Any]] = {
    "id": lambda row: row.id,
    "repository_id": lambda row: row.id,
    "name": lambda row: row.name,
    "project_id": lambda row: row.project_id,
    "pull_count": lambda row: row.pull_count,
    "creation_time": lambda row: row.created,
    "update_time": lambda row: row.updated,
}
_ARTIFACTS: dict[str, Callable[[Artifact], Any]] = {
    "id": lambda row: row.id,
    "type": lambda row: row.kind,
    "media_type": lambda row: row.media_type,
    "manifest_media_type": lambda row: row.manifest_media_type,
    "artifact_type": lambda row: row.artifact_type,
    "repository_id": lambda row: row.repository_id,
    "repository_name": lambda row: row.repository,
    "digest": lambda row: row.digest,
    "size": lambda row: row.size,
    "push_time": lambda row: row.push_time,
    "pull_time": lambda row: row.pull_time,
}
_TAGS: dict[str, Callable[[Tag], Any]] = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
    "push_time": lambda row: row.push_time,
    "artifact_id": lambda row: row.artifact_id,
}
_ACCESSORIES: dict[str, Callable[[Accessory], Any]] = {
    "id": lambda row: row.id,
    "type": lambda row: row.type,
    "digest": lambda row: row.digest,
}
_LABELS: dict[str, Callable[[Label], Any]] = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
}


class ArtifactsApi:
    """Handlers over `Artifacts`; each says in its first line what permission it needs."""

    def __init__(self, world: World, artifacts: Artifacts) -> None:
        self._world = world
        self._artifacts = artifacts

    def routes(self) -> list[web.RouteDef]:
        """The routes under /api/v2.0."""
        repository = "/projects/{project}/repositories/{repository}"
        artifact = repository + "/artifacts/{reference}"
        return [
            web.get("/projects", self.list_projects, allow_head=False),
            web.head("/projects", self.find_project),
            web.post("/projects", self.create_project),
            web.get("/projects/{project}", self.get_project),
            web.delete("/projects/{project}", self.delete_project),
            web.get("/repositories", self.list_all_repositories),
            web.get("/projects/{project}/repositories", self.list_repositories),
            web.get(repository, self.get_repository),
            web.delete(repository, self.delete_repository),
            web.get(repository + "/artifacts", self.list_artifacts),
            web.get("/projects/{project}/artifacts", self.list_project_artifacts),
            web.get(artifact, self.get_artifact),
            web.delete(artifact, self.delete_artifact),
            web.get(artifact + "/tags", self.list_tags),
            web.post(artifact + "/tags", self.create_tag),
            web.delete(artifact + "/tags/{tag}", self.delete_tag),
            web.get(artifact + "/accessories", self.list_accessories),
            web.post(artifact + "/labels", self.add_label),
            web.delete(artifact + "/labels/{label}", self.remove_label),
            web.get("/labels", self.list_labels),
            web.post("/labels", self.create_label),
        ]

    async def list_projects(self, request: web.Request) -> web.Response:
        """Nobody needs anything; the list holds what the asker may see."""
        identity = identify(self._world, request)
        everything = identity.admin or identity.may("project", "list")
        rows = [
            row
            for row in self._world.projects.values()
            if everything or row.public or _names(identity, row)
        ]
        name = request.query.get("name", "")
        return list_answer(
            request,
            [row for row in rows if name in row.name],
            lambda row: rendering.project(self._world, row, admin=identity.admin),
            keys=_PROJECTS,
            sort="name",
        )

    async def find_project(self, request: web.Request) -> web.Response:
        """Whether a project of that name exists; any known asker."""
        require_known(self._world, request)
        name = request.query.get("project_name", "")
        return bare(200 if self._world.project(name, is_name=True) else 404)

    async def create_project(self, request: web.Request) -> web.Response:
        """Needs the system's project:create."""
        identity = require(self._world, request, "project", "create")
        body = await json_body(request)
        name = str(body.get("project_name", ""))
        if self._world.project(name, is_name=True) is not None:
            raise RefusedError(409, "CONFLICT", f"The project named {name} already exists")
        public = (body.get("metadata") or {}).get("public") == "true" or body.get("public") is True
        row = self._artifacts.create_project(
            name,
            public=public,
            operator=identity.name,
            registry_id=int(body.get("registry_id") or 0),
        )
        return created(request, row.id)

    async def get_project(self, request: web.Request) -> web.Response:
        """Needs project:read there."""
        identity, row = existing_project(self._world, request, "project", "read")
        return json_answer(rendering.project(self._world, row, admin=identity.admin))

    async def delete_project(self, request: web.Request) -> web.Response:
        """Needs project:delete; refused while repositories are in it."""
        _, row = existing_project(self._world, request, "project", "delete")
        if any(one.project_id == row.id for one in self._world.repositories.values()):
            message = (
                f"the project {row.name} contains repositories, please delete them before "
                "deleting the project"
            )
            raise RefusedError(412, "PRECONDITION", message)
        del self._world.projects[row.id]
        return bare()

    async def list_all_repositories(self, request: web.Request) -> web.Response:
        """Nobody needs anything; the list holds what the asker may see."""
        identity = identify(self._world, request)
        rows = [
            row
            for row in self._world.repositories.values()
            if _sees(identity, self._world.projects[row.project_id])
        ]
        return self._repositories(request, rows)

    async def list_repositories(self, request: web.Request) -> web.Response:
        """Needs repository:list there."""
        _, project = existing_project(self._world, request, "repository", "list")
        rows = self._world.repositories.values()
        return self._repositories(request, [row for row in rows if row.project_id == project.id])

    def _repositories(self, request: web.Request, rows: list[Repository]) -> web.Response:
        return list_answer(
            request,
            rows,
            lambda row: rendering.repository(self._artifacts, row),
            keys=_REPOSITORIES,
            sort="-creation_time,-repository_id",
        )

    async def get_repository(self, request: web.Request) -> web.Response:
        """Needs repository:read there."""
        require_in_project(self._world, request, "repository", "read")
        return json_answer(rendering.repository(self._artifacts, self._existing(request)))

    async def delete_repository(self, request: web.Request) -> web.Response:
        """Needs repository:delete there."""
        identity, _ = require_in_project(self._world, request, "repository", "delete")
        self._artifacts.delete_repository(self._existing(request), identity.name)
        return bare()

    def _existing(self, request: web.Request) -> Repository:
        name = repository_name(request)
        row = self._world.repository(name)
        if row is None:
            raise not_found(f"repository {name}")
        return row

    async def list_artifacts(self, request: web.Request) -> web.Response:
        """Needs artifact:list there; a repository that is not there has none."""
        require_in_project(self._world, request, "artifact", "list")
        row = self._world.repository(repository_name(request))
        return self._listed(request, self._artifacts.in_repository(row) if row else [])

    async def list_project_artifacts(self, request: web.Request) -> web.Response:
        """Needs artifact:list there; the call exists since 2.12."""
        if not self._world.since(2, 12):
            raise not_found("the requested path")
        _, project = existing_project(self._world, request, "artifact", "list")
        rows = self._world.artifacts.values()
        return self._listed(request, [row for row in rows if row.project_id == project.id])

    def _listed(self, request: web.Request, rows: Iterable[Artifact]) -> web.Response:
        conditions = parse_q(request.query.get("q", ""))
        special = [one for one in conditions if one.key in ("base", "tags", "labels")]
        based = any(one.key == "base" and one.values == ("*",) for one in special)
        shown = [
            row
            for row in rows
            if (not self._artifacts.is_accessory(row) if based else self._artifacts.is_listed(row))
            and all(self._meets(row, one) for one in special)
        ]
        return list_answer(
            request,
            shown,
            lambda row: self._shown(request, row),
            keys=_ARTIFACTS,
            sort="-push_time,-id",
            conditions=conditions,
        )

    def _meets(self, row: Artifact, wanted: Condition) -> bool:
        """The keys that src/pkg/artifact/dao/dao.go handles itself. Raises RefusedError (400)."""
        match wanted.key, wanted.form:
            case "labels", "all":
                return set(wanted.values) <= set(row.labels)
            case "tags", "exact" | "fuzzy":
                names = [tag.name for tag in self._artifacts.tags_of(row)]
                word = str(wanted.values[0])
                if wanted.form == "fuzzy":
                    return any(word in name for name in names)
                return bool(names) if word == "*" else not names if word == "nil" else word in names
            case "base", "exact" if wanted.values == ("*",):
                return True
        raise RefusedError(400, "BAD_REQUEST", f"invalid value for {wanted.key}")

    def _shown(self, request: web.Request, row: Artifact) -> dict[str, Any]:
        return rendering.artifact(
            self._world,
            self._artifacts,
            row,
            tags=_flag(request, "with_tag", default=True),
            labels=_flag(request, "with_label", default=False),
            accessories=_flag(request, "with_accessory", default=False),
        )

    def _artifact(self, request: web.Request) -> Artifact:
        """The path's artifact. Raises RefusedError (404), in Harbor's words."""
        name, reference = repository_name(request), request.match_info["reference"]
        if self._world.repository(name) is None:
            raise not_found(f"repository {name}")
        row = self._artifacts.find(name, reference)
        if row is None:
            raise not_found(f"artifact {name}{'@' if ':' in reference else ':'}{reference}")
        return row

    async def get_artifact(self, request: web.Request) -> web.Response:
        """Needs artifact:read there; by tag or digest. Never counts as a pull."""
        require_in_project(self._world, request, "artifact", "read")
        return json_answer(self._shown(request, self._artifact(request)))

    async def delete_artifact(self, request: web.Request) -> web.Response:
        """Needs artifact:delete there; takes all its tags."""
        identity, _ = require_in_project(self._world, request, "artifact", "delete")
        self._artifacts.delete(self._artifact(request), identity.name)
        return bare()

    async def list_tags(self, request: web.Request) -> web.Response:
        """Needs tag:list there."""
        require_in_project(self._world, request, "tag", "list")
        rows = self._artifacts.tags_of(self._artifact(request))
        return list_answer(request, rows, rendering.tag, keys=_TAGS, sort="-push_time,-id")

    async def create_tag(self, request: web.Request) -> web.Response:
        """Needs tag:create there; 409 when the repository has the tag."""
        identity, _ = require_in_project(self._world, request, "tag", "create")
        row = self._artifact(request)
        name = str((await json_body(request)).get("name", ""))
        if self._artifacts.find(row.repository, name) is not None:
            message = f"tag {name} already exists in repository {row.repository}"
            raise RefusedError(409, "CONFLICT", message)
        self._artifacts.tag(row, name, identity.name)
        return bare(201)

    async def delete_tag(self, request: web.Request) -> web.Response:
        """Needs tag:delete there."""
        identity, _ = require_in_project(self._world, request, "tag", "delete")
        row, name = self._artifact(request), request.match_info["tag"]
        if name not in {tag.name for tag in self._artifacts.tags_of(row)}:
            raise not_found(f"tag {name} attached to artifact {row.id}")
        self._artifacts.untag(row, name, identity.name)
        return bare()

    async def list_accessories(self, request: web.Request) -> web.Response:
        """Needs accessory:list there."""
        require_in_project(self._world, request, "accessory", "list")
        rows = self._artifacts.accessories_of(self._artifact(request))
        return list_answer(request, rows, rendering.accessory, keys=_ACCESSORIES, sort="id")

    async def add_label(self, request: web.Request) -> web.Response:
        """Needs artifact-label:create there; starts no replication."""
        require_in_project(self._world, request, "artifact-label", "create")
        row, identifier = self._artifact(request), (await json_body(request)).get("id")
        if identifier not in self._world.labels:
            raise not_found(f"label {identifier}")
        if identifier not in row.labels:
            row.labels.append(int(identifier))
        return bare()

    async def remove_label(self, request: web.Request) -> web.Response:
        """Needs artifact-label:delete there."""
        require_in_project(self._world, request, "artifact-label", "delete")
        row, identifier = self._artifact(request), int(request.match_info["label"])
        if identifier not in row.labels:
            raise not_found(f"label {identifier}")
        row.labels.remove(identifier)
        return bare()

    async def list_labels(self, request: web.Request) -> web.Response:
        """Global labels for any known asker; those of a project with `scope=p&project_id=`."""
        require_known(self._world, request)
        project = (
            int(request.query.get("project_id", 0)) if "p" in request.query.get("scope", "g") else 0
        )
        rows = [row for row in self._world.labels.values() if row.project_id == project]
        return list_answer(request, rows, rendering.label, keys=_LABELS, sort="id")

    async def create_label(self, request: web.Request) -> web.Response:
        """Needs the system's label:create."""
        require(self._world, request, "label", "create")
        body = await json_body(request)
        project = int(body.get("project_id") or 0) if body.get("scope") == "p" else 0
        identifier = self._world.next_id("label")
        name = str(body.get("name", ""))
        self._world.labels[identifier] = Label(identifier, name, project, self._world.now())
        return created(request, identifier)


def repository_name(request: web.Request) -> str:
    """`project/rest` of the path. Slashes must come encoded twice; once is another path, 404."""
    if "%2F" in request.rel_url.raw_path.upper():
        raise not_found("the requested path")
    return f"{request.match_info['project']}/{unquote(request.match_info['repository'])}"


def _flag(request: web.Request, name: str, *, default: bool) -> bool:
    return request.query.get(name, str(default)).lower() == "true"


def _names(identity: Identity, project: Project) -> bool:
    """Whether any grant names the project, or all projects."""
    spaces = {space for space, _, _ in identity.grants if space != SYSTEM}
    return bool(spaces & {EVERY_PROJECT, project.name})


def _sees(identity: Identity, project: Project) -> bool:
    return identity.admin or project.public or _names(identity, project)
