"""A lab Harbor, a lab registry, one policy and a configuration: where most stories begin."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from running import SECRET, Watched, running, settings_file

from syncwatch.lab import images
from syncwatch.lab.harbor import READ_ONLY_ROBOT, LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from pathlib import Path

    from syncwatch.runtime import Clock

POLICY, DESTINATION, REPOSITORY = "to-cluster1", "cluster1", "apps/web"
LABELS = {"policy": POLICY, "destination": DESTINATION}


@dataclass
class Scene:
    """Policy `to-cluster1` copies `apps/**` from `harbor` to `registry`."""

    harbor: LabHarbor
    registry: LabRegistry
    config: Path

    @contextlib.asynccontextmanager
    async def watched(
        self, *, webhooks: bool = True, ready: bool = True, clock: Clock | None = None
    ) -> AsyncIterator[Watched]:
        """The daemon, told by webhooks of the project unless they are not wanted."""
        async with running(self.config, ready=ready, clock=clock) as watched:
            if webhooks:
                self.send_webhooks(watched)
            yield watched

    def send_webhooks(self, watched: Watched, project: str = "apps") -> None:
        """Have the project's events told to this daemon."""
        self.harbor.create_webhook_policy(project, watched.webhook_url, auth_header=SECRET)

    def push(self, reference: str, words: str = "", repository: str = REPOSITORY) -> str:
        """Push an image that follows from `words` (default: its reference); its digest."""
        return self.harbor.push(repository, reference, images.image(words or reference))

    def stop_starting(self) -> None:
        """From now on no push starts an execution, without a trace (recording 18)."""
        self.harbor.create_policy("malformed", DESTINATION, pattern="{a")

    def start_again(self) -> None:
        """Remove what `stop_starting` did."""
        self.harbor.world.policies.pop(self.harbor.policy("malformed").id)


@contextlib.asynccontextmanager
async def scene(
    directory: Path,
    *,
    harbor: Mapping[str, Any] | None = None,
    destination: Mapping[str, Any] | None = None,
    permissions: Iterable[dict[str, Any]] = READ_ONLY_ROBOT,
    skew: float = 0.0,
    **top: Any,
) -> AsyncIterator[Scene]:
    """The scene, for the length of a `with` block; the settings are added to the usual ones.

    `skew` is how many seconds Harbor's clock is ahead from the beginning.
    """
    async with LabHarbor().serving() as lab, LabRegistry().serving() as registry:
        lab.switches.clock_skew = skew
        lab.create_project("apps")
        lab.create_registry(DESTINATION, registry.url)
        lab.create_policy(POLICY, DESTINATION, pattern="apps/**")
        user, password = lab.create_robot("syncwatch", permissions)
        login = {"url": lab.url, "username": user, "password": password}
        config = settings_file(directory, login | dict(harbor or {}), destination, **top)
        yield Scene(lab, registry, config)


def edit(harbor: LabHarbor, policy: int | str, **values: Any) -> None:
    """Change a policy as its page in Harbor does, which moves its `update_time`."""
    row = harbor.policy(policy)
    for name, value in values.items():
        setattr(row, name, value)
    row.updated = harbor.world.now()
