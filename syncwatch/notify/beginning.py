"""What has to be in place before anything can be told: what is wanted, and who sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncwatch.notify.sending import LOOP, Sending
from syncwatch.outbound import Outbound
from syncwatch.store import findings, notifications

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Connection

    from syncwatch.config import DestinationSettings, Settings
    from syncwatch.model import Millis
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination


def prepare(
    connection: Connection,
    settings: Settings,
    entry: Callable[[Settings, Destination], DestinationSettings],
    now: Millis,
) -> None:
    """Have the store write down what the configuration wants to be told; nothing without one.

    `entry` gives the settings of a destination.
    """
    receiver = settings.notifications

    def host(destination: Destination) -> str:
        own = entry(settings, destination)
        # Harbor's endpoint URL may hold a password: never to a receiver, nor into the outbox.
        return own.pull_host or urlsplit(own.url or destination.url).netloc.rpartition("@")[2]

    if receiver is not None:
        wanted = notifications.Wanted(frozenset(receiver.events), host)
        notifications.want(connection, wanted)
        return
    notifications.want(connection, None)
    findings.replace_everywhere(connection, settings.harbors[0].name, LOOP, [], now)


def sending(
    settings: Settings,
    database: Database,
    clock: Clock,
    counted: Callable[[str, str], None],
    stands: Callable[[int | None, Millis | None], None],
    allowed: Callable[[], Awaitable[None]] | None,
) -> Sending:
    """Who tells the configured receiver; `allowed` is waited for before each request."""
    receiver = settings.notifications
    if receiver is None:
        raise ValueError("there is nobody to be told")
    outbound = Outbound(
        timeout=receiver.timeout.total_seconds(),
        concurrency=1,
        ca_file=receiver.ca_file,
        insecure_skip_verify=receiver.insecure_skip_verify,
        allowed=allowed,
    )
    return Sending(
        settings=receiver,
        harbor=settings.harbors[0].name,
        outbound=outbound,
        database=database,
        clock=clock,
        counted=counted,
        stands=stands,
    )
