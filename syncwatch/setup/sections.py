"""The setup file as typed, frozen data. What a section does not name is left as Harbor has it."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from syncwatch.config.addresses import HarborUrl, RegistryUrl
from syncwatch.config.consistency import Problem, with_problems
from syncwatch.config.files import CertificateFile, SecretFile
from syncwatch.config.scalars import Moment, Password, Word
from syncwatch.config.servers import Remote, Section, exclusive, secret_of
from syncwatch.setup.words import (
    LOCAL,
    Bandwidth,
    Cron,
    Event,
    Flattening,
    NamePattern,
    Names,
    NewFile,
    RobotName,
    ShortName,
    TagPattern,
)

IN_SCOPE = "in_scope"
"""Instead of project names: those that the rules' name filters reach."""


class HarborSection(Remote):
    """Which Harbor to set up, and as whom; instead of `-c FILE`."""

    name: Word = Field("harbor", description="What to call it.")
    url: HarborUrl = Field(description="Its address: scheme, host and port.")
    timeout: Moment = Field(
        timedelta(seconds=60),
        description="How long one request may take; Harbor itself asks registries meanwhile.",
    )


class RegistrySection(Section):
    """A registry endpoint: Administration → Registries."""

    name: ShortName
    provider: Word
    url: RegistryUrl
    description: str | None = None
    access_id: str | None = None
    access_secret: Password | None = None
    access_secret_file: SecretFile | None = None
    verify_certificate: bool | None = None
    ca_certificate: Word | None = None
    ca_certificate_file: CertificateFile | None = None

    @field_validator("access_secret", "access_secret_file")
    @classmethod
    def _of_somebody(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and "access_id" in info.data and not info.data["access_id"]:
            raise ValueError("a secret without access_id, which Harbor does not keep; set both")
        if value is not None and info.field_name == "access_secret_file":
            exclusive(info, "access_secret")
        return value

    @field_validator("ca_certificate_file")
    @classmethod
    def _one_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None:
            exclusive(info, "ca_certificate")
        return value

    def secret(self) -> str | None:
        """The access secret, read now: all lines of its file (a JSON key has many)."""
        if self.access_secret is not None:
            return self.access_secret.get_secret_value()
        if self.access_secret_file is None:
            return None
        return self.access_secret_file.read_text(encoding="utf-8-sig").rstrip("\r\n")

    def certificate(self) -> str | None:
        """The CA certificate in PEM form."""
        if self.ca_certificate_file is not None:
            return self.ca_certificate_file.read_text(encoding="utf-8-sig").strip()
        return None if self.ca_certificate is None else self.ca_certificate.strip()


class TagFilters(Section):
    """Tags that a rule takes, and tags that it leaves out."""

    matches: TagPattern | None = None
    excludes: TagPattern | None = None


class LabelFilters(Section):
    """Labels that an artifact must have, all of them; or must not have all of."""

    matches: tuple[Word, ...] = ()
    excludes: tuple[Word, ...] = ()


class FiltersSection(Section):
    """What a rule takes; `filters: {}` is everything."""

    name: NamePattern | None = None
    tag: TagFilters | None = None
    label: LabelFilters | None = None
    resource: Literal["image", "artifact"] | None = None


class ReplicationSection(Section):
    """A replication rule: Administration → Replications."""

    name: ShortName
    description: str | None = None
    source: Word = LOCAL
    destination: Word = Field(LOCAL, validate_default=True)
    namespace: str | None = None
    flattening: Flattening | None = None
    filters: FiltersSection | None = None
    trigger: Literal["manual", "scheduled", "event_based"] | None = None
    cron: Cron | None = Field(None, validate_default=True)
    deletion: bool | None = None
    bandwidth: Bandwidth | None = None
    override: bool | None = None
    enabled: bool | None = None
    copy_by_chunk: bool | None = None
    single_active_replication: bool | None = None

    @field_validator("destination")
    @classmethod
    def _one_side(cls, value: str, info: ValidationInfo) -> str:
        source = info.data.get("source", LOCAL)
        if source == LOCAL and value == LOCAL:
            raise ValueError("no destination; name the registry to push to, or one as source")
        if LOCAL not in (source, value):
            raise ValueError("source is a registry as well; one of the two must be this Harbor")
        return value

    @field_validator("trigger")
    @classmethod
    def _from_here(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value == "event_based" and info.data.get("source", LOCAL) != LOCAL:
            raise ValueError(
                "Harbor takes event_based with a registry as source, and never runs it; "
                "write scheduled or manual"
            )
        return value

    @field_validator("cron")
    @classmethod
    def _when_scheduled(cls, value: str | None, info: ValidationInfo) -> str | None:
        trigger = info.data.get("trigger")
        if value is not None and trigger not in (None, "scheduled"):
            raise ValueError("only for trigger: scheduled; remove this or change the trigger")
        if value is None and trigger == "scheduled":
            raise ValueError("trigger: scheduled needs cron; write it like 0 0 2 * * *")
        return value

    @field_validator("deletion")
    @classmethod
    def _when_event_based(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        if value and info.data.get("trigger") in ("manual", "scheduled"):
            raise ValueError("only event_based rules delete; remove this or change the trigger")
        return value

    @field_validator("single_active_replication")
    @classmethod
    def _not_event_based(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        if value and info.data.get("trigger") == "event_based":
            raise ValueError("Harbor refuses this with trigger: event_based; remove one")
        return value


class WebhookSection(Section):
    """A webhook policy, the same in each of its projects."""

    name: ShortName
    projects: Names = Field(description="Names, patterns, or `in_scope`.")
    description: str | None = None
    address: RegistryUrl | None = None
    authorization: Password | None = None
    authorization_file: SecretFile | None = None
    events: tuple[Event, ...] | None = None
    payload_format: Literal["Default", "CloudEvents"] | None = None
    skip_certificate_verification: bool | None = None
    enabled: bool | None = None

    @field_validator("projects")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(value):
            raise ValueError("an empty name or list; name projects, or write in_scope")
        return value

    @field_validator("authorization_file")
    @classmethod
    def _one_value(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None:
            exclusive(info, "authorization")
        return value

    @field_validator("events")
    @classmethod
    def _something(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ():
            raise ValueError("an empty list; name events or remove it")
        return value

    def secret(self) -> str | None:
        """The Authorization to send, read now: the first line of its file."""
        found = secret_of(self.authorization, self.authorization_file)
        return found.value() if found else None


class RobotSection(Section):
    """The read-only robot account that the daemon asks as."""

    name: RobotName
    secret_file: NewFile | None = None
    description: str = "Read-only, for syncwatch."
    days: int | None = Field(None, ge=1, le=36500)


class SetupFile(Section):
    """The whole file."""

    harbor: HarborSection | None = None
    registries: tuple[RegistrySection, ...] | None = None
    replications: tuple[ReplicationSection, ...] | None = None
    webhooks: tuple[WebhookSection, ...] | None = None
    robot: RobotSection | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, raw: Any, handler: ValidatorFunctionWrapHandler) -> Self:
        problems = [*_repeated(raw, "registries"), *_repeated(raw, "replications")]
        try:
            found: Self = handler(raw)
        except ValidationError as error:
            with_problems(raw, error, problems)
            raise
        with_problems(raw, None, problems)
        return found


def _repeated(raw: Any, section: str) -> list[Problem]:
    """Things of one name: the name is what they are known by."""
    items = raw.get(section) if isinstance(raw, dict) else None
    seen: dict[str, int] = {}
    problems = []
    for index, item in enumerate(items if isinstance(items, list) else ()):
        name = item.get("name") if isinstance(item, dict) else None
        if isinstance(name, str) and seen.setdefault(name, index) != index:
            message = f"the same name as {section}[{seen[name]}]; rename or remove one"
            problems.append(Problem((section, index, "name"), message))
    return problems
