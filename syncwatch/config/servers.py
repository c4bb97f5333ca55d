"""What all sections share, and the section of a Harbor.

A rule between settings of one section is a validator of the later setting, so that its error has a
place and all come at once.
"""

from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from syncwatch.config.addresses import HarborUrl
from syncwatch.config.consistency import UNPROVEN
from syncwatch.config.files import CertificateFile, SecretFile
from syncwatch.config.scalars import Duration, Moment, Name, Password, Seconds, Username
from syncwatch.config.secrets import Credential, PasswordCredential, Secret


class Section(BaseModel):
    """A mapping of the configuration: frozen, unknown settings refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __copy__(self) -> Self:
        copied = super().__copy__()
        # What was derived from the old values must not outlive them in a changed copy.
        for name in set(copied.__dict__) - set(type(self).model_fields):
            del copied.__dict__[name]
        return copied


def exclusive(info: ValidationInfo, *others: str) -> None:
    """Refuse the setting being validated when one of `others` (declared before it) is set."""
    for other in others:
        if info.data.get(other):
            raise ValueError(f"{other} is set as well; keep one of the two")


def secret_of(value: SecretStr | None, file: Path | None) -> Secret | None:
    """The secret that is set either way; None for neither."""
    if value is not None:
        return Secret(value.get_secret_value())
    return Secret(file=file) if file is not None else None


class WebhookSettings(Section):
    """How deliveries of Harbor's webhooks prove that they are Harbor's."""

    authorization: Password | None = Field(
        None, description="The Authorization value that Harbor's webhook is told to send."
    )
    authorization_file: SecretFile | None = Field(
        None, description="A file with that value; each of several lines is accepted, for rotation."
    )
    allow_unauthenticated: bool = Field(
        False,
        validate_default=True,
        description="Accept deliveries from anybody who can reach `webhook_listen`.",
    )

    @field_validator("authorization_file")
    @classmethod
    def _one_value(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        exclusive(info, "authorization")
        return value

    @field_validator("allow_unauthenticated")
    @classmethod
    def _one_way(cls, value: bool, info: ValidationInfo) -> bool:
        ways = ("authorization", "authorization_file")
        if value:
            exclusive(info, *ways)
        elif all(way in info.data and info.data[way] is None for way in ways):
            raise ValueError(UNPROVEN)
        return value

    @cached_property
    def secret(self) -> Secret | None:
        """The values accepted; None only with `allow_unauthenticated`."""
        return secret_of(self.authorization, self.authorization_file)


class Remote(Section):
    """What every server that is asked has in common."""

    name: str
    url: str | None
    username: Username | None = Field(None, description="The user or robot account to ask as.")
    password: Password | None = Field(None, description="Its password or token.")
    password_file: SecretFile | None = Field(
        None,
        validate_default=True,
        description="A file with it, read again when it changes and after a 401.",
    )
    ca_file: CertificateFile | None = Field(
        None, description="PEM certificates to trust beside the system's."
    )
    insecure_skip_verify: bool = Field(
        False, description="Do not verify its certificate: anybody on the way may pose as it."
    )
    timeout: Moment = Field(
        timedelta(seconds=10), description="How long one request may take, its body included."
    )

    @field_validator("password")
    @classmethod
    def _needs_username(cls, value: Any, info: ValidationInfo) -> Any:
        if "username" in info.data and not info.data["username"]:
            raise ValueError("a password without a user; set username beside it")
        return value

    @field_validator("password_file")
    @classmethod
    def _one_password(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None:
            exclusive(info, "password")
            cls._needs_username(value, info)
        elif info.data.get("username") and info.data.get("password", ...) is None:
            raise ValueError("username without a password; set password_file or password")
        return value

    @field_validator("insecure_skip_verify")
    @classmethod
    def _verified_or_not(cls, value: bool, info: ValidationInfo) -> bool:
        if value:
            exclusive(info, "ca_file")
        return value

    @cached_property
    def credential(self) -> Credential | None:
        """Who to ask as; None for nobody."""
        return self._password_credential()

    def _password_credential(self) -> Credential | None:
        secret = secret_of(self.password, self.password_file)
        return PasswordCredential(self.username, secret) if self.username and secret else None


class HarborSettings(Remote):
    """One Harbor whose pushes are followed."""

    name: Name = Field(
        description="Our name for it: in metrics, on the page, in the path `/webhook/NAME`."
    )
    url: HarborUrl = Field(description="Its address: scheme, host and port.")
    webhook: WebhookSettings | None = Field(
        None, description="How its deliveries prove themselves; `serve` does not start without."
    )
    poll_every: Moment = Field(
        timedelta(seconds=5), description="How often the list of its executions is read."
    )
    policies_every: Moment = Field(
        timedelta(seconds=15), description="How often its policies and registries are read."
    )
    sweep_every: Seconds = Field(
        timedelta(minutes=15),
        description="How often all is compared without webhooks; may be as short as 10s.",
    )
    sweep_requests_per_minute: int = Field(
        300, ge=1, le=60_000, description="How many questions a minute the sweep may ask it."
    )
    orphans_every: Moment = Field(
        timedelta(hours=24),
        description="How often each destination's own list of tags is compared with the source's.",
    )
    doctor_every: Moment = Field(
        timedelta(minutes=10),
        description="How often its set-up is examined: permissions, webhooks, rules, queues.",
    )
    webhook_address: HarborUrl | None = Field(
        None,
        description="How Harbor reaches `webhook_listen`, as `https://syncwatch.example.com`; "
        "the doctor and `setup` compare webhook policies with it. Default: only the path "
        "`/webhook/NAME` is compared.",
    )
    give_up_after: Moment = Field(
        timedelta(minutes=4),
        description="A task that has not changed for this long is one that Harbor gave up on.",
    )
    claim_wait: Duration = Field(
        timedelta(seconds=60),
        description="How long a push without a tag waits for an index or subject that claims it.",
    )
    recovered_after: Duration = Field(
        timedelta(minutes=3),
        description="An event whose webhook is this late counts as recovered without it.",
    )
    duplicate_within: Duration = Field(
        timedelta(hours=1),
        description="A delivery whose body equals one of this last while is a repeat.",
    )
