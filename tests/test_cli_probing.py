"""`syncwatch probe`: what it prints of a probe that followed another one, and how it ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from probed_scene import probed
from servers.kubernetes_api import KubernetesApi, hangs, pulls, refuses
from test_cli import Ended, syncwatch

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched

TOKEN = "a-token"
TOP = {"top": {"token": TOKEN}}
STAYS = re.compile(r"^    a node had pulled it at 20\d\d-\S+Z; that stays proven$", re.MULTILINE)


async def probe(watched: Watched, *more: str, token: str = TOKEN, timeout: str = "20s") -> Ended:
    common = ("--on", "cluster1", "--url", watched.daemon.url, "--timeout", timeout)
    return await syncwatch("probe", "apps/web:1.0", *common, *more, SYNCWATCH_TOKEN=token)


async def test_what_waits_shows_no_pod_of_the_probe_before(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", images="required", per_hour=1, **TOP) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        done = await probe(watched)
        (pod,) = api.made
        before = pod["metadata"]["name"]
        assert (done.code, before in done.out) == (0, True), done

        # The hour has no pod left, so this one waits.
        for more in ((), ("--no-wait",)):
            done = await probe(watched, *more, timeout="1s")
            assert done.code == (0 if more else 3), done
            assert done.out.startswith("not yet: cluster1/apps/web@sha256:")
            assert before not in done.out
            assert "a node had pulled it" not in done.out
        assert len(api.made) == 1


async def test_what_is_not_yet_shows_the_pod_that_is_pulling_it(tmp_path: Path) -> None:
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api, level="readable", images="required", timeout="60s", **TOP) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        # Asked again while it is pulled, it is answered by the same pod.
        for _ in range(2):
            done = await probe(watched, timeout="3s")
            assert done.code == 3, done
            (pod,) = api.made
            assert f"    pod {pod['metadata']['name']} in cluster1" in done.out


async def test_a_pod_that_proved_nothing_takes_no_proof_away(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", images="required", timeout="1s", **TOP) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        done = await probe(watched)
        assert done.code == 0, done
        assert "stays proven" not in done.out

        done = await probe(watched)
        assert done.code == 4, done
        assert "held the image already" in done.out
        assert STAYS.search(done.out), done.out

        api.script = hangs
        done = await probe(watched)
        assert done.code == 4, done
        assert "held the image already" not in done.out
        assert STAYS.search(done.out), done.out


async def test_a_pod_that_proved_nothing_is_told_alone_where_nothing_was_proven(
    tmp_path: Path,
) -> None:
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api, level="readable", images="required", timeout="1s", **TOP) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        done = await probe(watched)

        assert done.code == 4, done
        assert "stays proven" not in done.out


@pytest.mark.parametrize(
    ("top", "token", "code", "words"),
    [
        ({"token": TOKEN}, "another", 4, "401"),
        ({"token": TOKEN}, "", 4, "401"),
        ({}, "", 2, "403"),
    ],
    ids=["another token", "no token", "nobody may ask"],
)
async def test_whoever_may_not_ask_gets_the_exit_code_that_the_help_tells(
    tmp_path: Path, top: dict[str, str], token: str, code: int, words: str
) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", images="required", top=top) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        done = await probe(watched, token=token)

        assert done.code == code, done
        assert done.err.startswith("syncwatch: ")
        assert not api.made
    told = " ".join((await syncwatch("probe", "--help")).out.split())
    codes = {int(one[:1]): one for one in re.split(r" (?=[0-4] when )", told)[1:]}
    assert f"({words})" in codes[code]


@pytest.mark.parametrize(
    "url",
    [
        "https://storage.googleapis.com/b/o?X-Goog-Credential=hunter2&X-Goog-Signature=hunter2",
        "https://cdn.example.com/o?Policy=hunter2&Signature=hunter2&Key-Pair-Id=hunter2",
    ],
    ids=["google", "cloudfront"],
)
async def test_a_signed_url_in_a_kubelets_words_is_shown_without_what_signs_it(
    tmp_path: Path, url: str
) -> None:
    words = f'failed to copy: httpReadSeeker: failed open: Get "{url}": 403 Forbidden'
    async with (
        KubernetesApi(refuses(words)).serving() as api,
        probed(tmp_path, api, level="readable", images="required", timeout="1s", **TOP) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        done = await probe(watched)
        shown = done.out + (await probe(watched, "--no-wait", "--output", "json")).out

    assert url.partition("?")[0] in done.out
    assert "403 Forbidden" in done.out
    assert "hunter2" not in shown


async def test_a_kubelet_that_was_pulling_when_asked_answers_it(tmp_path: Path) -> None:
    async with (
        KubernetesApi(lambda pod: pulls(pod, 4.0)).serving() as api,
        probed(tmp_path, api, level="readable", images="required", timeout="30s", **TOP) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        done = await probe(watched, timeout="2s")
        assert done.code == 3, done
        done = await probe(watched)

        assert done.code == 0, done
        (pod,) = api.made
        assert f"    pod {pod['metadata']['name']} in cluster1 on node-1" in done.out
