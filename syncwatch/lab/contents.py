"""What a registry holds: blobs by digest, and for each repository its manifests and tags."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from syncwatch.lab.images import (
    FOREIGN_TYPES,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_MANIFEST,
    digest_of,
)

if TYPE_CHECKING:
    from syncwatch.lab.images import Image


@dataclass(frozen=True, slots=True)
class Manifest:
    """Bytes under their digest, with the media type they were pushed with."""

    digest: str
    media_type: str
    body: bytes

    def document(self) -> dict[str, Any]:
        """The parsed JSON object; {} when the bytes are none."""
        try:
            parsed = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return parsed if isinstance(parsed, dict) else {}

    def children(self) -> list[str]:
        """Digests of the manifests an index names; [] for an image."""
        return [entry["digest"] for entry in self._entries() if _names_manifest(entry)]

    def blobs(self) -> list[str]:
        """Digests of config and layers, in their order, foreign layers left out.

        Of an index those of its entries that are no manifests, as in a cache of BuildKit's.
        """
        document = self.document()
        config = [document["config"]] if isinstance(document.get("config"), dict) else []
        entries = [entry for entry in self._entries() if not _names_manifest(entry)]
        return [
            entry["digest"]
            for entry in [*config, *(document.get("layers") or []), *entries]
            if entry.get("mediaType") not in FOREIGN_TYPES
        ]

    def _entries(self) -> list[dict[str, Any]]:
        return self.document().get("manifests") or []

    def subject(self) -> str:
        """The digest of the manifest this one refers to (OCI 1.1); "" when none."""
        return str((self.document().get("subject") or {}).get("digest", ""))

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests instead of layers."""
        return self.media_type in INDEX_TYPES


def _names_manifest(entry: dict[str, Any]) -> bool:
    """Without a media type it is taken for one."""
    return entry.get("mediaType", OCI_MANIFEST) in MANIFEST_TYPES | INDEX_TYPES


@dataclass(slots=True)
class RepositoryContents:
    """One repository: the blobs linked to it, its manifests, its tags."""

    blobs: set[str] = field(default_factory=set)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Contents:
    """All repositories of one registry. Bytes are kept once, by digest."""

    def __init__(self) -> None:
        self.bytes: dict[str, bytes] = {}
        self.repositories: dict[str, RepositoryContents] = {}

    def repository(self, name: str) -> RepositoryContents:
        """The repository, made when it is not there."""
        return self.repositories.setdefault(name, RepositoryContents())

    def blob(self, repository: str, digest: str) -> bytes | None:
        """A blob's bytes as this repository serves them; None when it has none."""
        held = self.repositories.get(repository)
        return self.bytes.get(digest) if held and digest in held.blobs else None

    def put_blob(self, repository: str, body: bytes, algorithm: str = "sha256") -> str:
        """Keep the bytes and link them to the repository; the digest is returned."""
        digest = digest_of(body, algorithm)
        self.bytes[digest] = body
        self.repository(repository).blobs.add(digest)
        return digest

    def mount(self, repository: str, digest: str, source: str) -> bool:
        """Link a blob of another repository; False when that one has none."""
        if self.blob(source, digest) is None:
            return False
        self.repository(repository).blobs.add(digest)
        return True

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """The manifest under a tag or a digest; None when there is none."""
        held = self.repositories.get(repository)
        if held is None:
            return None
        return held.manifests.get(held.tags.get(reference, reference))

    def put_manifest(
        self, repository: str, reference: str, body: bytes, media_type: str = OCI_MANIFEST
    ) -> Manifest:
        """Keep a manifest; a reference that is no digest becomes (or moves) a tag."""
        algorithm = reference.partition(":")[0] if ":" in reference else "sha256"
        manifest = Manifest(digest_of(body, algorithm), media_type, body)
        held = self.repository(repository)
        held.manifests[manifest.digest] = manifest
        if ":" not in reference:
            held.tags[reference] = manifest.digest
        return manifest

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Remove a manifest and every tag on it; False when it is not there."""
        held = self.repositories.get(repository)
        if held is None or held.manifests.pop(digest, None) is None:
            return False
        for tag in [tag for tag, named in held.tags.items() if named == digest]:
            del held.tags[tag]
        return True

    def missing(self, repository: str, manifest: Manifest) -> list[str]:
        """What a manifest names and the repository does not have."""
        held = self.repository(repository)
        children = [digest for digest in manifest.children() if digest not in held.manifests]
        return children + [
            digest for digest in manifest.blobs() if self.blob(repository, digest) is None
        ]

    def referrers(self, repository: str, subject: str) -> list[Manifest]:
        """Manifests of the repository whose `subject` is the given digest."""
        held = self.repository(repository)
        return [found for found in held.manifests.values() if found.subject() == subject]

    def put_image(self, repository: str, reference: str, pushed: Image) -> Manifest:
        """Keep a whole image: its blobs, its children by digest, then the manifest."""
        for digest, child in zip(pushed.child_digests, pushed.children, strict=True):
            self.put_image(repository, digest, child)
        for blob in pushed.blobs:
            self.put_blob(repository, blob, pushed.algorithm)
        return self.put_manifest(repository, reference, pushed.manifest, pushed.media_type)
