"""Tables for people, on a terminal or in a pipe."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_status(told: dict[str, Any], findings: list[dict[str, Any]]) -> None:
    """What `syncwatch status` shows."""
    console = Console()
    console.print(f"syncwatch {told['version']}", highlight=False)
    console.print(_harbors(told))
    console.print(_destinations(told))
    console.print(_policies(told))
    states = "  ".join(f"{name} {count}" for name, count in told["states"].items())
    console.print(f"expectations: {states}", highlight=False)
    for one in findings:
        console.print(f"{one['severity']}: {one['message']} {one['cure']}", highlight=False)


def _harbors(told: dict[str, Any]) -> Table:
    table = Table("harbor", "up", "version", "last webhook", title_justify="left")
    for one in told["harbors"]:
        table.add_row(
            one["name"], yes_no(one["up"]), one["version"] or "", one["last_webhook_at"] or "never"
        )
    return table


def _destinations(told: dict[str, Any]) -> Table:
    table = Table("destination", "harbor", "up", "open", "overdue", "oldest open")
    for one in told["destinations"]:
        table.add_row(
            one["name"],
            one["harbor"],
            yes_no(one["up"]),
            str(one["open"]),
            str(one["overdue"]),
            seconds(one["oldest_open_seconds"]),
        )
    return table


def _policies(told: dict[str, Any]) -> Table:
    table = Table("policy", "destination", "trigger", "last execution", "why")
    for one in told["policies"]:
        run = one["last_execution"] or {}
        trigger = one["trigger"] + ("" if one["enabled"] else " (disabled)")
        table.add_row(
            one["policy"],
            one["destination"] or "" if one["followed"] else "not followed: it pulls",
            trigger,
            f"{run.get('execution_id', '')} {run.get('status', '')}".strip(),
            run.get("status_text", ""),
        )
    return table


def yes_no(value: bool | None) -> str:
    """A truth with a colour; unknown stays unknown."""
    if value is None:
        return "[yellow]not asked yet[/]"
    return "[green]yes[/]" if value else "[red]no[/]"


def seconds(value: float) -> str:
    """A duration as people say it: 0, 12s, 3m 20s, 2h 5m."""
    whole = round(value)
    if whole < 60:
        return f"{whole}s" if whole else "0"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    return f"{minutes // 60}h {minutes % 60}m"
