"""The configuration as typed, frozen data; the descriptions are the reference in the docs.

Rules between sections are in `consistency`.
"""

from datetime import timedelta
from functools import cached_property
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

from syncwatch.config.addresses import Address, ListenAddress, Store, parse_store
from syncwatch.config.clusters import ClusterSettings
from syncwatch.config.consistency import inconsistencies, with_problems
from syncwatch.config.destinations import DEFAULTS, DestinationSettings
from syncwatch.config.files import SecretFile
from syncwatch.config.notifying import NotificationSettings
from syncwatch.config.scalars import Duration, Moment, Password, Word
from syncwatch.config.secrets import Secret
from syncwatch.config.servers import HarborSettings, Section, exclusive, secret_of


class IgnoreSettings(Section):
    """Images of which nothing is expected: those that match all that is written here."""

    repository: Word | None = Field(
        None, description="A pattern for the source repository, as in Harbor's filters."
    )
    reference: Word | None = Field(None, description="A pattern for the tag or digest.")
    destination: Word | None = Field(
        None,
        validate_default=True,
        description="Harbor's name of the endpoint. Default: every one.",
    )

    @field_validator("destination")
    @classmethod
    def _something(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and [*info.data.values()] == [None, None]:
            raise ValueError("would ignore everything; set repository, reference or destination")
        return value


class Settings(Section):
    """The whole configuration."""

    harbors: tuple[HarborSettings, ...] = Field(
        json_schema_extra={"minItems": 1}, description="The Harbors whose pushes are followed."
    )
    destinations: tuple[DestinationSettings, ...] = Field(
        (), description="What Harbor cannot tell about its registry endpoints."
    )
    clusters: tuple[ClusterSettings, ...] = Field(
        (), description="The clusters that the destinations serve."
    )
    ignore: tuple[IgnoreSettings, ...] = Field(
        (), description="Images of which nothing is expected."
    )
    notifications: NotificationSettings | None = Field(
        None, description="Who is told what became of images. Default: nobody."
    )
    keep: Duration = Field(
        timedelta(days=30), description="How long what is over and done with is kept."
    )
    keep_deliveries: int = Field(
        100_000, ge=100, le=100_000_000, description="How many webhook deliveries are kept at most."
    )
    keep_expectations: int = Field(
        1_000_000, ge=1000, le=100_000_000, description="How many expectations are kept at most."
    )
    webhook_listen: ListenAddress = Field(
        Address("0.0.0.0", 8080),  # noqa: S104  (Harbor calls from elsewhere)
        description="Where Harbor delivers: `/webhook/NAME`, `/healthz`, `/readyz`.",
    )
    listen: ListenAddress = Field(
        Address("127.0.0.1", 8081),
        description="Where the page, the API, `/metrics`, `/healthz` and `/readyz` are.",
    )
    token: Password | None = Field(
        None, description="What API and page ask for (`Authorization: Bearer`); writing needs one."
    )
    token_file: SecretFile | None = Field(
        None, description="A file with it; each of several lines is accepted, for rotation."
    )
    store: Store = Field(
        parse_store("sqlite:///syncwatch.db"),
        description="`sqlite:///FILE` (from the working directory), `sqlite:////ABSOLUTE/FILE`, or "
        "`postgresql://USER@HOST/DATABASE` for several replicas.",
    )
    store_password_file: SecretFile | None = Field(
        None, description="A file with the password for a PostgreSQL store."
    )
    lease: Moment = Field(
        timedelta(seconds=15),
        description="With PostgreSQL: how long after its last sign of life a replica's share of "
        "the work goes to the others.",
    )
    counters_gone_after: Duration = Field(
        timedelta(hours=1), description="When its counters and histograms go."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="`console` for people, `json`; `auto` is console on a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least important lines to write."
    )

    @field_validator("listen")
    @classmethod
    def _two_listeners(cls, listen: Address, info: ValidationInfo) -> Address:
        webhooks = info.data.get("webhook_listen")
        if webhooks and listen.port and webhooks.port == listen.port:
            raise ValueError("the same port as webhook_listen; give each its own")
        return listen

    @field_validator("token_file")
    @classmethod
    def _one_token(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        exclusive(info, "token")
        return value

    @field_validator("store_password_file")
    @classmethod
    def _for_postgresql(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        store = info.data.get("store")
        if store and store.kind == "sqlite":
            raise ValueError("SQLite has no password; remove this or set store: postgresql://…")
        if store and not store.user:
            raise ValueError("a password without a user; write store: postgresql://USER@HOST/…")
        if store and store.has_password:
            raise ValueError("the URL in store has a password as well; keep one of the two")
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, raw: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Self:
        serving = (info.context or {}).get("serving", True)
        problems = inconsistencies(raw, serving=serving)
        try:
            settings: Self = handler(raw)
        except ValidationError as error:
            with_problems(raw, error, problems)
            raise
        with_problems(raw, None, problems)
        return settings

    @cached_property
    def api_token(self) -> Secret | None:
        """What API and page ask for; None leaves them open to read and closed to write."""
        return secret_of(self.token, self.token_file)

    @cached_property
    def _store_password(self) -> Secret | None:
        return secret_of(None, self.store_password_file)

    def store_url(self) -> str:
        """The store's URL with its password of the moment: for the engine, never for a text."""
        password = self._store_password
        return (self.store.with_password(password.value()) if password else self.store).url

    def harbor(self, name: str) -> HarborSettings:
        """The Harbor of this name of ours. Raises KeyError."""
        return {harbor.name: harbor for harbor in self.harbors}[name]

    def cluster(self, name: str) -> ClusterSettings:
        """The cluster of this name. Raises KeyError."""
        return {cluster.name: cluster for cluster in self.clusters}[name]

    def destination(self, harbor_name: str, registry_name: str) -> DestinationSettings:
        """What holds for the endpoint that this Harbor calls `registry_name`: one value for ever.

        Its entry over that of "*" over the defaults. Of two entries of one name the one for this
        Harbor is used, alone: so a credential never meets the other entry's url.
        """
        key = (harbor_name, registry_name)
        if key not in self._destinations:
            self._destinations[key] = self._merged(harbor_name, registry_name)
        return self._destinations[key]

    @cached_property
    def _destinations(self) -> dict[tuple[str, str], DestinationSettings]:
        return {}

    def _merged(self, harbor_name: str, registry_name: str) -> DestinationSettings:
        general = _explicit(self._entry(harbor_name, DEFAULTS))
        own = _explicit(self._entry(harbor_name, registry_name))
        if own.keys() & {"ca_file", "insecure_skip_verify"}:
            general = {k: v for k, v in general.items() if k not in _VERIFICATION}
        values = {**general, **own, "name": registry_name, "harbor": harbor_name}
        return DestinationSettings.model_construct(set(general) | set(own), **values)

    def _entry(self, harbor_name: str, name: str) -> DestinationSettings | None:
        entries = [entry for entry in self.destinations if entry.name == name]
        for harbor in (harbor_name, None):
            for entry in entries:
                if entry.harbor == harbor:
                    return entry
        return None


_VERIFICATION = frozenset({"ca_file", "insecure_skip_verify"})


def _explicit(entry: DestinationSettings | None) -> dict[str, Any]:
    """What an entry says itself, without defaults."""
    return {name: getattr(entry, name) for name in entry.model_fields_set} if entry else {}
