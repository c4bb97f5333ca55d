"""How far the waiting is, on stderr: one live line on a terminal, else a line on each change."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from syncwatch.cli.answers import UNASKED, YES
from syncwatch.tables import seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from syncwatch.cli.answers import Image, Known

APART = 1.0
"""Seconds between two lines, however much changes."""

SIGN_OF_LIFE = 60.0
"""Seconds after which a line is written although nothing changed: CI ends silent steps."""


class Progress:
    """Shows what `known` says; call it when that changed."""

    def __init__(self, known: Callable[[], Mapping[Image, Known]], *, quiet: bool) -> None:
        self._known = known
        self._quiet = quiet
        # Not rich's own word for it: CI systems set FORCE_COLOR, and are no terminals.
        self._terminal = sys.stderr.isatty()
        self._console = Console(stderr=True, force_terminal=self._terminal)
        self._began = time.monotonic()
        self._said = ""
        self._said_at = -SIGN_OF_LIFE

    def __call__(self) -> None:
        """Write a line where there is no terminal and something is new."""
        if self._quiet or self._terminal:
            return
        summary, silent = self._summary(), time.monotonic() - self._said_at
        if silent < (SIGN_OF_LIFE if summary == self._said else APART):
            return
        self._said, self._said_at = summary, time.monotonic()
        self._console.print(self._line(), soft_wrap=True, highlight=False, markup=False)

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Keep it on the terminal until the block ends, and then leave nothing of it."""
        if self._quiet:
            yield
        elif self._terminal:
            spinner = Spinner("dots")
            with Live(
                console=self._console,
                transient=True,
                refresh_per_second=8,
                get_renderable=lambda: self._spinning(spinner),
            ):
                yield
        else:
            living = asyncio.create_task(self._live())
            try:
                yield
            finally:
                living.cancel()

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(APART)
            self()

    def _spinning(self, spinner: Spinner) -> Spinner:
        spinner.update(text=Text(self._line(), overflow="ellipsis", no_wrap=True))
        return spinner

    def _line(self) -> str:
        past = time.monotonic() - self._began
        after = "0s" if past < 1 else seconds(past)
        usable, _, rest = self._summary().partition("; ")
        return f"{usable} after {after}" + (f"; waiting for {rest}" if rest else "")

    def _summary(self) -> str:
        known = self._known()
        usable = sum(one.code == YES for one in known.values())
        told = f"{usable} of {len(known)} usable"
        waited = ((i, k) for i, k in known.items() if not k.settled and k is not UNASKED)
        slowest = next(waited, None)
        return f"{told}; {slowest[0].written} {slowest[1].told}" if slowest else told
