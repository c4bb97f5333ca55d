"""What the rows of the fault table are made of: destinations, images, and ways to spoil them.

A row's image lies at
the destination before it is pushed to Harbor, which then finds the same digest there and says
Succeed without reading a byte (recording 06), unless the row has Harbor copy it (`copied`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from syncwatch.lab import images
from syncwatch.lab.registry import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from syncwatch.lab.images import Image
    from syncwatch.lab.registry import LabRegistry

    Spoil = Callable[[LabRegistry, str, Image], object]
    Part = Callable[[Image], str]


@dataclass(frozen=True)
class Ground:
    """A destination of its own, for faults that strike more than one repository.

    `settings` are the destination's in the configuration, `policy` those of Harbor's policy;
    `users` and `bearer` are the registry's.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    users: Mapping[str, str] | None = None
    bearer: bool = False
    tls: bool = False
    """With a certificate of an authority that nobody knows."""
    url: str = ""
    """Where Harbor says it is, if not at the registry."""
    control: bool = True
    """Whether a healthy image lies beside the row's and must stay verified."""


@dataclass(frozen=True)
class Row:
    """One fault, and the verdict in the end; on its way there it is only ever `pending`."""

    words: str
    state: str
    reason: str | None
    level: str | None
    spoil: Spoil = lambda registry, repository, image: None
    image: Callable[[str], Image] = images.image
    ground: Ground = Ground("plain")
    copied: bool = False
    reference: str = "1.0"
    length: int = 0
    """Characters that the repository's name is filled up to."""
    succeeds: bool = True
    """Whether Harbor says Succeed."""


def fault(what: Fault, part: Part | None = None, times: int | None = None) -> Spoil:
    """A fault on all of the row's repository, or on a part of its image."""

    def spoil(registry: LabRegistry, repository: str, image: Image) -> None:
        registry.fault(what, repository, part(image) if part else None, times)

    return spoil


def both(*spoils: Spoil) -> Spoil:
    """Several at once."""

    def spoil(registry: LabRegistry, repository: str, image: Image) -> None:
        for one in spoils:
            one(registry, repository, image)

    return spoil


def config(image: Image) -> str:
    return image.config_digest


def layer(image: Image) -> str:
    return image.layer_digests[0]


def child(image: Image) -> str:
    return image.child_digests[-1]


def child_layer(image: Image) -> str:
    return image.children[-1].layer_digests[0]


def lose(part: Part) -> Spoil:
    """The repository no longer has a part, blob or manifest."""

    def spoil(registry: LabRegistry, repository: str, image: Image) -> None:
        held = registry.contents.repository(repository)
        held.blobs.discard(part(image))
        held.manifests.pop(part(image), None)

    return spoil


def truncate(registry: LabRegistry, repository: str, image: Image) -> None:
    del repository
    registry.truncate_blob(layer(image))


def empty(registry: LabRegistry, repository: str, image: Image) -> None:
    del repository
    registry.empty_blob(layer(image))


def alter(registry: LabRegistry, repository: str, image: Image) -> None:
    del repository
    registry.corrupt_blob(layer(image))


def lose_bytes(registry: LabRegistry, repository: str, image: Image) -> None:
    del repository
    registry.lose_blob(layer(image))


def lose_tag(registry: LabRegistry, repository: str, image: Image) -> None:
    """The tag is gone, and a copy does not bring it back."""
    del image
    registry.fault(Fault.TAG_NOT_FOUND, repository)


def another(registry: LabRegistry, repository: str, image: Image) -> None:
    """The tag names another image there."""
    del image
    registry.push(repository, "1.0", images.image(f"before {repository}"))


def nowhere(registry: LabRegistry, repository: str, image: Image) -> None:
    """Blobs are redirected to a port where nobody listens."""
    del image
    registry.redirect_to = "http://localhost:9"
    registry.fault(Fault.REDIRECT, repository)


def no_tokens(registry: LabRegistry, repository: str, image: Image) -> None:
    """The token service fails, which knows of no repository."""
    del repository, image
    registry.fault(Fault.TOKEN_DOWN)


def big(seed: str) -> Image:
    """An image with a layer of more than what is read of a blob without length and ranges."""
    return images.layered(seed, seed.encode() * ((3 << 20) // len(seed.encode())))


def edited(image: Image, **changes: Any) -> Image:
    """The same blobs under a manifest with other fields."""
    document = json.loads(image.manifest) | changes
    return images.Image(image.media_type, json.dumps(document).encode(), image.blobs)


def twice(seed: str, *, last_is_there: bool) -> Image:
    """A manifest that names `layers` twice, once with a layer that nobody has."""
    image = images.image(seed)
    there = json.dumps(json.loads(image.manifest)["layers"])
    gone = there.replace(image.layer_digests[0], f"sha256:{'0' * 63}1")
    first, last = (gone, there) if last_is_there else (there, gone)
    head = json.dumps({"schemaVersion": 2, "config": json.loads(image.manifest)["config"]})
    body = f'{head[:-1]}, "layers": {first}, "layers": {last}}}'
    return images.Image(image.media_type, body.encode(), image.blobs)


def odd_case(seed: str) -> Image:
    image = images.image(seed)
    body = image.manifest.replace(b'"layers"', b'"Layers"')
    return images.Image(image.media_type, body, image.blobs)


def both_kinds(seed: str) -> Image:
    return edited(
        images.image(seed), manifests=json.loads(images.platforms(seed).manifest)["manifests"]
    )


def capitals(seed: str) -> Image:
    image = images.image(seed)
    digest = image.layer_digests[0]
    body = image.manifest.replace(digest.encode(), f"sha256:{digest[7:].upper()}".encode())
    return images.Image(image.media_type, body, image.blobs)


def schema_1(seed: str) -> Image:
    layers = [{"blobSum": images.image(seed).layer_digests[0]}]
    document = {"schemaVersion": 1, "name": seed, "tag": "1.0", "fsLayers": layers, "history": []}
    kind = "application/vnd.docker.distribution.manifest.v1+json"
    return images.raw(json.dumps(document).encode(), kind)
