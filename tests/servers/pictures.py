"""Images made and pushed by the programs that people use: buildah and skopeo, without root."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from typing import TYPE_CHECKING

from servers import needs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from syncwatch.lab.images import Image

PLATFORMS = ("linux/amd64", "linux/arm/v7", "linux/s390x")


async def push_by_buildah(
    folder: Path, target: str, platforms: Sequence[str] = PLATFORMS, layers: int = 2
) -> str:
    """Build an image for each platform from scratch and push their index; its digest.

    `target` is registry host:port/repository:tag, without TLS. Each layer takes about a second on
    a slow machine. Nothing is run inside the images, so that no emulation is needed.
    """
    store = folder / "buildah"
    context = store / "context"
    context.mkdir(parents=True)
    lines = ["FROM scratch", "ARG TARGETPLATFORM", 'LABEL platform="$TARGETPLATFORM"']
    for number in range(layers):
        (context / f"f{number}").write_bytes(_noise(f"{number}", 3000))
        lines.append(f"COPY f{number} /f{number}")
    (context / "Containerfile").write_text("\n".join(lines))
    buildah = _Buildah(store)
    await buildah.do(
        "build", "--layers", "--no-cache", "--timestamp", "0", "--platform", ",".join(platforms),
        "--manifest", "many", "-f", str(context / "Containerfile"), str(context),
    )  # fmt: skip
    said = store / "digest"
    await buildah.do(
        "manifest", "push", "--all", "--format", "oci", "--tls-verify=false",
        "--digestfile", str(said), "many", f"docker://{target}",
    )  # fmt: skip
    return said.read_text().strip()


class _Buildah:
    """buildah with a store of its own, that needs neither root nor an overlay nor a runtime."""

    def __init__(self, store: Path) -> None:
        self._program = needs("buildah")
        self._policy = store / "policy.json"
        self._policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        root, run_root = str(store / "root"), str(store / "run")
        self._options = ("--storage-driver", "vfs", "--root", root, "--runroot", run_root)

    async def do(self, *arguments: str) -> None:
        command = arguments[:2] if arguments[0] == "manifest" else arguments[:1]
        rest = arguments[len(command) :]
        await run(
            self._program, *self._options, *command, "--signature-policy", str(self._policy), *rest,
            BUILDAH_ISOLATION="chroot",
        )  # fmt: skip


async def push_by_skopeo(folder: Path, target: str, image: Image) -> str:
    """Copy an image of the lab's from a directory to a registry, every platform; its digest."""
    layout = oci_layout(folder / "layout", image)
    await run(
        needs("skopeo"), "copy", "--insecure-policy", "--all", "--preserve-digests",
        "--dest-tls-verify=false", f"oci:{layout}:one", f"docker://{target}",
    )  # fmt: skip
    return image.digest


def oci_layout(folder: Path, image: Image) -> Path:
    """A directory in the OCI image layout that holds one image under the name `one`."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for body in _bodies(image):
        (blobs / hashlib.sha256(body).hexdigest()).write_bytes(body)
    entry = {
        "mediaType": image.media_type,
        "digest": image.digest,
        "size": len(image.manifest),
        "annotations": {"org.opencontainers.image.ref.name": "one"},
    }
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return folder


def _bodies(image: Image) -> list[bytes]:
    below = [body for child in image.children for body in _bodies(child)]
    return [image.manifest, *image.blobs, *below]


def _noise(seed: str, size: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


async def run(program: str, *arguments: str, **environment: str) -> str:
    """Run a program to its good end; what it said."""
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()
