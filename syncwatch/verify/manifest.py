"""What manifest bytes are: in come bytes and a media type, out go digests and descriptors.

Pure. The grammar is that of the OCI image and distribution specifications, 1.1, and of Docker's
schema 2, which has the same fields under other media types.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import msgspec

from syncwatch.errors import MalformedError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
"""All of them, always: docker-registry 2.8.2 answers 404 for an index that Accept leaves out."""

MANIFEST_LIMIT = 4 * 1024 * 1024
"""Bytes of a manifest that are read at most (design, section 6, Bounds)."""

_FOREIGN = re.compile(
    r"application/vnd\.docker\.image\.rootfs\.foreign\.diff\.tar(\.gzip)?"
    r"|application/vnd\.oci\.image\.layer\.nondistributable\.v1\.tar(\+(gzip|zstd))?"
)
"""Layers that are fetched from elsewhere: no registry has to have them, and Harbor copies none
(controller/replication/transfer/image; image-spec, layer.md, "Non-Distributable Layers")."""

IMAGE_CONFIGS = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)
"""What configures a container (image-spec, config.md); any other configuration is an artifact's."""

_LAYER = re.compile(
    r"application/vnd\.oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+[a-z0-9]+)*"
    r"|application/vnd\.docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.[a-z0-9]+)?"
)
"""Layers that are unpacked. Signatures and attestations borrow an image's configuration, and have
layers of other types (cosign, SIGNATURE_SPEC.md; in-toto attestations of BuildKit)."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def is_digest(text: str) -> bool:
    """Whether `text` is a digest of an algorithm that can be computed here."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(body: bytes, like: str = "sha256:") -> str:
    """The digest of `body`, by the algorithm that the digest `like` is of."""
    algorithm = "sha512" if like.startswith("sha512:") else "sha256"
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def bare_type(content_type: str) -> str:
    """A media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference from a manifest to bytes: `size` in bytes, `platform` as `os/arch[/variant]`.

    `urls` names other places of the bytes (foreign layers); `platform` is "" where none is said.
    """

    digest: str
    size: int
    media_type: str
    platform: str = ""
    urls: tuple[str, ...] = ()

    @property
    def is_foreign(self) -> bool:
        """Whether no registry has to have it."""
        return _FOREIGN.fullmatch(self.media_type) is not None

    @property
    def is_manifest(self) -> bool:
        """Whether it is asked for as a manifest; an index may list plain blobs, as caches do."""
        return not self.media_type or self.media_type in INDEX_TYPES | MANIFEST_TYPES


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest or index demands: `blobs` (config first, then layers) and `children`."""

    media_type: str
    blobs: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests."""
        return self.media_type in INDEX_TYPES

    @property
    def is_image(self) -> bool:
        """Whether a node can make a container's files of it. An image may have no layer at all."""
        if self.is_index or not self.blobs or self.blobs[0].media_type not in IMAGE_CONFIGS:
            return False
        return all(_LAYER.fullmatch(layer.media_type) for layer in self.blobs[1:])

    @property
    def size(self) -> int:
        """Bytes of all its blobs, configuration and layers."""
        return sum(blob.size for blob in self.blobs)


class _Platform(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Descriptor(msgspec.Struct, rename={"media_type": "mediaType"}):
    digest: str
    size: int
    media_type: str = ""
    platform: _Platform | None = None
    urls: list[str] | None = None


class _Document(
    msgspec.Struct, rename={"media_type": "mediaType", "schema_version": "schemaVersion"}
):
    schema_version: int
    media_type: str = ""
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None


_NAMES = {
    name.casefold(): name
    for name in (
        *("schemaVersion", "mediaType", "config", "manifests", "layers"),
        *("digest", "size", "platform", "urls"),
    )
}


def _document(body: bytes) -> _Document:
    """The fields that matter; of a name that stands twice the last holds, as in Go.

    Go also takes `Layers` for `layers`. What it reads there and others do not is refused, since
    the nodes that pull the image are written in Go, and not every registry is.
    """
    document = msgspec.json.decode(body)
    listed = [document] if isinstance(document, dict) else []
    for one in listed:
        for name, value in one.items():
            if _NAMES.get(name.casefold(), name) != name:
                raise MalformedError(f"a manifest spells a field {name[:32]!r}")
            if name in ("manifests", "layers") and isinstance(value, list):
                listed.extend(item for item in value if isinstance(item, dict))
            elif name == "config" and isinstance(value, dict):
                listed.append(value)
    return msgspec.convert(document, _Document)


def read(body: bytes, content_type: str = "") -> Manifest:
    """What the bytes of a manifest demand; `content_type` decides where they do not say it.

    Raises MalformedError where they are no manifest of schema 2, or name what is no digest.
    """
    try:
        document = _document(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedError("these bytes are no manifest") from None
    if document.schema_version != 2:
        raise MalformedError(f"a manifest of schema {document.schema_version} cannot be read")
    listed = document.manifests or []
    blobs = [document.config] if document.config else []
    blobs += document.layers or []
    media_type = document.media_type or bare_type(content_type)
    if media_type not in INDEX_TYPES | MANIFEST_TYPES:
        media_type = OCI_MANIFEST if document.manifests is None else OCI_INDEX
    if blobs if media_type in INDEX_TYPES else listed:
        # Who reads it as an image and who as an index would pull different things (CVE-2021-41190).
        raise MalformedError("a manifest has both layers and manifests")
    return Manifest(
        media_type,
        blobs=tuple(_descriptor(one) for one in blobs),
        children=tuple(_descriptor(one) for one in listed),
    )


def claims_to_be_one(body: bytes, content_type: str) -> bool:
    """Whether an answer means to be a manifest, however broken.

    It decides between `manifest_corrupt` (a registry lost or altered bytes) and
    `unreadable_answer` (a proxy's page, which says nothing about the image).
    """
    if bare_type(content_type) in INDEX_TYPES | MANIFEST_TYPES:
        return True
    try:
        read(body, content_type)
    except MalformedError:
        return False
    return True


def _descriptor(raw: _Descriptor) -> Descriptor:
    if not is_digest(raw.digest):
        raise MalformedError("a manifest names something by what is no digest")
    if raw.size < 0:
        raise MalformedError(f"a manifest gives {raw.digest} a size below zero")
    return Descriptor(
        raw.digest, raw.size, raw.media_type, _platform(raw.platform), tuple(raw.urls or ())
    )


def _platform(raw: _Platform | None) -> str:
    parts = (raw.os, raw.architecture, raw.variant) if raw else ()
    return "/".join(part for part in parts if part)
