"""How `syncwatch wait` ended: what to deploy on stdout, why not and how to go on on stderr."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import typer

from syncwatch.cli.answers import WORDS, YES, as_json, pinned, pulled, together
from syncwatch.cli.options import Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from syncwatch.cli.answers import Image, Known
    from syncwatch.cli.polling import Question


def option(name: str, value: object) -> list[str]:
    """An option of a command line; nothing where it has no value."""
    return [name, str(value)] if value else []


def tell_end(
    known: Mapping[Image, Known],
    question: Question,
    go_on: list[str],
    *,
    fail_open: bool,
    quiet: bool,
) -> int:
    """Say on stderr what is not usable and how to go on; the exit code."""
    through = {image for image, one in known.items() if fail_open and one.away}
    code = together(one.code for image, one in known.items() if image not in through)
    usable = sum(one.code == YES for one in known.values())
    if not quiet:
        typer.echo(f"syncwatch: {usable} of {len(known)} usable", err=True)
    for image, one in known.items():
        if one.code != YES:
            _tell(image, one, question, go_on, through=image in through and code == YES)
        elif code != YES and not quiet:
            typer.echo(f"usable: {image.written}", err=True)
    return code


def _tell(
    image: Image, known: Known, question: Question, go_on: list[str], *, through: bool
) -> None:
    word = WORDS[known.code].replace("_", " ")
    typer.echo(f"{word}: {image.written}: {known.told}", err=True)
    for place in image.places:
        typer.echo(f"    named in {place}", err=True)
    failing = [one["destination"] for one in known.failing]
    at = next(iter([*failing, *question.destinations]), "")
    command = shlex.join(["syncwatch", "explain", image.written, *option("--on", at), *go_on])
    typer.echo(f"    {command}", err=True)
    if through:
        typer.echo(f"WARNING: --fail-open: {image.written} passes WITHOUT PROOF", err=True)


def print_names(
    known: Mapping[Image, Known], output: Output, *, as_pulled: bool, fail_open: bool, code: int
) -> None:
    """On stdout what to deploy, all of it or nothing; as JSON all answers, however it ended."""
    if output is Output.JSON:
        told: Iterable[dict[str, Any]] = (
            as_json(image, one, let_through=fail_open and one.away and code == YES)
            for image, one in known.items()
        )
        typer.echo(json.dumps(list(told), indent=2))
    elif code == YES:
        for image, one in known.items():
            names = pulled(image, one) if as_pulled else [pinned(image, one)]
            for name in names if one.code == YES else [image.written]:
                typer.echo(name)
