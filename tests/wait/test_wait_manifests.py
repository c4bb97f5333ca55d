"""`syncwatch wait -f`: all images of rendered manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stand_in import DIGEST, standing_in, wait
from test_manifests import HOST, RENDERED
from typer.testing import CliRunner

from syncwatch.cli import app
from syncwatch.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

OURS = ["apps/web:1.4.0", "infra/proxy@" + "sha256:" + "ab" * 32, "models/small:7", "apps/job:2"]


async def test_every_image_of_rendered_manifests_is_asked_once_and_printed_in_their_order() -> None:
    async with standing_in() as gate:
        ended = await wait(gate.url, "-f", "-", "--on", "cluster1", text=RENDERED * 2)
        assert ended.code == 0
        assert list(gate.counts) == [
            *(f"{HOST}/{name}" for name in OURS),
            "busybox:latest",
            "docker.io/library/busybox:1.36",
        ]
        assert set(gate.counts.values()) == {1}
        assert ended.out.splitlines()[:2] == [
            f"{HOST}/apps/web@{DIGEST}",
            f"{HOST}/infra/proxy@{DIGEST}",
        ]


async def test_files_standard_input_and_references_are_taken_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.json"
    one.write_text(f"containers:\n- image: {HOST}/apps/a:1\n")
    two.write_text(f'\ufeff{{"containers": [{{"image": "{HOST}/apps/b:1"}}]}}')
    text = f"containers:\n- image: {HOST}/apps/c:1\n- image: {HOST}/apps/a:1\n"
    async with standing_in() as gate:
        files = ["-f", str(one), "-f", "-", f"--file={two}"]
        ended = await wait(gate.url, f"{HOST}/apps/d:1", *files, text=text)
        assert ended.code == 0
        assert list(gate.counts) == [f"{HOST}/apps/{name}:1" for name in "dacb"]


async def test_a_foreign_image_is_a_no_unless_only_our_registry_is_asked_for() -> None:
    foreign = "docker.io/library/busybox:1.36"
    async with standing_in(script={foreign: [404], "busybox:latest": [404]}) as gate:
        ended = await wait(gate.url, "-f", "-", text=RENDERED)
        assert (ended.code, ended.out) == (1, "")
        assert f"no: {foreign}: " in ended.err
        assert "named in standard input, document 2, Pod/debug-, container shell" in ended.err

        ended = await wait(gate.url, "-f", "-", "--only", HOST.upper(), text=RENDERED)
        assert (ended.code, len(ended.out.splitlines())) == (0, 4)
        assert f"syncwatch: left out by --only {HOST}: busybox {foreign}\n" in ended.err


async def test_an_only_that_leaves_nothing_is_a_mistake_and_lets_nothing_through() -> None:
    async with standing_in() as gate:
        ended = await wait(gate.url, "-f", "-", "--only", "registry.cluster1", text=RENDERED)
        assert (ended.code, ended.out, gate.asked) == (2, "", [])
        assert "--only registry.cluster1: no image is left" in ended.err


async def test_manifests_without_an_image_are_let_through_only_where_that_is_said() -> None:
    async with standing_in() as gate:
        for text, more, code in [
            ("kind: Namespace\n", ["--allow-none"], 0),
            (RENDERED, ["--only", "elsewhere.example.com", "--allow-none"], 0),
            ("", ["--allow-none"], 2),
            ("kind: [\n", ["--allow-none"], 2),
        ]:
            ended = await wait(gate.url, "-f", "-", *more, text=text)
            assert (ended.code, ended.out, gate.asked) == (code, "", [])


async def test_an_image_without_a_registry_is_asked_by_harbors_name_and_that_is_said() -> None:
    async with standing_in() as gate:
        text = "kind: Pod\nmetadata: {name: x}\ncontainers: [{name: a, image: 'apps/web:1'}]\n"
        ended = await wait(gate.url, "-f", "-", text=text)
        assert (ended.code, list(gate.counts)) == (0, ["apps/web:1"])
        assert "document 1, Pod/x, container a: apps/web:1 names no registry" in ended.err


UNTAGGED = "kind: Pod\nmetadata: {name: web}\ncontainers: [{name: a, image: 'apps/web:'}]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "standard input: it is empty (did the command before the pipe fail?)"),
        (
            "a: [",
            "standard input: line 2: not YAML (look for a quote, colon or space before there)",
        ),
        ("kind: Namespace\n", "standard input: no container and no volume in it names an image"),
        (UNTAGGED, "standard input: document 1, Pod/web, container a: '' is no tag"),
    ],
)
def test_manifests_that_cannot_be_used_are_told_in_one_sentence(text: str, words: str) -> None:
    result = CliRunner().invoke(app, ["wait", "-f", "-"], input=text)
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_file_that_cannot_be_read_is_told_in_one_sentence(tmp_path: Path) -> None:
    binary = tmp_path / "chart.tgz"
    binary.write_bytes(b"\x1f\x8b\x08\x00\xff")
    for path, words in [
        (binary, f"{binary}: it is not UTF-8"),
        (tmp_path, f"{tmp_path} cannot be read: Is a directory"),
    ]:
        result = CliRunner().invoke(app, ["wait", "-f", str(path)])
        assert str(result.exception) == words


async def test_manifests_that_cannot_be_used_are_a_usage_error() -> None:
    ended = await wait("http://127.0.0.1:1", "-f", "-", text="a: [")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("standard input: line 2: not YAML")
