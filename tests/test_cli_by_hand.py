"""The commands that explain and those that write: what they print and how they end."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from running import SECRET, Watched, running, settings_file
from test_cli import Ended, syncwatch
from typer.testing import CliRunner

from syncwatch.cli import app
from syncwatch.lab import images
from syncwatch.lab.faults import Fault
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOKEN = "the-token-of-the-api"


@contextlib.asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[tuple[LabHarbor, LabRegistry, Watched]]:
    """A Harbor with one policy, its destination, and the daemon with a token."""
    async with LabHarbor().serving() as harbor, LabRegistry().serving() as registry:
        harbor.create_project("apps")
        harbor.create_registry("cluster1", registry.url)
        harbor.create_policy(
            "to-cluster1",
            "cluster1",
            pattern="apps/**",
            filters=[{"type": "tag", "value": "v*"}],
            namespace="mirror",
            replace_count=1,
        )
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password}
        async with running(settings_file(folder, login, token=TOKEN), ready=False) as watched:
            watched.session.headers["Authorization"] = f"Bearer {TOKEN}"
            await watched.ready()
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            yield harbor, registry, watched


async def run(watched: Watched, *arguments: str) -> Ended:
    """A command with the daemon's address and token."""
    return await syncwatch(
        *arguments, SYNCWATCH_URL=watched.daemon.url, SYNCWATCH_TOKEN=TOKEN, COLUMNS="200"
    )


async def test_explain_tells_the_verdict_first_then_the_rules_then_the_timeline(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as (harbor, registry, watched):
        harbor.push("apps/web", "v1", images.image("v1"))
        await watched.row(state="verified")
        ended = await run(watched, "explain", "apps/web:v1", "--on", "cluster1")
        assert (ended.code, ended.err) == (0, "")
        words = " ".join(ended.out.split())
        assert words.startswith("apps/web:v1 goes to cluster1 as mirror/web:v1, expected since 20")
        assert ended.out.index("; verified at") < ended.out.index("selects it, and was enabled")
        assert ended.out.index("selects it") < ended.out.rindex("verified")

        ended = await run(watched, "explain", "apps/web:latest")
        assert ended.code == 1
        assert "copies tags that match 'v*', and latest does not" in " ".join(ended.out.split())

        ended = await run(watched, "explain", f"{registry.host}/mirror/web:v1", "-o", "json")
        told: dict[str, Any] = json.loads(ended.out)
        assert (ended.code, told["answer"], len(told["expectations"])) == (0, "yes", 1)

        registry.fault(Fault.FORBIDDEN, "mirror/web")
        harbor.push("apps/web", "v2", images.image("v2"))
        await watched.row(reference="v2", state="unknown")
        assert (await run(watched, "explain", "apps/web:v2")).code == 4


async def test_explain_ends_by_what_was_wrong_with_the_question(tmp_path: Path) -> None:
    async with scene(tmp_path) as (_, _, watched):
        for arguments, code, words in (
            (("apps/Web",), 2, "'apps/Web' is no repository"),
            (("apps/web:v1", "--url", "http://127.0.0.1:9"), 4, "no syncwatch answers"),
        ):
            ended = await run(watched, "explain", *arguments)
            assert (ended.code, ended.out) == (code, "")
            assert words in ended.err
            assert len(ended.err.splitlines()) == 1


def test_a_pause_needs_its_end_once() -> None:
    for end in ([], ["--until", "2099-01-01T00:00:00Z", "--for", "2h"]):
        told = CliRunner().invoke(app, ["pause", "cluster1", *end])
        assert told.exit_code == 2
        assert "write --until TIME or --for DURATION" in told.output


async def test_what_is_done_by_hand_is_told_and_stands_in_the_timeline(tmp_path: Path) -> None:
    async with scene(tmp_path) as (harbor, registry, watched):
        registry.fault(Fault.FORBIDDEN, "mirror/web")
        harbor.push("apps/web", "v1", images.image("v1"))
        row = await watched.row(state="unknown")

        ended = await run(watched, "look", "apps/web:v1", "--by", "Ada")
        assert (ended.code, ended.out) == (0, "1 image is due at cluster1\n")
        ended = await run(watched, "look", "--repository", "apps/db", "--on", "cluster1")
        assert (ended.code, ended.out) == (1, "")
        assert "Nothing is expected of 'apps/db' at cluster1" in ended.err

        pause = ("pause", "cluster1", "--for", "2h", "--by", "Ada", "--note", "new disks")
        ended = await run(watched, *pause)
        assert ended.code == 0
        assert ended.out.startswith("cluster1 of Harbor main is paused until 20")
        status = await run(watched, "status")
        assert "UTC by Ada" in status.out
        ended = await run(watched, "resume", "cluster1", "--by", "Ada")
        assert (ended.code, ended.out) == (0, "cluster1 of Harbor main is counted again\n")

        ended = await run(watched, "close", row["id"], "--note", "not needed", "--by", "Ada")
        assert (ended.code, ended.out) == (0, f"expectation {row['id']} is closed\n")
        told = await watched.one(row["id"])
        assert told["message"] == "Closed by hand by Ada: not needed."
        assert {"look asked for", "paused", "resumed", "closed/by_hand"} <= {
            one["what"] for one in told["timeline"]
        }


async def test_where_nobody_may_write_the_setting_is_named_and_it_is_configuration(
    tmp_path: Path,
) -> None:
    async with LabHarbor().serving() as harbor:
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password}
        async with running(settings_file(tmp_path, login), ready=False) as watched:
            for arguments in (
                ["look", "apps/web:v1"],
                ["close", "1"],
                ["pause", "cluster1", "--for", "1h"],
                ["resume", "cluster1"],
            ):
                ended = await run(watched, *arguments)
                assert (ended.code, ended.out) == (2, ""), arguments
                assert "the configuration has neither token nor token_file; set one" in ended.err
