"""What Harbor has now of what the file speaks of."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from syncwatch.errors import OutboundError
from syncwatch.harbor.writing import HarborRefusedError
from syncwatch.setup import registries, robot, rules, webhooks
from syncwatch.setup.scope import projects_of, rules_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syncwatch.harbor.writing import HarborWriter, Record
    from syncwatch.setup.sections import SetupFile


@dataclass(frozen=True, slots=True)
class Present:
    """What Harbor has; `webhooks` by project, `adapters` None where we may not ask.

    `version` is (major, minor); `secret_file_taken` says whether the robot's file is there already.
    """

    version: tuple[int, int] = (0, 0)
    adapters: tuple[str, ...] | None = None
    registries: list[Record] = field(default_factory=list)
    rules: list[Record] = field(default_factory=list)
    projects: list[Record] = field(default_factory=list)
    webhooks: dict[str, list[Record]] = field(default_factory=dict)
    robots: list[Record] = field(default_factory=list)
    secret_file_taken: bool = False


async def look(writer: HarborWriter, file: SetupFile, *, prune: bool) -> Present:
    """Ask for what the file speaks of. Raises HarborRefusedError and OutboundError.

    Wrong credentials do not fail, they see less (recording 16): they are tried first.
    """
    version = await _version(writer)
    endpoints = await writer.listed(registries.PATH, sort="id")
    found = await writer.listed(rules.PATH, sort="id")
    projects = await writer.listed("/projects", sort="name") if file.webhooks else []
    names = _names_asked(file, found, projects, prune=prune)
    asked = await asyncio.gather(*(writer.listed(webhooks.path(name)) for name in names))
    place = file.robot.secret_file if file.robot else None
    return Present(
        version=version,
        adapters=await _adapters(writer) if file.registries else None,
        registries=endpoints,
        rules=found,
        projects=projects,
        webhooks=dict(zip(names, asked, strict=True)),
        robots=await writer.listed(robot.PATH) if file.robot else [],
        secret_file_taken=place is not None and place.exists(),
    )


async def look_at_all(writer: HarborWriter) -> Present:
    """Everything that a setup file can speak of, robots left out."""
    version = await _version(writer)
    projects = await writer.listed("/projects", sort="name")
    names = [one["name"] for one in projects]
    asked = await asyncio.gather(*(writer.listed(webhooks.path(name)) for name in names))
    return Present(
        version=version,
        registries=await writer.listed(registries.PATH, sort="id"),
        rules=await writer.listed(rules.PATH, sort="id"),
        projects=projects,
        webhooks=dict(zip(names, asked, strict=True)),
    )


async def _version(writer: HarborWriter) -> tuple[int, int]:
    try:
        info = await writer.client.system_info()
    except OutboundError as error:
        if error.kind == "unauthorized":
            raise HarborRefusedError(error.message) from None
        raise
    numbers = re.match(r"v?(\d+)\.(\d+)", info.harbor_version)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


async def _adapters(writer: HarborWriter) -> tuple[str, ...] | None:
    """The providers that this Harbor offers; not every robot may ask."""
    try:
        return tuple(await writer.strings("/replication/adapters"))
    except HarborRefusedError:
        return None


def _names_asked(
    file: SetupFile, found: Iterable[Record], projects: Iterable[Record], *, prune: bool
) -> list[str]:
    if prune:
        return [one["name"] for one in projects]
    after = rules_after(file, found, prune=prune)
    asked: dict[str, None] = {}
    for section in file.webhooks or ():
        asked |= dict.fromkeys(projects_of(section, after, projects))
    return list(asked)
