"""Asks the gate about many images until all are usable, one never will be, or the time is over.

Every image is asked once without waiting, so that a no is known within seconds; then those that may
still come are long polls, which the daemon answers as soon as it knows.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from syncwatch.asking import AwayError
from syncwatch.cli.answers import UNASKED, YES, Known, judge
from syncwatch.cli.options import CANNOT_TELL, NO, USAGE
from syncwatch.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from syncwatch.asking import Daemon
    from syncwatch.cli.answers import Image

TURNS = 16
"""Questions under way at once."""

HOLD = 55.0
"""Seconds of a long poll: below the minute after which proxies cut silence."""

SLACK = 30.0
"""Seconds that an answer may take beyond its wait: a look at a slow destination."""

AT_LEAST = 10.0
"""Seconds for the first answers, however short the time is."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of each image; empty values leave the choice to the daemon."""

    destinations: tuple[str, ...] = ()
    any: bool = False
    level: str = ""
    max_age: str = ""

    def path(self, image: str, wait: float) -> str:
        """The route with its parameters; `wait` in seconds."""
        query = [("image", image), *(("destination", one) for one in self.destinations)]
        query += [("any", "1")] if self.any else []
        query += [("level", self.level)] if self.level else []
        query += [("max_age", self.max_age)] if self.max_age else []
        query += [("wait", f"{int(wait)}s")] if wait >= 1 else []
        return f"/api/v1/gate?{urlencode(query)}"


class Polling:
    """`known` is what is known of each image, in the order they were given."""

    def __init__(
        self,
        daemon: Daemon,
        question: Question,
        images: Sequence[Image],
        *,
        timeout: float,
        keep_going: bool = False,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._daemon = daemon
        self._question = question
        self._timeout = timeout
        self._keep_going = keep_going
        self._changed = changed
        self._turns = asyncio.Semaphore(TURNS)
        self._end = 0.0
        self.known: dict[Image, Known] = dict.fromkeys(images, UNASKED)

    @property
    def open_ones(self) -> list[Image]:
        """Those that are not usable yet, and may become so."""
        return [image for image, known in self.known.items() if not known.settled]

    @property
    def decided(self) -> bool:
        """Whether waiting longer cannot change how it ends."""
        ended = {known.code for known in self.known.values() if known.settled and known.code != YES}
        hopeless = ended & {NO, USAGE, CANNOT_TELL}
        return not self.open_ones or (bool(hopeless) and not self._keep_going)

    async def run(self) -> None:
        """Ask until it is decided, or `timeout` seconds have passed; each is asked at least once
        where the daemon answers."""
        now = asyncio.get_running_loop().time()
        self._end = now + self._timeout
        first = [self._ask(one, hold=False) for one in self.known]
        await self._until(max(self._end, now + AT_LEAST), first)
        if not self.decided:
            await self._until(self._end, [self._hold(one) for one in self.open_ones], stop=True)

    async def _until(
        self, end: float, asking: Sequence[Coroutine[Any, Any, Any]], *, stop: bool = False
    ) -> None:
        """Run all of them until `end`; with `stop` only until it is decided."""
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(one) for one in asking}
        rest = tasks
        try:
            while rest and not (stop and self.decided) and (left := end - loop.time()) > 0:
                done, rest = await asyncio.wait(
                    rest, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                for one in done:
                    one.result()
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold(self, image: Image) -> None:
        """Long polls about one image until it is settled."""
        pause, held = _FIRST_PAUSE, not self.known[image].away
        while not self.known[image].settled:
            known = self.known[image]
            # Who was held back has waited already; a Retry-After is for those who were not.
            if not held:
                await asyncio.sleep(known.again or pause)
            pause = min(pause * 2, _LONGEST_PAUSE) if known.away else _FIRST_PAUSE
            held = await self._ask(image, hold=True) and not self.known[image].away

    async def _ask(self, image: Image, *, hold: bool) -> bool:
        """One question; whether the daemon held it back for long."""
        loop = asyncio.get_running_loop()
        async with self._turns:
            began, wait = loop.time(), self._wait() if hold else 0.0
            self.known[image] = await self._answer(image, wait)
        self._changed()
        return hold and loop.time() - began > wait / 2

    def _wait(self) -> float:
        """How long a poll may be held, so that all images have their turn."""
        left = self._end - asyncio.get_running_loop().time()
        fair = HOLD * TURNS / max(TURNS, len(self.open_ones))
        return max(1.0, min(fair, left))

    async def _answer(self, image: Image, wait: float) -> Known:
        path = self._question.path(str(image.reference), wait)
        try:
            async with asyncio.timeout(wait + SLACK):
                told = await self._daemon.ask(path)
        except AwayError as error:
            return Known(CANNOT_TELL, str(error), away=True)
        except TimeoutError:
            words = f"no syncwatch answers: {self._daemon.where} is silent"
            return Known(CANNOT_TELL, words, away=True)
        except MalformedError as error:
            return Known(CANNOT_TELL, str(error), settled=True)
        return judge(told, str(self._daemon.refused(told)), image.reference.digest)
