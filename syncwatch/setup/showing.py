"""The difference and the outcome, for people and for programs; no secret is in either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from syncwatch.setup.applying import shown
from syncwatch.setup.changes import Action, FieldChange, Hidden
from syncwatch.setup.words import flattening_words

if TYPE_CHECKING:
    from rich.console import Console

    from syncwatch.setup.applying import Outcome
    from syncwatch.setup.changes import Plan, Step

_SIGNS = {Action.CREATE: "+", Action.CHANGE: "~", Action.DELETE: "-", Action.KEEP: "="}
_COLOURS = {Action.CREATE: "green", Action.CHANGE: "yellow", Action.DELETE: "red"}
_LONGEST = 100


def print_plan(console: Console, plan: Plan) -> None:
    """A table with a row for each thing, and under it each field."""
    table = Table("", "what", "name", "field", "in Harbor", "will be")
    for step in plan.steps:
        first = [_SIGNS[step.action], str(step.kind), step.name]
        colour = _COLOURS.get(step.action, "")
        for change in step.fields or (None,):
            cells = [*first, *_cells(step, change)]
            table.add_row(*(Text(cell, style=colour) for cell in cells))
            first = ["", "", ""]
    console.print(table)
    for note in plan.notes:
        console.print(Text(f"note: {note}"))
    console.print(Text(summary(plan)))


def _cells(step: Step, change: FieldChange | None) -> list[str]:
    if change is None:
        return ["", "", "to be deleted" if step.action is Action.DELETE else "nothing to do"]
    old = words(change.field, change.old) if step.action is Action.CHANGE else ""
    return [change.field, old, words(change.field, change.new)]


def summary(plan: Plan) -> str:
    """`2 to create, 1 to change, 0 to delete; 3 as they should be`."""
    counts = [
        sum(step.action is action for step in plan.steps)
        for action in (Action.CREATE, Action.CHANGE, Action.DELETE, Action.KEEP)
    ]
    return "{} to create, {} to change, {} to delete; {} as they should be".format(*counts)


def words(field: str, value: Any) -> str:
    """A field's value as Harbor's form says it, cut short; never a secret."""
    if value is None:
        return "(Harbor does not tell)" if field == "access_secret" else "(none)"
    if field == "flattening":
        return flattening_words(value)
    if field == "bandwidth":
        return f"{value} Kbps" if value else "unlimited"
    if field == "filters" and not value:
        return "(everything)"
    if field == "ca_certificate" and value:
        return f"(a certificate, {len(value)} characters)"
    text = shown(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def print_outcome(console: Console, outcome: Outcome) -> None:
    """What was done and what was not, line by line, and why."""
    for step in outcome.done:
        console.print(Text(f"done: {step.action} {step.title}"))
    if outcome.failed is not None:
        console.print(Text(f"failed: {outcome.failed.action} {outcome.failed.title}"))
    for step in outcome.left:
        console.print(Text(f"not done: {step.action} {step.title}"))
    for sentence in outcome.ignored:
        console.print(Text(f"not kept: {sentence}"))


def ending(outcome: Outcome) -> str:
    """One sentence for a run that did not end well; empty for one that did."""
    if outcome.reason:
        which = f" at {outcome.failed.title}" if outcome.failed else ""
        done = f"{len(outcome.done)} done" if outcome.done else "nothing was changed"
        if outcome.failed is not None and not outcome.asked:
            which += " (it may have been done all the same)"
        return f"stopped{which}: {outcome.reason}; {done}, run it again to complete it"
    if outcome.ignored:
        return "Harbor did not keep everything that it took; see above"
    return ""


def as_json(harbor: str, plan: Plan, outcome: Outcome | None) -> dict[str, Any]:
    """The difference, and how it ended where anything was tried."""
    return {
        "harbor": harbor,
        "steps": [_step(step) for step in plan.steps],
        "notes": list(plan.notes),
        "applied": None if outcome is None else _outcome(outcome),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "action": str(step.action),
        "kind": str(step.kind),
        "name": step.name,
        "fields": [
            {"field": one.field, "old": _plain(one.old), "new": _plain(one.new)}
            for one in step.fields
        ],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "complete": outcome.complete,
        "done": [_named(step) for step in outcome.done],
        "failed": _named(outcome.failed) if outcome.failed else None,
        "not_done": [_named(step) for step in outcome.left],
        "reason": outcome.reason,
        "not_kept": outcome.ignored,
    }


def _named(step: Step) -> dict[str, str]:
    return {"action": str(step.action), "kind": str(step.kind), "name": step.name}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return str(value) if isinstance(value, Hidden) else value
