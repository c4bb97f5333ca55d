"""schemathesis against the real daemon, with images, findings and a token: what /openapi.json says
holds, and nothing that is sent makes an error of the server.

By hand, for as long as one likes: `python tests/api/attack.py --seconds 600`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "daemon")]

from running import SECRET
from scene import scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from running import Watched

TOKEN = "the-token-of-the-api"
DESTINATION = "cluster1-registry"
ALWAYS = ("not_a_server_error", "status_code_conformance", "content_type_conformance")
STRICT = (
    *ALWAYS,
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)
API = "^/(api|openapi|metrics|healthz|readyz)"
# To the page an empty parameter is none. At the sign-in a wrong token waits a second.
PAGE = "^/($|images|policies|words|files|sign-out)"
# At the gate 503 is an answer: Harbor could not be asked, as for a project that it does not show.
# Nobody waits here for what will not come.
CONFIGURATION = """
[[operations]]
include-path = "/api/v1/gate"
parameters = { wait = "100ms" }
[operations.checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""
IMAGES = 20
"""So many are pushed, so that the ids in the document's examples are there."""


@contextlib.asynccontextmanager
async def target(directory: Path) -> AsyncIterator[Watched]:
    """A daemon with images, some of them failed, findings, and a destination that is nowhere."""
    more = [{"name": "cluster2"}]
    async with scene(directory, token=TOKEN, more_destinations=more) as one:
        one.harbor.create_registry(DESTINATION, one.registry.url)
        one.harbor.create_policy("mirror", DESTINATION, pattern="apps/**", namespace="mirror")
        async with one.watched() as watched:
            watched.session.headers["Authorization"] = f"Bearer {TOKEN}"
            for number in range(IMAGES):
                one.push(f"1.4.{number}")
            await watched.row(within=30, id=str(IMAGES), state="verified")
            yield watched


@dataclass(frozen=True)
class Attack:
    """What is asked where: paths of the document at `base`, with this Authorization value."""

    base: str
    document: str
    paths: str
    authorization: str
    checks: Sequence[str] = STRICT

    async def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """schemathesis' exit code and its words."""
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", self.document),
            *("--url", self.base, "--header", f"Authorization: {self.authorization}"),
            *("--include-path-regex", self.paths, "--checks", ",".join(self.checks)),
            *("--no-color", "--request-timeout", "20"),
            *("--suppress-health-check", "all", "--warnings", "off", *arguments),
        ]
        with settings() as away:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=away,
                env={**os.environ, "COLUMNS": "120"},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            out, _ = await process.communicate()
        return process.returncode or 0, out.decode()


@contextlib.contextmanager
def settings() -> Iterator[str]:
    """A directory in which schemathesis finds its configuration."""
    with tempfile.TemporaryDirectory() as away:
        Path(away, "schemathesis.toml").write_text(CONFIGURATION)
        yield away


async def attacks(watched: Watched, directory: Path) -> dict[str, Attack]:
    """One for the API, one for the page, one for the port of the webhooks."""
    url, document = watched.daemon.url, directory / "openapi.json"
    async with watched.session.get(f"{url}/openapi.json") as answer:
        document.write_bytes(await answer.read())
    bearer = f"Bearer {TOKEN}"
    return {
        "api": Attack(url, f"{url}/openapi.json", API, bearer),
        "page": Attack(url, str(document), PAGE, bearer, ALWAYS),
        "webhook": Attack(watched.daemon.webhook_url, str(document), "^/webhook", SECRET),
    }


async def everything(directory: Path, arguments: Sequence[str]) -> int:
    """All attacks, one after the other; the worst exit code."""
    worst = 0
    async with target(directory) as watched:
        for attack in (await attacks(watched, directory)).values():
            code, words = await attack.run(arguments)
            sys.stdout.write(words)
            worst = max(worst, code)
    return worst


def main() -> int:
    """What was found is printed; 1 where there was something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="for each of the three parts")
    known, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as directory:
        arguments = ["--generation-database", "none", "--max-time", str(known.seconds), *others]
        return asyncio.run(everything(Path(directory), arguments))


if __name__ == "__main__":
    raise SystemExit(main())
