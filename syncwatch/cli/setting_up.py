"""`syncwatch setup`: Harbor's registries, rules, webhooks and robot from a file."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncwatch.cli.options import CANNOT_TELL, NO, NOT_YET, Output, OutputOption, run

if TYPE_CHECKING:
    from syncwatch.config import Login
    from syncwatch.config.servers import Remote
    from syncwatch.setup.changes import Plan
    from syncwatch.setup.reading import Daemon

PASSWORD = "SYNCWATCH_SETUP_PASSWORD"  # noqa: S105 - the name of a variable


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(setup)


def setup(
    file: Annotated[
        Path | None, typer.Argument(help="The setup file.", metavar="FILE", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="The daemon's configuration: which Harbor, where webhooks go.",
            metavar="FILE",
        ),
    ] = None,
    harbor: Annotated[str | None, typer.Option(help="Which Harbor of the configuration.")] = None,
    username: Annotated[
        str | None, typer.Option(help="Whom to ask as: an administrator, or a robot that may.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help=f"A file with its password (or {PASSWORD}).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the difference.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete what the file does not name.")
    ] = False,
    rotate_secrets: Annotated[
        bool, typer.Option("--rotate-secrets", help="Send every access secret again.")
    ] = False,
    export: Annotated[
        bool, typer.Option("--export", help="Print a setup file of what Harbor has now.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Set up Harbor's registries, replication rules, webhooks and the robot from a file.

    Shows the difference, asks, tests the connections, changes only what differs and reads it
    back. Exit code 0 done or nothing to do, 1 Harbor refused, 2 the file is wrong, 3 not applied,
    4 Harbor cannot be asked.
    """
    from syncwatch.errors import OutboundError  # noqa: PLC0415
    from syncwatch.harbor.writing import HarborRefusedError  # noqa: PLC0415

    asked = _Asked(file, config, harbor, username, password_file)
    try:
        if export:
            run(asked.export())
            return
        how = _How(yes=yes, dry_run=dry_run, prune=prune, rotate=rotate_secrets, output=output)
        code = run(asked.set_up(how))
    except (HarborRefusedError, OutboundError) as error:
        typer.echo(f"syncwatch: {error}", err=True)
        code = NO if isinstance(error, HarborRefusedError) else CANNOT_TELL
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True)
class _How:
    """How to go about it."""

    yes: bool
    dry_run: bool
    prune: bool
    rotate: bool
    output: Output


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which file, which Harbor, as whom. Everything raises ConfigError for a wrong file."""

    file: Path | None
    config: Path | None
    harbor: str | None
    username: str | None
    password_file: Path | None

    async def export(self) -> None:
        """Print what Harbor has."""
        from syncwatch.setup.export import exported  # noqa: PLC0415
        from syncwatch.setup.looking import look_at_all  # noqa: PLC0415
        from syncwatch.setup.reading import connected, load_setup  # noqa: PLC0415

        loaded = load_setup(self.file) if self.file else None
        remote, _ = self._where(loaded.value.harbor if loaded else None)
        async with connected(remote, self._login()) as writer:
            typer.echo(exported(remote.name, await look_at_all(writer)), nl=False)

    async def set_up(self, how: _How) -> int:
        """Show, ask, apply; the exit code."""
        from syncwatch.errors import ConfigError  # noqa: PLC0415
        from syncwatch.setup.looking import look  # noqa: PLC0415
        from syncwatch.setup.planning import plan  # noqa: PLC0415
        from syncwatch.setup.reading import connected, load_setup  # noqa: PLC0415

        if self.file is None:
            raise ConfigError(["syncwatch setup: name the setup file, see docs/setup.example.yml"])
        loaded = load_setup(self.file)
        remote, daemon = self._where(loaded.value.harbor)
        async with connected(remote, self._login()) as writer:
            present = await look(writer, loaded.value, prune=how.prune)
            planned = plan(loaded, present, daemon, prune=how.prune, rotate=how.rotate)
            return await _go(writer, remote.name, planned, how)

    def _where(self, section: Remote | None) -> tuple[Remote, Daemon]:
        """The setup file's own section first; the daemon's configuration adds its webhooks."""
        from syncwatch.config import load  # noqa: PLC0415
        from syncwatch.errors import ConfigError  # noqa: PLC0415
        from syncwatch.setup.reading import Daemon, harbor_named, told_by  # noqa: PLC0415

        if self.config is None:
            if section is None:
                cure = "name the configuration with -c FILE, or write a harbor: section"
                raise ConfigError([f"syncwatch setup: which Harbor? {cure}"])
            return section, Daemon()
        named = harbor_named(load(self.config, serving=False), self.harbor)
        return section or named, told_by(named)

    def _login(self) -> Login | None:
        from syncwatch.config import Login  # noqa: PLC0415
        from syncwatch.errors import ConfigError  # noqa: PLC0415

        if self.username is None:
            if self.password_file is not None:
                raise ConfigError(["--password-file without --username: whose is it?"])
            return None
        return Login(self.username, self._password(ConfigError))

    def _password(self, error: type[Any]) -> str:
        if self.password_file is not None:
            try:
                found = self.password_file.read_text(encoding="utf-8-sig").strip("\r\n")
            except (OSError, UnicodeDecodeError):
                raise error([f"--password-file {self.password_file}: cannot be read"]) from None
        else:
            found = os.environ.get(PASSWORD, "")
        if not found and sys.stdin.isatty():
            found = typer.prompt(f"Password of {self.username}", hide_input=True, err=True)
        if not found:
            raise error([f"--username without a password: add --password-file, or set {PASSWORD}"])
        return str(found)


async def _go(writer: Any, harbor: str, plan: Plan, how: _How) -> int:
    """Show the plan, apply it where that is wanted, and tell how it ended."""
    from rich.console import Console  # noqa: PLC0415

    from syncwatch.setup import showing  # noqa: PLC0415
    from syncwatch.setup.applying import apply  # noqa: PLC0415

    console, outcome = Console(), None
    if how.output is Output.TABLE:
        showing.print_plan(console, plan)
    wanted = bool(plan.to_do) and not how.dry_run and (how.yes or _confirmed(plan, how))
    if wanted:
        outcome = await apply(writer, plan)
    if how.output is Output.JSON:
        typer.echo(json.dumps(showing.as_json(harbor, plan, outcome), indent=2))
    elif outcome is not None:
        showing.print_outcome(console, outcome)
    if outcome is None:
        return _not_applied(plan, how)
    if not outcome.complete:
        typer.echo(f"syncwatch: {showing.ending(outcome)}", err=True)
    return 0 if outcome.complete else NO if outcome.asked else CANNOT_TELL


def _confirmed(plan: Plan, how: _How) -> bool:
    """Asked on a terminal only, and only where the difference was shown."""
    if how.output is Output.JSON or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return typer.confirm(f"Apply {len(plan.to_do)} changes?", err=True)
    except typer.Abort:
        return False


def _not_applied(plan: Plan, how: _How) -> int:
    if not plan.to_do:
        return 0
    if not how.dry_run:
        typer.echo("syncwatch: nothing was applied; add --yes to apply it", err=True)
    return NOT_YET
