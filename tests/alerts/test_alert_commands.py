"""What an alert about the set-up says to do, where names and patterns are not harmless."""

from __future__ import annotations

from typing import TYPE_CHECKING

from by_shell import by_shell
from running import until
from scene import DESTINATION, scene

if TYPE_CHECKING:
    from pathlib import Path

PATTERN = "apps/{[/b]"
"""Malformed in Harbor; and the end of something in the markup of a terminal's library."""


async def test_status_prints_a_finding_word_for_word(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.harbor.create_policy("malformed", DESTINATION, pattern=PATTERN)

        async def found() -> bool:
            return "malformed_pattern" in await watched.finding_names()

        await until(found, told="malformed_pattern")
        assert PATTERN in await by_shell(watched, "syncwatch status")
