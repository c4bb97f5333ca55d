"""What acted scenarios wait for: metrics, findings, and that nothing was ever called failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from running import Watched, until
from scenarios import seen_in_time

if TYPE_CHECKING:
    from syncwatch.lab.harbor import LabHarbor

FALSE_SUCCESS = "syncwatch_false_success_total"
LOST = "syncwatch_lost_total"


async def comes_to(watched: Watched, name: str, value: float, **labels: str) -> None:
    """A metric comes to this sum."""

    async def is_so() -> bool:
        return await watched.metric(name, **labels) == value

    await until(is_so, told=f"{name} {value}")


async def nothing_ever_failed(watched: Watched) -> None:
    for row in await watched.expectations():
        told = await seen_in_time(watched, row)
        assert not [what for what in told if what.startswith("failed")], told
    assert await watched.metric(LOST) == 0
    assert await watched.metric(FALSE_SUCCESS) == 0


def older(harbor: LabHarbor, repository: str, reference: str) -> None:
    """The artifact was pushed a minute ago: a tag of the same moment is taken for its push."""
    harbor.artifact(repository, reference).push_time -= 60


async def finding(watched: Watched, name: str) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        return next((one for one in await watched.findings() if one["finding"] == name), None)

    told: dict[str, Any] = await until(found, told=name)
    return told
