"""Webhooks a second, durable before they are answered, against a handler that stores nothing.

Both are aiohttp on uvloop in processes of their own; `wrk` is the load. Rounds are interleaved
(parse, SQLite, PostgreSQL, parse, …), figures are medians of the rounds, and each ratio is taken
within a round. In the end each store is asked for as many rows as were acknowledged.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from intake_server import AUTHORIZATION
from measuring import TESTS, Figure, cpu_seconds, line_of, median, program, python, ratio
from measuring import table as table_of
from postgres import binaries, postgresql
from sqlalchemy import create_engine, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROUNDS = 5
SECONDS = {64: 2, 8: 1, 256: 1}
"""Connections, and how many seconds a round lasts with so many."""

BODY_BYTES = 1200
_UNIQUE = 900_000_001


@dataclass(frozen=True, slots=True)
class Round:
    """What one run of wrk measured; times in milliseconds, `cpu` the server's in µs a request."""

    rate: float
    p50: float
    p99: float
    cpu: float
    acknowledged: int


def body() -> bytes:
    """Harbor's report of a task with many tags (recording 12), compact as Go writes it.

    It has as many tags as make 1.2 kB. Of the default format, so that it is hashed to know a
    repeat, and a replication, so that intake reads all of it.
    """
    path = TESTS / "recordings/12-manual-run-many-tags/webhooks.jsonl"
    bodies = [json.loads(line)["body"] for line in path.read_text().splitlines()]
    told = next(b for b in bodies if "successful_artifact" in b["event_data"]["replication"])
    replication = told["event_data"]["replication"]
    replication["task_id"] = _UNIQUE
    tags = replication["successful_artifact"][0]["references"]
    while len(_compact(told)) < BODY_BYTES:
        tags.append(f"1.0.{len(tags)}")
    return _compact(told)


def _compact(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def lua(folder: Path, start: int) -> Path:
    """A script of wrk's that gives each request a body nobody sent before."""
    before, _, after = body().decode().partition(str(_UNIQUE))
    path = folder / "load.lua"
    path.write_text(f"""
local before, after = {json.dumps(before)}, {json.dumps(after)}
local number = {start}
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = {json.dumps(AUTHORIZATION)}
function request()
  number = number + 1
  return wrk.format(nil, nil, nil, before .. string.format("%09d", number) .. after)
end
function response(status, headers, body)
  if status ~= 202 then print("status " .. status) end
end
function done(summary, latency, requests)
  io.write(string.format("figures %d %d %f %f\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99)))
end
""")
    return path


class Target:
    """One server under test."""

    def __init__(self, name: str, store: str, running: ExitStack) -> None:
        self.name = name
        self.acknowledged = 0
        self.rounds: dict[int, list[Round]] = {connections: [] for connections in SECONDS}
        self._sent = 100_000_000
        self._process = running.enter_context(python("intake_server.py", store))
        self._url = f"http://127.0.0.1:{line_of(self._process)}/webhook/main"

    def load(self, wrk: str, folder: Path, connections: int) -> None:
        """One round."""
        script = lua(folder, self._sent)
        before = cpu_seconds(self._process.pid)
        told = subprocess.run(
            [wrk, "-t1", f"-c{connections}", f"-d{SECONDS[connections]}s", "-s", script, self._url],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        if "status " in told or "Socket errors" in told:
            raise RuntimeError(f"{self.name}: not everything was accepted: {told[:300]}")
        cpu = cpu_seconds(self._process.pid) - before
        words = next(line for line in told.splitlines() if line.startswith("figures ")).split()
        requests, micros = int(words[1]), int(words[2])
        p50, p99 = float(words[3]) / 1000, float(words[4]) / 1000
        rate = requests / micros * 1e6
        self.rounds[connections].append(Round(rate, p50, p99, cpu / requests * 1e6, requests))
        self.acknowledged += requests
        self._sent += requests + 1000  # what wrk had under way when it stopped

    def of(self, connections: int, field: str) -> list[float]:
        return [getattr(one, field) for one in self.rounds[connections]]


def measure(folder: Path) -> list[Figure]:
    """Run it all; one figure for each store and number of connections."""
    wrk = program("wrk")
    if wrk is None:
        return [Figure("Webhook intake", "not measured: wrk is not installed")]
    with ExitStack() as running:
        stores = {"SQLite (FULL)": f"sqlite:///{folder}/intake.db"}
        if binaries():
            stores["PostgreSQL"] = running.enter_context(postgresql())
        # Entered last, so that each server ends before its database does.
        bare = Target("parse only", "parse", running)
        targets = {name: Target(name, store, running) for name, store in stores.items()}
        for connections in SECONDS:
            for _ in range(ROUNDS):
                for one in (bare, *targets.values()):
                    one.load(wrk, folder, connections)
        figures = [_bare_figure(bare, c) for c in SECONDS]
        for one in targets.values():
            figures += [_figure(one, bare, c) for c in SECONDS]
        _check(targets, stores)
    return figures


def _bare_figure(bare: Target, connections: int) -> Figure:
    return Figure(
        f"aiohttp handler that parses and stores nothing, {connections} connections",
        f"{median(bare.of(connections, 'rate')):,.0f}/s; p50 "
        f"{median(bare.of(connections, 'p50')):.1f} ms, p99 "
        f"{median(bare.of(connections, 'p99')):.1f} ms; "
        f"{median(bare.of(connections, 'cpu')):.0f} µs CPU each",
    )


def _figure(one: Target, bare: Target, connections: int) -> Figure:
    compared = ratio(one.of(connections, "rate"), bare.of(connections, "rate"))
    return Figure(
        f"webhooks durable in {one.name}, {connections} connections",
        f"{median(one.of(connections, 'rate')):,.0f}/s = {compared:.2f} of that; p50 "
        f"{median(one.of(connections, 'p50')):.1f} ms, p99 "
        f"{median(one.of(connections, 'p99')):.1f} ms; "
        f"{median(one.of(connections, 'cpu')):.0f} µs CPU each",
        "≥ 0.9, p99 ≤ 10 ms" if connections == 64 else "",
    )


def _check(targets: Mapping[str, Target], stores: Mapping[str, str]) -> None:
    """As many rows as acknowledgements, or more: what wrk did not wait for was stored as well."""
    for name, target in targets.items():
        url = stores[name].replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(url)
        with engine.connect() as connection:
            rows = connection.execute(text("select count(*) from deliveries")).scalar() or 0
        engine.dispose()
        if rows < target.acknowledged:
            raise RuntimeError(f"{name}: {target.acknowledged} acknowledged, {rows} stored")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="syncwatch-intake-") as folder:
        figures: Sequence[Figure] = measure(Path(folder))
    print(f"{len(body())} bytes a body\n")
    print(table_of(figures))


if __name__ == "__main__":
    main()
