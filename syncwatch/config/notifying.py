"""The section of the outgoing webhook: who is told, of what, how often at most, for how long."""

from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from syncwatch.config.addresses import ReceiverUrl
from syncwatch.config.files import CertificateFile, SecretFile
from syncwatch.config.scalars import Moment, Password, Seconds
from syncwatch.config.secrets import Secret
from syncwatch.config.servers import Section, exclusive, secret_of


class Event(StrEnum):
    """What is told: the `type` of a CloudEvent, as it is written in the configuration."""

    VERIFIED = "image.verified"
    FAILED = "image.failed"
    EVERYWHERE = "image.verified.everywhere"


class NotificationSettings(Section):
    """The one receiver that is told what became of images, in CloudEvents; absent: nobody is."""

    url: ReceiverUrl = Field(description="Where to send (`POST`); redirects are not followed.")
    authorization: Password | None = Field(
        None, description="What to send as `Authorization`, scheme and all: `Bearer …`."
    )
    authorization_file: SecretFile | None = Field(
        None, description="A file with that value, read again when it changes and after a 401."
    )
    events: tuple[Event, ...] = Field(
        tuple(Event), min_length=1, description="What to tell. Default: all three."
    )
    ca_file: CertificateFile | None = Field(
        None, description="PEM certificates to trust beside the system's."
    )
    insecure_skip_verify: bool = Field(
        False, description="Do not verify its certificate: anybody on the way may pose as it."
    )
    timeout: Moment = Field(
        timedelta(seconds=10), description="How long one attempt may take, its answer included."
    )
    per_minute: int = Field(
        60, ge=1, le=60_000, description="How many attempts a minute there are at most."
    )
    give_up_after: Seconds = Field(
        timedelta(days=1), description="What could not be delivered for so long is given up."
    )

    @field_validator("authorization_file")
    @classmethod
    def _one_value(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        exclusive(info, "authorization")
        return value

    @field_validator("insecure_skip_verify")
    @classmethod
    def _verified_or_not(cls, value: bool, info: ValidationInfo) -> bool:
        if value:
            exclusive(info, "ca_file")
        return value

    @cached_property
    def secret(self) -> Secret | None:
        """What to send as `Authorization`; None for nothing."""
        return secret_of(self.authorization, self.authorization_file)
