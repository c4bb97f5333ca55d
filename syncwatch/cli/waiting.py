"""`syncwatch wait`: hold a pipeline until images are usable where they are to be deployed."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from syncwatch.cli.options import ListenFile, Output, OutputOption, TokenFile, UrlOption
from syncwatch.model import Level  # noqa: TC001 - typer reads it

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncwatch.cli.answers import Image, Known

Refs = Annotated[
    list[str] | None, typer.Argument(metavar="REF", help="[HOST/]REPOSITORY[:TAG|@DIGEST]")
]
On = Annotated[
    list[str] | None,
    typer.Option(help="Usable there; may be repeated. Else wherever expected.", metavar="NAME"),
]
Files = Annotated[
    list[str] | None,
    typer.Option("--file", "-f", help="Manifests whose images to wait for; - is stdin."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Of manifests only images of this registry; repeatable.", metavar="HOST"),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(wait)


def wait(
    refs: Refs = None,
    on: On = None,
    any_of_them: Annotated[bool, typer.Option("--any", help="One destination is enough.")] = False,
    level: Annotated[Level | None, typer.Option(help="How deep it has to be proven.")] = None,
    timeout: Annotated[str, typer.Option(help="Give up after it.", metavar="DURATION")] = "15m",
    max_age: Annotated[
        str, typer.Option(help="How old a look may be; 60s unless told.", metavar="DURATION")
    ] = "",
    files: Files = None,
    only: Only = None,
    allow_none: Annotated[
        bool, typer.Option("--allow-none", help="Manifests without an image are usable, too.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Wait for the rest although one is a no.")
    ] = False,
    fail_open: Annotated[
        bool, typer.Option("--fail-open", help="Exit 0 where it cannot be asked until the end.")
    ] = False,
    as_pulled: Annotated[
        bool, typer.Option("--as-pulled", help="Print the names that pods of each place pull by.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    url: UrlOption = "",
    config: ListenFile = None,
    token_file: TokenFile = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Wait until images are usable at their destinations; print each by its digest, to deploy it.

    Of manifests (helm template … | syncwatch wait -f -) all images are waited for. Exit code 0
    when all are usable, 1 at once when one never will be, 2 when the question cannot be meant so,
    3 when the time is over, 4 when it cannot be told.
    """
    from syncwatch.asking import Daemon  # noqa: PLC0415
    from syncwatch.cli.images import named_images  # noqa: PLC0415
    from syncwatch.cli.outcome import option, print_names, tell_end  # noqa: PLC0415
    from syncwatch.cli.polling import HOLD, SLACK, TURNS, Polling, Question  # noqa: PLC0415
    from syncwatch.cli.progress import Progress  # noqa: PLC0415

    question = Question(
        tuple(dict.fromkeys(on or ())), any_of_them, level or "", _checked("--max-age", max_age)
    )
    hosts = frozenset(one.lower() for one in only or ())
    images = named_images(refs or [], files or [], hosts, allow_none=allow_none)
    length = _seconds("--timeout", timeout)

    async def work() -> Mapping[Image, Known]:
        asking = Daemon(
            url=url,
            config=config,
            token_file=token_file,
            timeout=HOLD + 2 * SLACK,
            concurrency=TURNS,
        )
        async with asking as daemon:
            progress = Progress(lambda: polling.known, quiet=quiet)
            polling = Polling(
                daemon, question, images, timeout=length, keep_going=keep_going, changed=progress
            )
            async with progress.shown():
                await polling.run()
            return polling.known

    # As Ctrl-C; and the first process of a container would not hear it at all.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    known = asyncio.run(work())
    # What the environment says, the next command knows too; people put passwords into URLs.
    said = url if url != os.environ.get("SYNCWATCH_URL") and "@" not in url else ""
    go_on = [*option("--url", said), *option("-c", config), *option("--token-file", token_file)]
    code = tell_end(known, question, go_on, fail_open=fail_open, quiet=quiet)
    print_names(known, output, as_pulled=as_pulled, fail_open=fail_open, code=code)
    raise typer.Exit(code)


def _checked(option: str, text: str) -> str:
    if text:
        _seconds(option, text)
    return text


def _seconds(option: str, text: str) -> float:
    from syncwatch.config.scalars import parse_duration  # noqa: PLC0415

    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None
