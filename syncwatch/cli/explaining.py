"""`syncwatch explain`: why an image goes there, or why not."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated
from urllib.parse import urlencode

import typer

from syncwatch.cli.options import (
    CANNOT_TELL,
    NO,
    NOT_YET,
    USAGE,
    ListenFile,
    Output,
    OutputOption,
    TokenFile,
    UrlOption,
)

CODES = {"yes": 0, "no": NO, "not_yet": NOT_YET, "cannot_tell": CANNOT_TELL}
REFUSED = {400: USAGE, 404: NO}
"""Exit codes of what the daemon refuses: it cannot be meant so; there is no such thing."""


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(explain)


def explain(
    image: Annotated[str, typer.Argument(metavar="REF", help="[HOST/]REPOSITORY[:TAG|@DIGEST]")],
    on: Annotated[str, typer.Option(help="Only this destination.", metavar="DESTINATION")] = "",
    url: UrlOption = "",
    config: ListenFile = None,
    token_file: TokenFile = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say rule by rule whether an image goes there, under which name and since when, or why not.

    The image need not exist: then it is as if it were pushed now. Exit code 0 when a rule covers
    it and nothing is wrong, 1 when none does or it failed, 3 when it is still pending, 4 when it
    cannot be told.
    """
    from syncwatch.asking import RefusedError, ask  # noqa: PLC0415
    from syncwatch.tables import print_answer  # noqa: PLC0415

    query = urlencode({"image": image} | ({"destination": on} if on else {}))
    path = f"/api/v1/explain?{query}"
    try:
        told = asyncio.run(ask(path, url=url, config=config, token_file=token_file))
    except RefusedError as refused:
        typer.echo(f"syncwatch: {refused}", err=True)
        raise typer.Exit(REFUSED.get(refused.status, CANNOT_TELL)) from None
    if output is Output.JSON:
        typer.echo(json.dumps(told, indent=2))
    else:
        print_answer(told)
    raise typer.Exit(CODES.get(told["answer"], CANNOT_TELL))
