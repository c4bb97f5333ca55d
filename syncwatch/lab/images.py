"""Small images, the same bytes for the same words, so that digests in tests are stable."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

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
IN_TOTO = "application/vnd.in-toto+json"
ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json"
CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
FOREIGN_TYPES = frozenset(
    {
        DOCKER_FOREIGN_LAYER,
        OCI_FOREIGN_LAYER,
        f"{OCI_FOREIGN_LAYER}+gzip",
        f"{OCI_FOREIGN_LAYER}+zstd",
    }
)
"""Layers that lie at `urls` of their own and in no registry."""

EMPTY = b"{}"
"""The blob behind EMPTY_CONFIG (image-spec, manifest.md, "Guidance for an Empty Descriptor")."""


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    """`sha256:` and 64 hexadecimal digits, or `sha512:` and 128."""
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Image:
    """One manifest with the blobs and children it names: all that a push carries."""

    media_type: str
    manifest: bytes
    blobs: tuple[bytes, ...] = ()
    children: tuple[Image, ...] = ()
    algorithm: str = "sha256"
    """How this manifest names its blobs and children; its own `digest` is always sha256."""
    attests: str = ""
    """Of an attestation: the digest of the image in the same index that it is about."""

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return digest_of(self.manifest)

    @property
    def config_digest(self) -> str:
        """Digest of the config (the first blob)."""
        return digest_of(self.blobs[0], self.algorithm)

    @property
    def child_digests(self) -> tuple[str, ...]:
        """Digests of the children, as this index names them."""
        return tuple(digest_of(child.manifest, self.algorithm) for child in self.children)

    @property
    def layer_digests(self) -> tuple[str, ...]:
        """Digests of the layers, without the config (the first blob)."""
        return tuple(digest_of(blob, self.algorithm) for blob in self.blobs[1:])


def image(
    seed: str,
    *,
    layers: int = 1,
    size: int = 64,
    architecture: str = "amd64",
    docker: bool = False,
    algorithm: str = "sha256",
) -> Image:
    """An image of `layers` layers with a file of `size` bytes each, all following from `seed`."""
    tars = [_tar(_bytes(f"{seed}/{architecture}/{number}", size)) for number in range(layers)]
    blobs = (_config(architecture, tars), *(_gzip(tar) for tar in tars))
    return _image(blobs, docker=docker, algorithm=algorithm)


def layered(seed: str, *layers: bytes, algorithm: str = "sha256") -> Image:
    """An image whose layers are just these bytes, none at all (b"") among them if so wished."""
    return _image((_config("amd64", layers, author=seed), *layers), algorithm=algorithm)


def foreign(
    seed: str,
    media_type: str = DOCKER_FOREIGN_LAYER,
    urls: tuple[str, ...] = ("https://layers.example.com/base.tar.gz",),
) -> Image:
    """An image upon a layer of one of FOREIGN_TYPES, which no push carries, with one of its own."""
    base, own = _tar(_bytes(f"{seed}/base", 64)), _tar(_bytes(f"{seed}/own", 64))
    docker = media_type == DOCKER_FOREIGN_LAYER
    pushed = _image((_config("amd64", (base, own)), _gzip(own)), docker=docker)
    document = json.loads(pushed.manifest)
    elsewhere = {**_descriptor(media_type, _gzip(base)), "urls": list(urls)}
    document["layers"] = [elsewhere, *document["layers"]]
    return Image(pushed.media_type, _json(document), pushed.blobs)


def index(*children: Image, docker: bool = False, algorithm: str = "sha256") -> Image:
    """An index over the given images and indexes; a platform is read from a child's config."""
    media_type = DOCKER_INDEX if docker else OCI_INDEX
    entries = [_entry(child, algorithm) for child in children]
    body = _json({"schemaVersion": 2, "mediaType": media_type, "manifests": entries})
    return Image(media_type, body, children=children, algorithm=algorithm)


def nested(seed: str, depth: int) -> Image:
    """An image under `depth` indexes, one upon the other."""
    found = image(seed)
    for _ in range(depth):
        found = index(found)
    return found


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


def signature_tag(subject: Image, kind: str = "sig") -> str:
    """The tag by which cosign finds a manifest's signature (`att`: attestation, `sbom`)."""
    return f"{fallback_tag(subject)}.{kind}"


def attestation(subject: Image, *, empty_config: bool = False) -> Image:
    """What BuildKit puts beside an image into its index; `empty_config` as `oci-artifact=true`.

    BuildKit's docs/attestations/attestation-storage.md and exporter/containerimage/writer.go:
    the config is an image config of the platform unknown/unknown that nobody can run.
    """
    predicate = "https://slsa.dev/provenance/v0.2"
    digest = subject.digest.partition(":")[2]
    statement = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": predicate,
        "subject": [{"name": "pkg:docker/lab", "digest": {"sha256": digest}}],
        "predicate": {"builder": {"id": ""}, "buildType": "https://mobyproject.org/buildkit@v1"},
    }
    layer = _json(statement)
    rootfs = {"type": "layers", "diff_ids": [digest_of(layer)]}
    plain = {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": rootfs}
    named = {"in-toto.io/predicate-type": predicate}
    config = EMPTY if empty_config else _json(plain)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        **({"artifactType": ATTESTATION} if empty_config else {}),
        "config": _descriptor(EMPTY_CONFIG if empty_config else OCI_CONFIG, config),
        "layers": [{**_descriptor(IN_TOTO, layer), "annotations": named}],
    }
    if empty_config:
        document["subject"] = _descriptor(subject.media_type, subject.manifest)
    return Image(OCI_MANIFEST, _json(document), (config, layer), attests=subject.digest)


def attested(seed: str, *architectures: str, empty_config: bool = False) -> Image:
    """An index as `docker buildx build` makes it: each image, then an attestation for each."""
    built = [image(seed, architecture=name) for name in architectures or ("amd64", "arm64")]
    return index(*built, *(attestation(one, empty_config=empty_config) for one in built))


def build_cache(seed: str, *, layers: int = 2) -> Image:
    """BuildKit's `type=registry` cache: an index whose entries are layers and a cache config."""
    blobs = [_gzip(_tar(_bytes(f"{seed}/cache/{number}", 64))) for number in range(layers)]
    config = _json({"layers": [{"blob": digest_of(blob)} for blob in blobs]})
    made = {"annotations": {"buildkit/createdat": "2026-01-02T03:04:05Z"}}
    entries = [{**_descriptor(OCI_LAYER, blob), **made} for blob in blobs]
    entries.append(_descriptor(CACHE_CONFIG, config))
    body = _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    return Image(OCI_INDEX, body, (config, *blobs))


def artifact(name: str, artifact_type: str = "application/vnd.example.file.v1") -> Image:
    """A file as `oras push` makes it: empty config, its bytes in the descriptor too."""
    file = _bytes(f"artifact/{name}", 48)
    empty = {**_descriptor(EMPTY_CONFIG, EMPTY), "data": base64.b64encode(EMPTY).decode()}
    titled = {"annotations": {"org.opencontainers.image.title": name}}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": empty,
        "layers": [{**_descriptor("application/vnd.oci.image.layer.v1.tar", file), **titled}],
    }
    return Image(OCI_MANIFEST, _json(document), (EMPTY, file))


def fallback_tag(subject: Image) -> str:
    """Where clients keep the list of referrers of a registry without the referrers API."""
    return subject.digest.replace(":", "-")


def fallback_index(*referrers: Image) -> Image:
    """The list under `fallback_tag` (distribution-spec, "Referrers Tag Schema")."""
    entries = [_referrer_entry(one) for one in referrers]
    body = _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    return Image(OCI_INDEX, body, children=referrers)


def raw(body: bytes, media_type: str = OCI_MANIFEST) -> Image:
    """Any bytes as a manifest, for what no builder would write."""
    return Image(media_type, body)


def crowded_index(count: int) -> Image:
    """An index of `count` children, none of which there is."""
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": f"sha256:{number:064x}", "size": 2}
        for number in range(count)
    ]
    return raw(_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}), OCI_INDEX)


def deep_json(depth: int) -> Image:
    """A manifest with an annotation of `depth` lists in each other."""
    deep = b"[" * depth + b"]" * depth
    return raw(
        b'{"schemaVersion":2,"mediaType":"%s","annotations":%s}' % (OCI_MANIFEST.encode(), deep)
    )


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


def _image(blobs: tuple[bytes, ...], *, docker: bool = False, algorithm: str = "sha256") -> Image:
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    config_type, layer_type = (DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_CONFIG, OCI_LAYER)
    return _manifest(media_type, config_type, layer_type, blobs, algorithm=algorithm)


def _config(architecture: str, contents: Sequence[bytes], author: str | None = None) -> bytes:
    diff_ids = [digest_of(content) for content in contents]
    config = {
        **({"author": author} if author is not None else {}),
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    return _json(config)


def _manifest(
    media_type: str,
    config_type: str,
    layer_type: str,
    blobs: tuple[bytes, ...],
    extra: dict[str, Any] | None = None,
    algorithm: str = "sha256",
) -> Image:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(config_type, blobs[0], algorithm),
        "layers": [_descriptor(layer_type, blob, algorithm) for blob in blobs[1:]],
        **(extra or {}),
    }
    return Image(media_type, _json(document), blobs, algorithm=algorithm)


def _descriptor(media_type: str, body: bytes, algorithm: str = "sha256") -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(body, algorithm), "size": len(body)}


def _entry(child: Image, algorithm: str) -> dict[str, Any]:
    entry = _descriptor(child.media_type, child.manifest, algorithm)
    if child.attests:
        entry["annotations"] = {
            "vnd.docker.reference.digest": child.attests,
            "vnd.docker.reference.type": "attestation-manifest",
        }
        entry["platform"] = {"architecture": "unknown", "os": "unknown"}
    elif child.media_type not in INDEX_TYPES:
        entry["platform"] = _platform(child)
    return entry


def _referrer_entry(referring: Image) -> dict[str, Any]:
    document = json.loads(referring.manifest)
    artifact_type = document.get("artifactType") or document["config"]["mediaType"]
    described = _descriptor(referring.media_type, referring.manifest)
    return {**described, "artifactType": artifact_type}


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
