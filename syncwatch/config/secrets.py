"""Secrets from the configuration or from files that others rotate.

Kubernetes swaps a symlink when a Secret changes, an operator writes the file anew: both show in
the file's status, which is compared at every use. A file that cannot be read any more keeps its
last good value, so that a rotation half done breaks nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import logging
import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger("syncwatch.config")

_DOCKER_HUB = {"docker.io", "index.docker.io", "registry-1.docker.io"}
"""One registry under three names; logins are kept under the second."""

Stamp = tuple[int, ...]
"""What changes when a file does: device, inode, size, mtime and ctime in ns."""


class WatchedFile:
    """A small file read again when its status changes; the last good content stays.

    `problem` says why the newest content could not be used, None while all is well; each new
    problem is logged once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._stamp: Stamp | None = None
        self._content: bytes | None = None

    def content(self) -> bytes:
        """The last good content; empty when there never was any."""
        try:
            if _stamp(os.stat(self.path)) != self._stamp:  # noqa: PTH116  (a hot path)
                self._read()
        except OSError as error:
            self._stamp = None
            self._report(error.strerror or type(error).__name__)
        return self._content or b""

    def forget(self) -> None:
        """Read again at the next use, whatever the file's status says."""
        self._stamp = None

    def _read(self) -> None:
        with self.path.open("rb") as file:
            # Before reading: a write that follows shows in the next comparison.
            stamp = _stamp(os.fstat(file.fileno()))
            content = file.read()
        self._stamp = stamp
        # A writer that truncates first is seen in between; empty is never a secret.
        if not content.strip():
            self._report("empty")
            return
        self._content = content
        self._report(None)

    def _report(self, problem: str | None) -> None:
        if problem != self.problem:
            self.problem = problem
            if problem:
                _log.warning("secret file %s: %s; its last value stays", self.path, problem)


def _stamp(status: os.stat_result) -> Stamp:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


class Secret:
    """One secret, or several that are valid at once while they are rotated.

    From a file, each line that is not blank is a value; the first is the one to send. Its text
    never shows a value.
    """

    def __init__(self, value: str | None = None, *, file: Path | None = None) -> None:
        self._fixed = () if value is None else (value,)
        self._file = None if file is None else WatchedFile(file)

    @property
    def problem(self) -> str | None:
        """Why the file's newest content could not be used; None when all is well."""
        return self._file.problem if self._file else None

    def values(self) -> tuple[str, ...]:
        """All values valid now, the one to send first; empty only if the file never had one."""
        if self._file is None:
            return self._fixed
        lines = self._file.content().decode("utf-8-sig", errors="replace").split("\n")
        return tuple(line.rstrip("\r") for line in lines if line.strip())

    def value(self) -> str:
        """The value to send."""
        values = self.values()
        return values[0] if values else ""

    def matches(self, offered: str) -> bool:
        """Whether `offered` is one of the values, compared in constant time."""
        candidate = offered.encode(errors="surrogateescape")
        matching = [hmac.compare_digest(candidate, value.encode()) for value in self.values()]
        return any(matching)

    def forget(self) -> None:
        """Read the file again at the next use (after a 401)."""
        if self._file:
            self._file.forget()

    def __repr__(self) -> str:
        return f"Secret(file={str(self._file.path)!r})" if self._file else "Secret('***')"


class Login(NamedTuple):
    """A user and password valid now; the password is not in its text."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.username!r}, '***')"


class Credential(Protocol):
    """Gives the login of the moment."""

    def login(self) -> Login | None:
        """The login valid now; None where the source holds none for this registry."""

    def forget(self) -> None:
        """Read files again at the next use (after a 401)."""

    @property
    def problem(self) -> str | None:
        """Why the newest file content could not be used; None when all is well."""


class PasswordCredential:
    """A user name with a secret."""

    def __init__(self, username: str, password: Secret) -> None:
        self._username = username
        self._password = password

    def login(self) -> Login | None:
        """The user with the password valid now."""
        return Login(self._username, self._password.value())

    def forget(self) -> None:
        """Read the password's file again at the next use."""
        self._password.forget()

    @property
    def problem(self) -> str | None:
        """Why the password's file could not be used; None when all is well."""
        return self._password.problem

    def __repr__(self) -> str:
        return f"PasswordCredential({self._username!r}, {self._password!r})"


class DockerConfigCredential:
    """The entry for one registry of a Docker `config.json` (`kubernetes.io/dockerconfigjson`).

    The form: https://kubernetes.io/docs/tasks/configure-pod-container/pull-image-private-registry/
    Credential helpers and identity tokens run programs or another protocol and are not used.
    """

    def __init__(self, path: Path, host: str) -> None:
        self._file = WatchedFile(path)
        self._host = host
        self._good: tuple[bytes, Login | None] = (b"", None)
        self._malformed: str | None = None

    def login(self) -> Login | None:
        """The login this file holds for the registry's host; the last good one if malformed."""
        content = self._file.content()
        if content != self._good[0]:
            self._take(content)
        return self._good[1]

    def forget(self) -> None:
        """Read the file again at the next use."""
        self._file.forget()

    @property
    def problem(self) -> str | None:
        """Why the newest file content could not be used; None when all is well."""
        return self._file.problem or self._malformed

    def _take(self, content: bytes) -> None:
        try:
            self._good = (content, docker_login(content, self._host))
            self._malformed = None
        except ValueError as error:
            self._malformed = str(error)
            self._good = (content, self._good[1])
            _log.warning("docker config %s: %s; its last login stays", self._file.path, error)

    def __repr__(self) -> str:
        return f"DockerConfigCredential(file={str(self._file.path)!r}, host={self._host!r})"


def docker_login(content: bytes, host: str) -> Login | None:
    """The login for `host` (HOST[:PORT]) in a Docker config; None where it has no entry.

    Keys may be a host, a URL, or Docker Hub's `https://index.docker.io/v1/`. Raises ValueError,
    which repeats nothing of the content.
    """
    wanted = _registry_of(host)
    try:
        auths = json.loads(content)["auths"]
        entries = (entry for key, entry in auths.items() if _registry_of(key) == wanted)
        entry = next(entries, None)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("not a Docker config: JSON with auths expected") from None
    return None if entry is None else _entry_login(entry)


def _registry_of(key: str) -> str:
    """The host an `auths` key is for; Docker accepts hosts and URLs there."""
    host = key.lower().removeprefix("https://").removeprefix("http://").split("/")[0]
    return "docker.io" if host in _DOCKER_HUB else host


def _entry_login(entry: dict[str, object]) -> Login:
    try:
        if entry.get("auth"):
            decoded = base64.b64decode(str(entry["auth"]), validate=True).decode()
            username, _, password = decoded.partition(":")
        else:
            username, password = str(entry["username"]), str(entry["password"])
    except (binascii.Error, UnicodeDecodeError, KeyError, AttributeError):
        raise ValueError("its entry for this registry holds no username and password") from None
    if not username or not password:
        raise ValueError("its entry for this registry holds no username and password")
    return Login(username, password)
