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
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "daemon")]

from running import SECRET
from scene import scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from running import Watched

TOKEN = "the-token-of-the-api"
DESTINATION = "cluster1-registry"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
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


async def attack(base: str, document: str, token: str, arguments: Sequence[str]) -> tuple[int, str]:
    """schemathesis' exit code and words. `token` is the Authorization value."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", document),
        *("--url", base, "--header", f"Authorization: {token}", "--checks", ",".join(CHECKS)),
        *("--no-color", "--generation-database", "none", "--request-timeout", "20"),
        *("--output-sanitize", "true", "--suppress-health-check", "all", "--warnings", "off"),
        *arguments,
    ]
    with tempfile.TemporaryDirectory() as away:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=away,
            env={**os.environ, "COLUMNS": "120"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def everything(directory: Path, arguments: Sequence[str]) -> int:
    """Both ports, one after the other; the worse exit code."""
    async with target(directory) as watched:
        url, document = watched.daemon.url, f"{watched.daemon.url}/openapi.json"
        reports = ("--exclude-path-regex", "^/webhook")
        told = [await attack(url, document, f"Bearer {TOKEN}", [*arguments, *reports])]
        webhooks = ("--include-path-regex", "^/webhook")
        path = directory / "openapi.json"
        async with watched.session.get(document) as answer:
            path.write_bytes(await answer.read())
        base = watched.daemon.webhook_url
        told.append(await attack(base, str(path), SECRET, [*arguments, *webhooks]))
    for _, words in told:
        sys.stdout.write(words)
    return max(code for code, _ in told)


def main() -> int:
    """What was found is printed; 1 where there was something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="for each of the two ports")
    known, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as directory:
        arguments = ["--max-time", str(known.seconds), *others]
        return asyncio.run(everything(Path(directory), arguments))


if __name__ == "__main__":
    raise SystemExit(main())
