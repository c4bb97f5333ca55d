"""Which of the source's signatures and referrers of an image are at the destination too.

In comes what Harbor lists as accessories of an image, out comes the same with what is there, and
how a client there would find it: by cosign's tag (`sha256-….sig`), by the referrers API, or by the
tag that stands in for it (OCI distribution 1.1, "Referrers Tag Schema"; docker-registry 2.8.2 has
no referrers API). It is told beside the verdict: an image is usable without its signature, unless
a policy of the cluster demands one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from syncwatch.errors import MalformedError, OutboundError
from syncwatch.verify import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncwatch.model import Accessory
    from syncwatch.verify.visit import Visit

MOST = 20
"""How many accessories of one image are asked for."""


async def looked_for(
    visit: Visit, subject: str, accessories: Sequence[Accessory]
) -> tuple[Accessory, ...]:
    """Each accessory of the manifest `subject` with what is known of it there; never raises."""
    wanted = accessories[:MOST]
    listed = await _listed(visit, subject)
    return tuple([await _looked_for(visit, one, listed) for one in wanted])


async def _looked_for(
    visit: Visit, accessory: Accessory, listed: dict[str, frozenset[str]]
) -> Accessory:
    found_by = tuple(way for way, digests in listed.items() if accessory.digest in digests)
    try:
        there = await visit.head(accessory.digest) is not None
        if accessory.reference:
            tag = await visit.head(accessory.reference)
            found_by += ("tag",) * (tag is not None and tag.named == accessory.digest)
    except OutboundError:
        return accessory
    return replace(accessory, at_destination=there, found_by=found_by)


async def _listed(visit: Visit, subject: str) -> dict[str, frozenset[str]]:
    """What the referrers API and the tag that stands in for it list."""
    listed = {}
    try:
        pages = await visit.referrers(subject)
        if pages is not None:
            listed["referrers"] = frozenset[str]().union(*map(_digests, pages))
        fallback = await visit.get(subject.replace(":", "-", 1))
        if fallback is not None and fallback.body is not None:
            listed["fallback"] = _digests(fallback.body)
    except OutboundError:
        pass
    return listed


def _digests(body: bytes) -> frozenset[str]:
    try:
        return frozenset(one.digest for one in manifests.read(body).children)
    except MalformedError:
        return frozenset()
