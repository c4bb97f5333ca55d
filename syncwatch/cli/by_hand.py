"""Commands that write: a look asked for now, an expectation closed, a destination paused.

The daemon writes, and says who and when in the timeline; without a token configured nobody may,
and that is a matter of configuration (2).
"""

from __future__ import annotations

import asyncio
import getpass
from typing import Annotated, Any
from urllib.parse import quote

import typer

from syncwatch.cli.options import CANNOT_TELL, NO, USAGE, ListenFile, TokenFile, UrlOption

REFUSED = {400: USAGE, 403: USAGE, 404: NO}
"""Exit codes of what the daemon refuses: it cannot be meant so; its configuration lets nobody
write; there is no such thing."""

By = Annotated[str | None, typer.Option(help="Who says so. Default: your login.", metavar="NAME")]
Note = Annotated[str | None, typer.Option(help="Why, in one line.", metavar="TEXT")]
Harbor = Annotated[
    str | None, typer.Option(help="Which Harbor's, where two use the name.", metavar="NAME")
]
Place = Annotated[str, typer.Argument(help="Harbor's name of the endpoint.", metavar="DESTINATION")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (look, close, pause, resume):
        app.command()(command)


def look(
    image: Annotated[
        str | None, typer.Argument(metavar="[REF]", help="[HOST/]REPOSITORY[:TAG|@DIGEST]")
    ] = None,
    repository: Annotated[
        str | None, typer.Option(help="All of it; its name on either side.", metavar="NAME")
    ] = None,
    on: Annotated[
        str | None, typer.Option(help="At this destination only.", metavar="DESTINATION")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="What was expected since then: a time, or 2h.", metavar="TIME|DURATION"),
    ] = None,
    by: By = None,
    url: UrlOption = "",
    config: ListenFile = None,
    token_file: TokenFile = None,
) -> None:
    """Have images looked at again now: one, a repository, a destination, or all since a time.

    They become due, and are looked at as fast as each destination allows, trusting no older proof.
    Exit code 0 when they are due, 1 when nothing is expected of them.
    """
    body = {"image": image, "repository": repository, "destination": on, "since": since}
    told = _send("/api/v1/observations", body | {"by": _who(by)}, url, config, token_file)
    more = " and more are left: ask again for them" * bool(told.get("more"))
    count, names = told["requested"], ", ".join(told["destinations"])
    typer.echo(f"{count} {'image is' if count == 1 else 'images are'} due at {names}{more}")


def close(
    expectation: Annotated[str, typer.Argument(metavar="ID", help="Its id in lists and explain.")],
    note: Note = None,
    by: By = None,
    url: UrlOption = "",
    config: ListenFile = None,
    token_file: TokenFile = None,
) -> None:
    """End an expectation that nobody waits for any more.

    Exit code 0 when it is closed, 1 when there is none of that id.
    """
    path = f"/api/v1/expectations/{quote(expectation, safe='')}/close"
    told = _send(path, {"note": note, "by": _who(by)}, url, config, token_file)
    typer.echo(f"expectation {told['id']} is closed")


def pause(
    destination: Place,
    until: Annotated[
        str | None, typer.Option(help="As 2026-12-01T06:00:00Z.", metavar="TIME")
    ] = None,
    length: Annotated[
        str | None, typer.Option("--for", help="As 30m or 2h.", metavar="DURATION")
    ] = None,
    note: Note = None,
    by: By = None,
    harbor: Harbor = None,
    url: UrlOption = "",
    config: ListenFile = None,
    token_file: TokenFile = None,
) -> None:
    """Maintenance of a destination: it is looked at, and nothing there is overdue or missed.

    Exit code 0 when it is paused, 1 when there is no such destination.
    """
    if (until is None) == (length is None):
        raise typer.BadParameter("write --until TIME or --for DURATION, one of the two")
    path = f"/api/v1/destinations/{quote(destination, safe='')}/pause"
    body = {"until": until or length, "note": note, "by": _who(by), "harbor": harbor}
    for one in _send(path, body, url, config, token_file)["destinations"]:
        typer.echo(f"{_place(one)} is paused until {one['paused_until']}")


def resume(
    destination: Place,
    note: Note = None,
    by: By = None,
    harbor: Harbor = None,
    url: UrlOption = "",
    config: ListenFile = None,
    token_file: TokenFile = None,
) -> None:
    """End the maintenance of a destination that `pause` began.

    Exit code 0 when it is over, 1 when there is no such destination.
    """
    path = f"/api/v1/destinations/{quote(destination, safe='')}/resume"
    body = {"note": note, "by": _who(by), "harbor": harbor}
    for one in _send(path, body, url, config, token_file)["destinations"]:
        until = one["paused_until"]
        rest = f" by hand no more; the configuration pauses it until {until}" if until else " again"
        typer.echo(f"{_place(one)} is {'paused' if until else 'counted'}{rest}")


def _place(one: dict[str, Any]) -> str:
    return f"{one['destination']} of Harbor {one['harbor']}"


def _who(by: str | None) -> str | None:
    """The login, where nobody is named and there is one."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def _send(
    path: str, body: dict[str, Any], url: str, config: ListenFile, token_file: TokenFile
) -> dict[str, Any]:
    from syncwatch.asking import RefusedError, ask  # noqa: PLC0415

    asked = ask(path, url=url, config=config, token_file=token_file, body=body)
    try:
        return asyncio.run(asked)
    except RefusedError as refused:
        typer.echo(f"syncwatch: {refused}", err=True)
        raise typer.Exit(REFUSED.get(refused.status, CANNOT_TELL)) from None
