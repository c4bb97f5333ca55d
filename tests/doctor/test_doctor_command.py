"""`syncwatch doctor` as people and scripts run it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from clinic import POLICY, Clinic, clinic
from running import SECRET

SYNCWATCH = str(Path(sys.executable).with_name("syncwatch"))
PIPE = asyncio.subprocess.PIPE


async def doctor(place: Clinic, config: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command to its end; nothing that it prints may hold a secret."""
    process = await asyncio.create_subprocess_exec(
        SYNCWATCH,
        "doctor",
        "-c",
        str(config),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=dict(os.environ) | {"COLUMNS": "120"},
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    told = out.decode() + err.decode()
    assert SECRET not in told
    assert place.login["password"] not in told
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_set_up_in_order_ends_with_0_and_says_what_could_not_be_told(
    tmp_path: Path,
) -> None:
    async with clinic(tmp_path) as place:
        code, out, err = await doctor(place, place.configured())
        assert (code, err) == (0, "")
        assert "error" not in out
        assert "cannot tell" in out
        assert "jobservice-monitor" in out
        assert out.index("cannot tell") < out.index("┃ ok")


async def test_what_is_wrong_ends_with_1_worst_first_with_its_cure(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_webhook(enabled=False)
        place.edit_policy(deletion=True, speed=0)
        code, out, _ = await doctor(place, place.configured())
        assert code == 1
        assert out.index("webhook_disabled") < out.index("deletion_unsupported")
        assert "Enable it in Harbor." in out


async def test_json_has_every_check_and_every_finding(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_policy(override=False)
        place.edit_webhook(enabled=False)
        code, out, _ = await doctor(place, place.configured(), "--output", "json")
        told = json.loads(out)
        assert code == 1
        assert {one["outcome"] for one in told["checks"]} == {"ok", "wrong", "cannot_tell"}
        names = {"finding", "severity", "harbor", "subject", "message", "cure", "since"}
        assert all(set(one) == names for one in told["findings"])
        found = {(one["finding"], one["subject"]) for one in told["findings"]}
        assert {("webhook_disabled", "project apps"), ("override_off", f"policy {POLICY}")} <= found
        assert {one["since"] for one in told["findings"]} == {None}


async def test_a_harbor_that_cannot_be_asked_ends_with_4(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        await place.harbor.stop()
        code, out, _ = await doctor(place, place.configured())
        assert code == 4
        assert "harbor_unreachable" in out


async def test_a_mistake_in_the_configuration_ends_with_2(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        config = place.configured(keep="soon")
        code, _, err = await doctor(place, config)
        assert code == 2
        assert "syncwatch.yml:" in err
