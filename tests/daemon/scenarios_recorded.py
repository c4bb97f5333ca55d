"""A recording played to the daemon: Harbor's answers and webhooks at their recorded times.

Digests are those of small images of ours, put where the recorded ones stood (the recorded images
are not kept), and destinations are at free ports; everything else is as it was recorded. What a
recording lacks follows from what it has: a tag's time from the execution it started, a task's
states from the REPLICATION webhooks, an execution's late status from the refresh interval.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from running import Watched, running, settings_file
from scenarios_harbor import ZERO, RecordedClock, RecordedHarbor, millis, stamp

from syncwatch.lab import images
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from syncwatch.lab.images import Image

RECORDINGS = Path(__file__).parent.parent / "recordings"
BEFORE_EXECUTION = 11
"""Milliseconds between a tag's push_time and the start of its execution (recording 02)."""

REFRESH = 25_000
"""Milliseconds until an execution's status follows its tasks (up to 30 s: recordings 05, 09)."""

WORDS = {"Running": "InProgress", "Error": "Failed", "Success": "Succeed"}


class Recording:
    """One folder of the recordings."""

    def __init__(self, name: str) -> None:
        folder = RECORDINGS / name
        self.name = name
        self.calls = _lines(folder / "api.jsonl")
        self.webhooks = _lines(folder / "webhooks.jsonl")

    def listed(self, ending: str) -> dict[int, dict[str, Any]]:
        """Rows of `executions` or `tasks` as last listed, by id."""
        found = {}
        for call in self.calls:
            path = call["path"].partition("?")[0]
            if path.startswith("/replication") and path.endswith(f"/{ending}"):
                rows = call["response"] if call["method"] == "GET" else []
                found.update({row["id"]: row for row in rows})
        return found

    def tag_times(self) -> dict[tuple[str, str], str]:
        """push_time of (repository, tag) where an artifact was asked for."""
        found = {}
        for call in self.calls:
            if call["method"] == "GET" and "/artifacts" in call["path"] and call["status"] == 200:
                answer = call["response"]
                for artifact in answer if isinstance(answer, list) else [answer]:
                    for tag in artifact["tags"] or ():
                        found[artifact["repository_name"], tag["name"]] = tag["push_time"]
        return found

    def destination_name(self) -> str:
        """The registry endpoint that its policies bring images to."""
        made = (one for one in self.calls if one["path"] == "/registries")
        return str(next(one["request"]["name"] for one in made if one["request"]))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass(frozen=True)
class Step:
    """Something that happens at a recorded moment; a webhook is `delivery`, all else `do`."""

    at: float
    do: Callable[[], None] | None = None
    delivery: dict[str, Any] | None = None


class Play:
    """One recording being played: its steps in order of time, and where it stands."""

    def __init__(
        self, recording: Recording, given: Mapping[str, Image], registry: LabRegistry
    ) -> None:
        self.recording = recording
        self.registry = registry
        self.images: dict[str, Image] = {}
        self._find_images(given)
        self.steps: list[Step] = []
        created = [one for one in recording.calls if _creates_policy(one)]
        self.clock = RecordedClock(round(created[-1]["at"] * 1000) + 20)
        self.harbor = RecordedHarbor(self.clock)
        self.watched: Watched
        self._brings: dict[int, list[str]] = defaultdict(list)
        self._steps_of_api()
        self._steps_of_pushes()
        self._steps_of_webhooks()
        self.steps.sort(key=lambda one: one.at)
        while self.steps and self.steps[0].at < self.clock.now():
            step = self.steps.pop(0)
            if step.do:
                step.do()

    def digest(self, prefix: str) -> str:
        """Our digest for the recorded one that begins so."""
        (found,) = {
            image.digest
            for recorded, image in self.images.items()
            if recorded.startswith(f"sha256:{prefix}")
        }
        return found

    def ours(self, value: Any) -> Any:
        """A recorded value with our digests in it."""
        text = json.dumps(value)
        for recorded, image in self.images.items():
            # The tag of a signature holds the digest without its algorithm.
            text = text.replace(_hex(recorded), _hex(image.digest))
        return json.loads(text)

    async def webhooks(self, count: int = 1000) -> None:
        """Go on until so many more webhooks were delivered, or to the last of them."""
        while count and any(step.delivery for step in self.steps):
            step = self.steps.pop(0)
            self.clock.reach(round(step.at))
            if step.do:
                step.do()
            if step.delivery:
                await self.deliver(step.delivery)
                count -= 1

    async def until(self, seconds: float) -> None:
        """Go on until a recorded moment, in Unix seconds."""
        while self.steps and self.steps[0].at <= seconds * 1000:
            step = self.steps.pop(0)
            self.clock.reach(round(step.at))
            if step.do:
                step.do()
            if step.delivery:
                await self.deliver(step.delivery)
        self.clock.reach(round(seconds * 1000))

    async def advance(self, seconds: float) -> None:
        """Let so much time pass, with what is to happen in it."""
        await self.until(self.clock.now() / 1000 + seconds)

    async def deliver(self, recorded: Mapping[str, Any]) -> int:
        """Send one recorded delivery to the daemon; its answer."""
        kept = ("Authorization", "Content-Type", "User-Agent")
        headers = {name: recorded["headers"][name] for name in kept}
        body = json.dumps(self.ours(recorded["body"])).encode()
        async with self.watched.session.post(
            self.watched.webhook_url, data=body, headers=headers
        ) as answer:
            assert answer.status == 202, await answer.text()
            return answer.status

    def put(self, repository: str, tag: str, image: Image, seconds: float) -> None:
        """A push that no webhook tells of, in Unix seconds, before the play goes on."""
        self.images.setdefault(image.digest, image)
        self.harbor.put(repository, tag, image, round(seconds * 1000))

    def _find_images(self, given: Mapping[str, Image]) -> None:
        for webhook in self.recording.webhooks:
            data = webhook["body"].get("event_data") or webhook["body"]["data"]
            for one in data.get("resources", ()):
                self.images.setdefault(one["digest"], images.image(one["digest"]))
        text = json.dumps([self.recording.webhooks, self.recording.calls])
        for prefix, image in given.items():
            begin = text.index(f"sha256:{prefix}")
            self.images[text[begin : begin + 71]] = image

    def _steps_of_api(self) -> None:
        for call in self.recording.calls:
            if "at" not in call:
                continue
            at, path = call["at"] * 1000, call["path"]
            if _creates_policy(call):
                identifier = int(call["headers"]["Location"].rpartition("/")[2])
                self._at(at, lambda c=call, i=identifier: self._policy(i, c["request"], c["at"]))
            elif call["method"] == "PUT" and path.startswith("/replication/policies/"):
                identifier = int(path.rpartition("/")[2])
                changed = {
                    "enabled": call["request"]["enabled"],
                    "update_time": stamp(round(at) - 3),
                }
                self._at(at, lambda i=identifier, c=changed: self.harbor.policies[i].update(c))
            elif call["method"] == "DELETE" and path.startswith("/replication/policies/"):
                identifier = int(path.rpartition("/")[2])
                self._at(at, lambda i=identifier: self.harbor.policies.pop(i))
            elif call["status"] < 300 and "/artifacts/" in path:
                self._step_of_artifact(call, at)
        for row in self.recording.listed("executions").values():
            self._steps_of_execution(row)

    def _step_of_artifact(self, call: Mapping[str, Any], at: float) -> None:
        """A tag set or deleted by the API, or an artifact deleted; no webhook tells of a tag."""
        _, _, project, _, rest, _, reference, *last = call["path"].split("/")
        repository = f"{project}/{unquote(unquote(rest))}"
        if call["method"] == "POST" and last == ["tags"]:
            made = str(call["request"]["name"])
            self._at(at, lambda: self.harbor.tag(repository, reference, made, round(at)))
        elif call["method"] == "DELETE" and last:
            self._at(at, lambda: self.harbor.untag(repository, last[-1]))
        elif call["method"] == "DELETE":
            self._at(at, lambda: self.harbor.delete(repository, self.ours(reference)))

    def _at(self, at: float, do: Callable[[], None]) -> None:
        self.steps.append(Step(at, do))

    def _policy(self, identifier: int, request: Mapping[str, Any], seconds: float) -> None:
        """POST /replication/policies, and the row as it reads back (recording 01)."""
        created = stamp(round(seconds * 1000) - 3)
        wanted = request["dest_registry"]["id"]
        registry = {
            "id": wanted,
            "name": self.recording.destination_name(),
            "type": "docker-registry",
            "url": self.registry.url,
            "insecure": True,
            "status": "healthy",
            "credential": {"access_key": "pusher", "access_secret": "*****", "type": "basic"},
        }
        self.harbor.registries[wanted] = registry
        self.harbor.policies[identifier] = {
            **request,
            "id": identifier,
            "dest_registry": registry,
            "src_registry": {"id": 0, "name": "Local", "type": "harbor", "url": "http://core:8080"},
            "creation_time": created,
            "update_time": created,
            "speed": 0,
        }

    def _steps_of_execution(self, row: dict[str, Any]) -> None:
        identifier, began = row["id"], millis(row["start_time"])
        tasks = [
            one
            for one in self.recording.listed("tasks").values()
            if one["execution_id"] == identifier
        ]
        fresh = {"status": "InProgress", "end_time": ZERO, "succeed": 0, "failed": 0}
        begun = {**row, **fresh, "in_progress": row["total"]}
        self._at(began, lambda: self.harbor.executions.update({identifier: begun}))
        if not tasks:
            ended = millis(row["end_time"])
            self._at(ended, lambda: self.harbor.executions.update({identifier: row}))
        for task in tasks:
            shown = {**task, "status": "InProgress", "end_time": ZERO}
            self._at(began, lambda t=shown: self.harbor.tasks.update({t["id"]: dict(t)}))
            for at, status in self._statuses(task):
                self._at(at, lambda t=task, s=status, a=at: self._task_is(t, s, a))
                if status != "InProgress":
                    self._at(at + REFRESH, lambda i=identifier: self._refresh(i))

    def _statuses(self, task: Mapping[str, Any]) -> list[tuple[float, str]]:
        """When a task took which status: by its webhooks, else by its end."""
        found = []
        for webhook in self.recording.webhooks:
            told = _replication(webhook)
            if told and told["task_id"] == task["id"]:
                at = webhook["received_at"] * 1000 - 5
                found.append((at, WORDS[told["job_status"]]))
                for one in told.get("successful_artifact", ()):
                    self._brings[task["id"]] = one["references"]
        # Two tasks of an execution end one after the other, the newer one last.
        return found or [(millis(task["end_time"]) + task["id"] % 100, "Succeed")]

    def _task_is(self, task: Mapping[str, Any], status: str, at: float) -> None:
        row = self.harbor.tasks[task["id"]]
        whole = stamp(int(at) // 1000 * 1000)
        ended = task["end_time"] if status == "Succeed" else whole
        row["status"], row["end_time"] = status, ZERO if status == "InProgress" else ended
        if status == "Succeed" and task["operation"] == "deletion":
            self._delete(task)
        elif status == "Succeed":
            self._copy(task)

    def _delete(self, task: Mapping[str, Any]) -> None:
        """What a task takes away: what each reference names there, with every tag on it."""
        there = task["dst_resource"].partition(" [")[0]
        for reference in self.ours(self._brings[task["id"]]):
            digest = self.registry.digest(there, reference)
            if digest is not None:
                self.registry.contents.delete_manifest(there, digest)

    def _copy(self, task: Mapping[str, Any]) -> None:
        """What a task brings: what its references name when it copies.

        Where the digest is there already nothing is done, whatever it lacks (recording 06).
        """
        source, there = (task[key].partition(" [")[0] for key in ("src_resource", "dst_resource"))
        policy = self.harbor.policies[self.harbor.executions[task["execution_id"]]["policy_id"]]
        every = [tag for repository, tag in self.harbor.tags if repository == source]
        for recorded in self._brings[task["id"]] or every:
            reference = self.ours(recorded)
            digest, _ = self.harbor.tags.get((source, reference), (reference, 0))
            present = self.registry.digest(there, reference)
            if present is None or (policy["override"] and present != digest):
                image = next(one for one in self.images.values() if one.digest == digest)
                self.registry.push(there, reference, image)

    def _refresh(self, identifier: int) -> None:
        rows = [one for one in self.harbor.tasks.values() if one["execution_id"] == identifier]
        found = {row["status"] for row in rows}
        status = "InProgress"
        if "InProgress" not in found:
            status = "Failed" if "Failed" in found else "Succeed"
        ended = max(row["end_time"] for row in rows)
        self.harbor.executions[identifier] |= {
            "status": status,
            "end_time": ZERO if status == "InProgress" else ended,
        }

    def _steps_of_pushes(self) -> None:
        """Pushes that webhooks tell of; each just before the execution that it started."""
        runs = sorted(
            (millis(one["start_time"]), self._source_of(one["id"]))
            for one in self.recording.listed("executions").values()
            if one["trigger"] == "event_based"
        )
        pushes = []
        for occurred_at, repository, tag, digest in self._pushed():
            run = next(
                (
                    one
                    for one in runs
                    if one[1] in ("", repository) and occurred_at <= one[0] < occurred_at + 2000
                ),
                None,
            )
            if run:
                runs.remove(run)
            at = run[0] - BEFORE_EXECUTION if run else occurred_at + 500
            pushes.append((at, repository, "" if tag == digest else tag, digest))
        known = self.recording.tag_times()
        last = {(repository, tag): at for at, repository, tag, _ in pushes}
        for at, repository, tag, digest in pushes:
            name = (repository, tag)
            if name in known and at == last[name]:
                at = millis(known[name])
            image, name = self.images[digest], (repository, self.ours(tag))
            self._at(at, lambda n=name, i=image, a=at: self.harbor.put(*n, i, a))

    def _source_of(self, execution_id: int) -> str:
        return next(
            (
                one["src_resource"].partition(" [")[0]
                for one in self.recording.listed("tasks").values()
                if one["execution_id"] == execution_id
            ),
            "",
        )

    def _pushed(self) -> list[tuple[int, str, str, str]]:
        found = {}
        for webhook in self.recording.webhooks:
            body = webhook["body"]
            data = body.get("event_data") or body["data"]
            for one in data.get("resources", ()) if _tells_push(webhook) else ():
                at = body["occur_at"] * 1000 if "occur_at" in body else millis(body["time"])
                key = (at, data["repository"]["repo_full_name"], one["tag"], one["digest"])
                found[key] = None
        return sorted(found, key=lambda one: one[0])

    def _steps_of_webhooks(self) -> None:
        for webhook in self.recording.webhooks:
            self.steps.append(Step(webhook["received_at"] * 1000, delivery=webhook))


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def _creates_policy(call: Mapping[str, Any]) -> bool:
    made = call["method"] == "POST" and call["path"] == "/replication/policies"
    return made and call["status"] == 201


def _tells_push(webhook: Mapping[str, Any]) -> bool:
    return webhook["body"]["type"] in ("PUSH_ARTIFACT", "harbor.artifact.pushed")


def _replication(webhook: Mapping[str, Any]) -> dict[str, Any] | None:
    data = webhook["body"].get("event_data") or webhook["body"]["data"]
    return data.get("replication")


def pushes(play: Play) -> list[dict[str, Any]]:
    """The deliveries of PUSH_ARTIFACT, in recorded order."""
    return [one for one in play.recording.webhooks if _tells_push(one)]


@contextlib.asynccontextmanager
async def playing(
    name: str,
    tmp_path: Path,
    *,
    given: Mapping[str, Image] | None = None,
    before: Callable[[Play], None] | None = None,
    deadline: str = "10m",
    account: tuple[str, str] | None = None,
) -> AsyncIterator[Play]:
    """The daemon started just after the recording's last policy was made.

    `given` are images by the beginning of their recorded digest, where a plain one will not do;
    `before` prepares what was there before. `account` is ours at the destination, which then
    wants one.
    """
    users = dict([account]) if account else None
    async with LabRegistry("cluster1", users=users).serving() as registry:
        play = Play(Recording(name), given or {}, registry)
        if before:
            before(play)
        await play.harbor.listener.start()
        settings = {
            "url": play.harbor.listener.url,
            "username": "robot$syncwatch",
            "password": "secret",
            "webhook": {"authorization": "Bearer lab-secret"},
            "give_up_after": "4m",
        }
        own = []
        if account:
            login = {"url": registry.url, "username": account[0], "password": account[1]}
            own = [{"name": play.recording.destination_name(), **login}]
        config = settings_file(
            tmp_path, settings, {"deadline": deadline, "grace": "30s"}, more_destinations=own
        )
        try:
            async with running(config, clock=play.clock) as watched:
                play.watched = watched
                yield play
        finally:
            await play.harbor.listener.stop()
