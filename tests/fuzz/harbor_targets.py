"""What a Harbor may send, and what its administrators write: webhooks, answers, patterns, names."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import seeds
from campaign import Target

from syncwatch.errors import FlatteningError, MalformedError, PatternError
from syncwatch.harbor import wire
from syncwatch.plan import doublestar
from syncwatch.plan.matching import (
    Artifact,
    Filter,
    check_pattern,
    destination_repository,
    matches,
    select,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

LARGEST = 2**63 - 1
"""The largest number that a column of the store takes."""


def check_webhook(data: bytes) -> Hashable:
    """A body: read as `intake` does, then as `plan` does."""
    try:
        payload = wire.read_object(data)
    except MalformedError as error:
        assert error.message
        return re.sub(r"\d+", "", error.message)
    told = json.loads(data.decode())
    assert told == payload, "JSON that others read otherwise"
    delivery = wire.read_delivery(data)
    assert delivery == wire.read_payload(payload)
    assert delivery.type in wire.EVENT_TYPES | {wire.OTHER}
    assert delivery.id is None or isinstance(delivery.id, str)
    acted_on = delivery.type in (wire.PUSH, wire.DELETE, wire.REPLICATION)
    assert acted_on == (delivery.event is not None or not delivery.understood)
    if delivery.event is not None:
        _demand_types(delivery.event)
    return delivery.type, delivery.id is None, delivery.understood, _size(delivery.event)


def _demand_types(event: wire.Push | wire.Deletion | wire.Replication) -> None:
    assert type(event.occurred_at) is int and abs(event.occurred_at) <= LARGEST, "no time"
    if isinstance(event, wire.Replication):
        texts = [event.job_status, event.trigger, event.source_namespace]
        texts += [*event.repositories, *event.references]
        for number in (event.execution_id, event.task_id):
            assert number is None or (type(number) is int and 0 < number <= LARGEST), "no id"
    else:
        texts = [
            text for one in event.artifacts for text in (one.repository, one.reference, one.digest)
        ]
    assert all(isinstance(text, str) for text in texts), "a name that is no text"


def _size(event: wire.Push | wire.Deletion | wire.Replication | None) -> Hashable:
    if isinstance(event, wire.Replication):
        counts = (event.repositories, event.references)
        return *(min(len(each), 4) for each in counts), event.task_id is None
    return event and min(len(event.artifacts), 4)


LISTS: dict[bytes, type[Any]] = {
    b"policies": wire.Policy,
    b"registries": wire.RegistryEndpoint,
    b"executions": wire.Execution,
    b"tasks": wire.Task,
    b"artifacts": wire.SourceArtifact,
}


def check_answer(data: bytes) -> Hashable:
    """First line: what was asked for; the rest: the body of Harbor's answer."""
    first, _, body = data.partition(b"\n")
    kind = LISTS.get(first)
    gone = wire.says_not_found(body)
    try:
        found = wire.read_list(kind, body) if kind else [wire.read_as(wire.SystemInfo, body)]
    except MalformedError as error:
        return re.sub(r"\d+|`.*?`", "", error.message), gone
    for one in found[:20]:
        _use(one)
    return kind, min(len(found), 4), gone


def _use(one: Any) -> None:
    """What the stages do with every such answer; nothing of it may raise."""
    for name in ("start_time", "end_time", "push_time", "update_time", "current_time"):
        at = wire.millis_or_none(getattr(one, name, None))
        assert at is None or abs(at) <= LARGEST
    if isinstance(one, wire.Task):
        count = wire.item_count(one.src_resource)
        assert count is None or 0 <= count <= LARGEST
        assert wire.plain_name(one.src_resource) in one.src_resource
    if isinstance(one, wire.Policy):
        assert isinstance(one.pushes, bool)
        assert isinstance(one.trigger_type + (one.trigger.cron if one.trigger else ""), str)
    if isinstance(one, wire.SourceArtifact):
        assert all(isinstance(part, str) for part in one.parts)
        assert one.tag("latest") is None or one.tags
    for number in (getattr(one, "id", 0), getattr(one, "execution_id", 0)):
        assert abs(number) <= LARGEST, "an id that no column takes"


def check_patterns(data: bytes) -> Hashable:
    """First line: the pattern; second: the name that meets it."""
    pattern, _, name = data.decode("utf-8", "replace").partition("\n")
    answer = answered(pattern, name)
    known = seeds.oracle().get((pattern, name))
    assert known is None or known == answer, "Harbor answered otherwise"
    if "" not in name.split("/"):
        assert answer != "errors" or not _passes(pattern, for_tags=False), "it was not foretold"
    if "/" not in name:
        assert answer != "errors" or not _passes(pattern, for_tags=True), "it was not foretold"
    plain = in_plain_words(pattern, name)
    assert plain is None or plain == (answer == "matches"), "stars mean something else"
    if len(data) % 4 == 0 and not {"\\", "\ufffd"} & set(name) and len(name) < 200:
        assert answered(re.sub(r"([^/])", r"\\\1", name), name) == "matches", "escaped, it differs"
    return answer, plain, "{" in pattern, "[" in pattern, len(pattern).bit_length()


def answered(pattern: str, name: str) -> str:
    """In the oracle's words; only PatternError may come out."""
    try:
        return "matches" if matches(pattern, name) else "rejects"
    except PatternError:
        return "errors"


def _passes(pattern: str, *, for_tags: bool) -> bool:
    try:
        check_pattern(pattern, for_tags=for_tags)
    except PatternError:
        return False
    return True


def in_plain_words(pattern: str, name: str) -> bool | None:
    """The answer by a second way, for patterns of letters, `*`, `?` and `**` alone; else None."""
    parts, components = pattern.split("/"), name.split("/")
    if set(pattern) & set("[]{}\\") or "\\" in name or "" in components or len(parts) > 6:
        return None
    if any("**" in part and part != "**" for part in parts) or len(components) > 12:
        return None
    return not pattern or _components_match(parts, components)


def _components_match(parts: Sequence[str], components: Sequence[str]) -> bool:
    if not parts or not components:
        return not parts and not components
    if parts[0] == "**":
        if len(parts) == 1:
            return True
        rests = range(len(components))
        return any(_components_match(parts[1:], components[at:]) for at in rests)
    return _globbed(parts[0], components[0]) and _components_match(parts[1:], components[1:])


def _globbed(pattern: str, text: str) -> bool:
    reached = {0}
    for char in pattern:
        if char == "*":
            reached = set(range(min(reached), len(text) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if text[at : at + 1] and char in ("?", text[at])}
    return len(text) in reached


def check_names(data: bytes) -> Hashable:
    """Lines as `seeds.names` gives them."""
    lines = [*data.decode("utf-8", "replace").split("\n"), *[""] * 6]
    repository, namespace, level, path_type, tags, labels, *rules = lines
    count = int(level[:6]) if re.fullmatch(r"-?\d+", level[:6], re.ASCII) else 0
    try:
        destination = destination_repository(repository, namespace, count, path_type)
    except FlatteningError as error:
        assert namespace and error.message
        return "too deep", path_type in ("ONLY_TWO", "AT_LEAST_TWO")
    if not namespace:
        assert destination == repository
    else:
        assert "//" not in destination and destination
        if not {".", ".."} & set(f"{namespace}/{repository}".split("/")):
            assert destination.endswith(repository.rpartition("/")[2])
            assert destination.count("/") <= namespace.count("/") + repository.count("/") + 1
    return min(destination.count("/"), 5), _check_select(repository, tags, labels, rules)


def _check_select(repository: str, tags: str, labels: str, rules: list[str]) -> Hashable:
    artifacts = [
        Artifact("sha256:1", tags.split(",") if tags else (), labels.split(",") if labels else ()),
        Artifact("sha256:2", (), ()),
        Artifact("sha256:3", ("sha256-1.sig",), (), parent_tags=tuple(tags.split(","))),
    ]
    filters = [_filter(rule) for rule in rules[:6] if rule]
    try:
        kept = select(filters, repository, artifacts)
        wider = select(filters[:-1], repository, artifacts)
    except PatternError:
        return "malformed"
    given = {one.digest: one for one in artifacts}
    order = [one.digest for one in kept]
    assert order == sorted(set(order))
    for one in kept:
        assert set(one.tags) <= set(given[one.digest].tags), "a tag that nobody gave it"
        assert one.labels == given[one.digest].labels
    before = {one.digest: set(one.tags) for one in wider}
    assert all(set(one.tags) <= before.get(one.digest, set()) for one in kept if one.tags)
    return tuple(order), len(filters), len(kept[0].tags if kept else ()).bit_length()


def _filter(rule: str) -> Filter:
    kind, _, rest = rule.partition("|")
    decoration, _, value = rest.partition("|")
    return Filter(kind, value.split(",") if kind == "label" else value, decoration)


def forget_patterns() -> None:
    """Patterns are compiled once, names answered once."""
    doublestar._answer.cache_clear()
    doublestar._compile.cache_clear()


_PAYLOADS = (
    b'"type"|"id"|"specversion"|"time"|"occur_at"|"event_data"|"data"|"resources"|"digest"|"tag"|"{"|'
    b'"repository"|"repo_full_name"|"replication"|"successful_artifact"|"references"|"name_tag"|'
    b'"execution_id"|"task_id"|"job_status"|"dest_resource"|"PUSH_ARTIFACT"|"DELETE_ARTIFACT"|'
    b'"REPLICATION"|"harbor.artifact.pushed"|"harbor.replication.status.changed"|{}|[]|null|:|,'
).split(b"|")
_ANSWERS = (
    b'"id"|"name"|"start_time"|"src_resource"|"x [3 item(s) in total]"|"x [\xc2\xb2 item"|"tags"|'
    b'"trigger"|"filters"|"value"|"dest_registry"|"push_time"|"NOT_FOUND"|{"errors":[|"code"|null|[]|{}'
).split(b"|") + list(LISTS)
_PATTERNS = (
    b"*|**|/**/|**/|?|[|]|[a-b]|[^a]|[!a]|{|}|{a,b}|{a/b,c}|{*,**}|,|\\|\\\\|-|/|a|b|ab|{}|{,}|\n|*a|"
    b"{[,x}{a]|{{|}}|lib|v1.0"
).split(b"|")
_NAMES = (
    b"tag||v*|name|excludes|label|resource|matches|ONLY_TWO|AT_LEAST_TWO|-1|0|1|2|\n|/|.|..|,|library|"
    b"**|[a|{a,b}"
).split(b"|")

TARGETS = (
    Target(
        "webhooks",
        "webhook bodies (`harbor.wire.read_object`, `read_delivery`)",
        check_webhook,
        seeds.webhooks,
        _PAYLOADS,
    ),
    Target(
        "answers",
        "Harbor's answers (`harbor.wire.read_list`, `read_as`, times, counts)",
        check_answer,
        seeds.answers,
        _ANSWERS,
    ),
    Target(
        "patterns",
        "patterns (`plan.matching.matches`, `check_pattern`)",
        check_patterns,
        seeds.patterns,
        _PATTERNS,
        # The time is the product of both lengths (`doublestar`), and the check asks thrice.
        seconds=0.1,
        longest=1000,
        forget=forget_patterns,
    ),
    Target(
        "names",
        "destination names and filters (`destination_repository`, `select`)",
        check_names,
        seeds.names,
        _NAMES,
        seconds=0.1,
        longest=1000,
        forget=forget_patterns,
    ),
)
