"""The live table on a terminal: every push, where it is expected, whether it arrived, why not.

In comes a `Board`; out go lines for the whole screen. What went wrong says why in words beside the
reason where the terminal is wide, and on a line of its own where it is not.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

from syncwatch.lab.board import Mishap, clock, lag, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from syncwatch.lab.board import Board, Pushed

STYLES = {
    "pending": "cyan",
    "verified": "green",
    "failed": "bold red",
    "unknown": "yellow",
    "closed": "dim",
}
MARKS = {"pending": "…", "verified": "✔", "failed": "✘", "unknown": "?", "closed": "–"}


class Screen:
    """The board on a whole terminal; `show` draws it anew, the size as it is then."""

    def __init__(self, board: Board, title: Sequence[str]) -> None:
        self._board = board
        self._title = title
        self._console = Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def open(self) -> None:
        """Take the terminal over."""
        self._live.start()

    def show(self) -> None:
        """Draw what the board has."""
        self._live.update(self._picture(self._console.height), refresh=True)

    def close(self) -> None:
        """Give the terminal back, with the last picture on it."""
        self._live.stop()
        self._console.print(self._picture(self._console.height - 2))

    def _picture(self, height: int) -> Group:
        columns = Columns(self._console.width)
        top = [
            _cut(f" {line}", "dim" if number else "bold") for number, line in enumerate(self._title)
        ]
        last = [*_troubles(self._board), *summary(self._board, columns)]
        rule = Rule(style="dim")
        room = height - len(top) - len(last) - 3
        return Group(*top, rule, heading(columns), *table(self._board, columns, room), rule, *last)


def _troubles(board: Board) -> list[Text]:
    found = [f"{one['finding']}: {one['message']}" for one in board.findings[-2:]]
    lines = [_cut(f" {shortened(one)}", "yellow") for one in found]
    return lines + [_cut(f" the daemon: {one}", "bold red") for one in board.troubles[-2:]]


def _cut(text: str, style: str = "") -> Text:
    """A line that is cut, not wrapped, where the terminal ends."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths for a terminal so wide; the last column takes what is left."""

    width: int
    time: int = 8
    image: int = 22
    destination: int = 10
    name: int = 17
    state: int = 10

    @property
    def before_last(self) -> int:
        """How many cells stand before the last column, gaps of two included."""
        return 1 + sum(width + 2 for width in self._fixed)

    @property
    def last(self) -> int:
        """What is left for the last column."""
        return max(self.width - self.before_last - 1, 10)

    @property
    def wide(self) -> bool:
        """Whether a message has room in the last column."""
        return self.last >= 60

    @property
    def narrow(self) -> bool:
        """Whether the name at the destination has no room."""
        return self.width < 96

    @property
    def _fixed(self) -> tuple[int, ...]:
        names = () if self.narrow else (self.name,)
        return (self.time, self.image, self.destination, *names, self.state)

    def line(self, *cells: tuple[str, str]) -> Text:
        """One line of six (text, style) cells; what is too long ends in an ellipsis."""
        line = _cut(" ")
        shown = (*cells[:3], *cells[4:]) if self.narrow else cells
        for width, (text, style) in zip((*self._fixed, self.last), shown, strict=True):
            cell = Text(text, style)
            cell.truncate(width, overflow="ellipsis", pad=True)
            line.append_text(cell).append("  ")
        line.rstrip()
        return line


def heading(columns: Columns) -> Text:
    """The line above the table."""
    names = ("time", "in Harbor", "to", "as", "state", "after, or why not")
    return columns.line(*((name, "bold dim") for name in names))


def table(board: Board, columns: Columns, height: int) -> list[Text]:
    """The newest events that fit, oldest first."""
    lines: list[Text] = []
    for event in reversed(board.events):
        block = _block(board, event, columns)
        if len(lines) + len(block) > height:
            break
        lines[:0] = block
    return lines


def _block(board: Board, event: Pushed | Mishap, columns: Columns) -> list[Text]:
    if isinstance(event, Mishap):
        words = f" {clock(event.at)}  ── {event.words} "
        return [Text(words.ljust(columns.width - 1, "─"), "magenta", no_wrap=True)]
    rows = board.expected(event)
    first = ((clock(event.at), "dim"), (event.name, "bold"))
    if not rows:
        return [columns.line(*first, ("", ""), ("", ""), ("", ""), (event.what, "dim"))]
    lines: list[Text] = []
    for number, row in enumerate(rows):
        start = first if number == 0 else (("", ""), (f"  {event.what}" * (number == 1), "dim"))
        lines += _row(row, start, columns)
    return lines


def _row(
    row: dict[str, Any], start: tuple[tuple[str, str], ...], columns: Columns
) -> Iterator[Text]:
    """An expectation; its message stands beside the reason where there is room, else below."""
    state, style = row["state"], STYLES[row["state"]]
    plain = "dim" if state == "closed" else ""
    last, below = _last(row), []
    if state in ("failed", "unknown"):
        message = shortened(row["message"])
        if columns.wide:
            last, *below = _wrapped(f"{last}: {message}", columns.last)
        else:
            below = _wrapped(message, columns.width - 13)
    yield columns.line(
        *start,
        (row["destination"], plain),
        (f"{row['repository']}:{row['reference']}", plain),
        (f"{MARKS[state]} {state}", style),
        (last, style.removeprefix("bold ")),
    )
    indent = columns.before_last if columns.wide else 12
    for line in below:
        yield Text(" " * indent + line, style.removeprefix("bold "), no_wrap=True)


def _last(row: dict[str, Any]) -> str:
    if row["state"] == "verified":
        return f"after {lag(row)}"
    return f"{row['reason']}{', overdue' if row['overdue'] else ''}"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def summary(board: Board, columns: Columns) -> list[Text]:
    """Counts by state, and how each destination does; on two lines where one is too short."""
    states, places = _cut(" "), _cut(" ")
    for state, count in board.status.get("states", {}).items():
        states.append(f"{MARKS[state]} {count} {state}   ", STYLES[state] if count else "dim")
    for one in board.status.get("destinations", []):
        up = one["up"] is not False
        places.append("● " if up else "○ ", "green" if up else "red")
        places.append(one["name"])
        places.append(f" {one['open']} open   " if one["open"] else "   ", "yellow")
    return [states.append_text(places)] if columns.width >= 130 else [states, places]
