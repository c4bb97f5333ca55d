"""What the pages promise in a sentence each, where no other test has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml
from running import running, until
from scene import DESTINATION, LABELS, scene

from syncwatch.facts import Facts, Owed
from syncwatch.lab.faults import Fault
from syncwatch.model import HOUR, MINUTE, SECOND, Level, Observation, Operation, Reason, State
from syncwatch.verdict import decide

if TYPE_CHECKING:
    from pathlib import Path

DAY = 24 * HOUR


def test_stale_evidence_stays_stale_until_a_look_learns_something() -> None:
    owed = Owed(
        state=State.UNKNOWN,
        reason=Reason.STALE,
        operation=Operation.COPY,
        digest="sha256:a",
        required_level=Level.MATCHED,
        expected_at=0,
        deadline_at=10 * MINUTE,
        verified_at=SECOND,
        proved_at=SECOND,
        attempts=0,
        names="apps/web:1.0",
        destination="cluster1",
    )
    facts = Facts(
        runs=(),
        asked_at=8 * DAY,
        answers=True,
        reaches_back=True,
        source_digest=None,
        source_read_at=None,
        served_since=0,
        override=True,
        rivals=frozenset(),
        busy_until=0,
        next_run_at=None,
        grace=30 * SECOND,
        give_up_after=4 * MINUTE,
        stale_after=7 * DAY,
        retry_first=SECOND,
        retry_longest=MINUTE,
    )
    nothing = Observation(8 * DAY, 8 * DAY, problem=Reason.UNREACHABLE)
    assert decide(owed, nothing, facts, 8 * DAY).reason is Reason.STALE


async def test_a_paused_destination_misses_nothing(tmp_path: Path) -> None:
    paused = {"deadline": "500ms", "pause_until": "2100-01-01T00:00:00Z"}
    async with scene(tmp_path, destination=paused) as one, one.watched() as watched:
        one.registry.fault(Fault.GET_NOT_FOUND)
        one.push("1.0")
        row = await watched.row(reference="1.0", state="failed", reason="missing")

        async def past_the_deadline() -> bool:
            return (await watched.metric("syncwatch_oldest_open_seconds", **LABELS) or 0) > 1

        await until(past_the_deadline)
        assert (await watched.one(row["id"]))["overdue"] is False
        one.registry.clear()
        one.push("2.0")  # whose copy makes a look at once at all that is open in the repository
        await watched.row(reference="1.0", state="verified")
        metric = "syncwatch_expectations_settled_total"
        assert await watched.metric(metric, result="missed", **LABELS) == 0


async def test_a_harbor_no_longer_configured_leaves_metrics_and_readiness(tmp_path: Path) -> None:
    async with scene(tmp_path) as one:
        document = yaml.safe_load(one.config.read_text())
        away = document["harbors"][0] | {"name": "away", "url": "http://127.0.0.1:9"}
        one.config.write_text(yaml.safe_dump(document | {"harbors": [*document["harbors"], away]}))
        async with running(one.config, ready=False) as watched:
            await until(lambda: watched.metric("syncwatch_harbor_up", harbor="main"))
        one.config.write_text(yaml.safe_dump(document))
        async with running(one.config, ready=False) as watched:
            await until(lambda: watched.metric("syncwatch_harbor_up", harbor="main"))
            assert await watched.metric("syncwatch_harbor_up", harbor="away") is None
            async with watched.session.get(watched.daemon.url + "/readyz") as answer:
                assert answer.status == 200


async def test_a_destination_that_asks_to_be_left_alone_is_left_alone(tmp_path: Path) -> None:
    async with scene(tmp_path) as one, one.watched() as watched:
        one.registry.retry_after = 60
        one.registry.fault(Fault.RATE_LIMITED)
        one.push("1.0")
        row = await watched.row(reference="1.0", state="unknown", reason="rate_limited")
        # Harbor's own copies go on asking, so our looks are counted where we make them.
        asked = await watched.metric("syncwatch_registry_request_duration_seconds_count")

        async def time_has_passed() -> bool:
            told = await watched.metric("syncwatch_oldest_open_seconds", **LABELS)
            return told is not None and told > 3

        await until(time_has_passed)
        assert (await watched.one(row["id"]))["state"] == "unknown"
        after = await watched.metric("syncwatch_registry_request_duration_seconds_count")
        assert after == asked


async def test_of_two_sources_under_one_name_the_last_stays_verified(tmp_path: Path) -> None:
    async with scene(tmp_path) as one, one.watched() as watched:
        one.harbor.create_policy(
            "flat", DESTINATION, pattern="flat/**", namespace="n", replace_count=-1
        )
        one.harbor.create_project("flat")
        one.send_webhooks(watched, "flat")
        one.push("1.0", "first", "flat/a/image")
        await watched.row(source_repository="flat/a/image", state="verified")
        one.push("1.0", "second", "flat/b/image")
        row = await watched.row(source_repository="flat/b/image", state="verified")
        await watched.row(source_repository="flat/a/image", reason="name_collision")
        one.push("2.0", "third", "flat/a/image")  # which makes a look at what is open there
        await watched.row(source_repository="flat/a/image", reference="2.0", state="verified")
        told = await watched.one(row["id"])
        assert [step["what"] for step in told["timeline"] if "failed" in step["what"]] == []
