"""Signatures and referrers: expectations of their own, and shown beside their image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from running import Watched, until
from scene import POLICY, REPOSITORY, edit, scene

from syncwatch.lab import images
from syncwatch.plan.matching import Filter

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = images.image("signed")
SIGNATURE, REFERRER = images.signature(IMAGE), images.referrer(IMAGE)
TAG = images.signature_tag(IMAGE)
QUICK = {"claim_wait": "300ms"}
OFTEN = {"recheck_per_minute": 6000, "recheck_after": "200ms"}


async def shown(watched: Watched, **wanted: Any) -> None:
    """The image's accessories in the API come to be these, by digest."""

    async def are() -> bool:
        row = await watched.row(reference="v1")
        told = {
            one["digest"]: (one["at_destination"], one["found_by"])
            for one in (await watched.one(row["id"]))["accessories"]
        }
        return told == wanted["as_"]

    await until(are, told=f"the accessories {wanted['as_']}")


async def test_a_signature_and_a_referrer_that_are_copied_are_found_at_the_destination(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, harbor=QUICK) as stage, stage.watched() as watched:
        stage.harbor.push(REPOSITORY, "v1", IMAGE)
        await watched.row(reference="v1", state="verified")
        stage.harbor.push(REPOSITORY, TAG, SIGNATURE)
        await watched.row(reference=TAG, state="verified")
        stage.harbor.push(REPOSITORY, "", REFERRER)
        await shown(
            watched,
            as_={SIGNATURE.digest: (True, ["tag"]), REFERRER.digest: (True, [])},
        )
        assert {row["reference"] for row in await watched.expectations()} == {"v1", TAG}
        assert "signatures_filtered" not in await watched.finding_names()


async def test_a_referrer_is_found_by_the_tag_that_stands_in_for_the_api(tmp_path: Path) -> None:
    async with scene(tmp_path, harbor=QUICK, destination=OFTEN) as stage, stage.watched() as seen:
        stage.harbor.push(REPOSITORY, "v1", IMAGE)
        await seen.row(reference="v1", state="verified")
        stage.harbor.push(REPOSITORY, "", REFERRER)
        await shown(seen, as_={REFERRER.digest: (True, [])})
        stage.registry.push_referrer_fallback(REPOSITORY, IMAGE, REFERRER)
        await shown(seen, as_={REFERRER.digest: (True, ["fallback"])})


async def test_a_filter_that_keeps_the_signature_back_is_a_finding(tmp_path: Path) -> None:
    async with scene(tmp_path, harbor=QUICK) as stage:
        edit(stage.harbor, POLICY, filters=[Filter("name", "apps/**"), Filter("tag", "v*")])
        async with stage.watched() as watched:
            stage.harbor.push(REPOSITORY, "v1", IMAGE)
            await watched.row(reference="v1", state="verified")
            stage.harbor.push(REPOSITORY, TAG, SIGNATURE)
            await shown(watched, as_={SIGNATURE.digest: (False, [])})
            (found,) = [
                one for one in await watched.findings() if one["finding"] == "signatures_filtered"
            ]
            assert TAG in found["message"]
            assert [row["reference"] for row in await watched.expectations()] == ["v1"]
            edit(
                stage.harbor,
                POLICY,
                filters=[Filter("name", "apps/**"), Filter("tag", "{v*,sha256-*}")],
            )

            async def gone() -> bool:
                return "signatures_filtered" not in await watched.finding_names()

            await until(gone, told="the end of the finding")
