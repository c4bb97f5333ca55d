"""`syncwatch check`: source and destinations compared once, without a daemon."""

from __future__ import annotations

import asyncio
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from syncwatch.cli.options import ConfigFile, Output, OutputOption, run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syncwatch.check.looking import Manner
    from syncwatch.check.scope import Scope
    from syncwatch.config import Settings
    from syncwatch.reference import Reference


class CheckLevel(StrEnum):
    """How deep a registry can be asked."""

    MATCHED = "matched"
    READABLE = "readable"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(check)


def check(
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REF]...", help="Images: [HOST/]REPOSITORY[:TAG|@DIGEST]. Default: all."
        ),
    ] = None,
    config: ConfigFile = Path("syncwatch.yml"),
    harbor: Annotated[
        list[str] | None, typer.Option(help="Only this Harbor; may be repeated.", metavar="NAME")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this rule, disabled or run by hand as well; may be repeated.", metavar="NAME"
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option("--on", help="Only this destination; may be repeated.", metavar="DESTINATION"),
    ] = None,
    repository: Annotated[
        list[str] | None,
        typer.Option(
            help="Only source repositories that match, as in Harbor's filters: apps/**.",
            metavar="PATTERN",
        ),
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only tags that match.", metavar="PATTERN")
    ] = None,
    level: Annotated[
        CheckLevel | None,
        typer.Option(help="How deep to look. Default: as the settings say."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare names only: one request for each tag.")
    ] = False,
    concurrency: Annotated[
        int | None,
        typer.Option(
            help="Requests at a time to each destination. Default: its setting.", min=1, max=256
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
    everything: Annotated[
        bool, typer.Option("--all", help="Show in the table what is verified, too.")
    ] = False,
) -> None:
    """Compare source and destinations now: no daemon, nothing is written.

    Without options all that the enabled rules select which copy by themselves, whenever it was
    pushed; a rule that is disabled or run by hand is compared where --policy names it.

    Exit code 0 when all of it is verified, 1 when something failed or a REF is nowhere, 2 for a
    mistake in options or configuration, 3 when the next scheduled run has yet to bring something, 4
    when it cannot be told: something is unknown, Harbor does not answer, nothing is in scope, or
    Ctrl-C.
    """
    if quick and level is not None:
        raise typer.BadParameter("--quick compares names only; leave out --level")
    from syncwatch.check.looking import Manner  # noqa: PLC0415
    from syncwatch.check.scope import Scope  # noqa: PLC0415
    from syncwatch.config import load  # noqa: PLC0415
    from syncwatch.model import Level  # noqa: PLC0415

    settings = load(config, serving=False)
    images = _parsed(references or ())
    scope = Scope(
        harbors=tuple(harbor or ()),
        policies=tuple(policy or ()),
        destinations=tuple(on or ()),
        repositories=tuple(repository or ()),
        tags=tuple(tag or ()),
        references=images,
    )
    manner = Manner(Level(level) if level else None, quick, concurrency)
    raise typer.Exit(run(_check(settings, scope, manner, output, everything)))


def _parsed(references: Iterable[str]) -> tuple[Reference, ...]:
    """What REFs say. Raises ConfigError, so that a bad one ends the command with 2."""
    from syncwatch.errors import ConfigError, MalformedError  # noqa: PLC0415
    from syncwatch.reference import parse  # noqa: PLC0415

    try:
        return tuple(parse(one) for one in references)
    except MalformedError as error:
        raise ConfigError([str(error)]) from None


async def _check(
    settings: Settings, scope: Scope, manner: Manner, output: Output, everything: bool
) -> int:
    from syncwatch.check import showing  # noqa: PLC0415
    from syncwatch.check.comparing import Comparison  # noqa: PLC0415
    from syncwatch.runtime import Clock  # noqa: PLC0415

    as_json = output is Output.JSON
    with showing.bar_on_terminal(not (as_json and sys.stdout.isatty())) as bar:
        shown: showing.Shown = (
            showing.AsJson() if as_json else showing.AsTable(everything=everything, progress=bar)
        )
        comparison = Comparison(settings, scope, manner, clock=Clock(), tell=shown.row)
        work = asyncio.create_task(comparison.run())
        progress = asyncio.create_task(
            showing.follow(comparison.tally, bar, lines=bar is None and not sys.stderr.isatty())
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, work.cancel)
        try:
            await work
        except asyncio.CancelledError:
            pass
        except BaseExceptionGroup as group:
            if group.subgroup(BrokenPipeError) is None:
                raise
            # Whoever read our output has enough of it.
            raise BrokenPipeError from None
        finally:
            progress.cancel()
    shown.end(comparison.tally)
    return comparison.tally.exit_code
