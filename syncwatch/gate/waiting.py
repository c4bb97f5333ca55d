"""Those who wait: who asks the same shares the work, and hears of a change at once.

An answer is good for whoever asked before it was begun: the push may be younger than the one
before. So of many who ask at once the first has an answer made, and all others share the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncwatch.errors import SyncwatchError
from syncwatch.gate.answers import image_key, nowhere
from syncwatch.gate.deciding import CANNOT_ASK, NOT_YET
from syncwatch.model import SECOND
from syncwatch.report.bodies import RefusedError
from syncwatch.runtime import log, where

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from syncwatch.gate.answers import GateAnswer
    from syncwatch.gate.asked import Asked, Manner
    from syncwatch.gate.evaluating import Evaluated
    from syncwatch.model import Change
    from syncwatch.runtime import Clock, Signals

HELD = frozenset({NOT_YET, CANNOT_ASK})
"""Statuses of which somebody may want to wait for the end."""

AGAIN_EVERY = 5.0
"""Seconds after which Harbor is asked again for those who wait: a tag may move."""

GROUPS_A_SECOND = 5
"""So many images are asked of Harbor a second, at most, only because somebody waits for them."""

WAITING_MOST = 10_000
"""So many may wait; whoever comes then is told to come back."""

FULL = f"{WAITING_MOST} questions wait already; ask again soon."

STOPPING = "syncwatch is being stopped; ask again soon."


@dataclass(slots=True)
class _Group:
    """All who ask the same. `turn` counts the answers begun, `ready` those that were given."""

    waiting: int = 0
    begun: int = 0
    given: int = 0
    answer: GateAnswer | None = None
    refused: RefusedError | None = None
    images: frozenset[str] = frozenset()
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Waiting:
    """Answers questions by `evaluate`, and holds who wants to wait."""

    def __init__(
        self, evaluate: Callable[[Asked], Awaitable[Evaluated]], clock: Clock, signals: Signals
    ) -> None:
        self._evaluate = evaluate
        self._clock = clock
        self._signals = signals
        signals.listening = self.told
        self._groups: dict[Asked, _Group] = {}
        self._count = 0
        self._stopped = False

    @property
    def count(self) -> int:
        """How many wait now."""
        return self._count

    async def answer(
        self, asked: Asked, manner: Manner, gone: Callable[[], bool] = lambda: False
    ) -> GateAnswer:
        """The answer, held back where it is not usable yet, until `gone` or the wait is over.

        Raises RefusedError.
        """
        if self._count >= WAITING_MOST:
            return nowhere(asked.image, asked.destinations, CANNOT_ASK, FULL)
        until = self._clock.now() + manner.wait
        with self._in_group(asked) as group:
            group.wanted.set()
            answer = await self._given(asked, group, group.begun + 1)
            while answer.status in HELD and not self._stopped and not gone():
                left = (until - self._clock.now()) / SECOND
                if left <= 0:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        answer = await self._given(asked, group, group.given + 1)
            return answer

    def heard(self, changes: Sequence[Change]) -> None:
        """What changed is durable: whoever waits for it is answered anew, at once, here and at
        the other replicas."""
        changed = {
            image_key(one.source_repository, name)
            for one in changes
            if one.moved or one.milestones
            for name in (one.reference, one.digest)
        }
        elsewhere = self._signals.elsewhere
        if elsewhere is not None:
            for key in changed:
                elsewhere(key)
        self._wake(changed)

    def told(self, key: str) -> None:
        """Another replica wrote something down of an image."""
        self._wake({key})

    def _wake(self, changed: set[str]) -> None:
        for group in self._groups.values():
            if not group.images.isdisjoint(changed):
                group.wanted.set()

    async def stop(self) -> None:
        """Answer all who wait with what is known, and end."""
        self._stopped = True
        tasks = [group.task for group in self._groups.values() if group.task is not None]
        for group in self._groups.values():
            _tell(group)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @contextlib.contextmanager
    def _in_group(self, asked: Asked) -> Iterator[_Group]:
        group = self._groups.get(asked)
        if group is None:
            group = self._groups[asked] = _Group()
            group.task = asyncio.create_task(self._serve(asked, group), name="gate")
        group.waiting += 1
        self._count += 1
        try:
            yield group
        finally:
            group.waiting -= 1
            self._count -= 1
            if group.waiting == 0 and self._groups.get(asked) is group:
                del self._groups[asked]
                if group.task is not None:
                    group.task.cancel()

    async def _given(self, asked: Asked, group: _Group, turn: int) -> GateAnswer:
        """The answer of a turn, or of a later one."""
        while group.given < turn and not self._stopped:
            await group.news.wait()
        if group.refused is not None:
            raise group.refused
        return group.answer or nowhere(asked.image, asked.destinations, CANNOT_ASK, STOPPING)

    async def _serve(self, asked: Asked, group: _Group) -> None:
        """Make answers for a group, as long as somebody waits."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(AGAIN_EVERY, len(self._groups) / GROUPS_A_SECOND)):
                    await group.wanted.wait()
            group.wanted.clear()
            group.begun += 1
            await self._turn(asked, group)
            group.given = group.begun
            _tell(group)

    async def _turn(self, asked: Asked, group: _Group) -> None:
        try:
            evaluated = await self._evaluate(asked)
        except RefusedError as refused:
            group.refused = refused
        except Exception as error:  # noqa: BLE001 - those who wait have to be answered
            known = isinstance(error, SyncwatchError)
            if not known:
                log.error("gate_crashed", error=type(error).__name__, where=where(error))
            words = (
                f"{error}." if known else "Something went wrong in syncwatch; its log says more."
            )
            group.refused, group.answer = None, nowhere(asked.image, (), CANNOT_ASK, words)
        else:
            group.refused = None
            group.answer, group.images = evaluated.answer, evaluated.images


def _tell(group: _Group) -> None:
    """Wake all who wait; whoever comes later waits for the next."""
    news, group.news = group.news, asyncio.Event()
    news.set()
