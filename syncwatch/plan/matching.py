"""Which artifacts a policy's filters select, and under which name they arrive: Harbor's own rules.

In come a policy's filters and the artifacts of a repository, out go those that Harbor would copy,
with the tags that it would copy. Pure; `tests/oracle` holds what Harbor's functions answered.

- `name` filters meet `project/repository`, `tag` filters each tag: the artifact is copied with the
  tags that pass, and not at all when none does. An untagged artifact stands as the tag "".
- `label` filters want all their labels. A push event carries none, so `matches` never lets a push
  through, and `excludes` always does.
- `resource` filters are stored by Harbor and never evaluated.
- All filters must agree, whatever their number. A pattern that Harbor cannot read fails the whole
  policy, and with it every event-based policy for that push (see `doublestar`).
- Flattening cuts components off the front, so several sources may arrive under one name.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncwatch.errors import FlatteningError
from syncwatch.plan.doublestar import check_pattern, matches

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Artifact",
    "Filter",
    "check_pattern",
    "covers",
    "destination_repository",
    "matches",
    "select",
]


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a replication policy, as Harbor's API gives it.

    `type` is `name`, `tag`, `label` or `resource`; `value` a pattern for `name` and `tag`, label
    names for `label`. `decoration` is `matches`, `excludes` or empty, which means `matches`.
    """

    type: str
    value: str | Sequence[str]
    decoration: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.value, str):
            object.__setattr__(self, "value", tuple(self.value))

    @property
    def excludes(self) -> bool:
        """Whether what matches is left out; every other decoration means `matches`."""
        return self.decoration == "excludes"


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact at the source: digest, its tags (none: untagged), names of its labels.

    Push events carry no labels, whatever the artifact has. `parent_tags` is for an accessory (a
    signature, an SBOM) met in a listing: there the tags of what it belongs to face the filters.
    """

    digest: str
    tags: Sequence[str]
    labels: Sequence[str]
    parent_tags: Sequence[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", tuple(self.tags))
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.parent_tags is not None:
            object.__setattr__(self, "parent_tags", tuple(self.parent_tags))


def select(
    filters: Sequence[Filter], repository: str, artifacts: Sequence[Artifact]
) -> tuple[Artifact, ...]:
    """The artifacts of a repository that pass all filters, with the tags that stay.

    Raises PatternError where Harbor fails; it fails for the whole policy then, so nothing of it
    would be copied. Harbor evaluates no `resource` filter (`src/pkg/reg/filter/artifact.go`).
    """
    if not covers(filters, repository):
        return ()
    selected = tuple(artifacts)
    for rule in filters:
        if rule.type == "label":
            selected = tuple(artifact for artifact in selected if _keeps_labels(rule, artifact))
        elif rule.type == "tag" and rule.value:
            kept = [_with_tags_kept(rule, artifact) for artifact in selected]
            selected = tuple(artifact for artifact in kept if artifact is not None)
    return selected


def covers(filters: Sequence[Filter], repository: str) -> bool:
    """Whether the `name` filters let a repository pass (`src/pkg/reg/filter/repository.go`).

    Raises PatternError where Harbor fails.
    """
    return all(
        not rule.value or matches(str(rule.value), repository) != rule.excludes
        for rule in filters
        if rule.type == "name"
    )


def _keeps_labels(rule: Filter, artifact: Artifact) -> bool:
    """`excludes` too asks for *all* the labels: an artifact with one of two is kept."""
    if not rule.value:
        return True
    return set(rule.value).issubset(artifact.labels) != rule.excludes


def _with_tags_kept(rule: Filter, artifact: Artifact) -> Artifact | None:
    pattern = str(rule.value)
    facing = artifact.tags if artifact.parent_tags is None else artifact.parent_tags
    if not facing:
        return artifact if matches(pattern, "") != rule.excludes else None
    kept = tuple([tag for tag in facing if matches(pattern, tag) != rule.excludes])
    if not kept:
        return None
    # Harbor forgets here that it is an accessory: a second tag filter meets its own tags.
    tags = kept if artifact.parent_tags is None else artifact.tags
    return replace(artifact, tags=tags, parent_tags=None)


def destination_repository(
    repository: str, namespace: str, replace_count: int, path_type: str = ""
) -> str:
    """The repository name at the destination (`src/controller/replication/flow/stage.go`).

    `namespace` empty: the source's name. Else it takes the place of the first `replace_count`
    components, or of all but the last one if that is negative. `path_type` is what the
    destination's adapter asks for: `ONLY_TWO`, `AT_LEAST_TWO` (another Harbor), or nothing.
    Raises FlatteningError, in Harbor's words, where Harbor fails; it fails for all repositories of
    that execution then.
    """
    if not namespace:
        return repository
    *parents, last = repository.split("/")
    if replace_count > len(parents):
        raise FlatteningError(
            f'the source repository "{repository}" contains only {len(parents)} path components '
            f"{_listed(parents)} excepting the last one, but the destination namespace flattening "
            f"level is {replace_count}"
        )
    kept = [] if replace_count < 0 else parents[replace_count:]
    destination = _joined([namespace, *kept, last])
    _check_components(destination, path_type)
    return destination


def _check_components(destination: str, path_type: str) -> None:
    parts = destination.split("/")
    if path_type == "ONLY_TWO" and len(parts) != 2:
        contains, rule = "contains", "only supports 2"
    elif path_type == "AT_LEAST_TWO" and len(parts) < 2:
        contains, rule = "contains only", "requires at least 2"
    else:
        return
    raise FlatteningError(
        f'the destination repository "{destination}" {contains} {len(parts)} path components '
        f"{_listed(parts)}, but the destination registry {rule}"
    )


def _listed(parts: list[str]) -> str:
    return f"[{' '.join(parts)}]"


def _joined(parts: list[str]) -> str:
    """Go's `path.Join`: no empty components, no `.`, and `..` is resolved."""
    # Python keeps two leading slashes, Go does not.
    return re.sub("^/+", "/", posixpath.normpath("/".join(part for part in parts if part)))
