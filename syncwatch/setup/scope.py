"""Pure: the rules as they will be, and the projects that a webhook section means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from syncwatch.errors import PatternError
from syncwatch.plan.doublestar import matches
from syncwatch.setup import rules
from syncwatch.setup.sections import IN_SCOPE
from syncwatch.setup.webhooks import reached

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syncwatch.harbor.writing import Record
    from syncwatch.setup.changes import Form
    from syncwatch.setup.sections import SetupFile, WebhookSection

_PATTERN = re.compile(r"[*?\[{\\]")


def rules_after(file: SetupFile, present: Iterable[Record], *, prune: bool) -> list[Form]:
    """Every rule that Harbor will have, those included of which the file says nothing."""
    forms = {one.get("name", ""): rules.form_of(one) for one in present}
    said = {one.name: rules.wanted(one) for one in file.replications or ()}
    if prune and file.replications is not None:
        forms = {name: form for name, form in forms.items() if name in said}
    for name, form in said.items():
        forms[name] = (forms.get(name) or rules.DEFAULTS) | form
    return list(forms.values())


def projects_of(
    section: WebhookSection, after: Iterable[Form], projects: Iterable[Record]
) -> list[str]:
    """The projects of Harbor that a webhook section means, each once.

    `in_scope` and patterns leave out proxy caches, whose images are not pushed.
    """
    own = [one["name"] for one in projects if not one.get("registry_id")]
    everything = {one["name"] for one in projects}
    found: dict[str, None] = {}
    for word in section.projects:
        if word == IN_SCOPE:
            found |= dict.fromkeys(reached(after, own))
        elif is_pattern(word):
            found |= dict.fromkeys(name for name in own if _fits(word, name))
        elif word in everything:
            found[word] = None
    return list(found)


def is_pattern(word: str) -> bool:
    """Whether a word of `projects` is more than one project's name."""
    return _PATTERN.search(word) is not None


def _fits(pattern: str, name: str) -> bool:
    try:
        return matches(pattern, name)
    except PatternError:
        return False
