"""`syncwatch wait`: what it asks, how long it holds, what it prints and how it ends."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pty
import re
import signal
import sys
from pathlib import Path

import pytest
import typer
from running import until
from servers import free_port
from stand_in import DIGEST, WEB, Gate, standing_in, start, told, wait
from test_cli import SYNCWATCH
from typer.testing import CliRunner

from syncwatch.cli import app
from syncwatch.cli.answers import together
from syncwatch.cli.polling import TURNS
from syncwatch.errors import ConfigError

PINNED = f"apps/web@{DIGEST}"


async def asked_often(gate: Gate, count: int) -> None:
    async def so_often() -> bool:
        return len(gate.asked) >= count

    await until(so_often)


async def test_a_usable_image_is_printed_by_its_digest() -> None:
    async with standing_in() as gate:
        ended = await wait(gate.url, WEB)
        assert (ended.code, ended.out) == (0, f"{PINNED}\n")
        assert "1 of 1 usable" in ended.err

        ended = await wait(gate.url, "--quiet", f"r.internal:5000/{WEB}", WEB, f"apps/web@{DIGEST}")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out == f"r.internal:5000/{PINNED}\n{PINNED}\n{PINNED}\n"


async def test_everything_that_was_said_is_asked() -> None:
    async with standing_in(destinations=("cluster1", "cluster2")) as gate:
        on = ["--on", "cluster1", "--on=cluster2", "--any", "--level", "readable"]
        ended = await wait(gate.url, "apps/web", *on, "--max-age", "5s", "--as-pulled")
        (query,) = gate.asked
        assert list(query.items()) == [
            ("image", "apps/web:latest"),
            ("destination", "cluster1"),
            ("destination", "cluster2"),
            ("any", "1"),
            ("level", "readable"),
            ("max_age", "5s"),
        ]
        assert ended.out.splitlines() == [
            f"cluster1.internal/web@{DIGEST}",
            f"cluster2.internal/web@{DIGEST}",
        ]


async def test_what_is_not_there_yet_is_waited_for_by_long_polls() -> None:
    async with standing_in(script={WEB: [409]}) as gate:
        waiting = await start(gate.url, WEB, "--on", "cluster1")
        await asked_often(gate, 2)
        assert [query.get("wait") for query in gate.asked] == [None, "55s"]
        assert waiting.process.returncode is None
        gate.open_gate.set()
        ended = await waiting.ended()
        assert (ended.code, ended.out, len(gate.asked)) == (0, f"{PINNED}\n", 2)
        lines = ended.err.splitlines()
        assert lines[0] == (
            f"0 of 1 usable after 0s; waiting for {WEB} pending/copying at cluster1: "
            "This is what a 409 says."
        )
        assert lines[-1] == "syncwatch: 1 of 1 usable"


async def test_when_the_time_is_over_it_says_what_was_missing_and_how_to_go_on() -> None:
    async with standing_in(script={WEB: [409]}) as gate:
        ended = await wait(gate.url, WEB, "--on", "cluster1", "--timeout", "1s")
        assert (ended.code, ended.out) == (3, "")
        assert "not yet: apps/web:1.4.0: pending/copying at cluster1: This is what" in ended.err
        assert "    syncwatch explain apps/web:1.4.0 --on cluster1\n" in ended.err
        assert gate.asked[1]["wait"] == "1s"
        ended = await wait("", WEB, "--url", gate.url, "--timeout", "0s")
        assert f"    syncwatch explain {WEB} --on cluster1 --url {gate.url}\n" in ended.err


async def test_no_time_at_all_is_one_question_that_waits_for_nothing() -> None:
    async with standing_in(script={WEB: [409, 200]}) as gate:
        assert (await wait(gate.url, WEB, "--timeout", "0s")).code == 3
        assert [query.get("wait") for query in gate.asked] == [None]


@pytest.mark.parametrize("status", [404, 422])
async def test_a_no_ends_it_at_once_and_tells_of_the_others_too(status: int) -> None:
    script = {"apps/a:1": [409], WEB: [status], "apps/c:1": [200]}
    async with standing_in(script=script) as gate:
        waiting = await start(gate.url, *script)
        ended = await waiting.ended()
        assert waiting.seconds < 10
        assert (ended.code, ended.out) == (1, "")
        assert f"no: {WEB}: " in ended.err
        assert f"This is what a {status} says." in ended.err
        assert "not yet: apps/a:1: pending/copying" in ended.err
        assert "usable: apps/c:1\n" in ended.err
        assert gate.counts == dict.fromkeys(script, 1)


async def test_a_no_that_comes_while_others_are_held_ends_it_unless_told_to_keep_going() -> None:
    async with standing_in(script={"apps/a:1": [409], WEB: [409, 422]}) as gate:
        waiting = await start(gate.url, "apps/a:1", WEB)
        ended = await waiting.ended()
        assert (ended.code, waiting.seconds < 10) == (1, True)
    async with standing_in(script={"apps/a:1": [409], WEB: [409, 422]}) as gate:
        waiting = await start(gate.url, "apps/a:1", WEB, "--keep-going")
        await asked_often(gate, 4)
        gate.open_gate.set()
        ended = await waiting.ended()
        assert (ended.code, "usable: apps/a:1\n" in ended.err) == (1, True)


async def test_a_destination_that_cannot_be_asked_is_held_on_and_cannot_be_told() -> None:
    async with standing_in(script={WEB: [503]}) as gate:
        ended = await wait(gate.url, WEB, "--timeout", "1s")
        assert (ended.code, ended.out) == (4, "")
        assert f"cannot tell: {WEB}: unknown/unreachable at cluster1: " in ended.err
    async with standing_in(script={WEB: [503, 409, 200]}, quick=True) as gate:
        assert (await wait(gate.url, WEB)).code == 0


async def test_failing_open_is_a_choice_that_is_told_loudly() -> None:
    async with standing_in(script={WEB: [503], "apps/c:1": [200], "apps/n:1": [409]}) as gate:
        ended = await wait(gate.url, WEB, "apps/c:1", "--timeout", "1s", "--fail-open")
        assert (ended.code, ended.out) == (0, f"{WEB}\napps/c@{DIGEST}\n")
        assert f"WARNING: --fail-open: {WEB} passes WITHOUT PROOF\n" in ended.err

        ended = await wait(gate.url, WEB, "apps/n:1", "--timeout", "1s", "--fail-open")
        assert (ended.code, ended.out) == (3, "")
        assert "WARNING" not in ended.err

        gate.script["apps/n:1"] = [422]
        assert (await wait(gate.url, WEB, "apps/n:1", "--timeout", "1s", "--fail-open")).code == 1


async def test_a_daemon_that_is_away_is_waited_for() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    ended = await wait(url, WEB, "--timeout", "1s")
    assert (ended.code, ended.out) == (4, "")
    assert "no syncwatch answers: http://127.0.0.1" in ended.err
    assert (await wait(url, WEB, "--timeout", "1s", "--fail-open", "-q")).code == 0

    waiting = await start(url, WEB)
    async with standing_in(port):
        ended = await waiting.ended()
        assert (ended.code, ended.out) == (0, f"{PINNED}\n")


async def test_a_daemon_that_restarts_in_the_middle_of_a_long_poll_is_asked_again() -> None:
    port = free_port()
    async with standing_in(port, script={WEB: [409]}) as gate:
        waiting = await start(gate.url, WEB)
        await asked_often(gate, 2)
        gate.raw = (503, "")
    async with standing_in(port):
        ended = await waiting.ended()
        assert (ended.code, ended.out) == (0, f"{PINNED}\n")


async def test_a_proxy_whose_daemon_is_away_is_waited_for_too() -> None:
    async with standing_in(raw=(502, "<html>Bad Gateway</html>")) as gate:
        waiting = await start(gate.url, WEB)
        await asked_often(gate, 1)
        gate.raw = None
        assert (await waiting.ended()).code == 0


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (200, "<html>", "answers, but it is not syncwatch"),
        (404, "404: Not Found", "answers, but it is not syncwatch"),
        (404, '{"errors": []}', "says: status 404"),
        (302, "", "answers, but it is not syncwatch"),
    ],
)
async def test_what_is_not_the_gate_cannot_tell_and_is_not_waited_for(
    status: int, text: str, words: str
) -> None:
    async with standing_in(raw=(status, text)) as gate:
        ended = await wait(gate.url, WEB, "--fail-open")
        assert (ended.code, ended.out, len(gate.asked)) == (4, "", 1)
        assert words in ended.err


def altered(of: int, **changes: object) -> str:
    return json.dumps(told(WEB, of) | changes)


def at_cluster1(of: int, **changes: object) -> list[object]:
    return [told(WEB, of)["destinations"][0] | changes]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, altered(404, usable=True)),
        (200, altered(200, usable=False)),
        (200, altered(200, usable="yes")),
        (200, altered(200, usable=1)),
        (200, altered(200, status="200")),
        (200, altered(200, status=204)),
        (404, altered(200)),
        (503, altered(200)),
        (200, altered(200, destinations=[])),
        (200, altered(200, destinations=at_cluster1(409))),
        (200, altered(200, destinations="x", digest=5)),
        (200, altered(200, destinations=at_cluster1(200, pull=["x"]))),
        (200, altered(200, digest=None)),
        (200, altered(200, digest=5)),
        (200, altered(200, digest="latest")),
        (200, altered(200, digest="sha256:" + "AB" * 32)),
        (200, '{"destinations": []}'),
        (409, '{"destinations": [{"x": 1}], "status": 409}'),
        (422, altered(422, destinations=[5])),
        (422, altered(422, message=None)),
        (404, altered(404, destinations=None)),
    ],
)
async def test_an_answer_that_is_not_whole_is_neither_yes_nor_no(status: int, text: str) -> None:
    async with standing_in(raw=(status, text)) as gate:
        ended = await wait(gate.url, WEB, "--fail-open")
        assert (ended.code, ended.out, len(gate.asked)) == (4, "", 1), ended.err
        assert "what answers for the gate cannot be relied on: " in ended.err
        assert "Traceback" not in ended.err


async def test_a_no_under_a_200_is_a_no_and_another_digest_is_not_the_one() -> None:
    for status, code in ((404, 1), (422, 1), (409, 3), (503, 4)):
        async with standing_in(raw=(200, altered(status))) as gate:
            ended = await wait(gate.url, WEB, "--timeout", "0s")
            assert (ended.code, ended.out) == (code, ""), ended.err
    async with standing_in(raw=(200, altered(200))) as gate:
        ended = await wait(gate.url, "apps/web@sha256:" + "cd" * 32)
        assert (ended.code, ended.out) == (4, "")
        assert "another digest than was asked for" in ended.err


async def test_a_wrong_token_ends_it_at_once_and_is_never_shown(tmp_path: Path) -> None:
    async with standing_in(token="the-right-one") as gate:
        ended = await wait(gate.url, WEB, "--fail-open", SYNCWATCH_TOKEN="a-wrong-one")
        assert (ended.code, ended.out) == (4, "")
        assert "Send the token." in ended.err
        assert "a-wrong-one" not in ended.err

        token = tmp_path / "token"
        token.write_text("the-right-one\n")
        assert (await wait(gate.url, WEB, "--token-file", str(token))).code == 0


async def test_a_question_that_the_daemon_refuses_is_a_usage_error() -> None:
    refusal = {"error": {"code": "bad_request", "message": "max_age: 525600m at most."}}
    async with standing_in(raw=(400, json.dumps(refusal))) as gate:
        ended = await wait(gate.url, WEB)
        assert (ended.code, "max_age: 525600m at most." in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name at least one REF"),
        ([WEB, "--timeout", "soon"], "--timeout: not a duration"),
        ([WEB, "--max-age", "5"], "--max-age: not a duration"),
        (
            [WEB, "--token-file", "/there/is/none"],
            "--token-file: /there/is/none cannot be read: No",
        ),
        (["https://harbor.example.com/apps/web"], "is a URL; write [HOST/]REPOSITORY"),
        (["-f", "there-is-no-such.yaml"], "there-is-no-such.yaml cannot be read: No such file"),
        ([WEB, "--url", "127.0.0.1:8081"], "--url: not an address"),
    ],
)
def test_what_cannot_be_meant_so_is_a_usage_error(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["wait", *arguments], env={"COLUMNS": "200"})
    assert isinstance(result.exception, ConfigError) or result.exit_code == 2
    assert words in f"{result.exception}{result.output}"


async def test_a_choice_that_is_none_names_the_choices_and_a_token_that_is_none_its_file(
    tmp_path: Path,
) -> None:
    ended = await wait("", WEB, "--level", "deep", COLUMNS="200")
    assert ended.code == 2
    assert "for '--level': 'deep' is not one of 'matched', 'readable', 'pulled'." in ended.err
    token = tmp_path / "token"
    for content, words in (
        (b"\xff\xfe", f"--token-file: {token} is not UTF-8; "),
        (b"one\ntwo\n", f"--token-file: {token} has to hold the token alone, in one line"),
    ):
        token.write_bytes(content)
        ended = await wait("http://127.0.0.1:9", WEB, "--token-file", str(token))
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith(words)
    ended = await wait("http://127.0.0.1:9", WEB, SYNCWATCH_TOKEN="one\ntwo")
    assert (ended.code, ended.err) == (
        2,
        "SYNCWATCH_TOKEN has to hold the token alone, in one line\n",
    )


async def test_retry_after_is_kept_where_the_answer_was_not_held_back() -> None:
    async with standing_in(script={WEB: [503]}, quick=True, retry_after="2") as gate:
        await wait(gate.url, WEB, "--timeout", "3s")
        assert 2 <= len(gate.asked) <= 3


async def test_many_images_are_asked_a_few_at_a_time_and_each_gets_its_turn() -> None:
    names = [f"apps/web{number}:1" for number in range(3 * TURNS)]
    async with standing_in(script={name: [409] for name in names}) as gate:
        waiting = await start(gate.url, *names, *names)
        await asked_often(gate, len(names) + TURNS)
        assert set(gate.counts) == set(names)
        assert gate.most_at_once == TURNS
        assert {query["wait"] for query in gate.asked if "wait" in query} == {"18s"}
        gate.open_gate.set()
        ended = await waiting.ended()
        assert (ended.code, len(ended.out.splitlines())) == (0, len(names))
        assert len(ended.err.splitlines()) < len(names)
        assert gate.counts == dict.fromkeys(names, 2)
        assert gate.most_at_once == TURNS


async def test_json_has_the_answers_of_the_gate_and_what_came_of_them() -> None:
    async with standing_in(script={"apps/a:1": [409]}) as gate:
        ended = await wait(gate.url, WEB, "apps/a:1", "-o", "json", "--timeout", "0s", "-q")
        usable, pending = json.loads(ended.out)
        assert (ended.code, ended.err.startswith("not yet: apps/a:1")) == (3, True)
        assert (usable["answer"], usable["pinned"], usable["status"]) == ("yes", PINNED, 200)
        assert usable["destinations"][0]["pull"] == f"cluster1.internal/web@{DIGEST}"
        assert (pending["answer"], pending["state"], pending["pinned"]) == (
            "not_yet",
            "pending",
            None,
        )
    ended = await wait("http://127.0.0.1:1", WEB, "-o", "json", "--timeout", "0s")
    (away,) = json.loads(ended.out)
    assert (away["answer"], away["digest"], away["destinations"]) == ("cannot_tell", None, [])
    assert not away["let_through"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_and_sigterm_end_it_before_it_is_known(number: signal.Signals) -> None:
    async with standing_in(script={WEB: [409]}) as gate:
        waiting = await start(gate.url, WEB)
        await asked_often(gate, 2)
        waiting.interrupt(number)
        ended = await waiting.ended()
        assert (ended.code, ended.out) == (4, "")
        assert "ended before it was known" in ended.err
        assert "Traceback" not in ended.err


async def test_output_that_nobody_reads_is_no_no() -> None:
    async with standing_in() as gate:
        reading, writing = os.pipe()
        os.close(reading)
        process = await asyncio.create_subprocess_exec(
            *(SYNCWATCH, "wait", WEB, "--url", gate.url),
            stdout=writing,
            stderr=asyncio.subprocess.PIPE,
        )
        os.close(writing)
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 4
        assert b"Traceback" not in err


async def test_a_terminal_shows_one_line_that_goes_when_it_is_over() -> None:
    async with standing_in(script={WEB: [409]}) as gate:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "syncwatch", "wait", WEB, "--url", gate.url),
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "COLUMNS": "100", "TERM": "xterm"},
        )
        os.close(theirs)
        os.set_blocking(ours, False)
        shown = b""

        async def is_shown() -> bool:
            nonlocal shown
            try:
                shown += os.read(ours, 65536)
            except BlockingIOError:
                return False
            return "0 of 1 usable after 0s; waiting for apps/web:1.4.0 pending/copying" in str(
                shown
            )

        await until(is_shown)
        gate.open_gate.set()
        out, _ = await asyncio.wait_for(process.communicate(), 20)
        os.close(ours)
        assert (process.returncode, out.decode()) == (0, f"{PINNED}\n")


def test_of_many_answers_the_worst_decides_and_a_no_is_worse_than_not_knowing() -> None:
    order = (2, 1, 4, 3, 0)
    for codes in itertools.product(order, repeat=3):
        assert together(codes) == min(codes, key=order.index)
    assert together([]) == 0


def test_every_option_and_exit_code_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "wait.md").read_text(encoding="utf-8")
    (command,) = [
        one for one in typer.main.get_command(app).commands.values() if one.name == "wait"
    ]
    options = {one for param in command.params for one in param.opts if one.startswith("--")}
    told = set(re.findall(r"--[a-z-]+", page)) | {"--file", "--config", "--help"}
    assert options <= told
    assert re.findall(r"^\| (\d) \|", page, flags=re.MULTILINE) == list("01234")
