"""What the benchmarks share: figures, medians, child processes and what they cost."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
_TICKS = os.sysconf("SC_CLK_TCK")
_LATENCY_PROBES = 200


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was measured, what came out, what it should be."""

    what: str
    value: str
    aim: str = ""


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table."""
    lines = ["| measured | figure | aim |", "|---|---|---|"]
    lines += [f"| {one.what} | {one.value} | {one.aim or '–'} |" for one in figures]
    return "\n".join(lines)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of ours / theirs: a machine's drift moves both of a round alike."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def machine(folder: Path) -> str:
    """Cores, Python and kernel, and how long this disk takes to make 4 kB durable."""
    with Path("/proc/cpuinfo").open() as told:
        models = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    kernel = platform.release().split("-")[0]
    return (
        f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}, "
        f"Linux {kernel}, fdatasync of 4 kB {fdatasync_milliseconds(folder):.2f} ms (median)"
    )


def fdatasync_milliseconds(folder: Path) -> float:
    """What a durable write costs at least where the stores of these benchmarks are."""
    taken = []
    path = folder / "fdatasync"
    with path.open("wb", buffering=0) as file:
        for _ in range(_LATENCY_PROBES):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - began) * 1000)
    path.unlink()
    return median(taken)


def program(name: str) -> str | None:
    """Where a program of Debian's is."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, its reaped children included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / _TICKS


def resident_megabytes(pid: int) -> float:
    """RSS in 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("the process has ended")


@contextmanager
def python(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A script beside this one in a process of its own, ended with the block."""
    command = [sys.executable, str(HERE / script), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that it prints: its address, once it listens."""
    if process.stdout is None:
        raise RuntimeError("it was not to be listened to")
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"it ended with code {process.wait()}")
    return line
