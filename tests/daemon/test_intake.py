"""The webhook endpoint, by HTTP alone: who may, what is taken, and when nothing can be kept."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from running import SECRET, Watched, running, settings_file, until
from scene import Scene, scene
from servers import needs
from servers.daemon import served
from servers.postgresql import postgresql

from syncwatch.runtime import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

MIB = 1024 * 1024
HEADERS = {"Authorization": SECRET, "Content-Type": "application/json"}
NO_HARBOR = {
    "url": "http://127.0.0.1:1",
    "username": "robot$syncwatch",
    "password": "harbors-own-secret",
}
"""A Harbor that is never there: webhooks are taken all the same."""


class HandClock(Clock):
    """A clock that a test moves on by hand, beside the real one."""

    def __init__(self) -> None:
        self.ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with running(settings_file(tmp_path, NO_HARBOR), ready=False) as one:
        yield one


def _payload(body: bytes | str) -> io.BytesIO:
    return io.BytesIO(body.encode() if isinstance(body, str) else body)


async def send(watched: Watched, body: bytes | str, **headers: str) -> int:
    async with watched.session.post(
        watched.webhook_url, data=_payload(body), headers=HEADERS | headers
    ) as answer:
        return answer.status


def delivery(event: str = "PUSH_ARTIFACT", tag: str = "1.0", **more: Any) -> bytes:
    """A webhook in Harbor's default format."""
    resource = {"digest": "sha256:" + "a" * 64, "tag": tag, "resource_url": f"h/apps/web:{tag}"}
    data = {
        "resources": [resource],
        "repository": {
            "name": "web",
            "namespace": "apps",
            "repo_full_name": "apps/web",
            "repo_type": "private",
            "date_created": 1,
        },
    }
    body = {"type": event, "occur_at": int(time.time()), "operator": "admin", "event_data": data}
    return json.dumps(body | more).encode()


async def counted(watched: Watched, event: str, outcome: str) -> float:
    value = await watched.metric("syncwatch_webhooks_total", event=event, outcome=outcome)
    return value or 0.0


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": ""}, id="empty"),
        pytest.param({"Authorization": "Bearer guess"}, id="wrong"),
        pytest.param({"Authorization": SECRET + "x"}, id="longer"),
        pytest.param({"Authorization": SECRET[:-1]}, id="shorter"),
        pytest.param({"Authorization": SECRET.removeprefix("Bearer ")}, id="without its scheme"),
        pytest.param({"Authorization": "B\u00e4rer"}, id="not ASCII"),
    ],
)
async def test_who_does_not_send_the_agreed_authorization_gets_401(
    watched: Watched, headers: dict[str, str]
) -> None:
    async with watched.session.post(
        watched.webhook_url, data=delivery(), headers=headers
    ) as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == "unauthorized"
    assert await counted(watched, "", "unauthorized") == 1


async def test_an_unknown_harbor_is_404_before_any_authentication(watched: Watched) -> None:
    url = watched.daemon.webhook_url + "/webhook/nobody"
    for headers in ({}, HEADERS):
        async with watched.session.post(url, data=delivery(), headers=headers) as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"not json", id="words"),
        pytest.param(b'{"type": "PUSH_ARTIFACT"} more', id="more behind it"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"text"', id="a text"),
        pytest.param(b"null", id="null"),
        pytest.param(b"5", id="a number"),
        pytest.param(b'{"type": "\xff\xfe"}', id="invalid UTF-8"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="100,000 levels deep"),
        pytest.param(b"[" * 500_000, id="brackets"),
        pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
        pytest.param(b"a=b&c=d", id="a form"),
    ],
)
async def test_what_is_no_json_object_is_400_and_kept_nowhere(
    watched: Watched, body: bytes
) -> None:
    assert await send(watched, body) == 400
    assert await counted(watched, "", "malformed") == 1
    assert await send(watched, delivery()) == 202


async def test_a_body_of_one_mebibyte_is_taken_and_one_byte_more_is_not(watched: Watched) -> None:
    empty = json.dumps({"type": "QUOTA_WARNING", "filler": ""}).encode()
    exact = json.dumps({"type": "QUOTA_WARNING", "filler": "x" * (MIB - len(empty))}).encode()
    assert len(exact) == MIB
    assert await send(watched, exact) == 202
    assert await send(watched, exact + b" ") == 413
    assert await counted(watched, "", "too_large") == 1


async def _in_pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65536):
        yield b" " * 65536


@pytest.mark.parametrize("chunked", [False, True], ids=["by its length", "in chunks"])
async def test_ten_mebibytes_get_their_413_and_the_daemon_lives(
    watched: Watched, chunked: bool
) -> None:
    for _ in range(5):
        body: Any = _in_pieces(10 * MIB) if chunked else _payload(b" " * (10 * MIB))
        async with (
            aiohttp.ClientSession() as session,
            session.post(watched.webhook_url, data=body, headers=HEADERS) as answer,
        ):
            assert answer.status == 413
            assert (await answer.json())["error"]["code"] == "too_large"
    assert await counted(watched, "", "too_large") == 5
    assert await send(watched, delivery()) == 202


async def test_a_client_that_never_ends_its_body_holds_up_nobody_else(watched: Watched) -> None:
    host, port = watched.daemon.webhook_url.removeprefix("http://").split(":")
    writers = []
    for _ in range(20):
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /webhook/main HTTP/1.1\r\nHost: x\r\nAuthorization: {SECRET}\r\n"
        writer.write((head + "Content-Length: 1000\r\n\r\n{").encode())
        await writer.drain()
        writers.append(writer)
    assert await send(watched, delivery()) == 202
    for writer in writers:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("event", "label"),
    [
        ("QUOTA_EXCEED", "QUOTA_EXCEED"),
        ("SCANNING_COMPLETED", "SCANNING_COMPLETED"),
        ("SOMETHING_NEW", "other"),
        ("x" * 1000, "other"),
        (None, "other"),
        (7, "other"),
    ],
)
async def test_an_event_of_no_concern_is_taken_kept_and_ignored(
    watched: Watched, event: Any, label: str
) -> None:
    assert await send(watched, json.dumps({"type": event, "occur_at": 1}).encode()) == 202
    assert await counted(watched, label, "ignored") == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"type": "PUSH_ARTIFACT"}, id="no data"),
        pytest.param({"type": "PUSH_ARTIFACT", "occur_at": "x", "event_data": {}}, id="no time"),
        pytest.param({"type": "PUSH_ARTIFACT", "occur_at": 1, "event_data": []}, id="a list"),
        pytest.param({"type": "REPLICATION", "occur_at": 1, "event_data": {}}, id="no replication"),
        pytest.param({"type": "DELETE_ARTIFACT", "occur_at": 1, "event_data": 1}, id="a number"),
        pytest.param({"type": "PUSH_ARTIFACT", "occur_at": 10**30, "event_data": {}}, id="far off"),
    ],
)
async def test_an_object_that_cannot_be_interpreted_is_taken_and_ignored(
    watched: Watched, body: dict[str, Any]
) -> None:
    assert await send(watched, json.dumps(body)) == 202
    assert await counted(watched, str(body["type"]), "ignored") == 1


async def test_an_empty_object_is_taken(watched: Watched) -> None:
    assert await send(watched, b"{}") == 202
    assert await counted(watched, "other", "ignored") == 1


async def test_an_equal_body_within_the_hour_is_a_repeat_and_later_is_not(tmp_path: Path) -> None:
    clock = HandClock()
    config = settings_file(tmp_path, NO_HARBOR)
    async with running(config, ready=False, clock=clock) as watched:
        body = delivery()
        assert await send(watched, body) == 202
        assert await send(watched, body) == 202
        assert await counted(watched, "PUSH_ARTIFACT", "duplicate") == 1
        clock.ahead = 59 * 60 * 1000
        assert await send(watched, body) == 202
        assert await counted(watched, "PUSH_ARTIFACT", "duplicate") == 2
        assert await counted(watched, "PUSH_ARTIFACT", "accepted") == 1
        clock.ahead = 61 * 60 * 1000
        assert await send(watched, body) == 202
        assert await counted(watched, "PUSH_ARTIFACT", "accepted") == 2


async def test_a_cloud_event_with_a_known_id_is_a_repeat_whatever_its_body(
    watched: Watched,
) -> None:
    for number, identity in enumerate(("one", "one", "two")):
        body = {
            "specversion": "1.0",
            "id": identity,
            "source": "/projects/1/webhook/policies/1",
            "type": "harbor.artifact.pushed",
            "time": f"2026-11-23T10:00:0{number}Z",
            "data": json.loads(delivery())["event_data"],
        }
        assert await send(watched, json.dumps(body)) == 202
    assert await counted(watched, "PUSH_ARTIFACT", "duplicate") == 1
    assert await counted(watched, "PUSH_ARTIFACT", "accepted") == 2


async def test_equal_deliveries_at_the_same_moment_are_taken_once(watched: Watched) -> None:
    body = delivery()
    assert await asyncio.gather(*(send(watched, body) for _ in range(20))) == [202] * 20
    assert await counted(watched, "PUSH_ARTIFACT", "accepted") == 1
    assert await counted(watched, "PUSH_ARTIFACT", "duplicate") == 19


async def test_every_line_of_the_authorization_file_is_accepted_also_after_rotation(
    tmp_path: Path,
) -> None:
    secrets = tmp_path / "authorization"
    secrets.write_text("Bearer old\nBearer new\n")
    secrets.chmod(0o600)
    webhook = {"authorization_file": str(secrets)}
    config = settings_file(tmp_path, NO_HARBOR | {"webhook": webhook})
    async with running(config, ready=False) as watched:
        for value, status in (("old", 202), ("new", 202), ("next", 401)):
            assert await send(watched, delivery(), Authorization=f"Bearer {value}") == status
        secrets.write_text("Bearer new\nBearer next\n")
        os.utime(secrets, (1, 1))

        async def taken() -> bool:
            return await send(watched, delivery(), Authorization="Bearer next") == 202

        await until(taken)
        assert await send(watched, delivery(), Authorization="Bearer new") == 202
        assert await send(watched, delivery(), Authorization="Bearer old") == 401


async def test_other_methods_and_paths_are_refused_without_harm(watched: Watched) -> None:
    for method, path, status in (
        ("GET", "/webhook/main", 405),
        ("PUT", "/webhook/main", 405),
        ("POST", "/webhook/", 404),
        ("POST", "/webhook/main/more", 404),
        ("POST", "/webhook/%2e%2e", 404),
        ("GET", "/metrics", 404),
    ):
        url = watched.daemon.webhook_url + path
        async with watched.session.request(method, url, headers=HEADERS) as answer:
            assert answer.status == status, path


@pytest.mark.slow
async def test_no_secret_is_in_any_log_line_metric_or_answer(tmp_path: Path) -> None:
    secrets = ("webhook-secret", "harbors-own-secret", "guessed-wrong", "api-token-secret")
    token = {"token": "api-token-secret"}
    config = settings_file(tmp_path, NO_HARBOR, log_level="debug", **token)
    async with served(config) as daemon:
        for headers in ({"Authorization": "Bearer guessed-wrong"}, HEADERS):
            for body in (b"", b"{", b"[]", delivery(), b"x" * 2 * MIB, b'{"type": "X"}'):
                await daemon.send(body, headers=headers)
        bearer = {"Authorization": "Bearer api-token-secret"}
        wrong = {"Authorization": "Bearer guessed-wrong"}
        texts = [
            await daemon.get(path, headers=headers)
            for path in ("/metrics", "/api/v1/status", "/api/v1/findings", "/api/v1/expectations")
            for headers in (None, bearer, wrong)
        ]
    texts.append(daemon.said())
    assert "harbor_down" in texts[-1]
    for text in texts:
        for secret in secrets:
            assert secret not in text


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A tmpfs of that size on `folder`; skips where this process may not mount one."""
    folder.mkdir()
    mount, umount = needs("mount"), needs("umount")
    command = [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run([umount, str(folder)], check=True)


@pytest.mark.slow
async def test_a_full_disk_is_503_until_there_is_room_again_without_a_restart(
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "3m"):
        store = f"sqlite:///{disk}/syncwatch.db"
        async with scene(tmp_path, store=store) as stage, stage.watched() as watched:
            assert await send(watched, delivery(tag="first")) == 202
            ballast = disk / "ballast"
            refused = await _fill(watched, ballast)
            assert refused["Retry-After"].isdigit()
            assert await counted(watched, "PUSH_ARTIFACT", "not_durable") >= 1
            async with watched.session.get(watched.daemon.url + "/healthz") as answer:
                assert answer.status in (200, 503)
            ballast.unlink()

            async def taken() -> bool:
                return await send(watched, delivery(tag="again")) == 202

            await until(taken)
            stage.push("1.0")
            await watched.row(reference="1.0", state="verified")


async def _fill(watched: Watched, ballast: Path) -> Any:
    """Fill the disk and deliver until one is refused; the headers of that refusal."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    for number in range(200):
        body = delivery(tag=f"t{number}", filler="x" * 8192)
        async with watched.session.post(watched.webhook_url, data=body, headers=HEADERS) as answer:
            assert answer.status in (202, 503)
            if answer.status == 503:
                return answer.headers
    pytest.fail("a full disk was never noticed")


@pytest.mark.real
async def test_postgresql_away_is_503_and_back_is_202_without_a_restart_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    async with (
        postgresql() as server,
        scene(tmp_path, store=server.url) as stage,
        stage.watched() as watched,
    ):
        stage.push("before")
        await watched.row(reference="before", state="verified")
        await server.stop()
        async with watched.session.post(
            watched.webhook_url, data=delivery(tag="refused"), headers=HEADERS
        ) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"].isdigit()
        async with watched.session.get(watched.daemon.url + "/readyz") as answer:
            assert answer.status == 503
        await server.start()

        async def taken() -> bool:
            return await send(watched, delivery(tag="again")) == 202

        await until(taken)
        stage.push("after")
        await watched.row(reference="after", state="verified", within=40)
        assert (await watched.row(reference="before"))["state"] == "verified"
        assert await watched.metric("syncwatch_harbor_up") == 1


@pytest.mark.real
async def test_a_delivery_refused_while_postgresql_was_away_is_brought_again_by_harbor(
    tmp_path: Path,
) -> None:
    async with postgresql() as server, scene(tmp_path, store=server.url) as stage:
        # Harbor's own waits between attempts, a tenth as long: 2 and 4 seconds about.
        stage.harbor.world.times = _waiting(stage)
        async with stage.watched() as watched:
            stage.push("before")
            await watched.row(reference="before", state="verified")
            await server.stop()
            digest = stage.push("during")
            await until(lambda: _refused(watched))
            await server.start()
            row = await watched.row(reference="during", state="verified", within=40)
            assert (row["digest"], row["origin"]) == (digest, "push")


def _waiting(stage: Scene) -> Any:
    return dataclasses.replace(stage.harbor.world.times, retry_scale=0.1, webhook_timeout=3.0)


async def _refused(watched: Watched) -> bool:
    return await counted(watched, "PUSH_ARTIFACT", "not_durable") >= 1
