"""A lab Harbor whose set-up is in order, for causes to be planted in, one at a time."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from running import SECRET, settings_file

from syncwatch.config import load
from syncwatch.doctor.one_shot import Diagnosed, diagnose
from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry
from syncwatch.runtime import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from syncwatch.doctor.checks import Checked
    from syncwatch.model import Finding

POLICY, DESTINATION, REPOSITORY = "to-cluster1", "cluster1", "apps/web"
ADDRESS = "http://syncwatch.example/webhook/main"


@dataclass
class Clinic:
    """Rule `to-cluster1` copies `apps/**` to the registry; `apps/web:1.0` is there already."""

    harbor: LabHarbor
    registry: LabRegistry
    directory: Path
    login: Mapping[str, str]
    webhook: int

    def configured(
        self,
        harbor: Mapping[str, Any] | None = None,
        destination: Mapping[str, Any] | None = None,
        **top: Any,
    ) -> Path:
        """A configuration file for this Harbor."""
        section = {"give_up_after": "4m", **self.login, **(harbor or {})}
        usual = {"deadline": "10m", **(destination or {})}
        return settings_file(self.directory, section, usual, **top)

    async def diagnosed(self, config: Path | None = None) -> list[Diagnosed]:
        """What the doctor finds in one go."""
        return await diagnose(load(config or self.configured(), serving=False), Clock())

    async def findings(self, config: Path | None = None) -> list[Finding]:
        return [one for each in await self.diagnosed(config) for one in each.findings]

    async def finding(self, name: str, config: Path | None = None) -> Finding:
        """The one finding of that name, which has to have all that people need."""
        found = await self.findings(config)
        (one,) = [each for each in found if each.finding == name]
        assert one.message.endswith(".")
        assert one.cure.endswith(".")
        assert SECRET not in f"{one}"
        assert self.login["password"] not in f"{one}"
        return one

    async def check(self, name: str, subject: str) -> Checked:
        """How one check ended."""
        every = [one for each in await self.diagnosed() for one in each.checks]
        (one,) = [each for each in every if (each.check, each.subject) == (name, subject)]
        return one

    def edit_webhook(self, **values: Any) -> None:
        """Change the webhook policy of project apps, or its one target."""
        row = self.harbor.world.webhooks[self.webhook]
        for name, value in values.items():
            if hasattr(row, name):
                setattr(row, name, value)
            else:
                row.targets[0][name] = value

    def edit_policy(self, policy: str = POLICY, **values: Any) -> None:
        """Change a replication policy."""
        row = self.harbor.policy(policy)
        for name, value in values.items():
            setattr(row, name, value)

    def grant(self, *permissions: tuple[str, str, str]) -> None:
        """Give the robot more: (namespace, resource, action)."""
        (robot,) = self.harbor.world.robots.values()
        robot.grants = robot.grants | frozenset(permissions)

    def refuse(self, resource: str, *actions: str) -> None:
        """Take permissions from the robot, wherever it has them."""
        (robot,) = self.harbor.world.robots.values()
        robot.grants = frozenset(
            one for one in robot.grants if not (one[1] == resource and one[2] in actions)
        )

    def push(self, repository: str = REPOSITORY, tag: str = "1.0", **image: Any) -> str:
        """An image at the source, without anybody being told."""
        dropped, self.harbor.switches.drop_webhooks = self.harbor.switches.drop_webhooks, True
        held = image.pop("image", None) or images.image(f"{repository}:{tag}")
        digest = self.harbor.push(repository, tag, held)
        self.harbor.switches.drop_webhooks = dropped
        return digest


@contextlib.asynccontextmanager
async def clinic(directory: Path, registry: LabRegistry | None = None) -> AsyncIterator[Clinic]:
    """The set-up in order, for the length of a `with` block."""
    there = registry or LabRegistry()
    async with LabHarbor().serving() as lab, there.serving():
        lab.create_project("apps")
        lab.create_registry(DESTINATION, there.url)
        lab.create_policy(POLICY, DESTINATION, pattern="apps/**")
        user, password = lab.create_robot("syncwatch")
        login = {"url": lab.url, "username": user, "password": password}
        found = Clinic(lab, there, directory, login, 0)
        found.push()
        await lab.idle()
        found.webhook = lab.create_webhook_policy("apps", ADDRESS, auth_header=SECRET)
        yield found


def named(findings: list[Finding]) -> set[str]:
    """Names of findings."""
    return {one.finding for one in findings}
