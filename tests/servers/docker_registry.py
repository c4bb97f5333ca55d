"""Debian's docker-registry as a destination: open, behind htpasswd, or behind a token service."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from servers import free_port, listening, needs, tls_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from syncwatch.lab.images import Image

USER, PASSWORD = "reader", "right"
HTPASSWD = f"{USER}:$2b$04$X2fimrATSOqWN6YciaDwFuJsBGbkMLaoBxG10EaST/YFetBfTUMYu\n"
"""bcrypt of PASSWORD at the lowest cost."""

SERVICE = ISSUER = "test-registry"


@dataclass
class DockerRegistry:
    """A running docker-registry; `authorization` is what a push has to send, if anything."""

    url: str
    storage: Path
    realm: TokenRealm | None = None
    authorization: str = ""

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    async def push(self, repository: str, tag: str, image: Image) -> str:
        """Put an image there by HTTP, blobs and children first; its digest is returned."""
        async with aiohttp.ClientSession(headers=self._headers(repository)) as session:
            await self._put_image(session, repository, tag, image)
        return image.digest

    async def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest as the API does it."""
        url = f"{self.url}/v2/{repository}/manifests/{digest}"
        async with (
            aiohttp.ClientSession(headers=self._headers(repository)) as session,
            session.delete(url) as answer,
        ):
            assert answer.status == 202, await answer.text()

    def alter_blob(self, digest: str, body: bytes) -> None:
        """Other bytes in a blob's file, as a bad disk would have it."""
        self.blob_file(digest).write_bytes(body)

    def lose_blob(self, digest: str) -> None:
        """A blob's file is gone, a manifest's too."""
        self.blob_file(digest).unlink()

    def lose_tag(self, repository: str, tag: str) -> None:
        """A tag is gone and its manifest stays, for which the API has no request."""
        tags = self.folder_of(repository) / "_manifests/tags"
        (tags / tag / "current" / "link").unlink()

    def folder_of(self, repository: str) -> Path:
        """Where the registry keeps which manifests, tags and blobs a repository has."""
        return self.storage / "docker/registry/v2/repositories" / repository

    def blob_file(self, digest: str) -> Path:
        """The file with the bytes of a blob or manifest, whatever repositories have it."""
        algorithm, _, digits = digest.partition(":")
        blobs = self.storage / "docker/registry/v2/blobs"
        return blobs / algorithm / digits[:2] / digits / "data"

    def _headers(self, repository: str) -> dict[str, str]:
        if self.realm is not None:
            token = self.realm.token(repository, ["pull", "push", "delete"])
            return {"Authorization": f"Bearer {token}"}
        return {"Authorization": self.authorization} if self.authorization else {}

    async def _put_image(
        self, session: aiohttp.ClientSession, repository: str, reference: str, image: Image
    ) -> None:
        for child in image.children:
            await self._put_image(session, repository, child.digest, child)
        for blob in image.blobs:
            await self._put_blob(session, repository, blob)
        url = f"{self.url}/v2/{repository}/manifests/{reference}"
        headers = {"Content-Type": image.media_type}
        async with session.put(url, data=image.manifest, headers=headers) as answer:
            assert answer.status == 201, await answer.text()

    async def _put_blob(self, session: aiohttp.ClientSession, repository: str, blob: bytes) -> None:
        from syncwatch.lab.images import digest_of

        async with session.post(f"{self.url}/v2/{repository}/blobs/uploads/") as answer:
            assert answer.status == 202, await answer.text()
            location = answer.headers["Location"]
        url = f"{location}&digest={digest_of(blob)}"
        async with session.put(url, data=blob) as answer:
            assert answer.status == 201, await answer.text()


@dataclass
class TokenRealm:
    """A token service as Harbor's: 200 for everybody, and with a wrong password a useless token.

    `asked` holds (service, scope, whether a credential was sent) of each request.
    """

    url: str
    certificate: Path
    key: ec.EllipticCurvePrivateKey
    chain: str
    lifetime: int = 300
    asked: list[tuple[str, str, bool]] = field(default_factory=list)

    def token(self, repository: str, actions: list[str]) -> str:
        """A JSON Web Token (ES256) for one repository."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": USER,
            "aud": SERVICE,
            "exp": now + self.lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": str(len(self.asked)),
            "access": [{"type": "repository", "name": repository, "actions": actions}],
        }
        head = {"typ": "JWT", "alg": "ES256", "x5c": [self.chain]}
        signed = f"{_base64(json.dumps(head).encode())}.{_base64(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(r.to_bytes(32) + s.to_bytes(32))}"

    async def answer(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "")
        scope = request.query.get("scope", "")
        self.asked.append((request.query.get("service", ""), scope, bool(given)))
        good = given == aiohttp.encode_basic_auth(USER, PASSWORD)
        repository = scope.removeprefix("repository:").removesuffix(":pull")
        token = self.token(repository, ["pull"] if good else [])
        return web.json_response({"token": token, "expires_in": self.lifetime})


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@asynccontextmanager
async def docker_registry(
    folder: Path,
    *,
    htpasswd: bool = False,
    realm: TokenRealm | None = None,
    tls: trustme.CA | None = None,
    remembering: bool = False,
    upstream: str = "",
) -> AsyncIterator[DockerRegistry]:
    """A docker-registry that keeps what it has in `folder`, for the length of a `with` block.

    With `remembering` it keeps what it knows of blobs in memory, as Debian's own settings do, and
    does not look at a file before it promises its bytes. `upstream` makes it a pull-through cache.
    """
    program = needs("docker-registry")
    port = free_port()
    storage = folder / "storage"
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of this test"},
    }
    if remembering:
        config["storage"]["cache"] = {"blobdescriptor": "inmemory"}
    if upstream:
        config["proxy"] = {"remoteurl": upstream}
    if htpasswd:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    if realm is not None:
        config["auth"] = {
            "token": {
                "realm": realm.url,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(realm.certificate),
            }
        }
    if tls is not None:
        config["http"]["tls"] = tls_files(tls, folder, "127.0.0.1")
    registry = DockerRegistry(
        f"{'https' if tls else 'http'}://127.0.0.1:{port}",
        storage,
        realm,
        aiohttp.encode_basic_auth(USER, PASSWORD) if htpasswd else "",
    )
    path = folder / "registry.yml"
    path.write_text(json.dumps(config))  # YAML takes JSON
    with (folder / "registry.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, "serve", str(path), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        await listening(port, process, (folder / "registry.log").read_text)
        yield registry
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def token_realm(folder: Path) -> AsyncIterator[TokenRealm]:
    """A token service with a key of its own, for the length of a `with` block."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    pem = folder / "realm.pem"
    authority.cert_pem.write_to_path(str(pem))
    key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    der = x509.load_pem_x509_certificate(pem.read_bytes()).public_bytes(serialization.Encoding.DER)
    port = free_port()
    realm = TokenRealm(
        f"http://127.0.0.1:{port}/service/token", pem, key, base64.b64encode(der).decode()
    )
    app = web.Application()
    app.router.add_get("/service/token", realm.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield realm
    finally:
        await runner.cleanup()
