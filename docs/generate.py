# ruff: noqa: INP001 - a script beside its pages
"""Rewrites the generated parts of the pages from code and data/: `python docs/generate.py`.

A part stands between `<!-- generated: NAME -->` and `<!-- end of generated -->`. `--check` writes
nothing and ends with 1 where a page is out of date.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from syncwatch.cli import app
from syncwatch.config import reference
from syncwatch.model import LIFE, REASONS, State
from syncwatch.report.families import FAMILIES
from syncwatch.report.manual import markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DOCS = Path(__file__).parent
TOP = DOCS.parent


def read_data(name: str) -> dict[str, Any]:
    """The prose in `docs/data/NAME.toml`."""
    return tomllib.loads((DOCS / "data" / f"{name}.toml").read_text(encoding="utf-8"))


def life() -> str:
    """The life table as a Mermaid diagram, and what its events are."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> pending"]
    for state, leads in LIFE.items():
        for to in dict.fromkeys(leads.values()):
            events = ", ".join(event for event, where in leads.items() if where is to)
            lines.append(f"    {state} --> {to}: {events}")
    happenings = read_data("reasons")["happenings"]
    lines += ["    closed --> [*]", "```", "", "| event | what happened |", "|---|---|"]
    lines += [f"| `{name}` | {words} |" for name, words in happenings.items()]
    return "\n".join(lines)


def reasons() -> str:
    """A heading for every state, and under it one for every reason."""
    data = read_data("reasons")
    lines: list[str] = []
    for state in State:
        lines += [f"## {state}", "", data["states"][state].strip(), ""]
        known = [name for name in data["reasons"] if name in REASONS[state]]
        for name in known:
            lines += [*_reason(name, data["reasons"][name], data["commands"]), ""]
    return "\n".join(lines).rstrip()


def _reason(name: str, told: Mapping[str, Any], commands: Mapping[str, str]) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if told.get("later"):
        yield "*This version never says it.*"
    yield told["means"].strip()
    yield ""
    yield f"**To confirm:** {told['confirm'].strip()}"
    if told["ask"]:
        yield ""
        yield "```sh"
        yield from (commands[one] for one in told["ask"])
        yield "```"
    yield ""
    yield f"**To do:** {told['cure'].strip()}"


def findings() -> str:
    """A heading for every finding, by what it is about."""
    data = read_data("findings")
    lines: list[str] = []
    for about in data["about"].values():
        lines += [f"## {about['title']}", ""]
        for name in about["findings"]:
            told = data["findings"][name]
            lines += [f"### {name}", "", told["means"].strip(), ""]
            lines += [f"**To do:** {told['cure'].strip()}", ""]
    return "\n".join(lines).rstrip()


def families() -> str:
    """A table of every metric."""
    lines = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for one in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.type} | {labels} | {one.help} |")
    return "\n".join(lines)


def commands() -> str:
    """A table of every command."""
    lines = ["| command | what it does |", "|---|---|"]
    lines += [f"| `{name}` | {words} |" for name, words in _commands(typer.main.get_command(app))]
    return "\n".join(lines)


def _commands(group: Any, before: str = "syncwatch") -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before} {name}")
        else:
            first, _, _ = (command.help or "").partition("\n\n")
            yield f"{before} {name}", " ".join(first.split())


def api() -> Mapping[str, str]:
    """The parts of api.md, from what the daemon says of its routes (tests/api/document.py)."""
    return markdown(json.loads((DOCS / "openapi.json").read_text(encoding="utf-8")))


PARTS: Mapping[tuple[Path, str], Callable[[], str]] = {
    (TOP / "README.md", "commands"): commands,
    (DOCS / "states.md", "life"): life,
    (DOCS / "states.md", "reasons"): reasons,
    (DOCS / "findings.md", "findings"): findings,
    (DOCS / "metrics.md", "families"): families,
    (DOCS / "configuration.md", "settings"): reference,
    **{(DOCS / "api.md", f"api {name}"): (lambda text=text: text) for name, text in api().items()},
}
"""Which part of which page comes from where."""


def refreshed(page: str, name: str, text: str) -> str:
    """The page with the part of that name made anew. Raises ValueError where it has none."""
    begin, end = f"<!-- generated: {name} -->\n", "<!-- end of generated -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"the page has no part {name}, or several")
    return pattern.sub(lambda _: f"{begin}\n{text.rstrip()}\n\n{end}", page)


def outdated() -> dict[Path, str]:
    """What has to be written anew, by page."""
    pages: dict[Path, str] = {}
    for (path, name), make in PARTS.items():
        page = pages.get(path) or path.read_text(encoding="utf-8")
        pages[path] = refreshed(page, name, make())
    return {path: page for path, page in pages.items() if path.read_text(encoding="utf-8") != page}


def main() -> int:
    """Write what is out of date, or only name it; the exit code."""
    pages = outdated()
    if "--check" in sys.argv[1:]:
        sys.stdout.writelines(f"out of date: {path.relative_to(TOP)}\n" for path in pages)
        return 1 if pages else 0
    for path, page in pages.items():
        path.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
