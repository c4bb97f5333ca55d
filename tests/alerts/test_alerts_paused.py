"""The gauge by which the alerts of a destination keep quiet while it is maintained."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from alert_rules import ALERTS, PAGE, Labels
from by_shell import by_shell
from running import Watched, until
from scene import DESTINATION, scene

if TYPE_CHECKING:
    from pathlib import Path

GAUGE = "syncwatch_destination_paused"
TOKEN = "the-token-of-the-api"


async def shows(watched: Watched, wanted: float) -> None:
    async def so() -> bool:
        return await watched.metric(GAUGE, harbor="main", destination=DESTINATION) == wanted

    await until(so, told=f"{GAUGE} {wanted:g}")


async def test_it_is_1_from_the_pause_that_the_page_tells_of_to_its_end(tmp_path: Path) -> None:
    page = PAGE.read_text()
    (pause,) = re.findall(r"^syncwatch pause .*$", page, flags=re.MULTILINE)
    (resume,) = re.findall(r"`(syncwatch resume .*?)`", page)
    async with scene(tmp_path, token=TOKEN) as stage, stage.watched() as watched:
        watched.session.headers["Authorization"] = f"Bearer {TOKEN}"
        await shows(watched, 0)
        await by_shell(watched, pause.replace("cluster1", DESTINATION), TOKEN)
        await shows(watched, 1)
        await by_shell(watched, resume.replace("cluster1", DESTINATION), TOKEN)
        await shows(watched, 0)


async def test_it_is_1_while_the_configuration_says_so(tmp_path: Path) -> None:
    maintained = {"pause_until": "2100-01-01T00:00:00Z"}
    async with scene(tmp_path, destination=maintained) as stage, stage.watched() as watched:
        await shows(watched, 1)


async def test_a_maintenance_that_is_over_is_0(tmp_path: Path) -> None:
    maintained = {"pause_until": "2020-01-01T00:00:00Z"}
    async with scene(tmp_path, destination=maintained) as stage, stage.watched() as watched:
        await shows(watched, 0)


def test_every_alert_of_a_destination_keeps_quiet_while_it_is_1() -> None:
    labels = Labels()
    for rule in ALERTS:
        if "destination" in labels.of(rule["expr"]):
            assert re.search(
                r"\nunless on \(harbor, destination\)\n"
                rf"max by \(harbor, destination\) \({GAUGE}\) == 1\n",
                rule["expr"],
            ), rule["alert"]
