"""Fuzzing the parsers: `python tests/fuzz/run.py --cases 1000000 --target patterns`.

Prints a Markdown table, one row a target, and each finding with a small input that shows it; ends
with 1 where there is one. The same seed asks the same. Runs in one process, at low priority.
"""

from __future__ import annotations

import argparse
import os
import sys

import harbor_targets
import header_targets
import link_targets
import registry_targets
from campaign import Result, campaign

TARGETS = {
    one.name: one
    for module in (harbor_targets, registry_targets, header_targets, link_targets)
    for one in module.TARGETS
}


def row(result: Result) -> str:
    """One line of the table."""
    return (
        f"| {result.target.what} | {result.cases:,} | {result.seconds:.0f} | {result.shapes:,} | "
        f"{result.slowest * 1000:.1f} | {result.grown / 2**20:.0f} | {len(result.findings)} |"
    )


def told(result: Result) -> str:
    """The findings, each with its input."""
    lines = [
        f"{result.target.name}: {one.kind}: {one.words}\n    {one.data!r}"
        for one in result.findings.values()
    ]
    return "\n".join([*lines, f"{result.target.name}: slowest: {result.slowest_data[:500]!r}"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the parsers.")
    parser.add_argument("--cases", type=int, default=100_000, help="inputs for each target")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs")
    asked = parser.parse_args()
    os.nice(19)
    print("| target | cases | seconds | shapes | slowest, ms CPU | memory, MiB | findings |")
    print("|---|---|---|---|---|---|---|", flush=True)
    found = 0
    for name in asked.target or TARGETS:
        result = campaign(TARGETS[name], asked.cases, seed=asked.seed)
        print(row(result), flush=True)
        print(told(result), file=sys.stderr, flush=True)
        found += len(result.findings)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
