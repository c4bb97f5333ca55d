"""Clock, signals between stages, the supervised loop, and logging that keeps secrets.

A stage is a loop that takes what is due from the store. `Signals` make it look at once; the store
makes it true, so a signal lost costs time and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import structlog

from syncwatch.errors import SyncwatchError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from syncwatch.model import Millis

log = structlog.get_logger("syncwatch")


class Clock:
    """Our clock. Injected, so that tests of what depends on time need not wait for it."""

    def now(self) -> Millis:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000


class Signals:
    """Wake-ups between stages, by name (`plan main`, `verify 3`).

    `elsewhere` is told the names of loops that do not run in this process: another replica's;
    `listening` what other replicas told.
    """

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self._here: set[str] = set()
        self.elsewhere: Callable[[str], None] | None = None
        self.listening: Callable[[str], None] | None = None

    def wake(self, name: str) -> None:
        """Make the loop of that name look now, wherever it runs."""
        self._event(name).set()
        if self.elsewhere is not None and name not in self._here:
            self.elsewhere(name)

    def hear(self, name: str) -> None:
        """Another replica woke that loop; no matter if it does not run here."""
        if self.listening is not None:
            self.listening(name)
        if name in self._here:
            self._event(name).set()

    def hear_all(self) -> None:
        """Wake-ups of other replicas may have been missed."""
        for name in self._here:
            self._event(name).set()

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[None]:
        """The loop of that name runs here, for the length of a `with` block."""
        self._here.add(name)
        try:
            yield
        finally:
            self._here.discard(name)

    async def wait(self, name: str, seconds: float) -> None:
        """Until somebody wakes that loop, at most `seconds`."""
        event = self._event(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        event.clear()

    def _event(self, name: str) -> asyncio.Event:
        return self._events.setdefault(name, asyncio.Event())


class Pulse:
    """Which loops live: each says so at every turn; /healthz asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beats: dict[str, Millis] = {}
        self._last = clock.now()

    def beat(self, name: str) -> None:
        """The loop of that name has just come round."""
        self._beats[name] = self._last = self._clock.now()

    def end(self, name: str) -> None:
        """That loop has ended because it is no longer needed."""
        self._beats.pop(name, None)
        self._last = self._clock.now()

    def dead(self, after: Millis) -> list[str]:
        """Loops that have not come round for longer than `after`; "all" where there is none."""
        now = self._clock.now()
        if not self._beats and now - self._last > after:
            return ["all"]
        return sorted(name for name, at in self._beats.items() if now - at > after)


async def supervise(
    name: str,
    turn: Callable[[], Awaitable[float]],
    signals: Signals,
    pulse: Pulse,
) -> None:
    """Do `turn` again and again for ever; it returns how many seconds may pass until the next.

    An error ends the turn, not the loop: it is logged, and the next turn comes later and later.
    """
    failures = 0
    with signals.running(name):
        while True:
            pulse.beat(name)
            try:
                pause = await turn()
                failures = 0
            except SyncwatchError as error:
                failures += 1
                log.warning("turn_failed", loop=name, error=str(error), fault=str(error.fault))
                pause = min(2.0**failures / 2, 30.0)
            except Exception as error:  # noqa: BLE001 - a bug in one turn must not stop the daemon
                failures += 1
                log.error(  # noqa: TRY400 - a traceback would show texts that may hold anything
                    "turn_crashed", loop=name, error=type(error).__name__, where=where(error)
                )
                pause = min(2.0**failures, 60.0)
            pulse.beat(name)
            await signals.wait(name, pause)


def where(error: BaseException) -> str:
    """The place of an error as file:line in function. Its text stays out: it may hold anything."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rsplit('/', 2)[-1]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " < ".join(reversed(frames[-4:]))


def is_one_of(given: str, accepted: Iterable[str]) -> bool:
    """Whether a secret given is one of those accepted, in a time that tells nothing of which."""
    told = given.encode("utf-8", "surrogateescape")
    # All are compared, whichever is right.
    matches = [hmac.compare_digest(told, value.encode()) for value in accepted if value]
    return any(matches)


_SECRET_KEY = re.compile(r"pass|secret|token|authorization|credential|cookie", re.IGNORECASE)
_SECRET_TEXT = (
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/=._~-]{4,}", re.IGNORECASE), r"\1 ***"),
    (re.compile(r"://[^/\s:@]+:[^/\s@]+@"), "://***@"),
    # What signs a URL: S3, Google's storage, Azure, CloudFront. Only in a query, for elsewhere they
    # are words as others; "Policy" only as CloudFront writes it, for `?policy=` is ours.
    (
        re.compile(
            r"((?:[?&]|&amp;|\\u0026)"
            r"(?:token|signature|sig|x-(?:amz|goog)-[a-z0-9-]+|key-pair-id|(?-i:Policy))=)[^&\s]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    # In a query or in a form, whose first field has nothing before it.
    (
        re.compile(
            r'((?:password|client_secret|refresh_token|access_token)=)(?:\\?"[^"]*"|[^&\s]+)',
            re.IGNORECASE,
        ),
        r"\1***",
    ),
)


def redact(text: str) -> str:
    """`text` without what looks like a credential."""
    for pattern, instead in _SECRET_TEXT:
        text = pattern.sub(instead, text)
    return text


def _redacted(_logger: object, _method: str, event: structlog.typing.EventDict) -> Any:
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = redact(value)
    return event


def set_up_logging(form: str, level: str) -> None:
    """Log to standard error, as JSON lines or for people; libraries' lines go the same way.

    `form` is json, console or auto (console on a terminal). Tracebacks never show local
    variables: they hold secrets.
    """
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Before redaction: a traceback without local variables, as text.
        structlog.processors.format_exc_info,
        _redacted,
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()] if as_json else [structlog.dev.ConsoleRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiohttp.access", "aiosqlite", "sqlalchemy", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
