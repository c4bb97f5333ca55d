"""A Harbor that answers with recorded rows, and the clock that it and the daemon share."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from syncwatch.lab.listener import Listener
from syncwatch.runtime import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncwatch.lab.images import Image

ZERO = "0001-01-01T00:00:00.000Z"


class RecordedClock(Clock):
    """Begins at a recorded time, goes at the real one's pace, and can be moved ahead."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._began = time.monotonic()

    def now(self) -> int:
        return self._start + round((time.monotonic() - self._began) * 1000)

    def advance(self, seconds: float) -> None:
        self._start += round(seconds * 1000)

    def reach(self, at: int) -> None:
        """Be at `at` or later."""
        self._start += max(0, at - self.now())


def millis(text: str) -> int:
    """An RFC 3339 time in milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def stamp(at: int) -> str:
    """Milliseconds as Harbor's API writes them."""
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class RecordedHarbor:
    """Harbor's API with the rows that the play has put there, in recorded shapes."""

    clock: RecordedClock
    registries: dict[int, dict[str, Any]] = field(default_factory=dict)
    policies: dict[int, dict[str, Any]] = field(default_factory=dict)
    executions: dict[int, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """By (repository, digest)."""
    tags: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """(repository, tag) → digest and push_time."""

    def __post_init__(self) -> None:
        self.listener = Listener(self._application)

    def tag(self, repository: str, reference: str, name: str, at: int) -> None:
        """A tag set by the API."""
        digest, _ = self.tags.get((repository, reference), (reference, 0))
        self.tags[repository, name] = (digest, at)

    def untag(self, repository: str, name: str) -> None:
        """A tag deleted; its artifact stays."""
        self.tags.pop((repository, name))

    def delete(self, repository: str, reference: str) -> None:
        """An artifact deleted, with every tag on it."""
        digest, _ = self.tags.get((repository, reference), (reference, 0))
        del self.artifacts[repository, digest]
        for name in [name for name, (named, _) in self.tags.items() if named == digest]:
            if name[0] == repository:
                del self.tags[name]

    def put(self, repository: str, tag: str, image: Image, at: int) -> None:
        """A push: children first; a tag that names this digest already keeps its time."""
        for child in image.children:
            self.put(repository, "", child, at)
        children = [{"child_digest": child.digest, "urls": None} for child in image.children]
        self.artifacts.setdefault(
            (repository, image.digest),
            {
                "id": len(self.artifacts) + 1,
                "digest": image.digest,
                "manifest_media_type": image.media_type,
                "repository_name": repository,
                "accessories": None,
                "labels": None,
                "references": children or None,
                "push_time": stamp(at),
                "type": "IMAGE",
            },
        )
        if tag and self.tags.get((repository, tag), ("", 0))[0] != image.digest:
            self.tags[repository, tag] = (image.digest, at)
        self._attach(repository, tag, image)

    def _attach(self, repository: str, tag: str, image: Image) -> None:
        """What signs or describes an artifact is listed beside it (recording 10)."""
        signed = re.fullmatch(r"sha256-([0-9a-f]{64})\.sig", tag)
        about = f"sha256:{signed[1]}" if signed else _subject(image)
        subject = self.artifacts.get((repository, about))
        if subject is None:
            return
        beside = subject["accessories"] or []
        row = {
            "id": len(beside) + 1,
            "digest": image.digest,
            "subject_artifact_digest": about,
            "subject_artifact_repo": repository,
            "type": "signature.cosign" if signed else "subject.accessory",
        }
        if image.digest not in {one["digest"] for one in beside}:
            subject["accessories"] = [*beside, row]

    def shown(self, artifact: dict[str, Any]) -> dict[str, Any]:
        """An artifact with the tags that name it now."""
        tags = [
            {"name": tag, "push_time": stamp(at), "pull_time": ZERO, "immutable": False}
            for (repository, tag), (digest, at) in self.tags.items()
            if (repository, digest) == (artifact["repository_name"], artifact["digest"])
        ]
        return {**artifact, "tags": tags or None}

    def _application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/api/v2.0/systeminfo", self._system),
                web.get("/api/v2.0/registries{tail:.*}", self._registries),
                web.get("/api/v2.0/replication/policies{tail:.*}", self._policies),
                web.get("/api/v2.0/replication/executions", self._feed),
                web.get("/api/v2.0/replication/executions/{id}", self._execution),
                web.get("/api/v2.0/replication/executions/{id}/tasks", self._tasks),
                web.get("/api/v2.0/projects/{p}/repositories/{r}/artifacts", self._listed),
                web.get("/api/v2.0/projects/{p}/repositories/{r}/artifacts/{ref}", self._artifact),
                web.get("/{tail:.*}", self._refused),
            ]
        )
        return application

    async def _system(self, _request: web.Request) -> web.Response:
        now = stamp(self.clock.now())
        told = {"harbor_version": "v2.16.0-c50c7dd", "notification_enable": True}
        return web.json_response(told | {"current_time": now, "external_url": self.listener.url})

    async def _registries(self, request: web.Request) -> web.Response:
        return _rows(request, self.registries, "registry")

    async def _policies(self, request: web.Request) -> web.Response:
        return _rows(request, self.policies, "replication policy")

    async def _feed(self, request: web.Request) -> web.Response:
        size, page = int(request.query["page_size"]), int(request.query["page"])
        newest = sorted(self.executions.values(), key=lambda row: -row["id"])
        return web.json_response(newest[size * (page - 1) : size * page])

    async def _execution(self, request: web.Request) -> web.Response:
        wanted = int(request.match_info["id"])
        if wanted not in self.executions:
            return _not_found(f"replication execution {wanted}")
        return web.json_response(self.executions[wanted])

    async def _tasks(self, request: web.Request) -> web.Response:
        wanted = int(request.match_info["id"])
        return web.json_response(
            [row for row in self.tasks.values() if row["execution_id"] == wanted]
        )

    async def _listed(self, request: web.Request) -> web.Response:
        repository = _repository(request)
        mine = [one for (name, _), one in self.artifacts.items() if name == repository]
        inside = {part["child_digest"] for one in mine for part in one["references"] or ()}
        beside = {part["digest"] for one in mine for part in one["accessories"] or ()}
        shown = [self.shown(one) for one in mine if one["digest"] not in beside]
        return web.json_response(
            [one for one in shown if one["tags"] or one["digest"] not in inside]
        )

    async def _artifact(self, request: web.Request) -> web.Response:
        repository, reference = _repository(request), request.match_info["ref"]
        digest, _ = self.tags.get((repository, reference), (reference, 0))
        found = self.artifacts.get((repository, digest))
        if found is None:
            return _not_found(f"artifact {repository}:{reference}")
        return web.json_response(self.shown(found))

    async def _refused(self, _request: web.Request) -> web.Response:
        told = {"errors": [{"code": "FORBIDDEN", "message": "permission denied"}]}
        return web.json_response(told, status=403)


def _subject(image: Image) -> str:
    return str((json.loads(image.manifest).get("subject") or {}).get("digest", ""))


def _repository(request: web.Request) -> str:
    return f"{request.match_info['p']}/{unquote(request.match_info['r'])}"


def _rows(request: web.Request, rows: Mapping[int, Any], kind: str) -> web.Response:
    wanted = request.match_info["tail"].strip("/")
    if not wanted:
        return web.json_response(list(rows.values()))
    if int(wanted) not in rows:
        return _not_found(f"{kind} {wanted}")
    return web.json_response(rows[int(wanted)])


def _not_found(what: str) -> web.Response:
    told = {"errors": [{"code": "NOT_FOUND", "message": f"{what} not found"}]}
    return web.json_response(told, status=404)
