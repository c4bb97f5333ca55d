"""What rows of the table of kubelets' answers are made of, and the table they are put into."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from real_cluster import NAMESPACE, program, pull
from servers.docker_registry import USER, docker_registry, token_realm

from syncwatch.lab.registry import LabRegistry
from syncwatch.model import ProbeMode, Pulling

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from real_cluster import Told
    from servers.docker_registry import DockerRegistry
    from servers.kubernetes.cluster import Kubernetes

    from syncwatch.lab import images

P, M, A, N = Pulling.PULLED, Pulling.MISSING, Pulling.UNAUTHORIZED, Pulling.UNREACHABLE
C, W = Pulling.CORRUPT, Pulling.WRONG_PLATFORM


def said(cause: str) -> tuple[Pulling, str]:
    """What proves nothing, and why."""
    return Pulling.INCONCLUSIVE, cause


@dataclass
class Bench:
    """What a row is made of: servers that end with it, on a node that holds nothing."""

    cluster: Kubernetes
    folder: Path
    mode: ProbeMode
    ending: contextlib.AsyncExitStack

    async def docker(self, where: str = "docker", **how: Any) -> DockerRegistry:
        (self.folder / where).mkdir()
        return await self.ending.enter_async_context(docker_registry(self.folder / where, **how))

    async def lab(self, **how: Any) -> LabRegistry:
        return await self.ending.enter_async_context(LabRegistry(**how).serving())

    async def bearer(self) -> DockerRegistry:
        realm = await self.ending.enter_async_context(token_realm(self.folder))
        return await self.docker(realm=realm)

    async def secret(self, host: str, password: str, of: str = "") -> tuple[str, ...]:
        """A pull secret for this host that the kubelet knows already; `of` is what it names."""
        name = f"to-pull-{host.rpartition(':')[2]}"
        await asyncio.to_thread(
            self.cluster.pull_secret, NAMESPACE, name, of or host, USER, password
        )
        known = self.cluster.knows_secret(NAMESPACE, name)
        await asyncio.to_thread(known.__enter__)
        self.ending.callback(known.__exit__, None, None, None)
        return (name,)

    def program(self, words: str, *command: str, **more: Any) -> images.Image:
        # Other words in each mode: what ran in the one must not have run in the other.
        return program(self.cluster, f"{words}, {self.mode}", *command, **more)

    async def pull(self, image: str, **how: Any) -> Told:
        return await pull(self.cluster, self.folder, image, mode=self.mode, **how)


@dataclass
class Case:
    """What the node is to pull, and how. `after` looks at what else has to be true."""

    image: str
    how: dict[str, Any] = field(default_factory=dict)
    after: Callable[[Told], None] = lambda _: None


@dataclass(frozen=True)
class Row:
    """`pull` and `start` are the right judgements in these modes, `words` the kubelet's."""

    name: str
    make: Callable[[Bench], Awaitable[Case]]
    pull: tuple[Pulling, str]
    start: tuple[Pulling, str]
    words: str
    often: bool

    def judged(self, mode: ProbeMode) -> tuple[Pulling, str]:
        return self.pull if mode is ProbeMode.PULL else self.start


ROWS: list[Row] = []


def row(
    name: str,
    pull: Pulling | tuple[Pulling, str],
    *,
    start: Pulling | tuple[Pulling, str] | None = None,
    words: str = "",
    often: bool = False,
) -> Callable[[Callable[[Bench], Awaitable[Case]]], None]:
    """Put a row into the table; `often`: it runs with all tests, not by `make kubernetes` only."""

    def whole(one: Pulling | tuple[Pulling, str]) -> tuple[Pulling, str]:
        return (one, "") if isinstance(one, Pulling) else one

    def add(make: Callable[[Bench], Awaitable[Case]]) -> None:
        judged = whole(pull)
        other = judged if start is None else whole(start)
        ROWS.append(Row(name, make, judged, other, words, often))

    return add
