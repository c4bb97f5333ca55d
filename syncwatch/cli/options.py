"""What the commands share: exit codes, options, and how the work is run.

Exit codes: 0 yes · 1 no, and why · 2 usage or configuration · 3 not yet · 4 cannot tell.
"""

from __future__ import annotations

import asyncio
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Coroutine

NO, USAGE, NOT_YET, CANNOT_TELL = 1, 2, 3, 4


class Output(StrEnum):
    """How an answer is printed: for people or for programs."""

    TABLE = "table"
    JSON = "json"


ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", metavar="FILE")
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="table or json.")]
UrlOption = Annotated[str, typer.Option(help="The daemon's address.", envvar="SYNCWATCH_URL")]
ListenFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Take `listen` from it.", metavar="FILE")
]
TokenFile = Annotated[
    Path | None, typer.Option(help="A file with the daemon's token (or SYNCWATCH_TOKEN).")
]


class Commands(TyperGroup):
    """All commands. Ctrl-C ends one before it can tell what was asked: 4; so does a reader of its
    output that goes away.

    `serve` and `demo` are ended in no other way; they listen for it themselves, and exit with 0.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("syncwatch: ended before it was known", err=True)
            raise SystemExit(CANNOT_TELL) from None
        except BrokenPipeError:
            # Typer would end with 1, and that is a "no"; nobody has read what it was.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(CANNOT_TELL) from None
        except typer.BadParameter as error:
            # What Typer's own reading of a value puts before its sentence.
            error.message = error.message.removeprefix("Value error, ")
            raise


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it on uvloop where there is one: a third less CPU for a request."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)
