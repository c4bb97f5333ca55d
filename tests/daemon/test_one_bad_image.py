"""One image that cannot be asked for is no reason to stop asking for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from running import until
from scene import DESTINATION, scene

from syncwatch.lab import images
from syncwatch.lab.registry import Fault

if TYPE_CHECKING:
    from pathlib import Path

TERMS = {"grace": "300ms", "timeout": "1s", "retry_first": "100ms", "retry_longest": "500ms"}


@pytest.mark.parametrize("fault", [Fault.ABORT_BODY, Fault.RESET, Fault.HANG])
async def test_a_layer_that_breaks_its_connection_holds_up_no_other_image(
    tmp_path: Path, fault: Fault
) -> None:
    async with scene(tmp_path, destination=TERMS) as stage, stage.watched() as watched:
        stage.push("before", repository="apps/good")
        await watched.row(reference="before", state="verified")
        image = images.image("bad")
        stage.registry.push("apps/bad", "1.0", image)
        stage.registry.fault(fault, "apps/bad", image.layer_digests[0])
        stage.harbor.push("apps/bad", "1.0", image)
        bad = await watched.row(reference="1.0", state="unknown", reason="unreachable")

        async def looked_at_often() -> bool:
            asked = [one for one in stage.registry.requests if one.path.endswith(image.digest)]
            return len(asked) >= 5

        await until(looked_at_often, told="five looks at the bad one")
        for number in range(3):
            stage.push(f"{number}", repository="apps/good")
            row = await watched.row(within=5, reference=f"{number}", state="verified")
            told = await watched.one(row["id"])
            strange = [one for one in told["timeline"] if one["what"].startswith("unknown")]
            assert strange == []
        assert await watched.metric("syncwatch_destination_up", destination=DESTINATION) == 1
        assert (await watched.one(bad["id"]))["reason"] == "unreachable"
