"""Many inputs for one parser: what it did wrong, how long it took, what it kept of memory.

A target's `check` takes bytes, asks the parser, and raises where the parser raised what it may not
or where a property does not hold. What it returns is the *shape* of the answer: an input with a
shape not seen before is altered again.
"""

from __future__ import annotations

import resource
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mutation import Mutator

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

MEMORY = 64 * 1024 * 1024
"""Bytes by which one case may raise the largest size that the process has had."""
SHAPES = 100_000
_ATTEMPTS = 600
_TOP = str(Path(__file__).resolve().parents[2])
_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Target:
    """One parser. `seconds` is the CPU time that one input may take, `longest` its bytes.

    `forget` empties the parser's caches: a case that was slow is timed again, as the first time.
    """

    name: str
    what: str
    check: Callable[[bytes], Hashable]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes] = ()
    seconds: float = 0.05
    longest: int = 16 * 1024
    forget: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Finding:
    """What went wrong, where, and with a small input that shows it. `kind` tells findings apart."""

    kind: str
    words: str
    data: bytes


@dataclass(slots=True)
class Result:
    """What a campaign came to: `seconds` of wall time, `slowest` CPU seconds of one case."""

    target: Target
    cases: int = 0
    seconds: float = 0.0
    shapes: int = 0
    slowest: float = 0.0
    slowest_data: bytes = b""
    grown: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)


def campaign(target: Target, cases: int, *, seed: int = 1) -> Result:
    """Ask `target` with its seeds and then with altered ones, `cases` inputs in all."""
    seeds = target.seeds()
    mutator = Mutator(seeds, target.words, seed=seed, longest=target.longest)
    result, shapes = Result(target), set[object]()
    began, size_at_first = time.perf_counter(), _largest_size()
    size = size_at_first
    for number in range(cases):
        data = seeds[number] if number < len(seeds) else mutator.next()
        before = time.process_time()
        try:
            shape = target.check(data)
        except Exception as error:
            _note_error(result, error, data)
            continue
        spent = time.process_time() - before
        if spent > result.slowest:
            _note_time(result, data, spent)
        if (now := _largest_size()) != size:
            _note_memory(result, data, now - size)
            size = now
        if shape not in shapes and len(shapes) < SHAPES:
            shapes.add(shape)
            mutator.keep(data)
    result.cases, result.shapes = cases, len(shapes)
    result.seconds, result.grown = time.perf_counter() - began, size - size_at_first
    return result


def _largest_size() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def _note_error(result: Result, error: Exception, data: bytes) -> None:
    kind = _kind(error)
    if kind not in result.findings:
        small = _smaller(data, lambda candidate: _raised(result.target, candidate) == kind)
        words = "".join(traceback.format_exception_only(error)).strip()[:300]
        result.findings[kind] = Finding(kind, words, small)


def _note_time(result: Result, data: bytes, spent: float) -> None:
    """A case that looks slow is timed thrice more: a busy machine is no slow parser."""
    if spent > result.target.seconds / 2:
        spent = min(spent, *(_seconds(result.target, data) for _ in range(3)))
    if spent <= result.slowest:
        return
    result.slowest, result.slowest_data = spent, data
    if spent > result.target.seconds:
        result.findings["slow"] = Finding("slow", f"{spent * 1000:.0f} ms", data)


def _note_memory(result: Result, data: bytes, grown: int) -> None:
    if grown > MEMORY:
        result.findings["memory"] = Finding("memory", f"{grown / 2**20:.0f} MiB more", data)


def _seconds(target: Target, data: bytes) -> float:
    target.forget()
    before = time.process_time()
    target.check(data)
    return time.process_time() - before


def _kind(error: Exception) -> str:
    """The error's type and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_ours(frame.filename)] or frames
    place = own[-1].filename.rpartition("/")[2]
    return f"{type(error).__name__} in {place}:{own[-1].lineno} ({own[-1].name})"


def _is_ours(filename: str) -> bool:
    return filename.startswith(_TOP) and "site-packages" not in filename


def _raised(target: Target, data: bytes) -> str | None:
    try:
        target.check(data)
    except Exception as error:
        return _kind(error)
    return None


def _smaller(data: bytes, holds: Callable[[bytes], bool]) -> bytes:
    """The input with all left out that is not needed for `holds`, in so many attempts."""
    attempts, piece = 0, max(1, len(data) // 2)
    while piece and attempts < _ATTEMPTS:
        at = 0
        while at < len(data) and attempts < _ATTEMPTS:
            attempts += 1
            candidate = data[:at] + data[at + piece :]
            if holds(candidate):
                data = candidate
            else:
                at += piece
        piece //= 2
    return data
