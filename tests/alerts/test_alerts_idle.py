"""Nothing happens for hours: what the real daemon exports then, given to promtool as series."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from alert_rules import RULES, run
from prometheus_client.parser import text_string_to_metric_families
from running import until
from scene import DESTINATION, REPOSITORY, Scene, scene

from syncwatch.lab import images

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched

pytestmark = pytest.mark.real

BEFORE = 24 * 60
"""Minutes of the test's time before the daemon starts: its zero is no time of day that matters."""

HOURS = 4
CHECKED = (15, 61, 120, 239)
"""Minutes after the start."""

SWEEP_EVERY = 15
GROWING = ("syncwatch_evidence_oldest_seconds", "syncwatch_oldest_open_seconds")


def shown(name: str, value: float, now: float) -> str:
    """The samples of a series by the minute, in promtool's words, while nothing happens."""
    minutes = HOURS * 60
    start = BEFORE * 60
    if name == "syncwatch_sweep_last_success_timestamp_seconds" and value:
        ended = start + value - now
        sweeps = range(0, minutes, SWEEP_EVERY)
        told = " ".join(f"{ended + at * 60:.0f}x{SWEEP_EVERY - 1}" for at in sweeps)
    elif name.endswith("_timestamp_seconds") and value:
        told = f"{start + value - now:.0f}x{minutes}"
    elif name in GROWING and value:
        told = f"{value:.0f}+60x{minutes}"
    else:
        told = f"{value:g}x{minutes}"
    return f"_x{BEFORE} {told}"


def as_series(text: str, now: float) -> list[dict[str, str]]:
    """A scrape as input of a unit test; buckets are left out, for no rule reads them."""
    target = {"job": "syncwatch", "instance": "127.0.0.1:8081"}
    found = [{"series": _named("up", target), "values": shown("up", 1, now)}]
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if not one.name.endswith("_bucket"):
                series = _named(one.name, target | dict(one.labels))
                found.append({"series": series, "values": shown(one.name, one.value, now)})
    return found


def _named(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def firing(folder: Path, text: str, names: set[str]) -> None:
    """promtool agrees that exactly these alerts fire, over all that time."""
    expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)]
    tests: list[dict[str, Any]] = [
        {
            "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{BEFORE + at}m",
            "exp_samples": expected,
        }
        for at in CHECKED
    ]
    if names == {"SyncwatchWatchdog"}:
        oldest = {"expr": "max(syncwatch_oldest_open_seconds)", "eval_time": f"{BEFORE + 239}m"}
        tests.append(oldest | {"exp_samples": [{"labels": "{}", "value": 0}]})
    series = as_series(text, time.time())
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "5m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
    }
    path = folder / "idle.yml"
    path.write_text(yaml.safe_dump(document))
    run("promtool", "test", "rules", path)


async def quiet(watched: Watched) -> str:
    """What it exports once it has swept and examined its set-up."""
    name = "syncwatch_sweep_last_success_timestamp_seconds"

    async def swept() -> bool:
        return bool(await watched.metric(name))

    await until(swept, told="a sweep")
    return await watched.metrics_text()


SETTINGS: dict[str, Any] = {"harbor": {"sweep_every": "10s"}}


async def test_idle_after_a_start_at_an_empty_harbor(tmp_path: Path) -> None:
    async with scene(tmp_path, **SETTINGS) as stage, stage.watched() as watched:
        text = await quiet(watched)
    firing(tmp_path, text, {"SyncwatchWatchdog"})


async def test_idle_after_a_start_at_a_harbor_with_a_past(tmp_path: Path) -> None:
    async with scene(tmp_path, **SETTINGS) as stage:
        for n in range(5):
            stage.push(f"old-{n}")
        await stage.harbor.idle()
        async with stage.watched() as watched:
            text = await quiet(watched)
    firing(tmp_path, text, {"SyncwatchWatchdog"})


async def test_idle_after_pushes_that_arrived(tmp_path: Path) -> None:
    async with scene(tmp_path, **SETTINGS) as stage, stage.watched() as watched:
        await _arrived(stage, watched)
        text = await quiet(watched)
    firing(tmp_path, text, {"SyncwatchWatchdog"})


async def test_the_same_series_of_a_run_that_went_wrong_do_alert(tmp_path: Path) -> None:
    rechecks = {"recheck_per_minute": 600, "recheck_after": "1s"}
    settings = {**SETTINGS, "destination": rechecks}
    async with scene(tmp_path, **settings) as stage:
        deep: dict[str, Any] = {"namespace": "mirror", "replace_count": 2}
        stage.harbor.create_policy("deep", DESTINATION, pattern="apps/**", **deep)
        async with stage.watched() as watched:
            await _arrived(stage, watched)
            await until(
                lambda: _proven_since_the_claim(watched), told="a look after Harbor's claim"
            )
            stage.registry.lose_manifest(REPOSITORY, images.image("1.0").digest)
            await watched.row(reference="1.0", state="failed", reason="lost")

            async def found() -> bool:
                return "flattening_too_deep" in await watched.finding_names()

            await until(found, told="flattening_too_deep")
            text = await quiet(watched)
    names = {"SyncwatchWatchdog", "SyncwatchLost", "SyncwatchImageFailed", "SyncwatchFinding"}
    firing(tmp_path, text, names)


async def _proven_since_the_claim(watched: Watched) -> bool:
    """So that its loss is no false success."""
    rows = await watched.expectations(reference="1.0", state="verified")
    return any(
        datetime.fromisoformat(one["observed_at"]) - datetime.fromisoformat(one["claimed_at"])
        > timedelta(seconds=3)
        for one in rows
        if one["claimed_at"]
    )


async def _arrived(stage: Scene, watched: Watched) -> None:
    for reference in ("1.0", "1.1", "latest"):
        stage.push(reference)
    for reference in ("1.0", "1.1", "latest"):
        row = await watched.row(reference=reference, state="verified")
        assert row["destination"] == DESTINATION
    await stage.harbor.idle()
