"""Tables for people, on a terminal or in a pipe."""

from __future__ import annotations

import shlex
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

WIDE = 150
"""Columns of a terminal on which a table of images can be read."""


def print_status(told: dict[str, Any], findings: list[dict[str, Any]]) -> None:
    """What `syncwatch status` shows."""
    console = Console()
    console.print(f"syncwatch {told['version']}", highlight=False)
    console.print(_harbors(told))
    for one in told["harbors"]:
        if words := _sweep(one):
            console.print(words, highlight=False, markup=False)
    console.print(_destinations(told))
    if told["clusters"]:
        console.print(_clusters(told))
    console.print(_policies(told))
    states = "  ".join(f"{name} {count}" for name, count in told["states"].items())
    console.print(f"expectations: {states}", highlight=False)
    for one in sorted(findings, key=_gravity):
        words = f"{one['severity']} {one['finding']}: {one['message']} {one['cure']}"
        console.print(words, highlight=False, markup=False)


def _gravity(finding: dict[str, Any]) -> tuple[int, str]:
    order = ("error", "warning", "info")
    return order.index(finding["severity"]), finding["finding"]


def _table(*names: str, title: str | None = None) -> Table:
    """What does not fit into its column goes on below: nothing is cut off."""
    columns = (Column(name, overflow="fold") for name in names)
    return Table(*columns, title=title, title_justify="left")


def _harbors(told: dict[str, Any]) -> Table:
    table = _table("harbor", "up", "version", "last webhook")
    for one in told["harbors"]:
        table.add_row(
            one["name"], yes_no(one["up"]), one["version"] or "", one["last_webhook_at"] or "never"
        )
    return table


def _sweep(harbor: dict[str, Any]) -> str:
    """How far the complete sweep of a Harbor is, or when the last one ended; "" before any."""
    sweep = harbor["sweep"]
    began, ended = sweep["pass_began_at"], sweep["pass_ended_at"]
    if began is None:
        return ""
    if ended is not None:
        return f"{harbor['name']}: last complete sweep ended {_minute(ended)}"
    end = sweep["expected_end_at"]
    return (
        f"{harbor['name']}: complete sweep: {sweep['projects_done']:,} of {sweep['projects']:,} "
        f"projects, {sweep['repositories']:,} repositories, since {_minute(began)}"
        + (f", done by about {_minute(end)}" if end else "")
    )


def _minute(at: str) -> str:
    """2026-11-23T14:02:31.000Z as 2026-11-23 14:02 UTC."""
    return f"{at[:10]} {at[11:16]} UTC"


def _destinations(told: dict[str, Any]) -> Table:
    table = _table("destination", "harbor", "up", "open", "overdue", "oldest open", "paused")
    for one in told["destinations"]:
        table.add_row(
            one["name"],
            one["harbor"],
            yes_no(one["up"]),
            str(one["open"]),
            str(one["overdue"]),
            seconds(one["oldest_open_seconds"]),
            _paused(one),
        )
    return table


def _paused(one: dict[str, Any]) -> str:
    until, by = one["paused_until"], one["paused_by"]
    if until is None:
        return ""
    return f"until {_minute(until)}" + (f" by {escape(by)}" if by else "")


def _clusters(told: dict[str, Any]) -> Table:
    names = ("waiting", "oldest", "under way", "pulled, 24 h", "refused", "inconclusive")
    table = _table("cluster", "up", *names)
    for one in told["clusters"]:
        results = dict(one["results"])
        pulled, proved_nothing = results.pop("pulled"), results.pop("inconclusive")
        table.add_row(
            one["name"],
            yes_no(one["up"]),
            str(one["waiting"]),
            seconds(one["oldest_waiting_seconds"]),
            str(one["under_way"]),
            str(pulled),
            str(sum(results.values())),
            str(proved_nothing),
        )
    return table


def _policies(told: dict[str, Any]) -> Table:
    table = _table("policy", "destination", "trigger", "last execution", "why")
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


def print_expectations(items: list[dict[str, Any]], *, more: bool) -> None:
    """What `syncwatch list` shows: one row for each expectation, and what is wrong with it."""
    console = Console()
    if not items:
        console.print("Nothing is expected that fits.")
        return
    if console.width >= WIDE:
        console.print(_expectations(items))
    else:
        for one in items:
            _print_expectation(console, one)
    if more:
        console.print(f"There are more than these {len(items)}; --limit 0 lists all.")
    first = items[0]
    name = _image(first["source_repository"], first["reference"])
    where = shlex.quote(first["destination"])
    # Whole, to be copied: no line break of ours in it.
    console.print(
        f"Why: syncwatch explain {name} --on {where}", highlight=False, markup=False, soft_wrap=True
    )


def _expectations(items: list[dict[str, Any]]) -> Table:
    table = _table("image", "destination", "as", "state", "since", "message")
    for one in items:
        table.add_row(
            escape(_image(one["source_repository"], one["reference"])),
            escape(one["destination"]),
            escape(_image(one["repository"], one["reference"])),
            _state(one),
            one["expected_at"][:19] + "Z",
            escape(one["message"]),
        )
    return table


def _print_expectation(console: Console, one: dict[str, Any]) -> None:
    """One image on a line of its own, whole, for narrow terminals and for pipes."""
    name = escape(_image(one["source_repository"], one["reference"]))
    there = escape(_image(one["repository"], one["reference"]))
    where = f"{name} at {escape(one['destination'])} as {there}"
    console.print(f"{_state(one)}  {where}", highlight=False, soft_wrap=True)
    console.print(f"    {escape(one['message'])}", highlight=False, soft_wrap=True)


def _image(repository: str, reference: str) -> str:
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


_COLOURS = {"verified": "green", "failed": "red", "pending": "cyan", "unknown": "yellow"}


def _state(one: dict[str, Any]) -> str:
    word = f"{one['state']}/{one['reason']}" if one["reason"] else one["state"]
    late = " [bold]overdue[/]" if one["overdue"] else ""
    colour = _COLOURS.get(one["state"])
    return f"[{colour}]{word}[/]{late}" if colour else f"{word}{late}"


def print_answer(told: dict[str, Any]) -> None:
    """What `syncwatch explain` shows: the verdict, the rules, and the timeline so far."""
    console = Console()
    console.print(told["message"], highlight=False, markup=False)
    if told["rules"]:
        console.print(_rules(told["rules"]))
    for one in told["expectations"]:
        console.print(_timeline(one))


def _rules(rules: list[dict[str, Any]]) -> Table:
    table = _table("policy", "harbor", "covers", "destination", "as", "why")
    for one in rules:
        table.add_row(
            escape(one["policy"]),
            one["harbor"],
            _covers(one["covers"]),
            escape(one["destination"] or ""),
            one["repository"] or "",
            escape(one["why"]),
        )
    return table


def _covers(value: bool | None) -> str:
    if value is None:
        return "[yellow]cannot tell[/]"
    return "[green]yes[/]" if value else "no"


def _timeline(one: dict[str, Any]) -> Table:
    state = f"{one['state']}/{one['reason']}" if one["reason"] else one["state"]
    name = f"{one['repository']}:{one['reference']}"
    title = f"{name} at {one['destination']}, by {one['policy']}: {state} (id {one['id']})"
    table = _table("at", "what", "detail", title=escape(title))
    for line in one["timeline"]:
        table.add_row(line["at"], escape(line["what"]), escape(line["detail"]))
    return table
