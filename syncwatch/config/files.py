"""Files that the configuration names: each is looked into once, so that a mistake shows early."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from syncwatch.config.scalars import written


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


_FILE_SCHEMA = written("file")
ReadableFile = Annotated[Path, _existing(_readable), _FILE_SCHEMA]
"""A file that can be read."""
SecretFile = Annotated[Path, _existing(_not_blank), _FILE_SCHEMA]
"""A file with a secret in it; read again when it changes."""
CertificateFile = Annotated[Path, _existing(_certificates), _FILE_SCHEMA]
"""A file of PEM certificates."""
