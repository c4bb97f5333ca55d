"""What disks, collectors of garbage and people do to a docker-registry's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from servers.docker_registry import DockerRegistry

How = Literal["remove", "truncate", "empty", "alter"]


def damage(registry: DockerRegistry, digest: str, how: How) -> None:
    """Do something to the file of a blob; a manifest is one too. (`lose_tag` is the registry's.)

    `truncate` takes the last byte off. `alter` changes one byte and keeps the length: the first of
    a blob, a letter that leaves it JSON of a manifest.
    """
    file = registry.blob_file(digest)
    body = file.read_bytes()
    if how == "remove":
        file.unlink()
    elif how == "truncate":
        file.write_bytes(body[:-1])
    elif how == "empty":
        file.write_bytes(b"")
    else:
        file.write_bytes(_altered(body))


def unlink_manifest(registry: DockerRegistry, repository: str, digest: str) -> None:
    """A repository no longer has a manifest; tags that name it and its bytes stay."""
    revisions = registry.folder_of(repository) / "_manifests/revisions"
    (revisions / digest.replace(":", "/") / "link").unlink()


def unlink_blob(registry: DockerRegistry, repository: str, digest: str) -> None:
    """A repository no longer has a blob; its bytes stay, for other repositories."""
    layers = registry.folder_of(repository) / "_layers"
    (layers / digest.replace(":", "/") / "link").unlink()


def _altered(body: bytes) -> bytes:
    if b'"layers"' in body:
        return body.replace(b'"layers"', b'"lAyers"')
    if b'"manifests"' in body:
        return body.replace(b'"size"', b'"sIze"', 1)
    return bytes([body[0] ^ 1]) + body[1:]
