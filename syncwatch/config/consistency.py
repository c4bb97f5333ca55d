"""Rules that hold between sections of the configuration, each problem with its place.

They read the raw input beside the validated one, so that they are reported together with mistakes
inside the sections. What is malformed there is skipped here: it has its own error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from syncwatch.config.kubernetes import ARCHITECTURE, EVERY_ARCHITECTURE
from syncwatch.config.scalars import NAME, PLATFORM
from syncwatch.model import Level, ProbeMode

if TYPE_CHECKING:
    import re

EVERY_OTHER = "*"
"""The destination name whose entry gives defaults for all others."""

Loc = tuple[str | int, ...]
"""The way to a setting: names and positions from the top."""


UNPROVEN = (
    "nothing proves that deliveries are Harbor's; set webhook: {authorization_file: FILE}, or "
    "{allow_unauthenticated: true}"
)


class Place(NamedTuple):
    """A place in the file, both counted from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """Where something is wrong, and what, with its cure.

    `place` is given where it is not simply that of the value at `loc`.
    """

    loc: Loc
    message: str
    place: Place | None = None


def with_problems(raw: object, error: ValidationError | None, problems: list[Problem]) -> None:
    """Raise `error` and `problems` as one ValidationError, if there is any."""
    details = [] if error is None else [_again(detail) for detail in error.errors()]
    details += [_detail("inconsistent", loc, message, raw) for loc, message, _ in problems]
    if details:
        raise ValidationError.from_exception_data("Settings", details, hide_input=True)


def _again(detail: Any) -> InitErrorDetails:
    cause = (detail.get("ctx") or {}).get("error")
    message = str(cause) if cause else detail["msg"]
    return _detail(detail["type"], detail["loc"], message, detail["input"], detail.get("ctx"))


def _detail(
    kind: str, loc: Loc, message: str, given: object, context: dict[str, Any] | None = None
) -> InitErrorDetails:
    # The message goes in as a value: braces in it are no placeholders.
    error = PydanticCustomError(kind, "{sentence}", {**(context or {}), "sentence": message})
    return InitErrorDetails(type=error, loc=loc, input=given)


def inconsistencies(raw: object, *, serving: bool) -> list[Problem]:
    """All problems between the sections of `raw`; `serving` also asks how webhooks are proven."""
    if not isinstance(raw, Mapping):
        return []
    harbors, clusters = _items(raw, "harbors"), _items(raw, "clusters")
    destinations = _items(raw, "destinations")
    none = Problem(("harbors",), "an empty list; describe at least one Harbor")
    problems = [
        *([none] if raw.get("harbors") in ([], ()) else ()),
        *_repeated("harbors", harbors, lambda item: _get(item, "name")),
        *_repeated("clusters", clusters, lambda item: _get(item, "name")),
        *_repeated("destinations", destinations, _destination_key),
        *_unknown(destinations, "harbor", "harbors", _names(harbors)),
        *_unknown(destinations, "cluster", "clusters", _names(clusters)),
        *_unprobed(destinations, clusters),
        *_unmet(destinations, clusters),
    ]
    return [*problems, *(_unproven(harbors) if serving else ())]


def _items(raw: Mapping[Any, Any], key: str) -> Sequence[object]:
    items = raw.get(key)
    return items if isinstance(items, list | tuple) else ()


def _get(item: object, key: str) -> object:
    """A setting of a section given as a mapping or as a model."""
    return item.get(key) if isinstance(item, Mapping) else getattr(item, key, None)


def _names(items: Sequence[object]) -> list[str]:
    return [name for item in items if isinstance(name := _get(item, "name"), str)]


def _destination_key(item: object) -> object:
    name, harbor = _get(item, "name"), _get(item, "harbor")
    return (name, harbor) if isinstance(name, str) and isinstance(harbor, str | None) else None


def _repeated(
    section: str, items: Sequence[object], key: Callable[[object], object]
) -> Iterator[Problem]:
    seen: dict[object, int] = {}
    for index, item in enumerate(items):
        identity = key(item)
        if not isinstance(identity, str | tuple):
            continue
        first = seen.setdefault(identity, index)
        if first != index:
            message = f"the same name as {section}[{first}]; rename or remove one"
            if section == "destinations":
                message += ", or set harbor where two Harbors use it"
            yield Problem((section, index, "name"), message)


def _unknown(
    items: Sequence[object], key: str, section: str, names: list[str]
) -> Iterator[Problem]:
    for index, item in enumerate(items):
        name = _get(item, key)
        if isinstance(name, str) and NAME.fullmatch(name) and name not in names:
            message = (
                f"no such {key} in {section}; {suggestion(name, names) or f'add it to {section}'}"
            )
            yield Problem(("destinations", index, key), message)


def _unprobed(destinations: Sequence[object], clusters: Sequence[object]) -> Iterator[Problem]:
    """Destinations whose images a node is to pull, in a cluster where none is made to."""
    probed = [_get(one, "name") for one in clusters if _is_probed(_get(one, "probe"))]
    known = _names(clusters)
    general = next((one for one in destinations if _get(one, "name") == EVERY_OTHER), None)
    for index, item in enumerate(destinations):
        cluster = _get(item, "cluster") or _get(general, "cluster")
        own = [key for key in ("level", "cluster") if _get(item, key) is not None]
        level = _get(item, "level") or _get(general, "level")
        if level != Level.PULLED or not own or cluster in probed:
            continue
        if isinstance(cluster, str) and cluster in known:
            cure = f"set probe: {{mode: pull}} for {cluster} in clusters"
        elif cluster is None:
            cure = "set cluster, the one in clusters that pulls from it"
        else:
            continue
        where = ("destinations", index, own[0])
        yield Problem(where, f"nothing there can prove pulled; {cure}, or use readable")


def _unmet(destinations: Sequence[object], clusters: Sequence[object]) -> Iterator[Problem]:
    """Destinations none of whose platforms is pulled by a pod that its cluster's probe makes."""
    probes = {
        name: _get(one, "probe") for one in clusters if isinstance(name := _get(one, "name"), str)
    }
    for index, item in enumerate(destinations):
        general = _defaults(destinations, item)
        own = [key for key in ("platforms", "cluster") if _get(item, key) is not None]
        cluster = _get(item, "cluster") or _get(general, "cluster")
        probe = probes.get(cluster) if isinstance(cluster, str) else None
        listed = _get(item if "platforms" in own else general, "platforms")
        needed = {one.split("/")[1] for one in _like(PLATFORM, listed)}
        made = set(_like(ARCHITECTURE, _get(probe, "architectures")))
        if not (own and needed and made and _is_probed(probe)):
            continue
        if not made & {*needed, EVERY_ARCHITECTURE}:
            message = (
                f"none of its platforms has an architecture that the probe of {cluster} names; "
                "add one of those to platforms, or one of these to architectures there"
            )
            yield Problem(("destinations", index, own[0]), message)


def _defaults(destinations: Sequence[object], item: object) -> object:
    """The entry of "*" whose settings an entry takes over: that of its Harbor before the others."""
    general = [one for one in destinations if _get(one, "name") == EVERY_OTHER]
    for harbor in (_get(item, "harbor"), None):
        for one in general:
            if _get(one, "harbor") == harbor:
                return one
    return None


def _like(pattern: re.Pattern[str], given: object) -> list[str]:
    """A list of such texts; an empty one for whatever else."""
    items = given if isinstance(given, list | tuple) else ()
    fitting = [one for one in items if isinstance(one, str) and pattern.fullmatch(one)]
    return fitting if len(fitting) == len(items) else []


def _is_probed(probe: object) -> bool:
    """Whether a cluster's section says that pods are made; an empty one does."""
    if probe is None:
        return False
    return _get(probe, "mode") not in (ProbeMode.OFF, False)


def _unproven(harbors: Sequence[object]) -> Iterator[Problem]:
    for index, item in enumerate(harbors):
        if isinstance(item, Mapping | BaseModel) and _get(item, "webhook") is None:
            yield Problem(("harbors", index, "webhook"), UNPROVEN)


def suggestion(word: str, known: Sequence[str]) -> str:
    """ "did you mean 'x'?" for the known word closest to `word`, or an empty text."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""
