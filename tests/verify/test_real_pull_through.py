"""Debian's docker-registry as a pull-through cache (`proxy.remoteurl`): told before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from servers import free_port
from servers.docker_registry import docker_registry
from servers.nginx import nginx

from syncwatch.lab.images import image
from syncwatch.model import Held, Reason
from verify.test_docker_registry import looking_at

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

IMAGE = image("one")


def folders(tmp_path: Path) -> tuple[Path, Path]:
    source, cache = tmp_path / "source", tmp_path / "cache"
    source.mkdir()
    cache.mkdir()
    return source, cache


def files(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if one.is_file()]


async def test_a_cache_is_known_before_it_has_fetched_anything(tmp_path: Path) -> None:
    source, cache = folders(tmp_path)
    async with (
        docker_registry(source) as upstream,
        docker_registry(cache, upstream=upstream.url) as registry,
        looking_at(registry.url) as client,
    ):
        await upstream.push("a/b", "v1", IMAGE)
        seen = await client.look_through("a/b")
        elsewhere = await client.look_through("c/d")
        left = files(registry.storage)
    assert seen is not None
    assert seen.problem is Reason.PULL_THROUGH
    assert elsewhere is not None
    assert left == []


async def test_a_look_at_a_cache_would_create_what_it_looks_for(tmp_path: Path) -> None:
    source, cache = folders(tmp_path)
    async with (
        docker_registry(source) as upstream,
        docker_registry(cache, upstream=upstream.url) as registry,
        looking_at(registry.url) as client,
    ):
        await upstream.push("a/b", "v1", IMAGE)
        seen = await client.look("a/b", "v1", {IMAGE.digest})
        made = registry.blob_file(IMAGE.digest).exists()
    assert seen.held == {IMAGE.digest: Held.PRESENT}
    assert made


@pytest.mark.parametrize("there", ["registry", "nothing", "page"])
async def test_a_cache_is_known_whatever_its_upstream_says(tmp_path: Path, there: str) -> None:
    # A cache does not start without its upstream, so that nginx stands in for one that goes away.
    source, cache = folders(tmp_path)
    async with docker_registry(source) as behind:
        await behind.push("a/b", "v1", IMAGE)
        aim = behind.url if there == "registry" else f"http://127.0.0.1:{free_port()}"
        refusing = "return 404;" if there == "page" else ""
        async with (
            nginx(tmp_path, aim, manifests=refusing) as upstream,
            docker_registry(cache, upstream=upstream.url) as registry,
            looking_at(registry.url) as client,
        ):
            seen = await client.look_through("a/b")
            left = files(registry.storage)
    assert seen is not None
    assert seen.problem is Reason.PULL_THROUGH
    assert left == []


async def test_an_ordinary_registry_is_no_cache(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as registry, looking_at(registry.url) as client:
        empty = await client.look_through("a/b")
        await registry.push("a/b", "v1", IMAGE)
        filled = await client.look_through("a/b")
    assert (empty, filled) == (None, None)
