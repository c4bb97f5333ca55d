"""What /openapi.json says holds for whatever is sent: schemathesis against the real daemon.

A longer run: `python tests/api/attack.py --seconds 600`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attack import attacks, target

if TYPE_CHECKING:
    from pathlib import Path

SHORT = ("--phases", "examples,coverage,fuzzing", "--generation-deterministic", "--max-examples")


@pytest.mark.slow
@pytest.mark.parametrize(("part", "examples"), [("api", "10"), ("page", "5"), ("webhook", "20")])
async def test_nothing_that_is_sent_is_answered_otherwise_than_described(
    tmp_path: Path, part: str, examples: str
) -> None:
    async with target(tmp_path) as watched:
        attack = (await attacks(watched, tmp_path))[part]
        code, words = await attack.run([*SHORT, examples])
        assert code == 0, words
        assert "passed" in words
