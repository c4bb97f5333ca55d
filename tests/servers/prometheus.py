"""Debian's Prometheus: scrapes a daemon each second, evaluates rules, tells an Alertmanager."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml
from running import until

from servers import free_port, needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

JOB = "syncwatch"


@dataclass
class Prometheus:
    """A running Prometheus. Whatever it refuses to answer is an AssertionError with its words."""

    url: str
    session: aiohttp.ClientSession
    folder: Path
    process: asyncio.subprocess.Process
    settings: dict[str, Any] = field(default_factory=dict)

    async def query(
        self, expression: str, at: float | None = None
    ) -> list[tuple[dict[str, str], float]]:
        """(labels, value) of each sample that answers an instant query, now or at a Unix time."""
        moment = {} if at is None else {"time": str(at)}
        told = await self.ask("query", query=expression, **moment)
        if told["resultType"] == "scalar":
            return [({}, float(told["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in told["result"]]

    async def query_range(
        self, expression: str, start: float, end: float, step: float = 1.0
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """(labels, [(Unix time, value)]) of each series between two Unix times, by `step` s."""
        told = await self.ask(
            "query_range", query=expression, start=str(start), end=str(end), step=str(step)
        )
        return [
            (one["metric"], [(float(at), float(value)) for at, value in one["values"]])
            for one in told["result"]
        ]

    async def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing now, as `/api/v1/alerts` has them."""
        told: list[dict[str, Any]] = (await self.ask("alerts"))["alerts"]
        return told

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule of every group, with `lastError` and `health`, as `/api/v1/rules` has them."""
        groups = (await self.ask("rules"))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def reload(self, rules: Sequence[Path] | None = None) -> None:
        """Read the rule files again, or these in their stead."""
        if rules is not None:
            self.settings["rule_files"] = [str(one.resolve()) for one in rules]
            _write(self.folder, self.settings)
        async with self.session.post(f"{self.url}/-/reload") as answer:
            assert answer.status == 200, await answer.text()

    async def scraped(self, expression: str = f'up{{job="{JOB}"}} == 1') -> None:
        """Wait until this expression has samples."""

        async def has() -> bool:
            try:
                return bool(await self.query(expression))
            except aiohttp.ClientError:
                assert self.process.returncode is None, self.said()
                return False

        try:
            await until(has, within=30, told=expression)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()}") from None

    async def ask(self, path: str, **query: str) -> Any:
        """`data` of an answer of the HTTP API below `/api/v1/`."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=query) as answer:
            if answer.status == 503:  # the server is there and its store is not yet
                raise aiohttp.ClientError(await answer.text())
            told = await answer.json()
        assert told["status"] == "success", (query, told)
        return told["data"]

    def said(self) -> str:
        """Its log so far."""
        return (self.folder / "log").read_text()


def _settings(
    target: str, rules: Sequence[Path], alertmanager: str | None, evaluate: str
) -> dict[str, Any]:
    """The configuration: one job, a scrape each second."""
    job = {"job_name": JOB, "static_configs": [{"targets": [target]}]}
    settings: dict[str, Any] = {
        "global": {
            "scrape_interval": "1s",
            "scrape_timeout": "1s",
            "evaluation_interval": evaluate,
        },
        "scrape_configs": [job],
        "rule_files": [str(one.resolve()) for one in rules],
    }
    if alertmanager is not None:
        receivers = {"static_configs": [{"targets": [alertmanager]}]}
        settings["alerting"] = {"alertmanagers": [receivers]}
    return settings


def _write(folder: Path, settings: Mapping[str, Any]) -> Path:
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(dict(settings)))
    return path


@asynccontextmanager
async def prometheus(
    directory: Path,
    target: str,
    *,
    rules: Sequence[Path] = (),
    alertmanager: str | None = None,
    evaluate: str = "1s",
) -> AsyncIterator[Prometheus]:
    """Prometheus with this one `target` (host:port), up at least once, for a `with` block.

    `rules` are rule files, evaluated every `evaluate`; `alertmanager` is a host:port that their
    alerts go to.
    """
    program, port = needs("prometheus"), free_port()
    folder = directory / f"prometheus-{port}"
    folder.mkdir(parents=True)
    settings = _settings(target, rules, alertmanager, evaluate)
    config = _write(folder, settings)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}"
            server = Prometheus(url, session, folder, process, settings)
            await server.scraped()
            yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
