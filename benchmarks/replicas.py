"""Webhooks a second, durable before they are answered, of two and three replicas against one.

Each replica is the intake of `intake_server.py` in a process of its own, all on one PostgreSQL;
each has a `wrk` of its own. Rounds are
interleaved (one, two, three, one, …); the ratio is taken within a round. Replicas, PostgreSQL and
the load share the machine's cores: where there are fewer cores than processes it shows that.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from intake import Target
from measuring import Figure, machine, median, program, ratio, table
from postgres import binaries, postgresql

ROUNDS = 5
CONNECTIONS = 64
"""To each replica; one of those that `intake` measures one process with."""
NUMBERS = 10_000_000
"""Apart: no two replicas may be sent the same body, which would be a repeat."""


class Replica(Target):
    """One of several on the same store."""

    def __init__(self, number: int, store: str, running: ExitStack) -> None:
        super().__init__(f"replica {number}", store, running)
        self._sent += number * NUMBERS


def rate(wrk: str, folder: Path, replicas: list[Replica]) -> tuple[float, float]:
    """Answered in a second by all together under load at the same time, and the slowest's p99."""

    def load(one: Replica) -> None:
        own = folder / one.name.replace(" ", "-")
        own.mkdir(exist_ok=True)
        one.load(wrk, own, CONNECTIONS)

    with ThreadPoolExecutor(len(replicas)) as threads:
        list(threads.map(load, replicas))
    last = [one.rounds[CONNECTIONS][-1] for one in replicas]
    return sum(one.rate for one in last), max(one.p99 for one in last)


def measure(folder: Path) -> list[Figure]:
    """One figure for each number of replicas."""
    wrk = program("wrk")
    if wrk is None or not binaries():
        return [Figure("Replicas", "not measured: wrk or PostgreSQL is not installed")]
    with ExitStack() as running:
        store = running.enter_context(postgresql())
        replicas = [Replica(number, store, running) for number in range(3)]
        rounds: dict[int, list[tuple[float, float]]] = {1: [], 2: [], 3: []}
        for _ in range(ROUNDS):
            for count, measured in rounds.items():
                measured.append(rate(wrk, folder, replicas[:count]))
    return [_figure(count, rounds) for count in rounds]


def _figure(count: int, rounds: dict[int, list[tuple[float, float]]]) -> Figure:
    rates = [one for one, _ in rounds[count]]
    compared = ratio(rates, [one for one, _ in rounds[1]])
    late = median([p99 for _, p99 in rounds[count]])
    words = f"{median(rates):,.0f}/s = {compared:.2f} times one; p99 {late:.1f} ms"
    named = f"{count} replica{'s' * (count > 1)}"
    return Figure(
        f"webhooks durable in one PostgreSQL, {named}, {CONNECTIONS} connections each",
        words,
        "1.7 times" if count == 2 else "",
    )


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="syncwatch-replicas-") as name:
        figures = measure(Path(name))
        print(machine(Path(name)))
    print(table(figures))


if __name__ == "__main__":
    main()
