"""With real servers: skopeo pushes, docker-registry receives, Prometheus scrapes and answers."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml
from running import SECRET, Watched, running, settings_file, until
from servers import free_port, needs
from servers.docker_registry import PASSWORD, USER, DockerRegistry, docker_registry, token_realm

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.real

PUSHES = 100
DESTINATION = "docker-registry"


async def run(program: str, *arguments: str) -> str:
    """What a program says; it has to end well."""
    process = await asyncio.create_subprocess_exec(
        needs(program),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said.decode()
    return said.decode()


async def skopeo_push(harbor: LabHarbor, source: LabRegistry, name: str) -> None:
    """Push an image to the lab's Harbor as a person does, with skopeo."""
    await run(
        "skopeo",
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        f"--dest-creds={harbor.username}:{harbor.password}",
        f"docker://{source.host}/images/any:1",
        f"docker://{harbor.host}/{name}",
    )


@asynccontextmanager
async def watching(
    tmp_path: Path, registry: DockerRegistry, **destination: Any
) -> AsyncIterator[tuple[LabHarbor, Watched]]:
    """A lab Harbor that copies to docker-registry, and the daemon with a credential for it."""
    async with LabHarbor().serving() as harbor:
        harbor.create_registry(DESTINATION, registry.url, username=USER, password=PASSWORD)
        harbor.create_policy("to-docker", DESTINATION, pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password}
        credential = {"url": registry.url, "username": USER, "password": PASSWORD}
        entry = {"name": DESTINATION, **credential, **destination}
        config = settings_file(tmp_path, login, more_destinations=[entry])
        async with running(config) as watched:
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            yield harbor, watched


async def test_a_push_by_skopeo_is_verified_in_docker_registry(tmp_path: Path) -> None:
    needs("skopeo")
    async with (
        docker_registry(tmp_path, htpasswd=True) as registry,
        LabRegistry("source").serving() as source,
        watching(tmp_path, registry) as (harbor, watched),
    ):
        pushed = source.push("images/any", "1", images.image("by skopeo"))
        await skopeo_push(harbor, source, "apps/web:1.0")
        row = await watched.row(reference="1.0", state="verified")
        assert (row["digest"], row["destination"]) == (pushed, DESTINATION)
        assert "apps/web" not in await watched.metrics_text()


async def test_a_push_is_verified_in_docker_registry_behind_a_token_service(
    tmp_path: Path,
) -> None:
    async with (
        token_realm(tmp_path) as realm,
        docker_registry(tmp_path, realm=realm) as registry,
        LabRegistry("unused").serving() as unused,
        LabHarbor().serving() as harbor,
    ):
        del unused
        image = images.image("behind a token")
        # The token service gives nobody the right to push: the image is put there beforehand.
        harbor.create_registry(DESTINATION, registry.url, username=USER, password=PASSWORD)
        harbor.create_policy("to-docker", DESTINATION, pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        login = {"url": harbor.url, "username": user, "password": password}
        entry = {"name": DESTINATION, "url": registry.url, "username": USER, "password": PASSWORD}
        config = settings_file(tmp_path, login, more_destinations=[entry])
        async with running(config) as watched:
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            await registry.push("apps/web", "1.0", image)
            digest = harbor.push("apps/web", "1.0", image)
            row = await watched.row(reference="1.0", state="verified")
            assert row["digest"] == digest
        assert ("test-registry", "repository:apps/web:pull", True) in realm.asked


@pytest.mark.slow
async def test_a_hundred_pushes_are_verified_soon_after_their_webhooks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        docker_registry(tmp_path, htpasswd=True) as registry,
        watching(tmp_path, registry) as (harbor, watched),
    ):
        for number in range(PUSHES):
            harbor.push(f"apps/web{number % 10}", f"1.{number}", images.image(f"{number}"))
            await asyncio.sleep(0.2)

        async def all_verified() -> bool:
            rows = await watched.expectations(state="verified")
            return len(rows) == PUSHES

        await until(all_verified, within=60)
        rows = await watched.expectations()
        waits = sorted(_seconds(row["verified_at"]) - _seconds(row["notified_at"]) for row in rows)
        p50, p99 = statistics.median(waits), waits[int(len(waits) * 0.99) - 1]
        with capsys.disabled():
            print(f"\nwebhook to verdict over {PUSHES} pushes: p50 {p50:.3f} s, p99 {p99:.3f} s")
        assert p99 < 10
        assert await _met(watched) == PUSHES


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


async def _met(watched: Watched) -> float | None:
    return await watched.metric("syncwatch_expectations_settled_total", result="met")


class Prometheus:
    """A running Prometheus that scrapes one daemon each second."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._session = session

    async def is_up(self) -> bool:
        try:
            found = await self.ask("up")
        except aiohttp.ClientError:
            return False
        return [value for _, value in found] == [1.0]

    async def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """(labels, value) of each sample that answers a query now."""
        url = f"{self.url}/api/v1/query"
        async with self._session.get(url, params={"query": query}) as answer:
            told = await answer.json()
        assert told["status"] == "success", told
        return [(one["metric"], float(one["value"][1])) for one in told["data"]["result"]]


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[Prometheus]:
    """Debian's Prometheus with this one target, for the length of a `with` block."""
    program, port = needs("prometheus"), free_port()
    job = {"job_name": "syncwatch", "static_configs": [{"targets": [target]}]}
    scrape = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": scrape, "scrape_configs": [job]}))
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as session:
            one = Prometheus(port, session)
            await until(one.is_up, within=30, told="a target that is up")
            yield one
    finally:
        process.kill()
        await process.wait()


@pytest.mark.slow
async def test_prometheus_scrapes_the_daemon_and_answers_for_lag_and_share_met(
    tmp_path: Path,
) -> None:
    async with (
        docker_registry(tmp_path, htpasswd=True) as registry,
        watching(tmp_path, registry) as (harbor, watched),
        prometheus(tmp_path, watched.daemon.url.removeprefix("http://")) as server,
    ):
        by_bucket = "sum by (le) (rate(syncwatch_lag_seconds_bucket[1m]))"
        total = 'syncwatch_expectations_settled_total{operation="copy"}'
        met = 'syncwatch_expectations_settled_total{operation="copy",result="met"}'
        share = f"sum(increase({met}[1m])) / sum(increase({total}[1m]))"
        counter = iter(range(1000))

        async def answered() -> bool:
            number = next(counter)
            if number % 10 == 0 and number < 300:
                harbor.push("apps/web", f"1.{number}", images.image(f"{number}"))
            lag = await server.ask(f"histogram_quantile(0.95, {by_bucket})")
            shares = await server.ask(share)
            return bool(lag and 0 < lag[0][1] < 60 and shares and 0.99 < shares[0][1] <= 1.0)

        await until(answered, within=40, told="lag and share")
        (found,) = await server.ask("sum(syncwatch_expectations) by (policy, destination)")
        assert found[0] == {"policy": "to-docker", "destination": DESTINATION}
        series = await server.ask('{__name__=~"syncwatch_.+"}')
        assert len(series) > 50
        for labels, _ in series:
            assert not any("apps" in value for value in labels.values()), labels


async def test_promtool_finds_nothing_wrong_with_the_metrics(tmp_path: Path) -> None:
    promtool = needs("promtool")
    async with (
        docker_registry(tmp_path, htpasswd=True) as registry,
        watching(tmp_path, registry) as (harbor, watched),
    ):
        harbor.push("apps/web", "1.0", images.image("1.0"))
        await watched.row(reference="1.0", state="verified")
        text = await watched.metrics_text()
    assert "syncwatch_lag_seconds_bucket{" in text
    process = await asyncio.create_subprocess_exec(
        promtool,
        "check",
        "metrics",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(text.encode())
    assert (process.returncode, said.decode()) == (0, "")
