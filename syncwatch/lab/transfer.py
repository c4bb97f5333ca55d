"""One attempt of a replication task: the copying or deleting itself, over HTTP.

The order of questions is Harbor's (src/controller/replication/transfer/image/transfer.go), and it
is what makes `Succeed` an opinion: the manifest is asked for first, and when it is there with the
same digest nothing below it is looked at (recording 06); with another digest and `override` off
nothing is done (recording 05).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.errors import OutboundError
from syncwatch.lab.destination import Destination, reach
from syncwatch.lab.world import second_stamp

if TYPE_CHECKING:
    from syncwatch.lab.contents import Manifest
    from syncwatch.lab.records import Registry, Task
    from syncwatch.lab.world import World

_FILE = "/controller/replication/transfer/image/transfer.go"


@dataclass(frozen=True, slots=True)
class Work:
    """What a task is to do, with the endpoint as it was when the task was made."""

    operation: str
    """`copy`, `deletion` or `tag deletion`."""
    source: str
    destination: str
    references: tuple[str, ...]
    override: bool
    registry: Registry


class Transfer:
    """One attempt; `run` says whether it succeeded and leaves its log with the task."""

    def __init__(self, world: World, task: Task, work: Work) -> None:
        self._world = world
        self._task = task
        self._work = work

    async def run(self) -> bool:
        """Do the work once. An error of the destination ends the attempt, never the lab."""
        self._task.log.clear()
        self._say_clients()
        try:
            async with reach(self._work.registry, self._world.times.request_timeout) as there:
                match self._work.operation:
                    case "copy":
                        return await self._copy_all(there)
                    case "deletion":
                        await self._delete_all(there)
                    case _:
                        await self._delete_tags(there)
        except OutboundError:
            return False
        return True

    def _say(self, level: str, line: int, message: str) -> None:
        at = second_stamp(self._world.now())
        self._task.log.append(f"{at} [{level}] [{_FILE}:{line}]: {message}\n")

    def _say_clients(self) -> None:
        there = self._work.registry
        flag = "true" if there.insecure else "false"
        source = f"[type: harbor, URL: {self._world.url}, insecure: true]"
        destination = f"[type: {there.type}, URL: {there.url}, insecure: {flag}]"
        self._say("INFO", 140, f"client for source registry {source} created")
        self._say("INFO", 150, f"client for destination registry {destination} created")

    async def _copy_all(self, there: Destination) -> bool:
        work = self._work
        listed = ",".join(work.references)
        what = (
            f"{work.source}:[{listed}](source registry) to "
            f"{work.destination}:[{listed}](destination registry)"
        )
        self._say("INFO", 183, f"copying {what}...")
        whole = True
        for reference in work.references:
            try:
                await self._copy(there, reference, override=work.override)
            except OutboundError as error:
                self._say("ERROR", 195, error.message)
                whole = False
        if whole:
            self._say("INFO", 205, f"copy {what} completed")
        else:
            message = "got error during the whole transfer period, mark the job failure"
            self._say("ERROR", 201, message)
        return whole

    async def _copy(self, there: Destination, reference: str, *, override: bool) -> None:
        work = self._work
        source, name = f"{work.source}:{reference}", f"{work.destination}:{reference}"
        what = f"{source}(source registry) to {name}(destination registry)"
        self._say("INFO", 211, f"copying {what}...")
        manifest = self._pull_manifest(source, reference)
        present = await self._digest(there, reference, 479)
        if present == manifest.digest:
            message = f"the artifact {name} already exists on the destination registry, skip"
            self._say("INFO", 225, message)
            return
        if present is not None:
            exists = f"the same name artifact {name} exists on the destination registry"
            if not override:
                message = f'{exists}, but the "override" is set to false, skip'
                self._say("WARNING", 233, message)
                return
            self._say("WARNING", 239, f'{exists} and the "override" is set to true, continue...')
        for digest in manifest.children():
            await self._copy(there, digest, override=True)
        for digest in manifest.blobs():
            await self._copy_blob_patiently(there, digest)
        await self._push_manifest(there, reference, manifest)
        self._say("INFO", 257, f"copy {what} completed")

    def _pull_manifest(self, name: str, reference: str) -> Manifest:
        self._say("INFO", 465, f"pulling the manifest of artifact {name} ...")
        manifest = self._world.contents.manifest(self._work.source, reference)
        if manifest is None:
            message = f"artifact {name} not found"
            self._say("ERROR", 468, f"failed to pull the manifest of artifact {name}: {message}")
            raise OutboundError("not_found", message)
        self._say("INFO", 471, f"the manifest of artifact {name} pulled")
        return manifest

    async def _digest(self, there: Destination, reference: str, line: int) -> str | None:
        name = f"{self._work.destination}:{reference}"
        try:
            return await there.digest(self._work.destination, reference)
        except OutboundError as error:
            message = (
                f"failed to check the existence of the manifest of artifact {name} "
                f"on the destination registry: {error.message}"
            )
            self._say("ERROR", line, message)
            raise

    async def _copy_blob_patiently(self, there: Destination, digest: str) -> None:
        wait = self._world.times.blob_retry
        for attempt in range(1, self._world.times.blob_attempts + 1):
            self._say("INFO", 307, f"copying the blob {digest}(the {attempt}th running)...")
            try:
                await self._copy_blob(there, digest)
            except OutboundError as error:
                message = f"failed to pushing the blob {digest}: {error.message}"
                self._say("ERROR", 402, message)
                if attempt == self._world.times.blob_attempts:
                    raise
                self._say("INFO", 315, f"will retry {wait:g}s later")
                await asyncio.sleep(wait)
                wait *= 2
            else:
                self._say("INFO", 309, f"copy the blob {digest} completed")
                return

    async def _copy_blob(self, there: Destination, digest: str) -> None:
        if await there.has_blob(self._work.destination, digest):
            message = f"the blob {digest} already exists on the destination registry, skip"
            self._say("INFO", 355, message)
            return
        body = self._world.contents.blob(self._work.source, digest)
        if body is None:
            raise OutboundError("not_found", f"blob {digest} not found at the source")
        await there.push_blob(self._work.destination, digest, body)

    async def _push_manifest(self, there: Destination, reference: str, manifest: Manifest) -> None:
        name = f"{self._work.destination}:{reference}"
        self._say("INFO", 494, f"pushing the manifest of artifact {name} ...")
        try:
            await there.push_manifest(self._work.destination, reference, manifest)
        except OutboundError as error:
            message = f"failed to push manifest of artifact {name}: {error.message}"
            self._say("ERROR", 502, message)
            raise
        self._say("INFO", 506, f"the manifest of artifact {name} pushed")

    async def _delete_all(self, there: Destination) -> None:
        for reference in self._work.references:
            name = f"{self._work.destination}:{reference}"
            digest = await self._digest(there, reference, 521)
            if digest is None:
                message = f"the artifact {name} doesn't exist on the destination registry, skip"
                self._say("INFO", 526, message)
                continue
            try:
                await there.delete_manifest(self._work.destination, digest)
            except OutboundError as error:
                message = (
                    f"failed to delete the manifest of artifact {name} "
                    f"on the destination registry: {error.message}"
                )
                self._say("ERROR", 531, message)
                raise
            self._say("INFO", 535, f"the manifest of artifact {name} is deleted")

    async def _delete_tags(self, there: Destination) -> None:
        for tag in self._work.references:
            name = f"{self._work.destination}:{tag}"
            try:
                found = await there.delete_tag(self._work.destination, tag)
            except OutboundError as error:
                message = (
                    f"failed to delete the tag {name} on the destination registry: {error.message}"
                )
                self._say("ERROR", 552, message)
                raise
            gone = "is deleted" if found else "doesn't exist on the destination registry, skip"
            self._say("INFO", 557, f"the tag {name} {gone}")
