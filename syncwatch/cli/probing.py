"""`syncwatch probe`: have a node of the cluster pull an image, and say what its kubelet said."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from syncwatch.asking import Daemon

REFUSED = {400: USAGE, 403: USAGE, 404: NO, 422: NO}
"""Exit codes of what the daemon refuses to begin: it cannot be meant so; its configuration lets
nobody ask; there is no such image or place; no cluster pulls from there. Anything else, as a token
that is not the daemon's, leaves it unknown: CANNOT_TELL."""

ASK_EVERY = 0.5
"""Seconds between two questions how far it is."""

PULLED, OPEN = "pulled", "inconclusive"


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(probe)


def probe(
    ref: Annotated[str, typer.Argument(metavar="REF", help="[HOST/]REPOSITORY[:TAG|@DIGEST]")],
    on: Annotated[
        str | None,
        typer.Option(
            help="From this destination; else all that REF is brought to.", metavar="NAME"
        ),
    ] = None,
    timeout: Annotated[str, typer.Option(help="Give up after it.", metavar="DURATION")] = "5m",
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Ask for it, and do not wait for what it comes to.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    url: UrlOption = "",
    config: ListenFile = None,
    token_file: TokenFile = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have a node of the destination's cluster pull an image now; say what its kubelet said.

    Needs the daemon's token, and a cluster with a probe. Exit code 0 when it was pulled, 1 when it
    could not be, or there is no such image, destination or cluster with a probe, 2 when the
    question cannot be meant so, or the daemon has no token set and so lets nobody ask (403), 3 when
    the time is over, 4 when the pod proved nothing, the daemon refuses the token (401), or does not
    answer.
    """
    from syncwatch.asking import Daemon, RefusedError  # noqa: PLC0415

    length = _seconds(timeout)

    async def work() -> list[dict[str, Any]]:
        async with Daemon(url=url, config=config, token_file=token_file) as daemon:
            asked = await daemon.ask("/api/v1/probes", {"image": ref, "destination": on})
            if asked.status != 202:
                raise daemon.refused(asked)
            begun = asked.body["probes"]
            if no_wait:
                return [await _told(daemon, one["id"]) for one in begun]
            return await _followed(daemon, begun, length, _progress(quiet=quiet))

    try:
        told = asyncio.run(work())
    except RefusedError as refused:
        typer.echo(f"syncwatch: {refused}", err=True)
        raise typer.Exit(REFUSED.get(refused.status, CANNOT_TELL)) from None
    if output is Output.JSON:
        typer.echo(json.dumps({"probes": told}, indent=2))
    else:
        _print(told)
    raise typer.Exit(0 if no_wait else max(map(_code, told), key=_WORST.index, default=NO))


_WORST = (0, NOT_YET, CANNOT_TELL, NO)
"""Of several places the last of these decides."""


async def _followed(
    daemon: Daemon,
    begun: Sequence[dict[str, Any]],
    length: float,
    progress: Callable[[Sequence[dict[str, Any]]], None],
) -> list[dict[str, Any]]:
    """Each as it is once it has ended, or the time is over."""
    end = time.monotonic() + length
    while True:
        told = [await _told(daemon, one["id"]) for one in begun]
        progress(told)
        if all(map(_has_ended, told)) or time.monotonic() >= end:
            return told
        await asyncio.sleep(ASK_EVERY)


async def _told(daemon: Daemon, probe_id: str) -> dict[str, Any]:
    answer = await daemon.ask(f"/api/v1/probes/{probe_id}")
    if answer.status != 200:
        raise daemon.refused(answer)
    return answer.body


def _has_ended(one: dict[str, Any]) -> bool:
    """Whether a pod has answered what was asked; all times are of one form."""
    ended, asked = one["ended_at"], one["asked_at"]
    return one["began_at"] is None and ended is not None and (asked is None or ended >= asked)


def _code(one: dict[str, Any]) -> int:
    if not _has_ended(one):
        return NOT_YET
    return {PULLED: 0, OPEN: CANNOT_TELL}.get(one["result"], NO)


def _progress(*, quiet: bool) -> Callable[[Sequence[dict[str, Any]]], None]:
    """Says on stderr how far it is, whenever that is new."""
    said: list[str] = []

    def tell(told: Sequence[dict[str, Any]]) -> None:
        waiting = [one for one in told if not _has_ended(one)]
        words = "; ".join(map(_stands, waiting))
        if quiet or not words or words in said[-1:]:
            return
        said.append(words)
        print(words, file=sys.stderr, flush=True)  # noqa: T201 - a line that is read at once

    return tell


def _stands(one: dict[str, Any]) -> str:
    name = f"{one['destination']}/{one['repository']}"
    if one["began_at"] is None:
        return f"{name}: waits for a look and for its turn"
    pods = [pod for pod in one["pods"] if pod["ended_at"] is None]
    names = ", ".join(pod["name"] for pod in pods)
    where = f" in {pods[0]['cluster']}" if pods else ""
    return f"{name}: pod {names}{where} is pulling it" if names else f"{name}: being judged"


def _print(told: Sequence[dict[str, Any]]) -> None:
    for one in told:
        name = f"{one['destination']}/{one['repository']}@{one['digest']}"
        result = (one["result"] if _has_ended(one) else "not yet").replace("_", " ")
        typer.echo(f"{result}: {name}")
        if _has_ended(one):
            typer.echo(f"    {one['message']}")
        if _has_ended(one) and one["result"] == OPEN and one["proved_at"] is not None:
            typer.echo(f"    a node had pulled it at {one['proved_at']}; that stays proven")
        for pod in _newest(one):
            took = f", the pull took {pod['seconds']:.1f} s" if pod["seconds"] is not None else ""
            node = f" on {pod['node']}" if pod["node"] else ""
            typer.echo(f"    pod {pod['name']} in {pod['cluster']}{node}{took}")


def _newest(one: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods of the last time, one for each architecture; none that ended before it was asked."""
    if one["began_at"] is None and not _has_ended(one):
        return []
    pods: list[dict[str, Any]] = one["pods"]
    return [pod for pod in pods if pod["began_at"] == pods[0]["began_at"]] if pods else []


def _seconds(text: str) -> float:
    from syncwatch.config import parse_duration  # noqa: PLC0415

    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(f"--timeout: {error}") from None
