"""Playing a folder of recordings against the lab, call by call and webhook by webhook."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import defaultdict
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from lab_comparison import DIGEST, Comparison, DifferenceError
from lab_receiver import Receiver
from yarl import URL

from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from syncwatch.lab.images import Image

RECORDINGS = Path(__file__).parent.parent / "recordings"
HARBOR, RECEIVER = "127.0.0.1:8080", "127.0.0.1:9900"
PATIENCE = 5.0
COMPARED = pytest.StashKey[dict[str, int]]()

# What the number after these stands for in a path or a query.
IDS = (
    ("registry", re.compile(r"(?<=/registries/)\d+")),
    ("policy", re.compile(r"(?<=/replication/policies/)\d+")),
    ("policy", re.compile(r"(?<=policy_id=)\d+")),
    ("webhook", re.compile(r"(?<=/webhook/policies/)\d+")),
    ("execution", re.compile(r"(?<=/executions/)\d+")),
    ("task", re.compile(r"(?<=/tasks/)\d+")),
    ("robot", re.compile(r"(?<=/robots/)\d+")),
)
# What an `id` in the answer to a path stands for; the first that fits.
ANSWERS = (
    ("task", re.compile(r"/tasks(\?|$)")),
    ("execution", re.compile(r"/executions(\?|$)")),
    ("webhook", re.compile(r"/webhook/policies")),
    ("policy", re.compile(r"/replication/policies")),
    ("registry", re.compile(r"/registries")),
    ("artifact", re.compile(r"/artifacts")),
    ("repository", re.compile(r"/repositories")),
    ("robot", re.compile(r"/robots")),
    ("audit", re.compile(r"/auditlog-exts")),
)


@dataclass(frozen=True)
class Recording:
    """One folder: calls and webhooks as the real Harbor made them."""

    name: str

    @cached_property
    def calls(self) -> list[dict[str, Any]]:
        return self._lines("api.jsonl")

    @cached_property
    def webhooks(self) -> list[dict[str, Any]]:
        return self._lines("webhooks.jsonl")

    def digest(self, prefix: str) -> str:
        """The one digest of the folder that begins so."""
        text = json.dumps([self.calls, self.webhooks])
        found = {one for one in DIGEST.findall(text) if one.startswith(f"sha256:{prefix}")}
        assert len(found) == 1, f"{self.name} has {found} for {prefix}"
        return found.pop()

    def _lines(self, name: str) -> list[dict[str, Any]]:
        text = (RECORDINGS / self.name / name).read_text()
        return [json.loads(line) for line in text.splitlines()]


@dataclass
class Scenario:
    """What the recordings do not say: what was done between the calls, and what not to compare."""

    doings: dict[int, list[Callable[[Stage], Awaitable[None]]]] = field(default_factory=dict)
    """Done before the call of that number; END comes after the last."""
    projects: tuple[str, ...] = ()
    registry_known: bool = True
    """Whether cluster1's endpoint was there before (the first call is then 409)."""
    elsewhere: frozenset[int] = frozenset()
    """Recorded executions that belong to another folder."""
    cut_short: frozenset[int] = frozenset()
    """Recorded executions whose last webhooks came after the folder was closed."""
    newest_only: dict[int, int] = field(default_factory=dict)
    """Calls that list a history older than the folder: how many rows are the folder's own."""
    any_value: dict[int, set[str]] = field(default_factory=dict)
    """Calls, and keys there whose value is not compared."""
    history_made_up: bool = False
    """What it shows was made for the test, in no particular order of time."""
    robot_from: int | None = None
    """The calls from here on, unless noted otherwise, are the robot's."""


END = 1000


class Stage:
    """A lab with its destinations and a receiver, and what of it is what in the recording."""

    def __init__(
        self,
        recording: Recording,
        scenario: Scenario,
        harbor: LabHarbor,
        registries: dict[int, LabRegistry],
        receiver: Receiver,
    ) -> None:
        self.recording = recording
        self.scenario = scenario
        self.harbor = harbor
        self.registries = registries
        self.receiver = receiver
        hosts = {harbor.host: HARBOR, receiver.url.partition("://")[2]: RECEIVER}
        hosts |= {one.host: f"127.0.0.1:{port}" for port, one in registries.items()}
        self.compared = Comparison(hosts)
        self.robot: tuple[str, str] | None = None
        self.calls = 0
        self.webhooks = 0

    @property
    def cluster1(self) -> LabRegistry:
        return self.registries[5001]

    def push(self, repository: str, tag: str, image: Image, recorded: str = "") -> None:
        """Push, and bind the image's digest to the recorded one that begins with `recorded`."""
        digest = self.harbor.push(repository, tag, image)
        if recorded:
            self.compared.bind("digest", self.recording.digest(recorded), digest, f"push {tag}")

    async def play(self) -> None:
        """All calls in their order with the doings between, then the webhooks."""
        for number, call in enumerate(self.recording.calls):
            await self._do(number)
            await self._call(number, call)
        await self._do(END)
        await self._compare_webhooks()

    async def _do(self, number: int) -> None:
        for doing in self.scenario.doings.get(number, []):
            await doing(self)

    async def _call(self, number: int, call: dict[str, Any]) -> None:
        """One call; questions are repeated until the answer is the recorded one, or too long."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if not _shows_late_status(call):
                self.harbor.refresh()
            attempt = self.compared.attempt()
            try:
                await self._compare_call(attempt, number, call)
            except DifferenceError:
                if call["method"] != "GET" or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)
            else:
                self.compared.adopt(attempt)
                self.calls += 1
                return

    async def _compare_call(self, compared: Comparison, number: int, call: dict[str, Any]) -> None:
        where = f"call {number} {call['method']} {call['path']}"
        headers = self._credentials(number, call)
        jar = aiohttp.DummyCookieJar()
        async with (
            aiohttp.ClientSession(cookie_jar=jar) as session,
            session.request(
                call["method"],
                URL(self._url(compared, call["path"]), encoded=True),
                json=self._request_body(compared, call),
                headers=headers,
            ) as answer,
        ):
            body = await answer.text()
            if answer.status != call["status"]:
                raise DifferenceError(
                    f"{where}: {call['status']} recorded, ours {answer.status} {body}"
                )
            self._compare_headers(compared, number, call, answer.headers, where)
            self._compare_body(compared, number, call, body, where)

    def _credentials(self, number: int, call: dict[str, Any]) -> dict[str, str]:
        note = call.get("note", "")
        who: tuple[str, str] | None = (self.harbor.username, self.harbor.password)
        if note in ("as nobody", "anonymous", "as None") or "(destination" in call["path"]:
            who = None
        elif note in ("as a wrong password", "as ('x', 'y')"):
            who = ("admin", "wrong")
        elif self.scenario.robot_from is not None and number >= self.scenario.robot_from:
            who = self.robot
        return {"Authorization": aiohttp.encode_basic_auth(*who)} if who else {}

    def _url(self, compared: Comparison, path: str) -> str:
        if path.startswith("(destination"):
            return self.cluster1.url + path.partition(") ")[2]
        if path == "/service/token?...":
            path = "/service/token?service=harbor-registry&scope=repository:feed/app:pull"
        for kind, pattern in IDS:
            path = pattern.sub(lambda one, kind=kind: str(compared.ours(kind, int(one[0]))), path)
        path = compared.ours_text(path)
        outside = path.startswith(("/v2/", "/service/"))
        return self.harbor.url + ("" if outside else "/api/v2.0") + path

    def _request_body(self, compared: Comparison, call: dict[str, Any]) -> Any:
        body = call.get("request")
        if body is None:
            return None
        text = json.dumps(body)
        for ours, recorded in compared.hosts.items():
            text = text.replace(recorded, ours)
        return _with_our_ids(compared, json.loads(text), "registry")

    def _compare_headers(
        self,
        compared: Comparison,
        number: int,
        call: dict[str, Any],
        ours: Any,
        where: str,
    ) -> None:
        recorded = call.get("headers")
        # Recording 16 ends with a header asked for by a name under which the recorder had none.
        if recorded is None or recorded == {"Www-Authenticate": None}:
            return
        told = {"Content-Type", "Link", "Location", "X-Total-Count", "Set-Cookie"}
        for name in recorded.keys() | (told & ours.keys()):
            was, now = recorded.get(name), ours.get(name)
            if was is None or now is None:
                raise DifferenceError(f"{where}: header {name} was {was!r}, ours is {now!r}")
            if name == "X-Total-Count" and number in self.scenario.newest_only:
                continue
            if name == "Location":
                _bind_location(compared, was, now, where)
            elif name == "Content-Length" and call["status"] == 200:
                continue  # our images are not the recorded ones
            elif name not in ("Set-Cookie", "X-Request-ID"):
                compared.same(was, now, f"{where} {name}")

    def _compare_body(
        self, compared: Comparison, number: int, call: dict[str, Any], text: str, where: str
    ) -> None:
        recorded = call.get("response")
        if recorded is None:
            # HEAD, and what the recorder noted without its body.
            if text and "response" in call:
                raise DifferenceError(f"{where}: no body was recorded, ours is {text}")
            return
        ours = text if isinstance(recorded, str) else json.loads(text)
        kept = self.scenario.newest_only.get(number)
        if kept is not None:
            recorded, ours = recorded[:kept], ours[:kept]
        for key in self.scenario.any_value.get(number, ()):
            recorded, ours = _without(recorded, key), _without(ours, key)
        kind = next((kind for kind, path in ANSWERS if path.search(call["path"])), "project")
        compared.same(recorded, ours, where, kind)
        if not self.scenario.history_made_up:
            compared.same_order_in_time(recorded, ours, where)
        if call["path"] == "/robots":
            self.robot = (ours["name"], ours["secret"])

    async def _compare_webhooks(self) -> None:
        """Each group in its order; between groups there is none, as between Harbor's jobs."""
        recorded = _grouped(
            [(one["path"], one["body"], one["headers"]) for one in self.recording.webhooks],
            skipped=self.scenario.elsewhere,
        )
        expected = {self._ours_of(group): rows for group, rows in recorded.items()}
        deadline = time.monotonic() + PATIENCE
        while True:
            attempt = self.compared.attempt()
            try:
                self._compare_groups(attempt, expected)
            except DifferenceError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)
            else:
                self.compared.adopt(attempt)
                self.webhooks = sum(map(len, recorded.values()))
                return

    def _ours_of(self, group: tuple[Any, ...]) -> tuple[Any, ...]:
        match group:
            case ("REPLICATION", path, execution, task):
                ours = self.compared.ours
                return (group[0], path, ours("execution", execution), ours("task", task))
            case (event, path, repository, tag, digest):
                text = self.compared.ours_text
                return (event, path, repository, text(tag), text(digest))
        raise AssertionError(group)

    def _compare_groups(
        self, compared: Comparison, expected: dict[tuple[Any, ...], list[Any]]
    ) -> None:
        rows = [(one.path, one.body, one.headers) for one in self.receiver.deliveries]
        found = _grouped(rows)
        short = {self.compared.ours("execution", one) for one in self.scenario.cut_short}
        if found.keys() != expected.keys():
            missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
            raise DifferenceError(f"webhooks: ours lack {sorted(missing)} and have {sorted(extra)}")
        for group, was in expected.items():
            now = found[group]
            if group[0] == "REPLICATION" and group[2] in short:
                now = now[: len(was)]
            if len(was) != len(now):
                raise DifferenceError(f"webhooks of {group}: {len(was)} recorded, ours {len(now)}")
            for number, (one, other) in enumerate(zip(was, now, strict=True)):
                self._compare_delivery(compared, one, other, f"webhook {number} of {group}")

    def _compare_delivery(
        self,
        compared: Comparison,
        recorded: tuple[dict[str, Any], dict[str, str]],
        ours: tuple[dict[str, Any], dict[str, str]],
        where: str,
    ) -> None:
        compared.same(recorded[0], ours[0], where, "delivery")
        was = {name: value for name, value in recorded[1].items() if name != "Content-Length"}
        now = {
            name: value
            for name, value in ours[1].items()
            if name not in ("Content-Length", "Host")  # Host: the recorder left it out
        }
        if was != now:
            raise DifferenceError(f"{where}: headers were {was}, ours are {now}")


def _grouped(
    rows: list[tuple[str, dict[str, Any], dict[str, str]]],
    skipped: frozenset[int] = frozenset(),
) -> dict[tuple[Any, ...], list[tuple[dict[str, Any], dict[str, str]]]]:
    """Deliveries by what they are about: an image's event, or a task's statuses."""
    groups: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for path, body, headers in rows:
        data = body.get("event_data") or body["data"]
        if told := data.get("replication"):
            if told["execution_id"] in skipped:
                continue
            key: tuple[Any, ...] = ("REPLICATION", path, told["execution_id"], told["task_id"])
        else:
            image = data["resources"][0]
            name = data["repository"]["repo_full_name"]
            key = (body["type"], path, name, image["tag"], image["digest"])
        groups[key].append((body, headers))
    return dict(groups)


def _shows_late_status(call: dict[str, Any]) -> bool:
    """Whether the recorded answer shows an execution that is behind its tasks."""
    rows = call.get("response")
    if "/replication/executions" not in call["path"] or not isinstance(rows, list):
        return False
    return any(
        row["succeed"] == row["total"] > 0 and row["status"] != "Succeed"
        for row in rows
        if "total" in row
    )


def _with_our_ids(compared: Comparison, body: Any, kind: str) -> Any:
    if not isinstance(body, dict):
        return body
    kinds = {"policy_id": "policy", "id": kind}
    changed = {}
    for key, value in body.items():
        if key in ("dest_registry", "src_registry"):
            value = _with_our_ids(compared, value, "registry")
        elif key in kinds and isinstance(value, int):
            value = compared.ours(kinds[key], value)
        changed[key] = value
    return changed


def _bind_location(compared: Comparison, recorded: str, ours: str, where: str) -> None:
    was, now = recorded.rpartition("/"), ours.rpartition("/")
    kind = next(kind for kind, pattern in IDS if pattern.search(recorded))
    if was[0] != now[0]:
        raise DifferenceError(f"{where}: Location {recorded} was recorded, ours is {ours}")
    compared.bind(kind, int(was[2]), int(now[2]), where)


def _without(document: Any, key: str) -> Any:
    if isinstance(document, list):
        return [_without(one, key) for one in document]
    if isinstance(document, dict):
        return {name: _without(value, key) for name, value in document.items() if name != key}
    return document


@asynccontextmanager
async def staged(recording: Recording, scenario: Scenario) -> AsyncIterator[Stage]:
    """The lab as the recorded machine was: two destinations, one of its own user, a receiver."""
    destinations = {
        5001: LabRegistry("cluster1", users={"pusher": "pushpass"}),
        5002: LabRegistry("cluster2", users={"pusher": "pushpass"}),
        5003: LabRegistry("cluster3", users={"u3": "p3"}),
    }
    receiver = Receiver()
    async with AsyncExitStack() as stack:
        for one in destinations.values():
            await stack.enter_async_context(one.serving())
        await receiver.listener.start()
        stack.push_async_callback(receiver.listener.stop)
        harbor = await stack.enter_async_context(LabHarbor().serving())
        harbor.switches.hold_refresh = True
        harbor.switches.clock_skew = recording.calls[0]["at"] - time.time()
        if scenario.registry_known:
            harbor.create_registry(
                "cluster1-registry",
                destinations[5001].url,
                username="pusher",
                password="pushpass",
            )
        for project in scenario.projects:
            harbor.create_project(project)
        stage = Stage(recording, scenario, harbor, destinations, receiver)
        if scenario.registry_known:
            stage.compared.bind("registry", 1, 1, "the endpoint that was there before")
        yield stage
