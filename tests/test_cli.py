"""The commands, as people and scripts run them: what they print and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from running import SECRET, running, settings_file, until
from servers import free_port

from syncwatch import __version__
from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SYNCWATCH = str(Path(sys.executable).with_name("syncwatch"))
PIPE = asyncio.subprocess.PIPE


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


async def syncwatch(*arguments: str, **variables: str) -> Ended:
    """Run a command to its end."""
    clean = {name: value for name, value in os.environ.items() if "SYNCWATCH" not in name}
    process = await asyncio.create_subprocess_exec(
        SYNCWATCH,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={**clean, "COLUMNS": "120", **variables},
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


GOOD = """\
harbors:
  - name: main
    url: https://harbor.example.com
    webhook: {authorization: Bearer x}
"""

BAD = """\
harbors:
  - name: main
    url: harbor.example.com
    webhook: {authorization: Bearer x}
    pol_every: 5s
keep: soon
"""


async def test_help_names_the_commands() -> None:
    ended = await syncwatch("--help")
    assert ended.code == 0
    for command in ("serve", "demo", "status", "config"):
        assert command in ended.out


async def test_version_is_one_line() -> None:
    ended = await syncwatch("--version")
    assert (ended.code, ended.out) == (0, f"syncwatch {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["nonsense"], id="an unknown command"),
        pytest.param(["status", "--nonsense"], id="an unknown option"),
        pytest.param(["status", "--output", "xml"], id="an unknown value"),
        pytest.param(["config"], id="a group without a command"),
        pytest.param(["status", "--url", "nonsense"], id="an address that is none"),
        pytest.param(["explain", "a/b", "--url", "http://a:b"], id="a port that is none"),
    ],
)
async def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    ended = await syncwatch(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err


async def test_the_module_runs_as_the_command_does() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "syncwatch", "--version"), stdout=PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out.decode()) == (0, f"syncwatch {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["explain", "a/b:1"], ["look", "a/b:1"], ["doctor", "-c", "syncwatch.yml"]],
    ids=" ".join,
)
async def test_ctrl_c_before_there_is_an_answer_ends_with_4(
    tmp_path: Path, arguments: list[str]
) -> None:
    asked = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await _reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        write(tmp_path / "syncwatch.yml", GOOD.replace("https://harbor.example.com", url))
        process = await asyncio.create_subprocess_exec(
            *(SYNCWATCH, *arguments),
            stdout=PIPE,
            stderr=PIPE,
            cwd=tmp_path,
            env={**os.environ, "SYNCWATCH_URL": url},
        )
        await asyncio.wait_for(asked.wait(), 30)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (4, b"")
    assert err == b"syncwatch: ended before it was known\n"


async def test_a_bug_of_ours_ends_with_4_and_never_with_no() -> None:
    program = (
        "from syncwatch import cli\n"
        "@cli.app.command()\n"
        "def crash():\n"
        "    raise ValueError('a-password')\n"
        "cli.main()\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, "crash"), stdout=PIPE, stderr=PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (4, b"")
    assert b"this is a bug of syncwatch, and nothing can be told: ValueError at " in err
    assert b"a-password" not in err
    assert b"Traceback" not in err


async def test_a_good_file_is_called_good(tmp_path: Path) -> None:
    path = write(tmp_path / "good.yml", GOOD)
    ended = await syncwatch("config", "check", "-c", str(path))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{path}: good (1 harbor, 0 destinations named)\n"


@pytest.mark.parametrize("command", [["config", "check"], ["serve"]], ids=" ".join)
async def test_a_bad_file_is_told_with_every_place_at_once(
    tmp_path: Path, command: list[str]
) -> None:
    path = write(tmp_path / "bad.yml", BAD)
    ended = await syncwatch(*command, "-c", str(path))
    assert (ended.code, ended.out) == (2, "")
    places = [line.removeprefix(f"{path}:").split(": ")[0] for line in ended.err.splitlines()]
    assert places == ["3:10", "5:5", "6:7"]
    assert "did you mean" in ended.err
    assert "poll_every" in ended.err


async def test_a_file_that_is_not_there_ends_with_2(tmp_path: Path) -> None:
    ended = await syncwatch("serve", "-c", str(tmp_path / "none.yml"))
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1


async def test_the_schema_is_json() -> None:
    ended = await syncwatch("config", "schema")
    assert ended.code == 0
    assert "harbors" in json.loads(ended.out)["properties"]


async def test_status_of_nothing_is_one_sentence_and_4() -> None:
    ended = await syncwatch("status", "--url", f"http://127.0.0.1:{free_port()}")
    assert (ended.code, ended.out) == (4, "")
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("syncwatch: ")


@contextlib.asynccontextmanager
async def scene(folder: Path, **top: Any) -> AsyncIterator[tuple[LabHarbor, LabRegistry, Path]]:
    """A Harbor with one policy, its destination, and a configuration for them."""
    async with LabHarbor().serving() as harbor, LabRegistry().serving() as registry:
        harbor.create_project("apps")
        harbor.create_registry("cluster1", registry.url)
        harbor.create_policy("to-cluster1", "cluster1", pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password}
        yield harbor, registry, settings_file(folder, login, **top)


async def test_status_shows_a_running_daemon_as_table_and_as_json(tmp_path: Path) -> None:
    async with scene(tmp_path) as (harbor, _, config), running(config) as watched:
        harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
        harbor.push("apps/web", "1.0", images.image("web"))
        await watched.row(state="verified")
        url = watched.daemon.url
        table = await syncwatch("status", "--url", url)
        assert (table.code, table.err) == (0, "")
        for word in ("main", "cluster1", "to-cluster1", "verified 1"):
            assert word in table.out
        told = await syncwatch("status", "-o", "json", SYNCWATCH_URL=url)
        assert told.code == 0
        document = json.loads(told.out)
        assert document["states"]["verified"] == 1
        assert [one["name"] for one in document["destinations"]] == ["cluster1"]
        assert document["findings"] == await watched.findings()


async def test_status_ends_with_1_while_something_is_failed(tmp_path: Path) -> None:
    async with scene(tmp_path) as (harbor, registry, config), running(config) as watched:
        harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
        registry.users = {"somebody": "else"}
        harbor.push("apps/web", "1.0", images.image("web"))
        await watched.row(state="unknown", reason="unauthorized")
        await harbor.idle()
        registry.users = None
        await watched.row(state="failed", reason="execution_failed")
        assert (await syncwatch("status", "--url", watched.daemon.url)).code == 1


async def test_status_with_the_wrong_token_is_refused_and_with_the_right_one_told(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, token="right") as (_, _, config), running(config) as watched:
        url = watched.daemon.url
        refused = await syncwatch("status", "--url", url, SYNCWATCH_TOKEN="wrong")
        assert (refused.code, refused.out) == (4, "")
        assert "wrong" not in refused.err
        file = write(tmp_path / "token", "right\n")
        assert (await syncwatch("status", "--url", url, "--token-file", str(file))).code == 0


class Serving:
    """`syncwatch serve` as a process, its log as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []

    async def event(self, name: str) -> dict[str, Any]:
        """The next line of the log with that event."""
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            while True:
                line = (await self.process.stderr.readline()).decode()
                assert line, self.log
                self.log.append(json.loads(line))
                if self.log[-1]["event"] == name:
                    return self.log[-1]


@contextlib.asynccontextmanager
async def serving(config: Path) -> AsyncIterator[Serving]:
    process = await asyncio.create_subprocess_exec(
        SYNCWATCH,
        "serve",
        "-c",
        str(config),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield Serving(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_serve_answers_reloads_on_sighup_and_ends_on_sigterm(tmp_path: Path) -> None:
    async with (
        scene(tmp_path) as (_, _, config),
        serving(config) as served,
        aiohttp.ClientSession() as session,
    ):
        url = (await served.event("listening"))["reports"]

        async def found(finding: str) -> bool:
            async with session.get(f"{url}/api/v1/findings") as answer:
                names = [one["finding"] for one in (await answer.json())["items"]]
            return finding in names

        async def healthy() -> bool:
            async with session.get(f"{url}/healthz") as answer:
                return answer.status == 200

        assert await healthy()
        good = config.read_text()
        config.write_text(good.replace("name: '*'", "name: nowhere"))
        served.process.send_signal(signal.SIGHUP)
        await until(lambda: found("destination_unknown"), told="the new configuration")

        config.write_text(good + "nonsense: 1\n")
        served.process.send_signal(signal.SIGHUP)
        await until(lambda: found("config_invalid"), told="the finding of a broken file")
        assert await found("destination_unknown")
        assert await healthy()

        served.process.send_signal(signal.SIGTERM)
        out, err = await asyncio.wait_for(served.process.communicate(), 15)
        assert (served.process.returncode, out) == (0, b"")
        assert b"Traceback" not in err
