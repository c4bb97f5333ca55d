"""A project's webhook policy in the file's words and in Harbor's, and which projects."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import quote

from syncwatch.errors import PatternError
from syncwatch.plan.doublestar import matches
from syncwatch.setup.changes import Form, Hidden, named
from syncwatch.setup.registries import same_url
from syncwatch.setup.words import LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from syncwatch.harbor.writing import Record
    from syncwatch.setup.rules import RuleFilter
    from syncwatch.setup.sections import WebhookSection

DEFAULTS: Form = {
    "description": "",
    "authorization": Hidden(""),
    "events": ("DELETE_ARTIFACT", "PUSH_ARTIFACT", "REPLICATION"),
    "payload_format": "CloudEvents",
    "skip_certificate_verification": False,
    "enabled": True,
}
"""What a new one has where the file says nothing: the events that syncwatch hears, in the format
whose deliveries carry an id of their own."""

_MOST_BRACES = 8
"""Beyond it a pattern is taken to reach everything, rather than written out."""

_TARGET = {"address": "address", "payload_format": "payload_format"}
_TARGET |= {"skip_certificate_verification": "skip_cert_verify"}


def path(project: str) -> str:
    """The list of a project's webhook policies."""
    return f"/projects/{quote(project, safe='')}/webhook/policies"


def wanted(section: WebhookSection, *, address: str, authorization: str | None) -> Form:
    """What the file says; `address` and `authorization` are those of the daemon's configuration."""
    form: Form = {"address": section.address or address}
    form |= named(section, "description", "payload_format", "skip_certificate_verification")
    form |= named(section, "enabled")
    said = section.secret()
    secret = authorization if said is None else said
    if secret is not None:
        form["authorization"] = Hidden(secret)
    if section.events is not None:
        form["events"] = tuple(sorted(section.events))
    return form


def form_of(record: Record) -> Form:
    """What Harbor has, of its first target that is no chat; Authorization comes in clear."""
    target: Record = next(filter(_is_ours, record.get("targets") or ()), {})
    return {
        "address": same_url(target.get("address", "")),
        "authorization": Hidden(target.get("auth_header", "")),
        "events": tuple(sorted(record.get("event_types") or ())),
        "payload_format": target.get("payload_format") or "Default",
        "skip_certificate_verification": target.get("skip_cert_verify", False),
        "enabled": record.get("enabled", False),
        "description": record.get("description", ""),
    }


def _is_ours(target: Record) -> bool:
    return bool(target.get("type", "http") == "http")


def body(name: str, record: Record, form: Form) -> Record:
    """What Harbor has with the fields of `form` set, for a PUT that replaces the whole."""
    made: Record = copy.deepcopy(record) or {"name": name}
    made |= named_values(form, {"description": "description", "enabled": "enabled"})
    if "events" in form:
        made["event_types"] = list(form["events"])
    targets = made["targets"] = made.get("targets") or []
    if not any(map(_is_ours, targets)):
        targets.append({"type": "http"})
    target = next(filter(_is_ours, targets))
    target |= named_values(form, _TARGET)
    if "authorization" in form:
        target["auth_header"] = form["authorization"].value
    return made


def named_values(form: Form, names: dict[str, str]) -> Record:
    """The fields of `form` in Harbor's names."""
    return {theirs: form[ours] for ours, theirs in names.items() if ours in form}


def reached(forms: Iterable[Form], projects: Iterable[str]) -> list[str]:
    """The projects whose pushes the rules may copy: those that their name filters reach.

    A rule that pulls has its events elsewhere.
    """
    patterns = [list(_patterns(form)) for form in forms if form["source"] == LOCAL]
    return [
        project
        for project in projects
        if any(all(reaches(one, project) for one in together) for together in patterns)
    ]


def _patterns(form: Form) -> Iterator[str]:
    filters: tuple[RuleFilter, ...] = form["filters"]
    return (one.values[0] for one in filters if one.type == "name")


def reaches(pattern: str, project: str) -> bool:
    """Whether a name filter may match a repository of a project (`PROJECT/…`)."""
    if pattern in ("", "**") or pattern.count("{") > _MOST_BRACES:
        return True
    return any(_reaches(one, project) for one in _alternatives(pattern))


def _reaches(pattern: str, project: str) -> bool:
    first, slash, _ = pattern.partition("/")
    if first == "**":
        return True
    try:
        return bool(slash) and matches(first, project)
    except PatternError:
        return False


def _alternatives(pattern: str) -> list[str]:
    """The pattern written out for each alternative of its outermost braces that hold a `/`."""
    opened, depth = -1, 0
    cuts: list[int] = []
    for at, char in enumerate(pattern):
        if char == "/" and depth == 0:
            break
        if char == "{":
            opened, depth = (at if depth == 0 else opened), depth + 1
            cuts = cuts if depth > 1 else []
        elif char == "," and depth == 1:
            cuts.append(at)
        elif char == "}" and depth == 1:
            inside = pattern[opened + 1 : at]
            if "/" in inside:
                bounds = [opened, *cuts, at]
                pieces = [pattern[begin + 1 : end] for begin, end in pairwise(bounds)]
                rest = pattern[at + 1 :]
                return [
                    one
                    for piece in pieces
                    for one in _alternatives(pattern[:opened] + piece + rest)
                ]
            depth = 0
        elif char == "}":
            depth = max(depth - 1, 0)
    return [pattern]
