"""Which images `syncwatch wait` asks about: those named by hand, and those of manifests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from syncwatch.cli.answers import Image
from syncwatch.errors import ConfigError, MalformedError
from syncwatch.manifests import LONGEST, NoImageError, images
from syncwatch.reference import parse

if TYPE_CHECKING:
    from syncwatch.manifests import Named
    from syncwatch.reference import Reference

STDIN = "-"


def named_images(
    refs: list[str], files: list[str], only: frozenset[str], *, allow_none: bool
) -> list[Image]:
    """All that are named, each once; `allow_none` is whether manifests may leave none.

    Raises ConfigError for what cannot be read.
    """
    if not refs and not files:
        raise typer.BadParameter("name at least one REF, or manifests with -f FILE or -f -")
    found = {str(one.reference): one for one in (Image(ref, _reference(ref, ref)) for ref in refs)}
    left_out: list[str] = []
    for file in files:
        for one in _of_file(file, allow_none=allow_none):
            reference = _reference(one.image, f"{_told(file)}: {one.places[0]}")
            if only and reference.host not in only:
                left_out.append(one.image)
                continue
            _warn_of_no_host(reference.host, one, file)
            places = tuple(f"{_told(file)}, {place}" for place in one.places)
            found.setdefault(str(reference), Image(one.image, reference, places))
    hosts = f"--only {' '.join(sorted(only))}"
    if left_out:
        typer.echo(f"syncwatch: left out by {hosts}: {' '.join(left_out)}", err=True)
    if not found and not allow_none:
        raise ConfigError([f"{hosts}: no image is left; is the host written as manifests have it?"])
    return list(found.values())


def _warn_of_no_host(host: str, one: Named, file: str) -> None:
    if not host:
        typer.echo(
            f"syncwatch: {_told(file)}: {one.places[0]}: {one.image} names no registry; it is asked"
            " by Harbor's name, and a node without a mirror would take it from docker.io",
            err=True,
        )


def _reference(text: str, where: str) -> Reference:
    try:
        return parse(text)
    except MalformedError as error:
        raise ConfigError([f"{where}: {error}"]) from None


def _of_file(file: str, *, allow_none: bool) -> list[Named]:
    try:
        if file == STDIN:
            if sys.stdin.isatty():
                typer.echo("syncwatch: manifests, please; Ctrl-D ends them", err=True)
            text = sys.stdin.buffer.read(4 * LONGEST + 1).decode("utf-8-sig")
        else:
            with Path(file).open("rb") as opened:
                text = opened.read(4 * LONGEST + 1).decode("utf-8-sig")
        return images(text)
    except OSError as error:
        raise ConfigError([f"{_told(file)} cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{_told(file)}: it is not UTF-8"]) from None
    except MalformedError as error:
        if allow_none and isinstance(error, NoImageError):
            return []
        raise ConfigError([f"{_told(file)}: {error}"]) from None


def _told(file: str) -> str:
    return "standard input" if file == STDIN else file
