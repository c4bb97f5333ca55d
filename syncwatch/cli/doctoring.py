"""`syncwatch doctor`: what is wrong with the set-up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from syncwatch.cli.options import ConfigFile, Output, OutputOption, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from syncwatch.doctor.checks import Checked
    from syncwatch.doctor.one_shot import Diagnosed
    from syncwatch.model import Finding


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(doctor)


def doctor(config: ConfigFile = Path("syncwatch.yml"), output: OutputOption = Output.TABLE) -> None:
    """Examine the set-up once, without a daemon: Harbor, webhooks, rules, destinations, ourselves.

    Exit code 0 when nothing is wrong (information is allowed), 1 when something is, 2 for the
    configuration, 4 when a Harbor cannot be asked.
    """
    from syncwatch.config import load  # noqa: PLC0415
    from syncwatch.doctor.one_shot import diagnose, exit_code  # noqa: PLC0415
    from syncwatch.runtime import Clock  # noqa: PLC0415

    settings = load(config, serving=False)
    found = _with_progress(lambda progress: run(diagnose(settings, Clock(), progress)))
    if output is Output.JSON:
        typer.echo(json.dumps(_as_json(found), indent=2))
    else:
        _print(found)
    raise typer.Exit(exit_code(found))


def _with_progress(
    work: Callable[[Callable[[str], None]], list[Diagnosed]],
) -> list[Diagnosed]:
    """Where a person looks on, say on stderr how far it is."""
    if not sys.stderr.isatty():
        return work(lambda _words: None)
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415

    console = Console(stderr=True)
    with console.status("examining") as status:
        return work(lambda words: status.update(f"examining {escape(words)}"))


def _as_json(found: Sequence[Diagnosed]) -> dict[str, Any]:
    return {
        "checks": [
            {
                "harbor": one.harbor,
                "check": check.check,
                "subject": check.subject,
                "outcome": str(check.outcome),
                "message": check.message,
                "findings": [finding.finding for finding in check.findings],
            }
            for one in found
            for check in one.checks
        ],
        "findings": [
            _finding_as_json(one.harbor, finding) for one in found for finding in one.findings
        ],
    }


def _finding_as_json(harbor: str, finding: Finding) -> dict[str, Any]:
    names = ("finding", "severity", "subject", "message", "cure")
    told = {name: str(getattr(finding, name)) for name in names}
    return {"harbor": harbor, **told, "since": None}


def _print(found: Sequence[Diagnosed]) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    several = sum(bool(one.harbor) for one in found) > 1
    findings = [
        (_about(one, finding.subject, several=several), finding)
        for one in found
        for finding in one.findings
    ]
    for severity, colour in (("error", "red"), ("warning", "yellow"), ("info", "cyan")):
        group = [(about, one) for about, one in findings if one.severity == severity]
        _print_findings(console, severity, colour, group)
    checks = [
        (_about(one, check.subject, several=several), check)
        for one in found
        for check in one.checks
    ]
    bare = [(about, one) for about, one in checks if not one.findings]
    unknown = [(about, one) for about, one in bare if one.outcome == "cannot_tell"]
    _print_checks(console, "cannot tell", "yellow", unknown)
    good = [(about, one) for about, one in bare if one.outcome == "ok"]
    _print_checks(console, "ok", "green", good)


def _about(one: Diagnosed, subject: str, *, several: bool) -> str:
    """A subject, with its Harbor where that is not plain."""
    plain = not several or not one.harbor or subject.startswith("harbor ")
    return subject if plain else f"{one.harbor}: {subject}"


def _print_findings(
    console: Console, severity: str, colour: str, group: Sequence[tuple[str, Finding]]
) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not group:
        return
    table = Table(severity, "about", "what, and what to do", show_lines=True)
    for about, one in group:
        words = Text(one.message).append(f"\n{one.cure}", style="dim")
        table.add_row(Text(one.finding, style=colour), Text(about), words)
    console.print(table)


def _print_checks(
    console: Console, title: str, colour: str, group: Sequence[tuple[str, Checked]]
) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not group:
        return
    table = Table(title, "about", "")
    for about, one in group:
        table.add_row(Text(one.check, style=colour), Text(about), Text(one.message))
    console.print(table)
