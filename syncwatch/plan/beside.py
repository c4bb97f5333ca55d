"""Signatures and referrers: what lies beside an image at the source, and whether it is copied too.

Comes in: artifacts as Harbor lists them. Goes out: accessories for `verify` to look for, images to
be read again when one was pushed, and the finding that a policy keeps one back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from syncwatch.model import Accessory, Finding, Millis, Severity, Trigger
from syncwatch.plan.promises import Event, NoPromise, Promise, by_policy, in_force, promise
from syncwatch.store import accessories, findings, policies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from syncwatch.harbor import wire
    from syncwatch.store.policies import Revision

COSIGN = "signature.cosign"
_SIGNATURE_TAG = re.compile(r"(sha256|sha512)-([0-9a-f]{64,128})\.(sig|att|sbom)")


def accessories_of(artifact: wire.SourceArtifact) -> tuple[Accessory, ...]:
    """What Harbor lists beside an artifact, with the tag that cosign gives a signature."""
    tag = f"{artifact.digest.replace(':', '-', 1)}.sig"
    return tuple(
        Accessory(one.digest, one.type, tag if one.type == COSIGN else "")
        for one in artifact.accessories or ()
        if one.digest
    )


def signed_by(reference: str) -> str:
    """The digest of the image that a tag of cosign's belongs to; "" for any other tag."""
    found = _SIGNATURE_TAG.fullmatch(reference)
    return f"{found[1]}:{found[2]}" if found else ""


def keep(
    connection: Connection,
    harbor: str,
    event: Event,
    beside: Sequence[Accessory],
    read_at: Millis,
) -> None:
    """Remember what lies beside an image that was read, and say which policies keep it back."""
    accessories.keep(connection, harbor, event.repository, {event.digest: beside}, read_at)
    if not beside:
        return
    known = by_policy(policies.known_revisions(connection, harbor))
    names = {one.policy_id: one.name for one in policies.known_policies(connection, harbor)}
    for policy_id, revisions in known.items():
        revision = in_force(revisions, event.pushed_at)
        left = _kept_back(revision, event, beside) if revision is not None else None
        if left is not None and policy_id in names:
            found = _finding(names[policy_id], event, left)
            findings.add(connection, harbor, f"policy {policy_id}", found, read_at)


def _kept_back(revision: Revision, event: Event, beside: Sequence[Accessory]) -> Accessory | None:
    """An accessory that the filters do not take with its image.

    Runs by hand and on schedule list accessories with their image (reg/adapter/harbor/base,
    FetchArtifacts): only events stand each by itself.
    """
    if revision.rules.trigger != Trigger.EVENT_BASED:
        return None
    if not isinstance(promise(revision, event), Promise):
        return None
    for one in beside:
        reference = one.reference or one.digest
        alone = Event(event.repository, reference, one.digest, event.pushed_at, event.origin)
        if isinstance(promise(revision, alone), NoPromise):
            return one
    return None


def _finding(policy: str, event: Event, left: Accessory) -> Finding:
    kind = "signature" if left.type.startswith("signature") else "referrer"
    return Finding(
        "signatures_filtered",
        Severity.WARNING,
        f"policy {policy}",
        f"Policy {policy} copies {event.repository}:{event.reference}, and its filters keep back "
        f"its {kind} {left.reference or left.digest}.",
        "Let the filters take it too: a tag filter needs sha256-* beside its own pattern.",
    )
