"""What Harbor has now, as a setup file to begin with; secrets are left to be set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from syncwatch.setup import registries, rules, webhooks
from syncwatch.setup.words import LOCAL, flattening_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncwatch.setup.changes import Form, Hidden
    from syncwatch.setup.looking import Present
    from syncwatch.setup.rules import RuleFilter

TO_BE_SET = "TO BE SET"
"""Stands for every file with a secret; no such file, so it cannot be forgotten."""

_HEAD = """\
# What Harbor {harbor} had. Harbor tells no access secrets: name a file for each one that is
# {to_be_set}, or remove the line, which leaves what is stored.
"""


def exported(harbor: str, present: Present) -> str:
    """The setup file, as YAML."""
    remarks: list[str] = []
    file = {
        "registries": [_registry(one) for one in present.registries],
        "replications": [_rule(one, remarks) for one in present.rules],
        "webhooks": _webhooks(present),
    }
    head = _HEAD.format(harbor=harbor, to_be_set=TO_BE_SET)
    head += "".join(f"# {remark}\n" for remark in remarks)
    text = yaml.safe_dump(
        _escaped({name: value for name, value in file.items() if value}),
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    return head + text


def _escaped(value: Any) -> Any:
    """Texts as the reader gives them back: `${` and `$$` mean something there."""
    if isinstance(value, dict):
        return {name: _escaped(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return re.sub(r"\$(?=[{$])", "$$", value) if isinstance(value, str) else value


def _registry(record: dict[str, Any]) -> Form:
    form = registries.form_of(record)
    made = {"name": record["name"], **{name: one for name, one in form.items() if one != ""}}
    if form["access_id"]:
        made["access_secret_file"] = TO_BE_SET
    return made


def _rule(record: dict[str, Any], remarks: list[str]) -> Form:
    form = rules.form_of(record)
    filters = form.pop("filters")
    made: Form = {"name": record["name"]}
    made |= {name: one for name, one in form.items() if one not in ("", LOCAL)}
    made["flattening"] = flattening_words(form["flattening"])
    made["bandwidth"] = form["bandwidth"] or "unlimited"
    if form["trigger"] != "event_based":
        del made["deletion"]
    if form["trigger"] != "scheduled":
        made.pop("cron", None)
    mapping = _filters(filters)
    if mapping is None:
        remarks.append(f"Rule {record['name']} has more filters than can be written; left as is.")
    else:
        made["filters"] = mapping
    return made


def _filters(filters: tuple[RuleFilter, ...]) -> Form | None:
    """The filters as the file writes them; None where one way is there twice."""
    if len({(one.type, one.excludes) for one in filters}) < len(filters):
        return None
    made: Form = {}
    for one in filters:
        way = "excludes" if one.excludes else "matches"
        if one.type == "label":
            made.setdefault("label", {})[way] = list(one.values)
        elif one.type == "tag":
            made.setdefault("tag", {})[way] = one.values[0]
        else:
            made[one.type] = one.values[0]
    return made


def _webhooks(present: Present) -> list[Form]:
    """Policies of one name that are alike are one section for all their projects."""
    sections: list[Form] = []
    projects: list[list[str]] = []
    hidden: list[Hidden] = []
    for project, form, secret in _policies(present):
        for at, known in enumerate(sections):
            if known == form and hidden[at] == secret:
                projects[at].append(project)
                break
        else:
            sections.append(form)
            projects.append([project])
            hidden.append(secret)
    return [
        {"name": form["name"], "projects": names} | form
        for form, names in zip(sections, projects, strict=True)
    ]


def _policies(present: Present) -> Iterator[tuple[str, Form, Hidden]]:
    for project, records in present.webhooks.items():
        for record in records:
            form = webhooks.form_of(record)
            secret = form.pop("authorization")
            form["events"] = list(form["events"])
            if secret.value:
                form["authorization_file"] = TO_BE_SET
            made = {name: one for name, one in form.items() if one not in ("", [])}
            yield project, {"name": record["name"], **made}, secret
