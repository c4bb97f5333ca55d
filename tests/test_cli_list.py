"""`syncwatch list`: what it prints, filters, and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from test_cli_by_hand import run, scene

from syncwatch.lab import images
from syncwatch.lab.faults import Fault

if TYPE_CHECKING:
    from pathlib import Path


async def test_what_is_expected_is_listed_for_people_and_for_programs(tmp_path: Path) -> None:
    async with scene(tmp_path) as (harbor, _, watched):
        for number in range(3):
            harbor.push("apps/web", f"v{number}", images.image(f"{number}"))
            await watched.row(reference=f"v{number}", state="verified")
        told = await run(watched, "list")
        assert told.code == 0, told.err
        assert "apps/web:v0" in told.out
        assert "mirror/web:v0" in told.out
        assert "verified" in told.out
        assert "more than these" not in told.out
        two = await run(watched, "list", "--limit", "2")
        assert "There are more than these 2" in two.out
        assert "apps/web:v0" not in two.out
        told = await run(watched, "list", "--on", "cluster1", "--reference", "v1", "-o", "json")
        found = json.loads(told.out)
        assert [one["reference"] for one in found["items"]] == ["v1"]
        assert found["more"] is False
        nothing = await run(watched, "list", "--overdue")
        assert (nothing.code, nothing.out) == (0, "Nothing is expected that fits.\n")


@pytest.mark.xfail(
    strict=True, reason="tables.print_expectations names the first row, however it is"
)
async def test_the_last_line_asks_why_of_the_first_that_is_not_verified(tmp_path: Path) -> None:
    async with scene(tmp_path) as (harbor, registry, watched):
        registry.fault(Fault.FORBIDDEN, "mirror/db")
        harbor.push("apps/db", "v1", images.image("db"))
        await watched.row(reference="v1", state="unknown")
        harbor.push("apps/web", "v1", images.image("web"))
        await watched.row(source_repository="apps/web", state="verified")
        told = await run(watched, "list")
        assert told.out.index("apps/web:v1") < told.out.index("apps/db:v1")
        assert told.out.endswith("Why: syncwatch explain apps/db:v1 --on cluster1\n")
        told = await run(watched, "list", "--state", "verified")
        assert "apps/web:v1" in told.out
        assert "Why: " not in told.out


async def test_all_pages_are_read_and_what_is_closed_only_when_asked(tmp_path: Path) -> None:
    async with scene(tmp_path) as (harbor, _, watched):
        for number in range(5):
            harbor.push("apps/web", "v1", images.image(f"{number}"))
            await watched.row(state="verified", digest=images.image(f"{number}").digest)
        told = json.loads((await run(watched, "list", "-o", "json")).out)
        assert len(told["items"]) == 1
        told = json.loads((await run(watched, "list", "--all", "--limit", "0", "-o", "json")).out)
        assert len(told["items"]) == 5


async def test_mistakes_name_their_cure(tmp_path: Path) -> None:
    async with scene(tmp_path) as (_, _, watched):
        told = await run(watched, "list", "--reason", "broken")
        assert told.code == 2
        assert "docs/states.md" in told.err
        told = await run(watched, "list", "--state", "lost")
        assert told.code == 2
        told = await run(watched, "list", "--url", "http://127.0.0.1:9")
        assert told.code == 4
