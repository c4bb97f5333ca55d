"""The commands. Thin: each reads its options, calls what does the work, and says how it ended.

Exit codes: 0 yes · 1 no, and why · 2 usage or configuration · 3 not yet · 4 cannot tell.
Heavy modules are imported within the commands, so that `--help` is quick.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from syncwatch import __version__
from syncwatch.cli import (
    by_hand,
    checking,
    doctoring,
    explaining,
    listing,
    probing,
    setting_up,
    waiting,
)
from syncwatch.cli.options import (
    CANNOT_TELL,
    NO,
    USAGE,
    Commands,
    ConfigFile,
    ListenFile,
    Output,
    OutputOption,
    TokenFile,
    UrlOption,
    run,
)
from syncwatch.errors import ConfigError, SyncwatchError

app = typer.Typer(
    name="syncwatch",
    cls=Commands,
    help="Knows whether an image pushed to Harbor is usable in your cluster: since when, or why "
    "not.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Check the configuration, or print its schema.", no_args_is_help=True)
app.add_typer(config_app, name="config")


def main() -> None:
    """The entry point; errors of ours become one sentence and an exit code."""
    try:
        app()
    except ConfigError as error:
        _die(str(error), USAGE)
    except SyncwatchError as error:
        _die(f"syncwatch: {error}", CANNOT_TELL)
    except Exception as error:  # noqa: BLE001 - Python would end with 1, and that is a "no"
        from syncwatch.runtime import where  # noqa: PLC0415

        # Without its text, which may hold anything.
        bug = f"{type(error).__name__} at {where(error)}"
        _die(f"syncwatch: this is a bug of syncwatch, and nothing can be told: {bug}", CANNOT_TELL)


def _die(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)  # noqa: T201 - the command's own output
    raise SystemExit(code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"syncwatch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(config: ConfigFile = Path("syncwatch.yml")) -> None:
    """Run the daemon: take webhooks, follow Harbor, verify destinations, export metrics.

    SIGHUP reads the configuration again; SIGTERM and Ctrl-C end it.
    """
    # Until the daemon listens for them itself: the imports alone take most of a second.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from syncwatch.app import Daemon  # noqa: PLC0415
    from syncwatch.config import load  # noqa: PLC0415
    from syncwatch.runtime import set_up_logging  # noqa: PLC0415

    settings = load(config)
    set_up_logging(settings.log_format, settings.log_level)
    run(_serve(Daemon(settings, load=lambda: load(config))))


async def _serve(daemon: Any) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    reloads: set[asyncio.Task[bool]] = set()

    def reload() -> None:
        task = loop.create_task(daemon.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    async with daemon.running():
        loop.add_signal_handler(signal.SIGHUP, reload)
        await stop.wait()
        loop.remove_signal_handler(signal.SIGHUP)
        await asyncio.gather(*reloads, return_exceptions=True)


@app.command()
def demo(
    pushes: Annotated[
        int, typer.Option(help="End after so many pushes; 0 goes on until Ctrl-C.", min=0)
    ] = 0,
    listen: Annotated[
        str, typer.Option(help="Where metrics and API listen; a free port by default.")
    ] = "127.0.0.1:0",
) -> None:
    """Show it at work: a simulated Harbor and registries, the real daemon, a live table.

    Some pushes go wrong on purpose, and the table says why; without a terminal there is a line
    for each change. Ctrl-C ends it, and nothing is kept.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        # Importing takes a moment, and Ctrl-C is an ordinary end then, too.
        signal.signal(number, lambda *_: sys.exit(0))
    from syncwatch.lab.scenario import run_demo  # noqa: PLC0415

    run(run_demo(pushes=pushes, listen=listen))


@app.command()
def status(
    url: UrlOption = "",
    config: ListenFile = None,
    token_file: TokenFile = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what the daemon watches and how it is doing.

    Exit code 0 when nothing is overdue or failed and everything can be asked, 1 when something
    is, 4 when the daemon cannot be asked.
    """
    from syncwatch.asking import ask  # noqa: PLC0415
    from syncwatch.tables import print_status  # noqa: PLC0415

    daemon: Any = {"url": url, "config": config, "token_file": token_file}
    told = asyncio.run(ask("/api/v1/status", **daemon))
    found = asyncio.run(ask("/api/v1/findings?limit=1000", **daemon))
    if output is Output.JSON:
        typer.echo(json.dumps(told | {"findings": found["items"]}, indent=2))
    else:
        print_status(told, found["items"])
    raise typer.Exit(_verdict_of(told))


def _verdict_of(told: dict[str, Any]) -> int:
    """1 where anything is overdue, failed or down; else 0."""
    wrong = told["states"].get("failed", 0) + sum(one["overdue"] for one in told["destinations"])
    down = any(not one["up"] for one in told["harbors"])
    away = any(one["up"] is False for one in told["destinations"])
    return NO if wrong or down or away else 0


@config_app.command("check")
def config_check(config: ConfigFile = Path("syncwatch.yml")) -> None:
    """Read a configuration file and name every problem in it, as file:line:column."""
    from syncwatch.config import load  # noqa: PLC0415

    settings = load(config)
    harbors, destinations = len(settings.harbors), len(settings.destinations)
    told = f"{_count(harbors, 'harbor')}, {_count(destinations, 'destination')} named"
    typer.echo(f"{config}: good ({told})")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of the configuration, for editors and pipelines."""
    from syncwatch.config import settings_schema  # noqa: PLC0415

    typer.echo(json.dumps(settings_schema(), indent=2))


for part in (waiting, explaining, listing, by_hand, probing, checking, doctoring, setting_up):
    part.register(app)
