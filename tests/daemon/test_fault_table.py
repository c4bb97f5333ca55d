"""The fault table: each fault gets its own word, and nothing beside it changes.

The rows stand in `fault_table`. They are all played in one run of the daemon against as many lab
registries as they need; the tests then judge what was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from fault_table import ROWS
from prometheus_client.parser import text_string_to_metric_families
from running import SECRET, Watched, running, settings_file

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from fault_parts import Ground, Row

pytestmark = pytest.mark.slow

WITHIN = 90.0
"""Seconds that the whole table may take until each row has its verdict."""

GROUNDS = {row.ground.name: row.ground for row in ROWS}


@dataclass
class Seen:
    """What the daemon said in the end: rows by the words of the table, metrics, requests."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    controls: dict[str, dict[str, Any]] = field(default_factory=dict)
    listed: list[dict[str, Any]] = field(default_factory=list)
    metrics: str = ""
    findings: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def up(self) -> dict[str, float]:
        """Whether each destination can be asked, by its name."""
        return {
            one.labels["destination"]: one.value
            for family in text_string_to_metric_families(self.metrics)
            for one in family.samples
            if one.name == "syncwatch_destination_up"
        }

    def samples(self, name: str) -> dict[tuple[str, str, str], float]:
        """Values by (policy, state, reason), those of 0 left out."""
        return {
            tuple(one.labels.get(label, "") for label in ("policy", "state", "reason")): one.value
            for family in text_string_to_metric_families(self.metrics)
            for one in family.samples
            if one.name == name and one.value
        }


class Table:
    """The table while it is played."""

    def __init__(self, harbor: LabHarbor) -> None:
        self.harbor = harbor
        self.registries: dict[str, LabRegistry] = {}

    async def open(self, ground: Ground, stack: contextlib.AsyncExitStack) -> dict[str, Any]:
        """A destination with its policy and project; its entry for the configuration."""
        tls = _unknown_authority() if ground.tls else None
        registry = LabRegistry(ground.name, users=ground.users, bearer=ground.bearer, tls=tls)
        await stack.enter_async_context(registry.serving())
        registry.unavailable_for = 1
        self.registries[ground.name] = registry
        url = ground.url or registry.url
        login = ground.settings.get("username", ""), ground.settings.get("password", "")
        name = ground.name
        self.harbor.create_project(name)
        self.harbor.create_registry(name, url, username=login[0], password=login[1])
        self.harbor.create_policy(name, name, pattern=f"{name}/**", **ground.policy)
        return {"name": name, "url": url, **ground.settings}

    def play(self, row: Row) -> None:
        """Make the fault, then push."""
        registry, name = self.registries[row.ground.name], repository(row)
        image = row.image(row.words)
        if not row.copied:
            registry.push(name, row.reference, image)
        row.spoil(registry, name, image)
        if not image.blobs and not image.children:
            # No Harbor takes what is no manifest; as an index, the lab's asks for no configuration.
            image = images.raw(image.manifest, images.OCI_INDEX)
        self.harbor.push(name, row.reference, image)


def repository(row: Row) -> str:
    words = "".join(one if one.isalnum() else "-" for one in row.words.lower())
    name = f"{row.ground.name}/{words.strip('-')}"
    return name.ljust(row.length, "x")


def control_of(ground: Ground) -> str:
    return f"{ground.name}/healthy/control"


def _unknown_authority() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def _played(folder: Path) -> Seen:
    began = time.monotonic()
    async with LabHarbor().serving() as harbor, contextlib.AsyncExitStack() as stack:
        table = Table(harbor)
        entries = [await table.open(ground, stack) for ground in GROUNDS.values()]
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password}
        terms = {"deadline": "5m", "grace": "300ms", "timeout": "8s", "retry_longest": "4s"}
        config = settings_file(folder, login, terms, more_destinations=entries)
        async with running(config) as watched:
            for ground in GROUNDS.values():
                harbor.create_webhook_policy(ground.name, watched.webhook_url, auth_header=SECRET)
                if ground.control:
                    harbor.push(control_of(ground), "1.0", images.image(f"control {ground.name}"))
            await _settled(watched, {control_of(one): "verified" for one in _controlled()}, WITHIN)
            for row in ROWS:
                table.play(row)
            wanted = {repository(row): _verdict(row) for row in ROWS}
            await _settled(watched, wanted, WITHIN)
            seen = await _told(watched)
            if any(_is(seen.rows[row.words]) != _verdict(row) for row in ROWS):
                # Between the two, Harbor began to try one of them again.
                await _settled(watched, wanted, WITHIN / 3)
                seen = await _told(watched)
    seen.seconds = time.monotonic() - began
    return seen


def _controlled() -> list[Ground]:
    return [ground for ground in GROUNDS.values() if ground.control]


def _verdict(row: Row) -> str:
    return f"{row.state}/{row.reason}" if row.reason else row.state


def _is(told: dict[str, Any]) -> str:
    return f"{told['state']}/{told['reason']}" if told["reason"] else told["state"]


async def _settled(watched: Watched, wanted: dict[str, str], within: float) -> None:
    """Wait until every repository has its verdict, or the time is up: the tests say which has."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        rows = {one["repository"]: _is(one) for one in await watched.expectations()}
        if wanted.items() <= rows.items():
            return
        await asyncio.sleep(0.2)


async def _told(watched: Watched) -> Seen:
    seen = Seen(listed=await watched.expectations(), metrics=await watched.metrics_text())
    seen.findings = await watched.findings()
    by_repository = {one["repository"]: one["id"] for one in seen.listed if one["origin"] == "push"}
    for row in ROWS:
        if repository(row) in by_repository:
            seen.rows[row.words] = await watched.one(by_repository[repository(row)])
    for ground in _controlled():
        seen.controls[ground.name] = await watched.one(by_repository[control_of(ground)])
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return asyncio.run(_played(tmp_path_factory.mktemp("table")))


CASES = [pytest.param(row, id=row.words.replace(" ", "_")) for row in ROWS]


@pytest.mark.parametrize("row", CASES)
def test_each_fault_has_its_word_and_its_level(row: Row, seen: Seen) -> None:
    told = seen.rows[row.words]
    assert _is(told) == _verdict(row), told["message"]
    assert told["level"] == row.level, told["message"]


@pytest.mark.parametrize("row", CASES)
def test_no_fault_goes_through_a_word_that_is_not_its_own(row: Row, seen: Seen) -> None:
    told = seen.rows[row.words]
    words = {one["what"] for one in told["timeline"]} - {
        "expected",
        "pushed",
        "notified",
        "claimed",
    }
    strange = {one for one in words if not one.startswith("pending/")} - {_verdict(row)}
    assert not strange, told["timeline"]


@pytest.mark.parametrize("ground", [one.name for one in _controlled()])
def test_a_healthy_image_beside_the_faults_stays_verified(ground: str, seen: Seen) -> None:
    told = seen.controls[ground]
    assert (told["state"], told["level"]) == ("verified", "readable")
    left = [one for one in told["timeline"] if one["what"].startswith(("failed", "unknown"))]
    assert left == []


def test_the_metrics_count_each_row_under_its_own_words_and_no_other(seen: Seen) -> None:
    rows = Counter((one["policy"], one["state"], one["reason"] or "") for one in seen.listed)
    assert seen.samples("syncwatch_expectations") == rows


def test_every_push_has_one_row(seen: Seen) -> None:
    pushed = [repository(row) for row in ROWS] + [control_of(one) for one in _controlled()]
    assert Counter(one["repository"] for one in seen.listed) == Counter(pushed)


def test_nothing_that_was_never_verified_counts_as_lost(seen: Seen) -> None:
    assert seen.samples("syncwatch_lost_total") == {}


def test_a_false_success_is_counted_for_each_row_that_failed_although_harbor_said_succeed(
    seen: Seen,
) -> None:
    failed = Counter(row.ground.name for row in ROWS if row.state == "failed" and row.succeeds)
    counted = seen.samples("syncwatch_false_success_total")
    assert {policy: value for (policy, _, _), value in counted.items()} == failed


@pytest.mark.parametrize("ground", ["plain", "amd64", "kept", "bearer", "basic", "no-good-token"])
def test_what_is_wrong_with_single_images_is_no_fault_of_their_destination(
    ground: str, seen: Seen
) -> None:
    named = [one["finding"] for one in seen.findings if one["subject"] == f"destination {ground}"]
    # That it answers 412 for some is said of a destination, whatever else is right there.
    assert set(named) <= {"destination_policy"}
    assert seen.up[ground] == 1


def test_what_is_wrong_with_a_destination_as_such_is_said_once(seen: Seen) -> None:
    found = Counter((one["finding"], one["subject"]) for one in seen.findings)
    assert found["destination_tls", "destination tls"] == 1
    assert found["destination_unreachable", "destination dns"] == 1
    assert (seen.up["tls"], seen.up["dns"]) == (0, 0)


def test_the_table_takes_well_under_a_minute(seen: Seen) -> None:
    assert seen.seconds < 60
