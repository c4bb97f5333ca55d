"""Projects, repositories, artifacts and tags of the lab Harbor, and the events they make.

Rules from Harbor's controllers (api.md §1, §6, §7): pushing an index pushes its children first,
each an event; a digest's `push_time` never moves, a tag's moves when it is set to another digest;
a cosign tag or an OCI subject makes an accessory.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from syncwatch.lab.images import HELM_CONFIG, INDEX_TYPES
from syncwatch.lab.records import Accessory, Artifact, Event, Project, Repository, Tag

if TYPE_CHECKING:
    from syncwatch.lab.contents import Manifest
    from syncwatch.lab.images import Image
    from syncwatch.lab.world import World

_COSIGN_TAG = re.compile(r"sha256-([0-9a-f]{64})\.(sig|att|sbom)")


class Artifacts:
    """The only one who changes projects, repositories, artifacts and tags."""

    def __init__(self, world: World) -> None:
        self._world = world
        # Indices over the world's tables, so that a push costs the same among thousands.
        self._by_digest: dict[int, dict[str, Artifact]] = defaultdict(dict)
        self._by_tag: dict[int, dict[str, Tag]] = defaultdict(dict)
        self._tags: dict[int, dict[int, Tag]] = defaultdict(dict)
        self._attached: dict[int, list[Accessory]] = defaultdict(list)
        self._accessory_ids: set[int] = set()
        self._child_digests: dict[int, set[str]] = defaultdict(set)

    def create_project(
        self, name: str, *, public: bool = False, operator: str = "admin", registry_id: int = 0
    ) -> Project:
        """Make a project; the name is free."""
        now = self._world.now()
        identifier = self._world.next_id("project")
        project = Project(identifier, name, public, now, now, registry_id)
        self._world.projects[identifier] = project
        self._world.audit(
            "create", "project", name, f"create project: {name}", operator, identifier
        )
        return project

    def push(self, repository: str, tag: str, image: Image, operator: str = "admin") -> Artifact:
        """Push a whole image as a client would; "" as tag pushes by digest alone."""
        for child in image.children:
            self.push(repository, "", child, operator)
        for blob in image.blobs:
            self._world.contents.put_blob(repository, blob, image.algorithm)
        reference = tag or image.digest
        manifest = self._world.contents.put_manifest(
            repository, reference, image.manifest, image.media_type
        )
        return self.manifest_pushed(repository, reference, manifest, operator)

    def manifest_pushed(
        self, repository: str, reference: str, manifest: Manifest, operator: str
    ) -> Artifact:
        """A manifest was PUT: rows for it, and the push event. The project must exist."""
        row = self._ensure_repository(repository)
        artifact = self._ensure_artifact(row, manifest)
        tags: tuple[str, ...] = ()
        if ":" not in reference:
            self._set_tag(row, artifact, reference)
            tags = (reference,)
        self._link_accessories(artifact, manifest, tags)
        self._happened("PUSH_ARTIFACT", artifact, tags, operator)
        name = f"{repository}:{reference}" if tags else f"{repository}@{manifest.digest}"
        self._world.audit(
            "create",
            "artifact",
            name,
            f"push artifact: {repository}@{manifest.digest}",
            operator,
            artifact.project_id,
        )
        return artifact

    def pulled(self, repository: str, digest: str, tag: str, operator: str) -> None:
        """A manifest was fetched by somebody whose pulls count."""
        artifact = self.find(repository, digest)
        row = self._world.repository(repository)
        if artifact is None or row is None:
            return
        artifact.pull_time = self._world.now()
        row.pull_count += 1
        self._happened("PULL_ARTIFACT", artifact, (tag,) if tag else (), operator)

    def tag(self, artifact: Artifact, name: str, operator: str = "admin") -> None:
        """Set a tag by the API: no push event, but one for replication."""
        self._set_tag(self._world.repositories[artifact.repository_id], artifact, name)
        self._world.contents.repository(artifact.repository).tags[name] = artifact.digest
        self._happened("CREATE_TAG", artifact, (name,), operator, labelled=True)
        self._audit_tag("create", artifact, name, operator)

    def untag(self, artifact: Artifact, name: str, operator: str = "admin") -> None:
        """Delete a tag by the API; the artifact stays."""
        self._forget_tag(self._by_tag[artifact.repository_id][name])
        self._world.contents.repository(artifact.repository).tags.pop(name, None)
        self._touch(self._world.repositories[artifact.repository_id])
        self._happened("DELETE_TAG", artifact, (name,), operator, labelled=True)
        self._audit_tag("delete", artifact, name, operator)

    def delete(self, artifact: Artifact, operator: str = "admin") -> None:
        """Delete an artifact with its tags and accessories."""
        names = tuple(tag.name for tag in self.tags_of(artifact))
        labels = self._label_names(artifact)
        for accessory in self._attached.pop(artifact.id, []):
            self._world.accessories.pop(accessory.id, None)
            if accessory.artifact_id in self._world.artifacts:
                self.delete(self._world.artifacts[accessory.artifact_id], operator)
        for tag in self.tags_of(artifact):
            self._forget_tag(tag)
        self._forget(artifact)
        self._world.contents.delete_manifest(artifact.repository, artifact.digest)
        self._touch(self._world.repositories[artifact.repository_id])
        self._world.publish(
            Event(
                "DELETE_ARTIFACT",
                artifact.repository,
                artifact.digest,
                names,
                operator,
                self._world.now(),
                labels,
            )
        )
        name = f"{artifact.repository}@{artifact.digest}"
        self._world.audit(
            "delete", "artifact", name, f"delete artifact: {name}", operator, artifact.project_id
        )

    def delete_repository(self, row: Repository, operator: str = "admin") -> None:
        """Delete a repository: one event for each artifact, none for itself."""
        for artifact in self.in_repository(row):
            if artifact.id in self._world.artifacts:
                self.delete(artifact, operator)
        del self._world.repositories[row.id]
        del self._world.repository_ids[row.name]
        self._world.contents.repositories.pop(row.name, None)

    def find(self, repository: str, reference: str) -> Artifact | None:
        """The artifact under a digest or a tag."""
        row = self._world.repository(repository)
        if row is None:
            return None
        if ":" in reference:
            return self._by_digest[row.id].get(reference)
        tag = self._by_tag[row.id].get(reference)
        return self._world.artifacts.get(tag.artifact_id) if tag else None

    def in_repository(self, row: Repository) -> list[Artifact]:
        """All artifacts of a repository, children and accessories too."""
        return list(self._by_digest[row.id].values())

    def tags_of(self, artifact: Artifact) -> list[Tag]:
        """The tags on an artifact, oldest first."""
        return list(self._tags[artifact.id].values())

    def accessories_of(self, artifact: Artifact) -> list[Accessory]:
        """What is attached to an artifact."""
        return list(self._attached[artifact.id])

    def is_accessory(self, artifact: Artifact) -> bool:
        """Whether it is attached to another; such are in no listing."""
        return artifact.id in self._accessory_ids

    def is_child(self, artifact: Artifact) -> bool:
        """Whether an index of the repository names it."""
        return artifact.digest in self._child_digests[artifact.repository_id]

    def is_listed(self, artifact: Artifact) -> bool:
        """Harbor's base of a listing: tagged, or untagged and no child; never an accessory."""
        if self.is_accessory(artifact):
            return False
        return bool(self.tags_of(artifact)) or not self.is_child(artifact)

    def _happened(
        self,
        kind: str,
        artifact: Artifact,
        tags: tuple[str, ...],
        operator: str,
        *,
        labelled: bool = False,
    ) -> None:
        labels = self._label_names(artifact) if labelled else ()
        now = self._world.now()
        self._world.publish(
            Event(kind, artifact.repository, artifact.digest, tags, operator, now, labels)
        )

    def _label_names(self, artifact: Artifact) -> tuple[str, ...]:
        return tuple(self._world.labels[identifier].name for identifier in artifact.labels)

    def _audit_tag(self, operation: str, artifact: Artifact, name: str, operator: str) -> None:
        resource = f"{artifact.repository}:{name}"
        words = f"{operation} tag: {resource}"
        self._world.audit(operation, "tag", resource, words, operator, artifact.project_id)

    def _ensure_repository(self, name: str) -> Repository:
        found = self._world.repository(name)
        if found is not None:
            return found
        project = self._world.project(name.partition("/")[0], is_name=True)
        if project is None:
            raise LookupError(f"the lab Harbor has no project for {name}")
        now = self._world.now()
        row = Repository(self._world.next_id("repository"), project.id, name, now, now)
        self._world.repositories[row.id] = row
        self._world.repository_ids[name] = row.id
        return row

    def _ensure_artifact(self, row: Repository, manifest: Manifest) -> Artifact:
        found = self._by_digest[row.id].get(manifest.digest)
        if found is not None:
            return found
        artifact = self._new_artifact(row, manifest)
        self._world.artifacts[artifact.id] = artifact
        self._by_digest[row.id][artifact.digest] = artifact
        self._child_digests[row.id] |= {entry["child_digest"] for entry in artifact.children}
        self._touch(row)
        return artifact

    def _forget(self, artifact: Artifact) -> None:
        del self._world.artifacts[artifact.id]
        del self._by_digest[artifact.repository_id][artifact.digest]
        self._accessory_ids.discard(artifact.id)
        for link in [
            row for row in self._world.accessories.values() if row.artifact_id == artifact.id
        ]:
            del self._world.accessories[link.id]
            self._attached[link.subject_id].remove(link)
        self._child_digests[artifact.repository_id] = {
            entry["child_digest"]
            for other in self._by_digest[artifact.repository_id].values()
            for entry in other.children
        }

    def _forget_tag(self, tag: Tag) -> None:
        del self._world.tags[tag.id]
        del self._by_tag[tag.repository_id][tag.name]
        del self._tags[tag.artifact_id][tag.id]

    def _new_artifact(self, row: Repository, manifest: Manifest) -> Artifact:
        document = manifest.document()
        config_type = str((document.get("config") or {}).get("mediaType", ""))
        identifier = self._world.next_id("artifact")
        indexed = manifest.media_type in INDEX_TYPES
        return Artifact(
            id=identifier,
            project_id=row.project_id,
            repository_id=row.id,
            repository=row.name,
            digest=manifest.digest,
            kind="CHART" if config_type == HELM_CONFIG else "IMAGE",
            media_type=manifest.media_type if indexed else config_type,
            manifest_media_type=manifest.media_type,
            artifact_type="" if indexed else str(document.get("artifactType") or config_type),
            size=self._size(row.name, manifest),
            push_time=self._world.now(),
            extra_attrs=None if indexed else self._extra_attrs(row.name, manifest),
            annotations=document.get("annotations"),
            children=self._children(row, identifier, document),
        )

    def _size(self, repository: str, manifest: Manifest) -> int:
        document = manifest.document()
        size = len(manifest.body)
        for digest in manifest.children():
            child = self._world.contents.manifest(repository, digest)
            size += self._size(repository, child) if child else 0
        parts = [document.get("config") or {}, *(document.get("layers") or [])]
        return size + sum(int(part.get("size", 0)) for part in parts)

    def _extra_attrs(self, repository: str, manifest: Manifest) -> dict[str, Any]:
        named = manifest.blobs()
        body = self._world.contents.blob(repository, named[0]) if named else None
        config = _json_object(body)
        if "os" not in config:
            return config
        kept = {name: config.get(name) for name in ("architecture", "created", "os")}
        return {**kept, "author": config.get("author", ""), "config": config.get("config", {})}

    def _children(
        self, row: Repository, parent: int, document: dict[str, Any]
    ) -> list[dict[str, Any]]:
        known = self._by_digest[row.id]
        return [
            {
                "child_digest": entry["digest"],
                "child_id": known[entry["digest"]].id if entry["digest"] in known else 0,
                "parent_id": parent,
                "platform": {"OsFeatures": None, **(entry.get("platform") or {})},
                "urls": None,
            }
            for entry in document.get("manifests") or []
        ]

    def _set_tag(self, row: Repository, artifact: Artifact, name: str) -> None:
        tag, now = self._by_tag[row.id].get(name), self._world.now()
        if tag is None:
            tag = Tag(self._world.next_id("tag"), row.id, artifact.id, name, now)
            self._world.tags[tag.id] = self._by_tag[row.id][name] = tag
        elif tag.artifact_id == artifact.id:
            return
        else:
            del self._tags[tag.artifact_id][tag.id]
            tag.artifact_id, tag.push_time = artifact.id, now
        self._tags[artifact.id][tag.id] = tag
        self._touch(row)

    def _touch(self, row: Repository) -> None:
        """`repository.update_time` follows its artifacts since 2.15.2 (api.md §1)."""
        if self._world.since(2, 15, 2):
            row.updated = self._world.now()

    def _link_accessories(
        self, artifact: Artifact, manifest: Manifest, tags: tuple[str, ...]
    ) -> None:
        if manifest.subject():
            self._link(artifact, manifest.subject(), "subject.accessory")
        for tag in tags:
            if found := _COSIGN_TAG.fullmatch(tag):
                kind = "sbom.cosign" if found[2] == "sbom" else "signature.cosign"
                self._link(artifact, f"sha256:{found[1]}", kind)

    def _link(self, artifact: Artifact, subject_digest: str, kind: str) -> None:
        subject = self.find(artifact.repository, subject_digest)
        if subject is None or self.is_accessory(artifact):
            return
        link = Accessory(
            self._world.next_id("accessory"),
            artifact.id,
            subject.id,
            subject.digest,
            artifact.repository,
            artifact.digest,
            artifact.size,
            kind,
            self._world.now(),
        )
        self._world.accessories[link.id] = link
        self._attached[subject.id].append(link)
        self._accessory_ids.add(artifact.id)


def _json_object(body: bytes | None) -> dict[str, Any]:
    try:
        parsed = json.loads(body or b"{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
