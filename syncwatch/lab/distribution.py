"""The OCI distribution API over `Contents`, as docker-registry 2.8.2 answers it.

Statuses, codes and headers were taken from Debian's docker-registry; `LabRegistry` and the lab
Harbor's /v2 add their own way of letting people in.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from syncwatch.lab.contents import Manifest
from syncwatch.lab.images import INDEX_TYPES, MANIFEST_TYPES, OCI_INDEX, digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncwatch.lab.contents import Contents

API_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
JSON = "application/json; charset=utf-8"


class Kind(StrEnum):
    """What a path under /v2 is about."""

    BASE = "base"
    CATALOG = "catalog"
    TAGS = "tags"
    MANIFEST = "manifest"
    BLOB = "blob"
    UPLOAD = "upload"
    REFERRERS = "referrers"


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed path under /v2; `reference` is a tag, a digest or an upload's id."""

    kind: Kind
    repository: str = ""
    reference: str = ""


_PATHS = (
    (Kind.BASE, re.compile(r"/v2/?")),
    (Kind.CATALOG, re.compile(r"/v2/_catalog")),
    (Kind.TAGS, re.compile(r"/v2/(?P<repository>.+)/tags/list")),
    (Kind.UPLOAD, re.compile(r"/v2/(?P<repository>.+)/blobs/uploads/(?P<reference>[^/]*)")),
    (Kind.BLOB, re.compile(r"/v2/(?P<repository>.+)/blobs/(?P<reference>[^/]+)")),
    (Kind.MANIFEST, re.compile(r"/v2/(?P<repository>.+)/manifests/(?P<reference>[^/]+)")),
    (Kind.REFERRERS, re.compile(r"/v2/(?P<repository>.+)/referrers/(?P<reference>[^/]+)")),
)


def target_of(request: web.BaseRequest) -> Target | None:
    """What the request asks about; None for a path that the API does not have."""
    path = unquote(request.rel_url.raw_path)
    for kind, pattern in _PATHS:
        if found := pattern.fullmatch(path):
            return Target(kind, **found.groupdict())
    return None


class OciError(Exception):
    """An answer with an error body `{"errors": [{code, message, detail}]}`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.error: dict[str, Any] = {"code": code, "message": message}
        if detail is not None:
            self.error["detail"] = detail

    def answer(self) -> web.Response:
        """The error as an HTTP answer."""
        return json_answer({"errors": [self.error]}, status=self.status, headers=self.headers)


def json_answer(
    document: Any,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    content_type: str = JSON,
) -> web.Response:
    """A JSON answer in Go's manner: no spaces, a newline at the end."""
    body = json.dumps(document, separators=(",", ":")).encode() + b"\n"
    named = {"Content-Type": content_type, **(headers or {})}
    return web.Response(body=body, status=status, headers=named)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a `Range` header; None when it asks for nothing that is there."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if found is None or found.group(0) == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        start, end = max(size - int(last), 0), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    return (start, end) if start <= end else None


def ranged(request: web.BaseRequest, body: bytes, headers: Mapping[str, str]) -> web.Response:
    """The bytes (200), the range of them that was asked for (206), or 416."""
    asked = request.headers.get("Range")
    if asked is None:
        return web.Response(body=body, headers=headers)
    found = byte_range(asked, len(body))
    if found is None:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
    first, last = found
    named = {**headers, "Content-Range": f"bytes {first}-{last}/{len(body)}"}
    return web.Response(status=206, body=body[first : last + 1], headers=named)


class Distribution:
    """Push and pull over one `Contents`. Whoever subclasses it says who may, and hears of it."""

    def __init__(self, contents: Contents, *, referrers: bool = False) -> None:
        self.contents = contents
        self.serves_referrers = referrers
        self._uploads: dict[str, bytearray] = {}

    def manifest_pushed(
        self, request: web.Request, repository: str, reference: str, manifest: Manifest
    ) -> None:
        """Called after a manifest was kept."""

    def manifest_pulled(
        self, request: web.Request, repository: str, reference: str, manifest: Manifest
    ) -> None:
        """Called before a manifest is given out by GET."""

    def manifest_unknown(self, repository: str, reference: str) -> OciError:
        """The 404 for a manifest that is not there."""
        detail = (
            {"Name": repository, "Revision": reference} if ":" in reference else {"Tag": reference}
        )
        return OciError(404, "MANIFEST_UNKNOWN", "manifest unknown", detail=detail)

    async def serve(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Answer one request that has been let in. Raises OciError."""
        match target.kind, request.method:
            case Kind.BASE, "GET" | "HEAD":
                return web.Response(body=b"{}", headers={"Content-Type": JSON, **API_VERSION})
            case Kind.CATALOG, "GET":
                return self._catalog()
            case Kind.TAGS, "GET":
                return self._tags(target)
            case Kind.MANIFEST, "GET" | "HEAD":
                return self._manifest(request, target)
            case Kind.MANIFEST, "PUT":
                return await self._put_manifest(request, target)
            case Kind.MANIFEST, "DELETE":
                return self.delete_manifest(request, target)
            case Kind.BLOB, "GET" | "HEAD":
                return self.give_blob(request, self._blob(target), target.reference)
            case Kind.UPLOAD, "POST":
                return await self._begin_upload(request, target)
            case Kind.UPLOAD, "PATCH" | "PUT":
                return await self._continue_upload(request, target)
            case Kind.REFERRERS, "GET" if self.serves_referrers:
                return self._referrers(request, target)
            case Kind.REFERRERS, _:
                return web.Response(status=404, text="404 page not found\n", headers=API_VERSION)
        raise OciError(405, "UNSUPPORTED", "The operation is unsupported.")

    def _catalog(self) -> web.Response:
        names = sorted(self.contents.repositories)
        return json_answer({"repositories": names}, headers=API_VERSION)

    def _tags(self, target: Target) -> web.Response:
        held = self.contents.repositories.get(target.repository)
        if held is None:
            detail = {"name": target.repository}
            message = "repository name not known to registry"
            raise OciError(404, "NAME_UNKNOWN", message, detail=detail)
        return json_answer(
            {"name": target.repository, "tags": sorted(held.tags)}, headers=API_VERSION
        )

    def _manifest(self, request: web.Request, target: Target) -> web.Response:
        manifest = self.contents.manifest(target.repository, target.reference)
        if manifest is None:
            raise self.manifest_unknown(target.repository, target.reference)
        if request.headers.get("If-None-Match", "").strip('"') == manifest.digest:
            return web.Response(status=304, headers={**API_VERSION, "Etag": f'"{manifest.digest}"'})
        if request.method == "GET":
            self.manifest_pulled(request, target.repository, target.reference, manifest)
        return manifest_answer(manifest)

    async def _put_manifest(self, request: web.Request, target: Target) -> web.Response:
        body = await request.read()
        media_type = request.headers.get("Content-Type", "").split(";")[0].strip()
        if ":" in target.reference and digest_of(body) != target.reference:
            message = "provided digest did not match uploaded content"
            raise OciError(400, "DIGEST_INVALID", message)
        staged = Manifest(digest_of(body), media_type, body)
        if not staged.document():
            raise OciError(400, "MANIFEST_INVALID", "manifest invalid")
        for digest in self.contents.missing(target.repository, staged):
            message = "blob unknown to registry"
            raise OciError(400, "MANIFEST_BLOB_UNKNOWN", message, detail=digest)
        kept = self.contents.put_manifest(target.repository, target.reference, body, media_type)
        self.manifest_pushed(request, target.repository, target.reference, kept)
        headers = {
            **API_VERSION,
            "Docker-Content-Digest": kept.digest,
            "Location": f"{request.url.origin()}/v2/{target.repository}/manifests/{kept.digest}",
        }
        if kept.subject():
            headers["OCI-Subject"] = kept.subject()
        return web.Response(status=HTTPStatus.CREATED, headers=headers)

    def delete_manifest(self, request: web.Request, target: Target) -> web.Response:
        """DELETE by digest; a tag cannot be deleted (docker-registry calls it no digest)."""
        if ":" not in target.reference:
            message = "provided digest did not match uploaded content"
            raise OciError(400, "DIGEST_INVALID", message)
        if not self.contents.delete_manifest(target.repository, target.reference):
            raise OciError(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return web.Response(status=202, headers=API_VERSION)

    def _blob(self, target: Target) -> bytes:
        if target.reference != target.reference.lower():
            message = "provided digest did not match uploaded content"
            raise OciError(400, "DIGEST_INVALID", message, detail={})
        body = self.contents.blob(target.repository, target.reference)
        if body is None:
            message = "blob unknown to registry"
            raise OciError(404, "BLOB_UNKNOWN", message, detail=target.reference)
        return body

    def give_blob(self, request: web.Request, body: bytes, digest: str) -> web.Response:
        """A blob's bytes, or the range of them that was asked for."""
        headers = {
            **API_VERSION,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Etag": f'"{digest}"',
        }
        return ranged(request, body, headers)

    async def _begin_upload(self, request: web.Request, target: Target) -> web.Response:
        mounted, source = request.query.get("mount"), request.query.get("from", "")
        if mounted and self.contents.mount(target.repository, mounted, source):
            return self._blob_kept(request, target.repository, mounted)
        if "digest" in request.query:
            return self._keep(request, target.repository, await request.read())
        identifier = str(uuid.uuid4())
        self._uploads[identifier] = bytearray()
        return self._upload_goes_on(request, target.repository, identifier)

    async def _continue_upload(self, request: web.Request, target: Target) -> web.Response:
        received = self._uploads.get(target.reference)
        if received is None:
            raise OciError(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        received += await request.read()
        if request.method == "PATCH":
            return self._upload_goes_on(request, target.repository, target.reference)
        del self._uploads[target.reference]
        return self._keep(request, target.repository, bytes(received))

    def _keep(self, request: web.Request, repository: str, body: bytes) -> web.Response:
        wanted = request.query.get("digest", "")
        algorithm = "sha512" if wanted.startswith("sha512:") else "sha256"
        if digest_of(body, algorithm) != wanted:
            message = "provided digest did not match uploaded content"
            raise OciError(400, "DIGEST_INVALID", message)
        kept = self.contents.put_blob(repository, body, algorithm)
        return self._blob_kept(request, repository, kept)

    def _blob_kept(self, request: web.Request, repository: str, digest: str) -> web.Response:
        headers = {
            **API_VERSION,
            "Docker-Content-Digest": digest,
            "Location": f"{request.url.origin()}/v2/{repository}/blobs/{digest}",
        }
        return web.Response(status=201, headers=headers)

    def _upload_goes_on(
        self, request: web.Request, repository: str, identifier: str
    ) -> web.Response:
        last = max(len(self._uploads[identifier]) - 1, 0)
        headers = {
            **API_VERSION,
            "Docker-Upload-Uuid": identifier,
            "Location": f"{request.url.origin()}/v2/{repository}/blobs/uploads/{identifier}",
            "Range": f"0-{last}",
        }
        return web.Response(status=202, headers=headers)

    def _referrers(self, request: web.Request, target: Target) -> web.Response:
        wanted = request.query.get("artifactType", "")
        found = [
            entry
            for manifest in self.referrers_of(target.repository, target.reference)
            if (entry := referrer_entry(manifest)) and wanted in ("", entry.get("artifactType"))
        ]
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return json_answer(document, content_type=OCI_INDEX, headers=API_VERSION)

    def referrers_of(self, repository: str, subject: str) -> list[Manifest]:
        """The manifests that refer to a digest."""
        return self.contents.referrers(repository, subject)


def referrer_entry(manifest: Manifest) -> dict[str, Any]:
    """A manifest as the referrers API lists it."""
    document = manifest.document()
    artifact_type = document.get("artifactType") or (document.get("config") or {}).get("mediaType")
    return {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": len(manifest.body),
        "artifactType": artifact_type or "",
    }


def manifest_answer(manifest: Manifest) -> web.Response:
    """A manifest with the headers that name its digest."""
    headers = {
        **API_VERSION,
        "Content-Type": manifest.media_type,
        "Docker-Content-Digest": manifest.digest,
        "Etag": f'"{manifest.digest}"',
    }
    return web.Response(body=manifest.body, headers=headers)


class PullThrough(Distribution):
    """A cache as docker-registry with `proxy.remoteurl`: what is asked for is fetched and kept.

    Statuses were taken from Debian's docker-registry 2.8.2: a HEAD fetches as well as a GET; a
    tag is asked upstream each time, and what was kept stands in when upstream has it no more;
    a range of a blob that was not kept yet is answered 200 with the whole; a digest that
    upstream does not have is 500 with upstream's error as detail; nothing can be pushed.
    """

    def __init__(self, contents: Contents, upstream: str) -> None:
        super().__init__(contents)
        self._upstream = upstream

    async def serve(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Answer one request, asking upstream first where that is needed. Raises OciError."""
        if request.method not in ("GET", "HEAD"):
            if target.kind is Kind.UPLOAD and request.method != "POST":
                raise OciError(404, "BLOB_UPLOAD_INVALID", "blob upload invalid", detail={})
            raise OciError(405, "UNSUPPORTED", "The operation is unsupported.")
        match target.kind:
            case Kind.MANIFEST if ":" in target.reference:
                await self._fetch_revision(target)
            case Kind.MANIFEST:
                await self._fetch_manifest(target)
            case Kind.TAGS:
                return await self._all_tags(request, target)
            case Kind.BLOB if self.contents.blob(target.repository, target.reference) is None:
                return await self._fetch_blob(target)
        return await super().serve(request, target)

    async def _fetch_revision(self, target: Target) -> None:
        if self.contents.manifest(target.repository, target.reference) is None:
            status, body = await self._fetch_manifest(target)
            if status != HTTPStatus.OK:
                raise _upstream_failed(body)

    async def _fetch_manifest(self, target: Target) -> tuple[int, bytes]:
        accept = ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))
        path = f"{target.repository}/manifests/{target.reference}"
        status, media_type, body = await self._get(path, accept)
        if status == HTTPStatus.OK:
            self.contents.put_manifest(target.repository, target.reference, body, media_type)
        return status, body

    async def _fetch_blob(self, target: Target) -> web.Response:
        status, _, body = await self._get(f"{target.repository}/blobs/{target.reference}", "*/*")
        if status == HTTPStatus.NOT_FOUND:
            message = "blob unknown to registry"
            raise OciError(404, "BLOB_UNKNOWN", message, detail=target.reference)
        if status != HTTPStatus.OK:
            raise _upstream_failed(body)
        algorithm = target.reference.partition(":")[0]
        self.contents.put_blob(target.repository, body, algorithm)
        headers = {
            **API_VERSION,
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": target.reference,
            "Etag": target.reference,
        }
        return web.Response(body=body, headers=headers)

    async def _all_tags(self, request: web.Request, target: Target) -> web.StreamResponse:
        status, _, body = await self._get(f"{target.repository}/tags/list", "*/*")
        if status != HTTPStatus.OK:
            return await super().serve(request, target)
        held = self.contents.repositories.get(target.repository)
        tags = {*json.loads(body)["tags"], *(held.tags if held else ())}
        return json_answer({"name": target.repository, "tags": sorted(tags)}, headers=API_VERSION)

    async def _get(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Status, media type and body of upstream's answer; status 0 when there was none."""
        limit = aiohttp.ClientTimeout(total=10)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.get(f"{self._upstream}/v2/{path}", headers={"Accept": accept}) as answer,
            ):
                return answer.status, answer.content_type, await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return 0, "", b""


def _upstream_failed(body: bytes) -> OciError:
    try:
        detail = json.loads(body)
    except ValueError:
        detail = {"Op": "Get", "Err": {"Op": "dial"}}
    return OciError(500, "UNKNOWN", "unknown error", detail=detail)
