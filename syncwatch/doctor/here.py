"""Looks at our own place: the store, the disk below it, files of secrets, and our own webhook."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from syncwatch.doctor.evidence import OwnSeen, RoundTripSeen, Unasked
from syncwatch.errors import OutboundError
from syncwatch.outbound import Outbound

if TYPE_CHECKING:
    from syncwatch.config import HarborSettings, Settings
    from syncwatch.runtime import Clock

SELF_TEST = {"type": "SYNCWATCH_SELF_TEST"}
"""A delivery of a type that is taken, counted as ignored, and acted upon by nobody."""

ANSWER_WITHIN = 3.0
"""Seconds that Harbor waits for an answer (jobservice, webhook_job.go)."""

STORE_WITHIN = 5
"""Seconds that a PostgreSQL may take to let us in."""

ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not listened on


async def own_place(settings: Settings, clock: Clock, *, try_store: bool) -> OwnSeen:
    """All of it; with `try_store` whether the store could be written, which a daemon knows."""
    trouble = await asyncio.to_thread(_store_trouble, settings) if try_store else ""
    return OwnSeen(
        store=str(settings.store),
        store_trouble=trouble,
        free=await asyncio.to_thread(_free_bytes, settings),
        now=clock.now(),
        secret_problems=_secret_problems(settings),
    )


def _free_bytes(settings: Settings) -> int | None:
    path = settings.store.path
    if path is None:
        return None
    try:
        return shutil.disk_usage(path.absolute().parent).free
    except OSError:
        return None


def _store_trouble(settings: Settings) -> str:
    path = settings.store.path
    return _sqlite_trouble(path) if path is not None else _postgresql_trouble(settings)


def _sqlite_trouble(path: Path) -> str:
    """Why a SQLite file could not be written, or made. Nothing is left behind."""
    for one in (path, Path(f"{path}-wal"), Path(f"{path}.lock")):
        if one.exists() and not os.access(one, os.W_OK):
            return f"{one} may not be written"
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        return f"no file can be made beside {path}: {error.strerror}"
    return ""


def _postgresql_trouble(settings: Settings) -> str:
    """Why PostgreSQL would not take what is written. No password is in the words."""
    url = make_url(settings.store_url()).set(drivername="postgresql+psycopg")
    engine = create_engine(url, connect_args={"connect_timeout": STORE_WITHIN})
    try:
        with engine.connect() as connection:
            if connection.execute(text("SELECT pg_is_in_recovery()")).scalar():
                return "this PostgreSQL is a standby, which takes no writing"
            question = "SELECT has_schema_privilege(current_schema(), 'CREATE')"
            if not connection.execute(text(question)).scalar():
                return "its user may not make tables in its schema"
    except SQLAlchemyError as error:
        # The words of the driver may hold the whole URL.
        return f"it lets nobody in ({type(error).__name__})"
    finally:
        engine.dispose()
    return ""


def _secret_problems(settings: Settings) -> dict[str, str]:
    found: dict[str, str] = {}
    for harbor in settings.harbors:
        if harbor.credential and harbor.credential.login() and harbor.credential.problem:
            found[f"harbor {harbor.name}"] = harbor.credential.problem
        secret = harbor.webhook.secret if harbor.webhook else None
        if secret and (not secret.values() or secret.problem):
            found[f"webhook of harbor {harbor.name}"] = secret.problem or "it is empty"
    for entry in settings.destinations:
        if entry.credential and entry.credential.login() and entry.credential.problem:
            found[f"destination {entry.name}"] = entry.credential.problem
    receiver = settings.notifications.secret if settings.notifications else None
    if receiver and (not receiver.values() or receiver.problem):
        found["notifications"] = receiver.problem or "it is empty"
    return found


async def round_trip(harbor: HarborSettings, settings: Settings) -> RoundTripSeen | None:
    """Send ourselves what Harbor would; None where there is no address to send it to."""
    address = harbor.webhook_address or _listen_address(settings)
    if not address or harbor.webhook is None:
        return None
    configured = harbor.webhook_address is not None
    outbound = Outbound(timeout=ANSWER_WITHIN, concurrency=1, ca_file=harbor.ca_file)
    secret = harbor.webhook.secret
    headers = {"Authorization": secret.value()} if secret else {}
    url = f"{address.rstrip('/')}/webhook/{harbor.name}"
    try:
        answer = await outbound.ask("POST", url, headers=headers, json=SELF_TEST)
    except OutboundError as error:
        why = Unasked(error.kind, error.message)
        return RoundTripSeen(harbor.name, address.rstrip("/"), configured, None, why)
    finally:
        await outbound.close()
    return RoundTripSeen(harbor.name, address.rstrip("/"), configured, answer.status)


def _listen_address(settings: Settings) -> str:
    listen = settings.webhook_listen
    if not listen.port:
        return ""
    host = "127.0.0.1" if listen.host in ANYWHERE else listen.host
    return f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}"
