"""Which digests are probed by themselves, by which pods, and which only when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from probed_scene import Later, probed, probes
from running import until
from servers.kubernetes_api import KubernetesApi, node, pulls

from syncwatch.lab import images
from syncwatch.model import HOUR

if TYPE_CHECKING:
    from pathlib import Path

    from running import Watched
    from scene import Scene


async def all_verified(watched: Watched, count: int) -> None:
    async def verified() -> bool:
        rows = await watched.expectations()
        return [row["state"] for row in rows].count("verified") == count

    await until(verified, 30)


async def pulled(watched: Watched, count: int) -> None:
    async def done() -> bool:
        return await probes(watched, result="pulled") == count

    await until(done, 30)


async def idle(watched: Watched) -> None:
    """Nothing is under way, and nothing waits."""

    async def nothing() -> bool:
        told = await watched.get("/api/v1/probes", limit="1000")
        return not [one for one in told["items"] if one["began_at"] or one["due_at"]]

    await until(nothing)


def digests(api: KubernetesApi) -> list[str]:
    """What was asked of the nodes, in order."""
    return [image.partition("@")[2] for image in api.images]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"images": "required"}, 0),
        ({"policies": ["another"]}, 0),
        ({"policies": ["another", "to-cluster1"]}, 2),
        ({"size_limit": 10}, 0),
        ({"images": "new"}, 2),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, dict) else "",
)
async def test_new_digests_are_probed_where_the_configuration_wants_them(
    tmp_path: Path, settings: dict[str, Any], expected: int
) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", **settings) as story,
        story.watched() as watched,
    ):
        story.push("1.0")
        story.push("2.0")
        await all_verified(watched, 2)
        await pulled(watched, expected)
        assert len(api.made) == expected
        assert len((await watched.get("/api/v1/probes"))["items"]) == expected


async def test_what_a_level_asks_for_is_probed_whatever_is_chosen(tmp_path: Path) -> None:
    chosen = {"images": "required", "sample": 0.001, "policies": ["another"]}
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="pulled", **chosen) as story,
        story.watched() as watched,
    ):
        digest = story.push("1.0")
        await all_verified(watched, 1)
        assert digests(api) == [digest]


async def test_what_was_verified_before_anybody_probed_is_not_new(tmp_path: Path) -> None:
    often = {"recheck_per_minute": 6000, "recheck_after": "200ms"}
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, level="readable", mode="off", destination=often) as story,
    ):
        async with story.watched() as watched:
            story.push("1.0")
            await all_verified(watched, 1)
        story.config.write_text(story.config.read_text().replace("mode: 'off'", "mode: pull"))
        async with story.watched() as watched:
            before = (await watched.row(reference="1.0"))["observed_at"]
            digest = story.push("2.0")
            await pulled(watched, 1)

            async def looked_again() -> bool:
                return (await watched.row(reference="1.0"))["observed_at"] > before

            await until(looked_again)
            assert digests(api) == [digest]

            # What is lost and comes again has to be pulled again.
            story.registry.lose_manifest("apps/web", digest)
            await watched.row(reference="2.0", state="failed")
            story.registry.push("apps/web", "2.0", images.image("2.0"))
            await watched.row(reference="2.0", state="verified")

            async def twice() -> bool:
                return digests(api) == [digest, digest]

            await until(twice)


async def test_a_sample_is_a_share_of_the_digests_and_the_same_one_each_time(
    tmp_path: Path,
) -> None:
    async def drawn(folder: Path) -> set[str]:
        async with (
            KubernetesApi().serving() as api,
            probed(folder, api, level="readable", sample=0.5, at_once=8) as story,
            story.watched() as watched,
        ):
            for number in range(20):
                story.push(f"{number}.0")
            await all_verified(watched, 20)
            await idle(watched)
            return set(digests(api))

    places = [tmp_path / name for name in ("first", "second")]
    for place in places:
        place.mkdir()
    first = await drawn(places[0])
    assert 3 < len(first) < 17
    assert await drawn(places[1]) == first


async def test_names_of_one_digest_share_a_pod_and_a_chart_has_none(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api) as story,
        story.watched() as watched,
    ):
        digest = story.push("1.0", "one image")
        story.push("2.0", "one image")
        story.harbor.push("apps/chart", "1.0", images.chart("chart", "1.0.0"))
        await all_verified(watched, 3)

        assert digests(api) == [digest]
        levels = {row["repository"]: row["level"] for row in await watched.expectations()}
        assert levels == {"apps/web": "pulled", "apps/chart": "readable"}


async def test_the_platforms_of_a_destination_choose_the_architectures(tmp_path: Path) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, architectures=["all"], one_per_node=False) as story,
        story.watched() as watched,
    ):
        api.nodes = [node("a", "amd64"), node("b", "arm64"), node("c", "s390x")]
        api.nodes[2]["spec"]["unschedulable"] = True
        image = images.platforms("both", "amd64", "arm64")
        story.harbor.push("apps/web", "1.0", image)
        await all_verified(watched, 1)

        wanted = [one["spec"]["nodeSelector"]["kubernetes.io/arch"] for one in api.made]
        assert sorted(wanted) == ["amd64", "arm64"]


async def test_without_architectures_one_pod_goes_to_a_node_of_any_of_the_platforms(
    tmp_path: Path,
) -> None:
    place = {"platforms": ["linux/amd64", "linux/s390x"]}
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, destination=place) as story,
        story.watched() as watched,
    ):
        story.harbor.push("apps/web", "1.0", images.platforms("both", "amd64", "arm64", "s390x"))
        await all_verified(watched, 1)

        (pod,) = api.made
        required = pod["spec"]["affinity"]["nodeAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        (term,) = required["nodeSelectorTerms"]
        (fitting,) = term["matchExpressions"]
        assert fitting == {
            "key": "kubernetes.io/arch",
            "operator": "In",
            "values": ["amd64", "s390x"],
        }


async def test_of_one_digest_in_two_places_the_second_finds_it_on_the_node(tmp_path: Path) -> None:
    async with (
        KubernetesApi(lambda pod: pulls(pod, 0.3)).serving() as api,
        probed(tmp_path, api, at_once=4, one_per_node=False) as story,
        story.watched() as watched,
    ):
        for repository in ("apps/a", "apps/b"):
            story.push("1.0", "the same", repository)

        async def both() -> bool:
            rows = await watched.expectations()
            return sorted(row["state"] for row in rows) == ["unknown", "verified"]

        await until(both)
        # There is one node, and what it pulled first it did not pull again.
        assert api.most == 1
        second = await watched.row(state="unknown")
        assert second["reason"] == "probe_inconclusive"
        assert "held the image already" in second["message"]


async def test_a_node_that_holds_it_is_avoided_and_proves_the_reference_only(
    tmp_path: Path,
) -> None:
    async with (
        KubernetesApi().serving() as api,
        probed(tmp_path, api, look_at_nodes=True) as story,
        story.watched() as watched,
    ):
        digest = _next_digest(story)
        # It is the only one, so that the pod lands there all the same.
        api.nodes = [node("node-1", "amd64", [f"elsewhere.test/other@{digest}"])]
        story.push("1.0")
        row = await watched.row(reference="1.0", reason="probe_inconclusive")

        assert "held the image already" in row["message"]
        (pod,) = api.made
        (preferred,) = pod["spec"]["affinity"]["nodeAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        (expression,) = preferred["preference"]["matchExpressions"]
        assert (expression["operator"], expression["values"]) == ("NotIn", ["node-1"])


def _next_digest(story: Scene) -> str:
    """What `push("1.0")` will be called."""
    return images.image("1.0").digest


async def test_what_was_pulled_is_pulled_again_only_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    clock = Later()
    async with (
        KubernetesApi(lambda pod: pulls(pod, 0.05)).serving() as api,
        probed(tmp_path, api, again_after="30m") as story,
        story.watched(clock=clock) as watched,
    ):
        story.push("1.0")
        await all_verified(watched, 1)
        assert len(api.made) == 1

        clock.ahead = HOUR

        async def twice() -> bool:
            return len(api.made) == 2

        await until(twice)
        # The node that pulled it is remembered: what was proven stays so.
        row = await watched.row(reference="1.0", state="verified")
        assert row["pulled_at"] is not None
