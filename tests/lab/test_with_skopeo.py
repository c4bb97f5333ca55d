"""Real clients and a real registry beside the lab: skopeo, and Debian's docker-registry."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from lab_programs import program
from yarl import URL

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

INDEX = images.platforms("web 1.0")
BLOB = b"hello world"
DIGEST = images.digest_of(BLOB)
NOWHERE = "sha256:" + "1" * 64


async def run(*command: str) -> str:
    """Output of a program that must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def copy(source: str, destination: str, *options: str) -> None:
    """skopeo copy of everything under a reference, digests kept."""
    await run(
        program("skopeo"),
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        *options,
        f"docker://{source}",
        f"docker://{destination}",
    )


@pytest.mark.parametrize("bearer", [False, True])
async def test_skopeo_copies_an_index_from_one_registry_to_another(*, bearer: bool) -> None:
    users = {"u": "p"}
    async with (
        LabRegistry("from").serving() as source,
        LabRegistry("to", users=users, bearer=bearer).serving() as destination,
    ):
        source.push("team/web", "1.0", INDEX)
        await copy(f"{source.host}/team/web:1.0", f"{destination.host}/x:1", "--dest-creds=u:p")
        assert destination.digest("x", "1") == INDEX.digest
        assert all(destination.digest("x", child.digest) for child in INDEX.children)


async def test_what_skopeo_pushes_to_the_lab_harbor_is_replicated() -> None:
    async with (
        LabRegistry("from").serving() as source,
        LabRegistry("cluster1").serving() as destination,
        LabHarbor().serving() as harbor,
    ):
        source.push("web", "1.0", INDEX)
        harbor.create_project("team")
        harbor.create_registry("cluster1", destination.url)
        harbor.create_policy("to-cluster1", "cluster1", pattern="team/**")
        credentials = f"{harbor.username}:{harbor.password}"
        await copy(
            f"{source.host}/web:1.0", f"{harbor.host}/team/web:1.0", f"--dest-creds={credentials}"
        )
        await harbor.idle()
        assert destination.digest("team/web", "1.0") == INDEX.digest
        assert len(harbor.executions()) == 3
        robot, secret = harbor.create_robot("reader")
        listed = await run(
            program("skopeo"),
            "list-tags",
            "--tls-verify=false",
            f"--creds={robot}:{secret}",
            f"docker://{harbor.host}/team/web",
        )
        assert json.loads(listed)["Tags"] == ["1.0"]


async def test_the_lab_registry_answers_as_docker_registry_does(tmp_path: Path) -> None:
    """The same questions to both: statuses, error codes, and the headers that clients read."""
    async with LabRegistry("lab").serving() as lab:
        url, stop = await docker_registry(tmp_path)
        try:
            assert await answers(lab.url) == await answers(url)
        finally:
            stop()


async def docker_registry(folder: Path) -> tuple[str, Any]:
    """Debian's docker-registry on a free port; its URL, and how to stop it."""
    async with LabRegistry("a free port").serving() as taken:
        port = taken.url.rpartition(":")[2]
    settings = {
        "version": 0.1,
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}"},
        "log": {"level": "error", "accesslog": {"disabled": True}},
    }
    path = folder / "config.yml"
    path.write_text(json.dumps(settings))
    environment = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
        [program("docker-registry"), "serve", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )

    def stop() -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as session:
        for _ in range(500):
            try:
                async with session.get(f"{url}/v2/"):
                    return url, stop
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
    stop()
    pytest.fail("docker-registry does not listen")


async def answers(url: str) -> list[Any]:
    """What a registry says to pushing, pulling, deleting, and to mistakes."""
    told: list[Any] = []
    async with aiohttp.ClientSession() as session:

        async def ask(method: str, path: str, body: bytes = b"", **headers: str) -> str:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            where = URL(path if "://" in path else url + path, encoded=True)
            async with session.request(method, where, data=body, headers=named) as answer:
                text = await answer.text(errors="replace")
                kept = ("Content-Type", "Docker-Content-Digest", "Content-Range", "Etag")
                shown = {name: answer.headers.get(name) for name in kept if text or name != kept[0]}
                location = answer.headers.get("Location", "")
                told.append((method, path.partition("?")[0][-40:], answer.status, shown, text))
                if "://" in path:
                    told[-1] = told[-1][2:]
                return location

        await ask("GET", "/v2/")
        await ask("GET", "/v2/a/b/manifests/x")
        await ask("HEAD", "/v2/a/b/manifests/x")
        await ask("GET", "/v2/a/b/tags/list")
        upload = await ask("POST", "/v2/a/b/blobs/uploads/")
        upload = await ask(
            "PATCH", upload, BLOB[:5], Content_Type="application/octet-stream", Content_Length="5"
        )
        joiner = "&" if "?" in upload else "?"
        await ask("PUT", f"{upload}{joiner}digest={DIGEST}", BLOB[5:])
        await ask("HEAD", f"/v2/a/b/blobs/{DIGEST}")
        await ask("GET", f"/v2/a/b/blobs/{DIGEST}")
        await ask("GET", f"/v2/a/b/blobs/{DIGEST}", Range="bytes=-1")
        await ask("GET", f"/v2/a/b/blobs/{DIGEST}", Range="bytes=2-4")
        await ask("GET", f"/v2/a/b/blobs/{NOWHERE}")
        await ask("POST", f"/v2/a/c/blobs/uploads/?mount={DIGEST}&from=a/b")
        await ask("HEAD", f"/v2/a/c/blobs/{DIGEST}")
        manifest, broken = _manifest(DIGEST), _manifest(NOWHERE)
        named = images.digest_of(manifest)
        await ask("PUT", "/v2/a/b/manifests/t", manifest, Content_Type=images.OCI_MANIFEST)
        await ask("PUT", "/v2/a/b/manifests/u", broken, Content_Type=images.OCI_MANIFEST)
        for reference in ("t", named):
            for method in ("HEAD", "GET"):
                path = f"/v2/a/b/manifests/{reference}"
                await ask(method, path, Accept=images.OCI_MANIFEST)
        await ask("GET", "/v2/a/b/tags/list")
        await ask("GET", f"/v2/a/b/referrers/{named}")
        await ask("DELETE", "/v2/a/b/manifests/t")
        await ask("DELETE", f"/v2/a/b/manifests/{named}")
        await ask("DELETE", f"/v2/a/b/manifests/{named}")
        await ask("GET", "/v2/a/b/manifests/t", Accept=images.OCI_MANIFEST)
    return told


def _manifest(config: str) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": images.OCI_MANIFEST,
            "config": {"mediaType": images.OCI_CONFIG, "digest": config, "size": len(BLOB)},
            "layers": [],
        }
    ).encode()
