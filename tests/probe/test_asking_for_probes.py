"""People and pipelines ask for a probe: the API, the command, the gate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from gate.asking_the_gate import gate
from probed_scene import probed, probes
from running import until
from servers.kubernetes_api import KubernetesApi, hangs, pulls, refuses
from test_cli import syncwatch

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched

TOKEN = "a-token"
TOP = {"top": {"token": TOKEN}}
UNAUTHORIZED = "failed to resolve reference: 401 Unauthorized"


async def ask(watched: Watched, image: str, **more: str) -> tuple[int, dict[str, Any]]:
    url = watched.daemon.url + "/api/v1/probes"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    body = {"image": image, **more}
    async with watched.session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def get(watched: Watched, path: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with watched.session.get(watched.daemon.url + path, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def ended(watched: Watched, probe_id: str) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        one = await get(watched, f"/api/v1/probes/{probe_id}")
        answered = one["ended_at"] is not None and one["ended_at"] >= one["asked_at"]
        return one if answered and one["began_at"] is None else None

    return await until(found, 20, "the end of the probe")


async def test_a_probe_of_what_nothing_expects_is_asked_for_by_hand(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", images="required", **TOP) as story,
    ):
        digest = story.push("0.9")

        async def copied() -> bool:
            return "0.9" in story.registry.contents.repository("apps/web").tags

        await until(copied)
        async with story.watched() as watched:
            status, told = await ask(watched, "apps/web:0.9", destination="cluster1")
            assert status == 202, told
            (asked,) = told["probes"]
            one = await ended(watched, asked["id"])

            assert (one["result"], one["digest"]) == ("pulled", digest)
            (pod,) = one["pods"]
            assert (pod["node"], pod["cluster"]) == ("node-1", "cluster1")
            listed = await get(watched, "/api/v1/probes?result=pulled&state=ended")
            assert [item["id"] for item in listed["items"]] == [asked["id"]]
            assert (await get(watched, "/api/v1/probes?state=waiting"))["items"] == []


@pytest.mark.parametrize(
    ("image", "destination", "status"),
    [
        ("apps/web:1.0", "nowhere", 404),
        ("apps/web:none", "cluster1", 404),
        ("not a reference", "cluster1", 400),
    ],
)
async def test_what_cannot_be_probed_is_said_in_a_sentence(
    tmp_path: Path, image: str, destination: str, status: int
) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", **TOP) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        answered, told = await ask(watched, image, destination=destination)
        assert answered == status, told
        assert told["error"]["message"].endswith((".", ")"))


async def test_a_cluster_whose_probe_is_off_is_not_asked(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", mode="off", **TOP) as story,
        story.watched() as watched,
    ):
        story.push("1.0")

        async def verified() -> bool:
            told = await get(watched, "/api/v1/expectations")
            return [one["state"] for one in told["items"]] == ["verified"]

        await until(verified)
        status, told = await ask(watched, "apps/web:1.0", destination="cluster1")
        assert status == 422
        assert "No cluster is configured to pull from cluster1" in told["error"]["message"]
        assert not api.asked


@pytest.mark.parametrize(
    ("script", "code", "word"),
    [
        (pulls, 0, "pulled"),
        (refuses(UNAUTHORIZED), 1, "unauthorized"),
        (hangs, 4, "inconclusive"),
    ],
    ids=["pulled", "refused", "hung"],
)
async def test_the_command_says_what_the_kubelet_said(
    tmp_path: Path, script: Any, code: int, word: str
) -> None:
    async with (
        KubernetesApi(script).serving() as api,
        probed(tmp_path, api, level="readable", images="required", timeout="1s", **TOP) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        common = ("--on", "cluster1", "--url", watched.daemon.url, "--timeout", "20s")
        done = await syncwatch("probe", "apps/web:1.0", *common, SYNCWATCH_TOKEN=TOKEN)

        assert done.code == code, done
        assert done.out.startswith(f"{word}: cluster1/apps/web@sha256:")
        assert "node-1" in done.out
        assert TOKEN not in done.out + done.err

        stands = await syncwatch("status", "--url", watched.daemon.url, SYNCWATCH_TOKEN=TOKEN)
        table = stands.out[stands.out.index("pulled, 24 h") :]
        row = next(line for line in table.splitlines() if "cluster1" in line)
        counts = [cell.strip() for cell in row.strip("│").split("│")]
        assert counts[-3:] == [str(int(code == one)) for one in (0, 1, 4)], stands.out


async def test_the_command_gives_json_and_says_not_yet_when_its_time_is_over(
    tmp_path: Path,
) -> None:
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api, level="readable", images="required", timeout="30s", **TOP) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        common = ("--on", "cluster1", "--url", watched.daemon.url, "--output", "json")
        done = await syncwatch(
            "probe", "apps/web:1.0", *common, "--timeout", "1s", SYNCWATCH_TOKEN=TOKEN
        )

        assert done.code == 3, done
        (one,) = json.loads(done.out)["probes"]
        assert one["result"] is None


async def test_nobody_may_ask_for_a_probe_without_the_token(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable") as story,
        story.watched() as watched,
    ):
        url = watched.daemon.url + "/api/v1/probes"
        async with watched.session.post(url, json={"image": "apps/web:1.0"}) as answer:
            assert answer.status == 403


async def test_the_gate_has_a_node_pull_what_is_asked_of_it_that_deep(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", images="required") as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        await watched.row(reference="1.0", state="verified")
        assert not api.made

        told = await gate(watched, "apps/web:1.0", "cluster1", level="pulled")
        assert told.short == (409, "verified", "probing")
        told = await gate(watched, "apps/web:1.0", "cluster1", level="pulled", wait="20s")

        assert told.status == 200, told.body
        assert told.there["cluster1"]["level"] == "pulled"
        assert "node-1 pulled it" in told.body["message"]
        again = await gate(watched, "apps/web:1.0", "cluster1", level="pulled")
        assert again.status == 200
        assert len(api.made) == 1


async def test_the_gate_says_no_where_a_node_could_not_pull_it(tmp_path: Path) -> None:
    async with (
        KubernetesApi(refuses(UNAUTHORIZED)).serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        await watched.row(reference="1.0", reason="pull_failed")
        told = await gate(watched, "apps/web:1.0", "cluster1")

        assert told.short == (422, "failed", "pull_failed")
        assert "401 Unauthorized" in told.body["message"]
        assert api.made


async def test_the_gate_cannot_tell_where_the_pod_proved_nothing(tmp_path: Path) -> None:
    async with (
        KubernetesApi(hangs).serving() as api,
        probed(tmp_path, api, timeout="500ms") as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        await watched.row(reference="1.0", reason="probe_inconclusive")
        told = await gate(watched, "apps/web:1.0", "cluster1")

        assert told.short == (503, "unknown", "probe_inconclusive")
        assert await probes(watched, result="inconclusive") == 1
        assert api.made
