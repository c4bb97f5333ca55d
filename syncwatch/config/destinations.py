"""The section of a destination: what Harbor cannot tell about its registry endpoints."""

from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from syncwatch.config.addresses import Host, RegistryUrl
from syncwatch.config.consistency import EVERY_OTHER
from syncwatch.config.files import ReadableFile
from syncwatch.config.scalars import Duration, Instant, Moment, Name, Platform, Word
from syncwatch.config.secrets import Credential, DockerConfigCredential, docker_login
from syncwatch.config.servers import Remote, exclusive
from syncwatch.model import Level

DEFAULTS = EVERY_OTHER
"""The destination name whose entry gives defaults for all others."""


def _logs_in(docker_config: Path, url: str) -> bool:
    return docker_login(docker_config.read_bytes(), urlsplit(url).netloc) is not None


class DestinationSettings(Remote):
    """What Harbor cannot tell about one of its registry endpoints."""

    name: Word = Field(
        description='Harbor\'s name of the endpoint; `"*"` gives defaults for all others.'
    )
    url: RegistryUrl | None = Field(
        None,
        description="Where to look, and the only place that gets the credential: required with "
        "one. Default: Harbor's endpoint URL.",
    )
    harbor: Name | None = Field(
        None, description="Which Harbor's, where two use the same name; wins over an entry without."
    )
    pull_host: Host | None = Field(
        None, description="The name that pods and manifests use. Default: the host of the URL."
    )
    docker_config: ReadableFile | None = Field(
        None, description="A Docker config.json that holds the credential, instead of `username`."
    )
    token_realms: tuple[Host, ...] = Field(
        (), description="Hosts outside the registry's domain that may issue its tokens."
    )
    level: Level = Field(
        Level.READABLE,
        description="How deep it is looked at: `matched` (reference and digest answer and agree), "
        "`readable` (the last byte of everything is read) or `pulled` (a node of its cluster "
        "pulled it, too).",
    )
    platforms: tuple[Platform, ...] = Field(
        (), description="Platforms of an index that have to be there, as linux/amd64. Default: all."
    )
    deadline: Moment = Field(
        timedelta(minutes=10),
        description="How long after it is expected an image that is not verified is overdue.",
    )
    grace: Duration = Field(
        timedelta(seconds=30),
        description="How long after Harbor's success an absent image may still appear.",
    )
    stale_after: Moment = Field(
        timedelta(days=7), description="Evidence older than this no longer verifies anything."
    )
    retry_first: Moment = Field(
        timedelta(seconds=1),
        description="How soon to ask again what could not be asked; doubled each time.",
    )
    retry_longest: Moment = Field(
        timedelta(minutes=1), description="What that wait is doubled up to."
    )
    recheck_per_minute: int = Field(
        60,
        ge=0,
        le=60_000,
        description="How many verified images are looked at again each minute, at most.",
    )
    recheck_after: Moment = Field(
        timedelta(seconds=10),
        description="How old the last look at a verified image is before it is worth another.",
    )
    proofs_kept: Duration = Field(
        timedelta(hours=24),
        description="For how long a layer that was proven there is not asked for again.",
    )
    full_check_every: Moment | None = Field(
        None,
        description="How often every byte of a verified image is read and hashed. Default: never.",
    )
    full_check_bytes_per_second: int = Field(
        10_000_000, ge=1_000, le=10_000_000_000, description="How fast that may read."
    )
    concurrency: int = Field(8, ge=1, le=256, description="How many requests it gets at a time.")
    cluster: Name | None = Field(
        None, description="The cluster that pulls from it: a name in `clusters`."
    )
    pause_until: Instant | None = Field(
        None, description="Maintenance until this time: observed, neither overdue nor missed."
    )

    @field_validator("url", "pull_host", "username", "password", "password_file", "docker_config")
    @classmethod
    def _own(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse for "*" what is one registry's own, and a credential that has no place to go."""
        if value is None:
            return value
        if info.data.get("name") == DEFAULTS:
            raise ValueError('belongs to one destination, not to "*"; move it to entries by name')
        if info.field_name in {"username", "docker_config"} and info.data.get("url", ...) is None:
            raise ValueError(
                "a credential without url; set url beside it, the only place it is sent to"
            )
        return value

    @field_validator("docker_config")
    @classmethod
    def _one_credential(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None:
            exclusive(info, "username")
            if info.data.get("url") and not _logs_in(value, info.data["url"]):
                raise ValueError("this file has no login for the host of url; add it to its auths")
        return value

    @field_validator("retry_longest")
    @classmethod
    def _not_shorter(cls, longest: timedelta, info: ValidationInfo) -> timedelta:
        if longest < info.data.get("retry_first", longest):
            raise ValueError("shorter than retry_first; make it at least as long")
        return longest

    @cached_property
    def credential(self) -> Credential | None:
        """Who to ask as, at `url` and nowhere else; None for nobody."""
        if self.docker_config is not None and self.url is not None:
            return DockerConfigCredential(self.docker_config, urlsplit(self.url).netloc)
        return self._password_credential()
