"""Settings as typed, frozen data: from a YAML file, every mistake in it at once, with its place.

`load` reads a file (document → settings → problems); settings may also be built in code. Secrets
stay in files that are read again when they change; no text of ours shows one.
"""

from syncwatch.config.addresses import Address, StoreUrl
from syncwatch.config.clusters import ClusterSettings, ProbeSettings
from syncwatch.config.destinations import DEFAULTS, DestinationSettings
from syncwatch.config.loading import load
from syncwatch.config.notifying import Event, NotificationSettings
from syncwatch.config.reference import reference, settings_schema
from syncwatch.config.scalars import format_duration, parse_duration
from syncwatch.config.secrets import (
    Credential,
    DockerConfigCredential,
    Login,
    PasswordCredential,
    Secret,
)
from syncwatch.config.servers import HarborSettings, WebhookSettings
from syncwatch.config.settings import IgnoreSettings, Settings

__all__ = [
    "DEFAULTS",
    "Address",
    "ClusterSettings",
    "Credential",
    "DestinationSettings",
    "DockerConfigCredential",
    "Event",
    "HarborSettings",
    "IgnoreSettings",
    "Login",
    "NotificationSettings",
    "PasswordCredential",
    "ProbeSettings",
    "Secret",
    "Settings",
    "StoreUrl",
    "WebhookSettings",
    "format_duration",
    "load",
    "parse_duration",
    "reference",
    "settings_schema",
]
