"""What /openapi.json says holds for whatever is sent: schemathesis against the real daemon.

A longer run: `python tests/api/attack.py --seconds 600`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attack import attacks, target

if TYPE_CHECKING:
    from pathlib import Path

SHORT = {
    "api": ("--phases", "examples,coverage,fuzzing", "--max-examples", "5"),
    "page": ("--phases", "fuzzing", "--max-examples", "3"),
    "webhook": ("--phases", "fuzzing", "--max-examples", "20"),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_that_is_sent_is_answered_otherwise_than_described(tmp_path: Path) -> None:
    async with target(tmp_path) as watched:
        for part, attack in (await attacks(watched, tmp_path)).items():
            code, words = await attack.run(["--generation-deterministic", *SHORT[part]])
            assert code == 0, words
            assert "No issues found" in words
