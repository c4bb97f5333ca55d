"""All benchmarks, one after the other, and one Markdown table of what they measured.

Takes about seven minutes. Nothing leaves the loopback interface. Run it where nothing else runs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import checks
import depth
import gate
import intake
import isolation
import page
import plain
import start
from measuring import Figure, machine, table


def main() -> None:
    began = time.monotonic()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="syncwatch-benchmarks-") as name:
        told = machine(Path(name))
        for benchmark in (intake, checks, depth, plain, isolation, start, gate, page):
            folder = Path(name) / benchmark.__name__
            folder.mkdir()
            figures += benchmark.measure(folder)
            print(f"{benchmark.__name__}: done", file=sys.stderr)
    print(f"{told}\n\n{table(figures)}")
    print(f"{time.monotonic() - began:.0f} s in all", file=sys.stderr)


if __name__ == "__main__":
    main()
