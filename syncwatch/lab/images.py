"""Small images, the same bytes for the same words, so that digests in tests are stable."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from dataclasses import dataclass
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})


def digest_of(body: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


@dataclass(frozen=True, slots=True)
class Image:
    """One manifest with the blobs and children it names: all that a push carries."""

    media_type: str
    manifest: bytes
    blobs: tuple[bytes, ...] = ()
    children: tuple[Image, ...] = ()

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return digest_of(self.manifest)

    @property
    def layer_digests(self) -> tuple[str, ...]:
        """Digests of the layers, without the config (the first blob)."""
        return tuple(digest_of(blob) for blob in self.blobs[1:])


def image(
    seed: str, *, layers: int = 1, size: int = 64, architecture: str = "amd64", docker: bool = False
) -> Image:
    """An image of `layers` layers with a file of `size` bytes each, all following from `seed`."""
    tars = [_tar(_bytes(f"{seed}/{architecture}/{number}", size)) for number in range(layers)]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
    }
    blobs = (_json(config), *(_gzip(tar) for tar in tars))
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    config_type = "application/vnd.docker.container.image.v1+json" if docker else OCI_CONFIG
    layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else OCI_LAYER
    return _manifest(media_type, config_type, layer_type, blobs)


def index(*children: Image, docker: bool = False) -> Image:
    """An index over the given images; each child's platform is read from its config."""
    media_type = DOCKER_INDEX if docker else OCI_INDEX
    entries = [
        {**_descriptor(child.media_type, child.manifest), "platform": _platform(child)}
        for child in children
    ]
    body = _json({"schemaVersion": 2, "mediaType": media_type, "manifests": entries})
    return Image(media_type, body, children=children)


def platforms(seed: str, *architectures: str) -> Image:
    """An index of one image for each architecture (amd64 and arm64 when none is named)."""
    names = architectures or ("amd64", "arm64")
    return index(*(image(seed, architecture=name) for name in names))


def signature(subject: Image) -> Image:
    """A cosign signature manifest; push it under `signature_tag(subject)`."""
    payload = _json({"critical": {"image": {"docker-manifest-digest": subject.digest}}})
    config = _json(
        {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    )
    return _manifest(OCI_MANIFEST, OCI_CONFIG, COSIGN_LAYER, (config, payload))


def signature_tag(subject: Image) -> str:
    """The tag by which cosign finds the signature of a manifest."""
    return subject.digest.replace(":", "-") + ".sig"


def referrer(subject: Image, artifact_type: str = "application/vnd.example.sbom.v1") -> Image:
    """An OCI 1.1 referrer: a manifest with a `subject`, pushed by digest."""
    blobs = (b"{}", _json({"sbom-of": subject.digest, "type": artifact_type}))
    extra = {
        "artifactType": artifact_type,
        "subject": _descriptor(subject.media_type, subject.manifest),
    }
    return _manifest(OCI_MANIFEST, EMPTY_CONFIG, "application/spdx+json", blobs, extra)


def chart(name: str, version: str) -> Image:
    """A Helm chart as `helm push` makes it."""
    config = _json({"name": name, "version": version, "apiVersion": "v2"})
    return _manifest(
        OCI_MANIFEST, HELM_CONFIG, HELM_LAYER, (config, _bytes(f"chart/{name}/{version}", 96))
    )


def _manifest(
    media_type: str,
    config_type: str,
    layer_type: str,
    blobs: tuple[bytes, ...],
    extra: dict[str, Any] | None = None,
) -> Image:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(config_type, blobs[0]),
        "layers": [_descriptor(layer_type, blob) for blob in blobs[1:]],
        **(extra or {}),
    }
    return Image(media_type, _json(document), blobs)


def _descriptor(media_type: str, body: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(body), "size": len(body)}


def _platform(child: Image) -> dict[str, str]:
    config = json.loads(child.blobs[0]) if child.blobs else {}
    return {"architecture": config.get("architecture", "unknown"), "os": "linux"}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _tar(content: bytes) -> bytes:
    """A tar of one file, `content`."""
    entry = tarfile.TarInfo("content")
    entry.size = len(content)
    padding = -len(content) % tarfile.BLOCKSIZE
    return entry.tobuf() + content + bytes(padding + 2 * tarfile.BLOCKSIZE)


def _gzip(content: bytes) -> bytes:
    """Gzip without compressing, so that no zlib's taste is in the digest."""
    return gzip.compress(content, compresslevel=0, mtime=0)


def _bytes(seed: str, size: int) -> bytes:
    """`size` bytes that follow from `seed` and look like nothing in particular."""
    return hashlib.shake_128(seed.encode()).digest(size)
