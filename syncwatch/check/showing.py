"""What a comparison shows: rows as they come, progress while it runs, a summary at its end.

Answers go to stdout, progress to stderr. Rows are not kept longer than a screen of them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from syncwatch.model import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncwatch.check.comparing import Tally
    from syncwatch.check.judging import Outcome

ROWS = 200
"""Rows that one table has; more make a further one."""

LINE_EVERY = 5.0
"""Seconds between lines of progress where there is no terminal."""

_COLOURS = {
    State.VERIFIED: "green",
    State.FAILED: "red",
    State.UNKNOWN: "yellow",
    State.PENDING: "cyan",
}


class Shown(Protocol):
    """A form of the answer."""

    def row(self, outcome: Outcome) -> None:
        """One outcome more."""

    def end(self, tally: Tally) -> None:
        """All that there is to say at the end."""


class AsTable:
    """Rows that are not verified (or all, if wished) in tables, then a line a destination."""

    def __init__(self, *, everything: bool, progress: Progress | None) -> None:
        self._everything = everything
        self._progress = progress
        self._rows: list[Outcome] = []
        self._console = Console()

    def row(self, outcome: Outcome) -> None:
        """One outcome more; a full table is printed."""
        if self._everything or outcome.state is not State.VERIFIED:
            self._rows.append(outcome)
        if len(self._rows) >= ROWS:
            self._print_rows()

    def end(self, tally: Tally) -> None:
        """The last table, and the summary; the bar is gone by then."""
        self._progress = None
        self._print_rows()
        for line in summary(tally):
            self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _print_rows(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        table = Table("image", "destination", "state", "why")
        for one in sorted(rows, key=lambda row: (row.destination or "", row.image or "")):
            state = Text(_state_words(one), _COLOURS.get(one.state, ""))
            why = Text(one.message, overflow="fold")
            name = Text(one.image or "", overflow="fold")
            table.add_row(name, Text(one.destination or "", overflow="fold"), state, why)
        bar = self._progress
        if bar is not None:
            bar.stop()
        self._console.print(table)
        if bar is not None:
            bar.start()


class AsJson:
    """One object, written as its items come: `{"items": […], "summary": {…}}`."""

    def __init__(self) -> None:
        self._before = '{"items": [\n'

    def row(self, outcome: Outcome) -> None:
        """One item more."""
        sys.stdout.write(self._before + json.dumps(outcome.as_json()))
        self._before = ",\n"

    def end(self, tally: Tally) -> None:
        """Close the list, and the summary."""
        start = self._before if self._before.startswith("{") else "\n"
        sys.stdout.write(f'{start}], "summary": {json.dumps(tally.as_json(), indent=2)}}}\n')
        sys.stdout.flush()


def _state_words(outcome: Outcome) -> str:
    deep = outcome.level if outcome.state is State.VERIFIED else outcome.reason
    return f"{outcome.state}: {deep}" if deep else str(outcome.state)


def summary(tally: Tally) -> list[str]:
    """What came of it, in lines for people."""
    lines = [*tally.notes, *tally.problems, *tally.absent]
    for (harbor, destination), one in sorted(tally.states.items()):
        lines.append(
            f"{destination} (Harbor {harbor}): {sum(one.values())} checked, "
            f"{one[State.VERIFIED]} verified, {one[State.FAILED]} failed, "
            f"{one[State.UNKNOWN]} unknown"
            + f", {one[State.PENDING]} pending"
            * bool(one[State.PENDING])
        )
    if not (tally.checked or tally.interrupted or tally.problems or tally.absent):
        lines.append("Nothing is in scope: no enabled rule selects an image that was asked for.")
    if tally.quick and tally.checked:
        lines.append("Only names were compared: whether what they name can be read was not asked.")
    if tally.interrupted:
        lines.append("Interrupted: this is what is known so far, the rest is unknown.")
    return lines


@contextmanager
def bar_on_terminal(wanted: bool) -> Iterator[Progress | None]:
    """A progress bar on stderr where that is a terminal."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bar:
        yield bar


async def follow(tally: Tally, bar: Progress | None, *, lines: bool) -> None:
    """Keep the bar, or lines of progress, up to date; for ever, until cancelled."""
    began = told = time.monotonic()
    task = bar.add_task("listing", total=None, rate="") if bar is not None else None
    while True:
        await asyncio.sleep(0.2)
        now = time.monotonic()
        rate = f"{tally.checked / max(now - began, 0.001):.0f}/s"
        if bar is not None and task is not None:
            words = "checking" if tally.checked else "listing"
            fields: dict[str, Any] = {"completed": tally.checked, "total": tally.expected or None}
            bar.update(task, description=words, rate=rate, **fields)
        elif lines and now - told >= LINE_EVERY:
            told = now
            sys.stderr.write(f"checked {tally.checked} of about {tally.expected}, {rate}\n")
            sys.stderr.flush()
