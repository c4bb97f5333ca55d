"""Values written as one word in the configuration: durations, addresses, URLs, files, instants.

Every parser takes the text, or a value already of its type (settings are also built in code), and
raises `ValueError` with "what is wrong; cure". No message repeats what was written: it may have
come from a secret in the environment.
"""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    InstanceOf,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)

DURATION_PATTERN = r"^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_LONGEST = timedelta(days=3650)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")
_HOST_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _written(kind: str, **schema: object) -> WithJsonSchema:
    """The JSON Schema of a text; `kind` is its type in the reference's words."""
    return WithJsonSchema({"type": "string", "x-kind": kind, **schema})


def as_written(value: object) -> object:
    """A default as one would write it in the file."""
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Address | StoreUrl):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def parse_duration(value: object) -> timedelta:
    """`30s`, `5m`, `2h`, `7d`, `1h30m`, `500ms` as a timedelta; units from large to small."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not re.match(DURATION_PATTERN, value):
        raise ValueError("not a duration: write it like 30s, 5m, 2h or 7d")
    parts = re.findall(r"([0-9]{1,12})(ms|[dhms])", value)
    if sum(len(number) + len(unit) for number, unit in parts) != len(value):
        raise ValueError("must be at most 3650d")
    seconds = sum(int(number) * _UNITS[unit].total_seconds() for number, unit in parts)
    if seconds > _LONGEST.total_seconds():
        raise ValueError("must be at most 3650d")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same duration, to 1 ms."""
    text, rest = "", duration
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def at_least(shortest: str) -> AfterValidator:
    """A validator that refuses durations below `shortest`, written as in the configuration."""
    bound = parse_duration(shortest)

    def check(duration: timedelta) -> timedelta:
        if duration < bound:
            raise ValueError(f"must be at least {shortest}")
        return duration

    return AfterValidator(check)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    _written("duration", pattern=DURATION_PATTERN, examples=["30s", "5m", "2h", "7d"]),
]
"""A length of time, written like 30s, 5m, 2h, 7d or 1h30m."""


Moment = Annotated[Duration, at_least("10ms")]
"""A duration that something is repeated or bounded by: never 0."""
Seconds = Annotated[Duration, at_least("1s")]
"""A duration of at least 1 s."""


def _not_blank_text(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("empty; write a value or remove the line")
    return value


Word = Annotated[str, BeforeValidator(_not_blank_text), _written("text", minLength=1)]
"""A text that is not empty."""
Password = Annotated[SecretStr, BeforeValidator(_not_blank_text), _written("secret", minLength=1)]
"""A secret that is not empty."""


def _like(kind: str, pattern: str, refusal: str) -> tuple[AfterValidator, WithJsonSchema]:
    """A validator for texts that fully match `pattern`, and its JSON Schema."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(refusal)
        return text

    return AfterValidator(check), _written(kind, pattern=f"^{pattern}$")


Name = Annotated[
    str,
    *_like(
        "name",
        "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "not a name: write at most 63 of a-z, 0-9 and -, no - at either end",
    ),
]
"""A name of ours: a DNS label, fit for paths and metrics."""
Username = Annotated[
    str,
    *_like(
        "text",
        r"[^:\x00-\x1f\x7f]+",
        "not a user name: write at least one character, and no colon in it",
    ),
]
"""A user of HTTP's Basic scheme, which ends at the first colon (RFC 7617)."""
Platform = Annotated[
    str,
    *_like(
        "OS/ARCHITECTURE",
        "[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?",
        "not a platform: write OS/ARCHITECTURE, as linux/amd64",
    ),
]
"""OS/ARCHITECTURE[/VARIANT]"""


def _whole_number_port(text: str | None) -> int | None:
    if text is None:
        return None
    port = int(text)
    if port > 65535:
        raise ValueError("a port is at most 65535")
    return port


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: `host` without brackets, `port` 0 meaning any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(value: object) -> Address:
    """`HOST:PORT` or `[IPV6]:PORT` as an `Address`."""
    if isinstance(value, Address):
        return value
    match = _HOST_PORT.fullmatch(value) if isinstance(value, str) else None
    port = _whole_number_port(match["port"]) if match else None
    if match is None or port is None:
        raise ValueError(
            "not an address to listen at: write HOST:PORT, like 127.0.0.1:8081 or [::1]:8081"
        )
    return Address(match["host"].strip("[]"), port)


ListenAddress = Annotated[
    InstanceOf[Address],
    BeforeValidator(parse_address),
    PlainSerializer(str, return_type=str),
    _written("HOST:PORT", examples=["127.0.0.1:8081", "[::1]:8081"]),
]
"""HOST:PORT to listen at; IPv6 in brackets; port 0 takes a free one."""


def _split(value: object, cure: str) -> SplitResult:
    """Split an http(s) URL, refusing credentials, query and fragment in it."""
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"not an http(s) URL: write it like {cure}") from None
    if parts.scheme.lower() not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"not an http(s) URL: write it like {cure}")
    if "@" in parts.netloc:
        raise ValueError("a URL here holds no credentials: use username and password_file")
    host = _HOST_PORT.fullmatch(parts.netloc)
    if host is None or parts.query or parts.fragment or re.search(r"\s", parts.path):
        raise ValueError(f"not a plain http(s) URL: write it like {cure}")
    _whole_number_port(host["port"])
    return parts


def _normalised(parts: SplitResult) -> str:
    scheme, netloc = parts.scheme.lower(), parts.netloc.lower()
    if parts.port == _DEFAULT_PORTS[scheme]:
        netloc = netloc.removesuffix(f":{parts.port}")
    return urlunsplit((scheme, netloc, parts.path.rstrip("/"), "", ""))


def parse_harbor_url(value: object) -> str:
    """Harbor's URL: scheme, host and port in lower case, the default port and tail slash gone."""
    parts = _split(value, "https://harbor.example.com")
    if parts.path.strip("/"):
        raise ValueError("has a path: write only the scheme and host, as https://HOST")
    return _normalised(parts)


def parse_registry_url(value: object) -> str:
    """A registry's URL, normalised like Harbor's; a path in front of /v2/ is kept."""
    return _normalised(_split(value, "https://registry.example.com"))


_URL_SCHEMA = _written("URL", format="uri", pattern="^[Hh][Tt][Tt][Pp][Ss]?://")
HarborUrl = Annotated[str, BeforeValidator(parse_harbor_url), _URL_SCHEMA]
"""http(s)://HOST[:PORT]"""
RegistryUrl = Annotated[str, BeforeValidator(parse_registry_url), _URL_SCHEMA]
"""http(s)://HOST[:PORT][/PATH]"""


def parse_host(value: object) -> str:
    """`HOST[:PORT]`, in lower case."""
    match = _HOST_PORT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not a host: write HOST or HOST:PORT, without https:// and path")
    _whole_number_port(match["port"])
    return match[0].lower()


Host = Annotated[str, BeforeValidator(parse_host), _written("HOST or HOST:PORT")]
"""HOST[:PORT]"""


def parse_instant(value: object) -> datetime:
    """An RFC 3339 time with its zone, as an aware datetime in UTC."""
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            raise ValueError("no such date or time of day") from None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("not a time with its zone: write it like 2026-12-01T06:00:00Z")
    return value.astimezone(UTC)


Instant = Annotated[
    datetime,
    BeforeValidator(parse_instant),
    _written("time with its zone", format="date-time"),
]
"""A point in time, RFC 3339 with its zone."""


def _existing(check: Callable[[Path], None]) -> BeforeValidator:
    """A path, from the directory of the configuration where one is known, that passes `check`."""

    def parse(value: Any, info: ValidationInfo) -> Path:
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError("not a file: write its path")
        path = Path((info.context or {}).get("directory", "")) / value
        try:
            check(path)
        except FileNotFoundError:
            raise ValueError(
                "no such file; a relative path begins at the directory of this configuration"
            ) from None
        except OSError as error:
            raise ValueError(f"cannot read this file: {error.strerror}") from None
        return path

    return BeforeValidator(parse)


def _readable(path: Path) -> None:
    with path.open("rb") as file:
        file.read(1)


def _not_blank(path: Path) -> None:
    if not path.read_bytes().strip():
        raise ValueError("this file is empty; write the secret into it")


def _certificates(path: Path) -> None:
    _readable(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError("this file holds no certificate in PEM form") from None


_FILE_SCHEMA = _written("file")
ReadableFile = Annotated[Path, _existing(_readable), _FILE_SCHEMA]
"""A file that can be read."""
SecretFile = Annotated[Path, _existing(_not_blank), _FILE_SCHEMA]
"""A file with a secret in it; read again when it changes."""
CertificateFile = Annotated[Path, _existing(_certificates), _FILE_SCHEMA]
"""A file of PEM certificates."""


@dataclass(frozen=True, slots=True, repr=False)
class StoreUrl:
    """Where the store is; its text shows no password.

    `kind` is the engine, `path` the SQLite file (from the working directory), `url` the whole URL
    with its password: for the engine only.
    """

    kind: Literal["sqlite", "postgresql"]
    url: str

    @property
    def path(self) -> Path | None:
        """SQLite's file; None on PostgreSQL."""
        return Path(self.url.removeprefix("sqlite:///")) if self.kind == "sqlite" else None

    @property
    def user(self) -> str | None:
        """Whom PostgreSQL is asked as; None on SQLite."""
        return urlsplit(self.url).username

    @property
    def has_password(self) -> bool:
        """Whether the URL itself holds a password."""
        parts = urlsplit(self.url)
        return parts.password is not None or "password=" in parts.query

    def with_password(self, password: str) -> "StoreUrl":
        """The same store, with this password in its URL."""
        parts = urlsplit(self.url)
        user, at, place = parts.netloc.rpartition("@")
        netloc = f"{user}:{quote(password, safe='')}{at}{place}"
        return StoreUrl(self.kind, urlunsplit(parts._replace(netloc=netloc)))

    def __str__(self) -> str:
        if self.kind == "sqlite":
            return self.url
        parts = urlsplit(self.url)
        netloc = re.sub(r":[^@]*@", ":***@", parts.netloc)
        return urlunsplit(parts._replace(netloc=netloc, query="***" if parts.query else ""))

    def __repr__(self) -> str:
        return f"StoreUrl({str(self)!r})"


def parse_store(value: object) -> StoreUrl:
    """`sqlite:///PATH`, `sqlite:////ABSOLUTE` or `postgresql://…` as a `StoreUrl`."""
    if isinstance(value, StoreUrl):
        return value
    text = value if isinstance(value, str) else ""
    if text.startswith("sqlite:///"):
        return _sqlite(text)
    if text.startswith("postgresql://"):
        return _postgresql(text)
    raise ValueError("not a store: write sqlite:///FILE or postgresql://USER@HOST/DATABASE")


def _sqlite(text: str) -> StoreUrl:
    path = text.removeprefix("sqlite:///")
    if not path or path.endswith("/") or path == ":memory:" or set(path) & set("?#"):
        raise ValueError("names no file: write sqlite:///FILE or sqlite:////ABSOLUTE/FILE")
    return StoreUrl("sqlite", text)


def _postgresql(text: str) -> StoreUrl:
    cure = "write postgresql://USER@HOST/DATABASE, special characters in it as %XX"
    try:
        parts = urlsplit(text)
        complete = bool(parts.port != 0 and parts.path.strip("/") and not parts.fragment)
    except ValueError:
        raise ValueError(f"not a PostgreSQL URL: {cure}") from None
    if not complete or parts.netloc.count("@") > 1 or re.search(r"\s", text):
        raise ValueError(f"not a PostgreSQL URL: {cure}")
    return StoreUrl("postgresql", text)


Store = Annotated[
    InstanceOf[StoreUrl],
    BeforeValidator(parse_store),
    PlainSerializer(str, return_type=str),
    _written("URL", pattern="^(sqlite:///.|postgresql://.)"),
]
"""sqlite:///FILE or postgresql://USER@HOST/DATABASE"""
