"""The setup file, and which Harbor it is for: as whom to ask, what the daemon's settings add."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.config.consistency import suggestion
from syncwatch.config.loading import Loaded, load_as
from syncwatch.errors import ConfigError
from syncwatch.harbor.client import HarborClient
from syncwatch.harbor.writing import HarborWriter
from syncwatch.outbound import Outbound
from syncwatch.setup.sections import SetupFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from syncwatch.config import HarborSettings, Login, Settings
    from syncwatch.config.servers import Remote

_PATIENCE = 60.0
"""Seconds that a request gets at least: Harbor asks registries before it answers."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """How the daemon's configuration has webhooks reach it; unknown without one."""

    address: str | None = None
    authorization: str | None = None


def load_setup(path: Path, environ: Mapping[str, str] = os.environ) -> Loaded[SetupFile]:
    """The setup file at `path`. Raises ConfigError with every problem, each with its place."""
    if not path.exists():
        raise ConfigError([f"{path}: no such file; name the setup file"])
    begin = "begin with registries: or replications:, see docs/setup.example.yml"
    return load_as(SetupFile, path, environ, begin=begin)


def harbor_named(settings: Settings, name: str | None) -> HarborSettings:
    """One Harbor of the daemon's configuration: the only one, or that of `name`.

    Raises ConfigError where it is none, or not said which.
    """
    names = [one.name for one in settings.harbors]
    if name is None and len(names) > 1:
        raise ConfigError([f"the configuration has several; add --harbor {'|'.join(names)}"])
    if name is not None and name not in names:
        cure = suggestion(name, names) or f"it has {', '.join(names)}"
        raise ConfigError([f"--harbor {name}: not in the configuration; {cure}"])
    return settings.harbor(name or names[0])


def told_by(harbor: HarborSettings) -> Daemon:
    """What that Harbor's webhooks are to be told, by the daemon's own configuration."""
    address, secret = harbor.webhook_address, harbor.webhook and harbor.webhook.secret
    return Daemon(
        f"{address}/webhook/{harbor.name}" if address else None,
        secret.value() if secret else None,
    )


@asynccontextmanager
async def connected(remote: Remote, login: Login | None) -> AsyncIterator[HarborWriter]:
    """A Harbor to be asked and changed, as `login` or else as its section says."""
    outbound = Outbound(
        timeout=max(remote.timeout.total_seconds(), _PATIENCE),
        concurrency=6,
        ca_file=remote.ca_file,
        insecure_skip_verify=remote.insecure_skip_verify,
    )
    own = remote.credential
    client = HarborClient(
        name=remote.name,
        url=remote.url or "",
        outbound=outbound,
        credentials=lambda: login or (own.login() if own else None),
    )
    try:
        yield HarborWriter(client)
    finally:
        await client.close()
