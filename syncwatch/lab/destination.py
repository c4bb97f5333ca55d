"""How the lab Harbor talks to a destination: the client behind its replication jobs and pings.

As Harbor's native adapter: the way to authenticate is learnt from the challenge on /v2/, Bearer
before Basic (src/pkg/registry/auth/authorizer.go); errors read `http status code: N, body: …`.
"""

from __future__ import annotations

import re
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import aiohttp

from syncwatch.errors import OutboundError
from syncwatch.lab.images import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from syncwatch.lab.contents import Manifest
    from syncwatch.lab.records import Registry

_ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))
_AGENT = "harbor-registry-client"
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_KINDS = {401: "unauthorized", 403: "forbidden", 404: "not_found", 412: "policy_blocked"}


class Destination:
    """One registry endpoint. Every method raises OutboundError when the endpoint disappoints."""

    def __init__(self, registry: Registry, session: aiohttp.ClientSession) -> None:
        self._registry = registry
        self._session = session
        self._challenge: str | None = None
        self._tokens: dict[str, str] = {}

    async def healthy(self) -> bool:
        """Whether Harbor would call it healthy: /v2/ answers, and takes the credentials if any."""
        try:
            if self._registry.type == "harbor":
                await self._request("GET", "/api/version", scope=None)
            status, _, _ = await self._request("GET", "/v2/", scope="", expected=(200, 401, 403))
        except OutboundError:
            return False
        return status == 200 or not self._registry.access_key

    async def digest(self, repository: str, reference: str) -> str | None:
        """What a tag or digest names there, by HEAD; None when absent."""
        status, headers, _ = await self._request(
            "HEAD",
            f"/v2/{repository}/manifests/{reference}",
            scope=f"repository:{repository}:pull",
            headers={"Accept": _ACCEPT},
            expected=(200, 404),
        )
        return headers.get("Docker-Content-Digest", "") if status == 200 else None

    async def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the blob is there, by HEAD."""
        status, _, _ = await self._request(
            "HEAD",
            f"/v2/{repository}/blobs/{digest}",
            scope=f"repository:{repository}:pull",
            expected=(200, 404),
        )
        return status == 200

    async def push_blob(self, repository: str, digest: str, body: bytes) -> None:
        """POST an upload, PUT the bytes."""
        scope = f"repository:{repository}:pull,push"
        _, headers, _ = await self._request(
            "POST", f"/v2/{repository}/blobs/uploads/", scope=scope, expected=(202,)
        )
        location = urljoin(self._registry.url + "/", headers.get("Location", ""))
        joiner = "&" if "?" in location else "?"
        await self._request(
            "PUT",
            f"{location}{joiner}digest={digest}",
            scope=scope,
            headers={"Content-Type": "application/octet-stream"},
            data=body,
            expected=(201,),
        )

    async def push_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        """PUT a manifest under a tag or its digest."""
        await self._request(
            "PUT",
            f"/v2/{repository}/manifests/{reference}",
            scope=f"repository:{repository}:pull,push",
            headers={"Content-Type": manifest.media_type},
            data=manifest.body,
            expected=(201,),
        )

    async def delete_manifest(self, repository: str, digest: str) -> None:
        """DELETE a manifest by digest."""
        await self._request(
            "DELETE",
            f"/v2/{repository}/manifests/{digest}",
            scope=f"repository:{repository}:delete",
            expected=(202,),
        )

    async def delete_tag(self, repository: str, tag: str) -> bool:
        """Delete one tag on another Harbor; False when it is not there. Others cannot."""
        if self._registry.type != "harbor":
            raise OutboundError("server_error", "the adapter doesn't support deleting tags")
        project, _, rest = repository.partition("/")
        encoded = rest.replace("/", "%252F")
        path = f"/api/v2.0/projects/{project}/repositories/{encoded}/artifacts/{tag}/tags/{tag}"
        status, _, _ = await self._request("DELETE", path, scope=None, expected=(200, 404))
        return status == 200

    async def ensure_project(self, name: str) -> None:
        """Make the project on another Harbor; other registries have none."""
        if self._registry.type == "harbor":
            body = {"project_name": name, "metadata": {"public": "false"}}
            await self._request(
                "POST", "/api/v2.0/projects", scope=None, json=body, expected=(201, 409)
            )

    async def _request(
        self,
        method: str,
        path: str,
        *,
        scope: str | None,
        headers: dict[str, str] | None = None,
        expected: tuple[int, ...] = (200,),
        **body: Any,
    ) -> tuple[int, dict[str, str], str]:
        """Ask; `scope` None sends Basic credentials without looking for a challenge."""
        sent = {"User-Agent": _AGENT, **(headers or {})}
        if credential := await self._authorization(scope):
            sent["Authorization"] = credential
        status, received, text = await self._ask(method, path, headers=sent, **body)
        if status in expected:
            return status, received, text
        kind = _KINDS.get(status, "server_error" if status >= 500 else "unreadable_answer")
        raise OutboundError(kind, f"http status code: {status}, body: {text}", status=status)

    async def _ask(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, str], str]:
        url = path if "://" in path else self._registry.url + path
        try:
            async with self._session.request(method, url, **options) as answer:
                text = await answer.text(errors="replace")
                return answer.status, dict(answer.headers), text
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            message = f'{method.capitalize()} "{url}": {type(error).__name__}'
            raise OutboundError("unreachable", message) from None

    async def _authorization(self, scope: str | None) -> str:
        basic = self._basic()
        if scope is None:
            return basic
        challenge = await self._challenged()
        if not challenge.lower().startswith("bearer"):
            return basic
        if scope not in self._tokens:
            self._tokens[scope] = await self._token(challenge, scope)
        return f"Bearer {self._tokens[scope]}"

    def _basic(self) -> str:
        if not self._registry.access_key:
            return ""
        return aiohttp.encode_basic_auth(self._registry.access_key, self._registry.access_secret)

    async def _challenged(self) -> str:
        if self._challenge is None:
            headers = {"User-Agent": _AGENT}
            _, received, _ = await self._ask("GET", "/v2/", headers=headers)
            lowered = {name.lower(): value for name, value in received.items()}
            self._challenge = lowered.get("www-authenticate", "")
        return self._challenge

    async def _token(self, challenge: str, scope: str) -> str:
        told = dict(_PARAMETER.findall(challenge))
        query = {"service": told.get("service", ""), **({"scope": scope} if scope else {})}
        headers = {"Authorization": self._basic()} if self._basic() else {}
        url = told.get("realm", "")
        try:
            async with self._session.get(url, params=query, headers=headers) as answer:
                if answer.status != 200:
                    text = await answer.text(errors="replace")
                    message = f"http status code: {answer.status}, body: {text}"
                    raise OutboundError("unauthorized", message, status=answer.status)
                document = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            message = f'Get "{url}": {type(error).__name__}'
            raise OutboundError("unreachable", message) from None
        return str(document.get("token") or document.get("access_token") or "")


@asynccontextmanager
async def reach(registry: Registry, timeout: float) -> AsyncIterator[Destination]:
    """A client for one endpoint, with the trust and the credentials it is configured with."""
    connector = aiohttp.TCPConnector(ssl=_trust(registry), resolver=aiohttp.ThreadedResolver())
    limits = aiohttp.ClientTimeout(total=timeout)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(
        connector=connector, timeout=limits, cookie_jar=jar
    ) as session:
        yield Destination(registry, session)


def _trust(registry: Registry) -> ssl.SSLContext | bool:
    if registry.insecure:
        return False
    if registry.ca_certificate:
        return ssl.create_default_context(cadata=registry.ca_certificate)
    return True
