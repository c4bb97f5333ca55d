"""Five hundred clients at the gate: how soon each is answered, and what they cost the intake.

The real daemon in a process of its own, the lab's Harbor and registry here. The clients wait for
one image whose copy Harbor holds back; then it goes on, and the moment of the verdict is compared
with the moments at which the clients have their answers. Between, `wrk` delivers webhooks with and
without them waiting, in turns.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml
from intake import lua
from intake_server import AUTHORIZATION
from measuring import TESTS, Figure, line_of, median, program, python, ratio, table

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import Sequence

sys.path[:0] = [str(TESTS), str(TESTS / "daemon")]
from running import settings_file, until  # noqa: E402

CLIENTS = 500
ROUNDS = 3
SECONDS = 3
REPOSITORY = "apps/web"


async def _get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.json()


async def _up(url: str) -> None:
    async def answers() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    await until(answers, within=30)


class Bench:
    """The daemon, the lab, and how they are loaded."""

    def __init__(self, folder: Path, harbor: LabHarbor, url: str, webhooks: str) -> None:
        self.folder, self.harbor, self.url, self.webhooks = folder, harbor, url, webhooks
        self._sent = 100_000_000

    async def held(self, reference: str) -> str:
        """Push an image whose copy Harbor holds back; the id of its expectation."""
        self.harbor.pause_queue()
        self.harbor.push(REPOSITORY, reference, images.image(reference))

        async def known() -> list[dict[str, Any]]:
            query = f"repository={REPOSITORY}&reference={reference}"
            rows: list[dict[str, Any]] = (await _get(f"{self.url}/api/v1/expectations?{query}"))[
                "items"
            ]
            return rows

        return str((await until(known, within=30))[0]["id"])

    def question(self, reference: str) -> str:
        return f"{self.url}/api/v1/gate?image={REPOSITORY}:{reference}&wait=9m"

    async def intake(self, wrk: str) -> float:
        """Webhooks a second over 64 connections."""
        script = lua(self.folder, self._sent)
        command = [wrk, "-t1", "-c64", f"-d{SECONDS}s", "-s", str(script), self.webhooks]
        done = await asyncio.to_thread(
            subprocess.run, command, check=True, capture_output=True, text=True
        )
        if "status " in done.stdout:
            raise RuntimeError(f"not everything was accepted: {done.stdout[:300]}")
        words = next(x for x in done.stdout.splitlines() if x.startswith("figures ")).split()
        self._sent += int(words[1]) + 1000
        return int(words[1]) / int(words[2]) * 1e6

    async def answered(self, number: int) -> list[float]:
        """Milliseconds from the verdict to each client's answer."""
        reference = f"1.{number}"
        row = await self.held(reference)
        with python("gate_clients.py", self.question(reference), str(CLIENTS)) as clients:
            await asyncio.to_thread(line_of, clients)
            await asyncio.sleep(1)
            self.harbor.resume_queue()
            came = json.loads(await asyncio.to_thread(line_of, clients))
        told = await _get(f"{self.url}/api/v1/expectations/{row}")
        verdict = datetime.fromisoformat(told["verified_at"]).timestamp() * 1000
        if {status for _, status in came} != {200}:
            raise RuntimeError("not everybody was told that it is usable")
        return sorted(at - verdict for at, _ in came)

    async def compared(self, wrk: str) -> tuple[list[float], list[float]]:
        """Webhooks a second without and with all clients waiting, in turns."""
        alone, beside = [], []
        await self.held("held")
        for _ in range(ROUNDS):
            alone.append(await self.intake(wrk))
            with python("gate_clients.py", self.question("held"), str(CLIENTS)) as clients:
                await asyncio.to_thread(line_of, clients)
                beside.append(await self.intake(wrk))
        return alone, beside


async def compare(folder: Path) -> list[Figure]:
    async with LabHarbor().serving() as harbor, LabRegistry("c1").serving() as registry:
        harbor.create_project("apps")
        harbor.create_registry("c1", registry.url)
        harbor.create_policy("to-c1", "c1", pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        login = {
            "url": harbor.url,
            "username": user,
            "password": password,
            "webhook": {"authorization": AUTHORIZATION},
        }
        config = settings_file(folder, login, {"deadline": "1h"})
        document = yaml.safe_load(config.read_text())
        ports = {"listen": "127.0.0.1:18181", "webhook_listen": "127.0.0.1:18180"}
        config.write_text(yaml.safe_dump(document | ports | {"log_level": "error"}))
        url, webhooks = "http://127.0.0.1:18181", "http://127.0.0.1:18180/webhook/main"
        command = [sys.executable, "-m", "syncwatch", "serve", "-c", str(config)]
        daemon = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
        try:
            await _up(url)
            harbor.create_webhook_policy("apps", webhooks, auth_header=AUTHORIZATION)
            bench = Bench(folder, harbor, url, webhooks)
            late = [await bench.answered(number) for number in range(ROUNDS)]
            wrk = program("wrk")
            rates = await bench.compared(wrk) if wrk else None
        finally:
            daemon.terminate()
            await daemon.wait()
    return _figures(late, rates)


def _figures(
    late: Sequence[Sequence[float]], rates: tuple[list[float], list[float]] | None
) -> list[Figure]:
    last, half = median([one[-1] for one in late]), median([one[len(one) // 2] for one in late])
    figures = [
        Figure(
            f"{CLIENTS} clients at the gate, verdict to answer",
            f"p50 {half:.0f} ms, the last {last:.0f} ms",
            "≤ 100 ms",
        )
    ]
    if rates is None:
        return [*figures, Figure("intake beside them", "not measured: wrk is not installed")]
    alone, beside = rates
    return [
        *figures,
        Figure(
            f"webhooks a second, 64 connections, {CLIENTS} clients waiting",
            f"{median(beside):,.0f} of {median(alone):,.0f}: {ratio(alone, beside):.2f} × slower",
            "≤ 1.2 ×",
        ),
    ]


def measure(folder: Path) -> list[Figure]:
    return asyncio.run(compare(folder))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="syncwatch-gate-") as folder:
        print(table(measure(Path(folder))))


if __name__ == "__main__":
    main()
