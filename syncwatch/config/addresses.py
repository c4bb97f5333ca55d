"""Where servers are: addresses to listen at, URLs of Harbors and registries, the store's URL."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from pydantic import BeforeValidator, InstanceOf, PlainSerializer

from syncwatch.config.scalars import written

_HOST_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


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
    written("HOST:PORT", examples=["127.0.0.1:8081", "[::1]:8081"]),
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


def parse_receiver_url(value: object) -> str:
    """A URL to send to, as it was written: a slash at its end and a query are the receiver's."""
    example = "https://ci.example.com/hook"
    text = value if isinstance(value, str) else ""
    plain, _, query = text.partition("?")
    if re.match("[a-z]+://[^/]*@", plain, re.IGNORECASE):
        raise ValueError("a URL here holds no credentials: use authorization_file")
    _split(plain, example)
    if re.search(r"[^!-~]", text) or "#" in query:
        raise ValueError(f"not a plain http(s) URL: write it like {example}")
    return text


_URL_SCHEMA = written("URL", format="uri", pattern="^[Hh][Tt][Tt][Pp][Ss]?://")
HarborUrl = Annotated[str, BeforeValidator(parse_harbor_url), _URL_SCHEMA]
"""http(s)://HOST[:PORT]"""
RegistryUrl = Annotated[str, BeforeValidator(parse_registry_url), _URL_SCHEMA]
"""http(s)://HOST[:PORT][/PATH]"""
ReceiverUrl = Annotated[str, BeforeValidator(parse_receiver_url), _URL_SCHEMA]
"""http(s)://HOST[:PORT][/PATH][?QUERY]"""


def parse_host(value: object) -> str:
    """`HOST[:PORT]`, in lower case."""
    match = _HOST_PORT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not a host: write HOST or HOST:PORT, without https:// and path")
    _whole_number_port(match["port"])
    return match[0].lower()


Host = Annotated[str, BeforeValidator(parse_host), written("HOST or HOST:PORT")]
"""HOST[:PORT]"""


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
    written("URL", pattern="^(sqlite:///.|postgresql://.)"),
]
"""sqlite:///FILE or postgresql://USER@HOST/DATABASE"""
