"""A thousand images are to be probed, and a cluster has a budget of sixty pods an hour.

A lab Harbor and registry, the daemon, and an API of Kubernetes that plays kubelets; the clock is
put forward by hand. Fails where the budget does not hold, is not used up, or is spent in another
order than that of what was never probed, the oldest first.

    .venv/bin/python benchmarks/probes.py [--images 1000] [--per-hour 60] [--hours 3]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from measuring import TESTS

sys.path[:0] = [str(TESTS), str(TESTS / "daemon"), str(TESTS / "probe")]
from budgets import hours_of  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--per-hour", type=int, default=60)
    parser.add_argument("--hours", type=int, default=3)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="syncwatch-probes-") as name:
        limits = {"pushed": given.images, "per_hour": given.per_hour, "hours": given.hours}
        begun = asyncio.run(hours_of(Path(name), **limits))
    counts = ", ".join(map(str, begun))
    print(f"{given.images} images, {given.per_hour} an hour: {counts} pods begun in each hour")
    print(f"{time.monotonic() - began:.0f} s in all", file=sys.stderr)


if __name__ == "__main__":
    main()
