"""`syncwatch list`: what is expected, and how it stands, image by image."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from syncwatch.cli.options import (
    CANNOT_TELL,
    USAGE,
    ListenFile,
    Output,
    OutputOption,
    TokenFile,
    UrlOption,
)

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 1000
"""Rows asked for at once: the most that the API gives."""


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("list")(list_expectations)


def list_expectations(
    harbor: Annotated[str, typer.Option(help="Only of this Harbor.", metavar="NAME")] = "",
    policy: Annotated[str, typer.Option(help="Only of this policy, by name or id.")] = "",
    on: Annotated[
        str, typer.Option("--on", help="Only at this destination.", metavar="DESTINATION")
    ] = "",
    repository: Annotated[str, typer.Option(help="The name at either side.")] = "",
    reference: Annotated[str, typer.Option(help="The tag, or the digest.")] = "",
    state: Annotated[
        str, typer.Option(help="Only those that are pending, verified, failed, unknown or closed.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Only those for this reason.")] = "",
    overdue: Annotated[bool, typer.Option("--overdue", help="Only what is overdue.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="What is closed, too.")] = False,
    limit: Annotated[int, typer.Option(help="At most so many; 0 for all.", min=0)] = 100,
    url: UrlOption = "",
    config: ListenFile = None,
    token_file: TokenFile = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what is expected, newest first: where, in which state, for what reason and how late.

    Without options everything that is not closed. `syncwatch explain REF` tells more of one.
    """
    _check(state, reason)
    query = {
        "harbor": harbor,
        "policy": policy,
        "destination": on,
        "repository": repository,
        "reference": reference,
        "state": state,
        "reason": reason,
        "overdue": "true" if overdue else "",
        "all": "true" if everything else "",
    }
    kept = {name: value for name, value in query.items() if value}
    items, more = asyncio.run(_items(kept, limit, url, config, token_file))
    if output is Output.JSON:
        typer.echo(json.dumps({"items": items, "more": more}, indent=2))
        return
    from syncwatch.tables import print_expectations  # noqa: PLC0415

    print_expectations(items, more=more)


def _check(state: str, reason: str) -> None:
    from syncwatch.model import Reason, State  # noqa: PLC0415

    if state and state not in tuple(State):
        raise typer.BadParameter(f"write one of {', '.join(State)}", param_hint="--state")
    if reason and reason not in tuple(Reason):
        raise typer.BadParameter("none of the reasons in docs/states.md", param_hint="--reason")


async def _items(
    query: dict[str, str], limit: int, url: str, config: Path | None, token_file: Path | None
) -> tuple[list[dict[str, Any]], bool]:
    """All rows that match up to the limit, page by page, and whether there are more."""
    from syncwatch.asking import Daemon  # noqa: PLC0415

    items: list[dict[str, Any]] = []
    cursor = ""
    async with Daemon(url=url, config=config, token_file=token_file) as daemon:
        while True:
            size = min(PAGE, limit - len(items)) if limit else PAGE
            page = query | {"limit": str(size)} | ({"cursor": cursor} if cursor else {})
            told = await daemon.ask(f"/api/v1/expectations?{urlencode(page)}")
            if told.status != 200:
                typer.echo(f"syncwatch: {daemon.refused(told)}", err=True)
                raise typer.Exit(USAGE if told.status == 400 else CANNOT_TELL)
            items += told.body["items"]
            cursor = told.body["next"] or ""
            if not cursor or (limit and len(items) >= limit):
                return items, bool(cursor)
