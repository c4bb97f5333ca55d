"""Pure: the images that Kubernetes manifests name.

Read are the places where Kubernetes takes an image for a pod (core/v1 PodSpec): `containers`,
`initContainers` and `ephemeralContainers` of any mapping at any depth, so that pod templates inside
custom resources count too, and `volumes[].image.reference`.

The text is read event by event and without recursion: libyaml's own composer ends the process on
deep nesting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from syncwatch.errors import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 32 * 1024 * 1024
"""Characters of one text."""

DEEPEST = 200
"""Mappings and sequences within each other; Kubernetes' own objects stay below 30."""


class NoImageError(MalformedError):
    """The text is in order, and names no image."""


CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
RENDER = "render it first: helm template … | syncwatch wait -f - …"

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "<<"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image is named: `document` counts from 1; `thing` is KIND/NAME, "" where the
    document says neither; `part` is as "container web" or "volume models"."""

    document: int
    thing: str
    part: str

    def __str__(self) -> str:
        told = (f"document {self.document}", self.thing, self.part)
        return ", ".join(one for one in told if one)


@dataclass(slots=True)
class Named:
    """An image as it is written, and everywhere it is."""

    image: str
    places: list[Place] = field(default_factory=list)


def images(text: str) -> list[Named]:
    """Every image of a stream of YAML or JSON documents once, in the order of the text.

    Raises MalformedError where it is empty, too long, not YAML, or names one that is still a
    template, and NoImageError where it names none.
    """
    _check(text)
    found: dict[str, Named] = {}
    for number, document in enumerate(_documents(text), start=1):
        for image, place in _walk(document, number):
            found.setdefault(image, Named(image)).places.append(place)
    if not found:
        raise NoImageError(
            "no container and no volume in it names an image",
            cure="is it the rendered manifests of a workload?",
        )
    return list(found.values())


def _check(text: str) -> None:
    if not text.strip():
        raise MalformedError("it is empty", cure="did the command before the pipe fail?")
    if len(text) > LONGEST:
        raise MalformedError(f"it is longer than {LONGEST // 1024 // 1024} MiB", cure="split it")


def _documents(text: str) -> Iterator[Any]:
    """Each document: mappings by the text of their keys, sequences, and scalars as text.

    A merge key stays as `<<`.
    """
    try:
        yield from _build(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}: " if mark else ""
        cure = "look for a quote, colon or space before there"
        raise MalformedError(f"{where}not YAML", cure=RENDER if "{{" in text else cure) from None
    except yaml.YAMLError:
        raise MalformedError("not YAML: it holds control characters") from None


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come; `key` waits for its value."""

    value: dict[str, Any] | list[Any]
    key: str | None = None
    keyed: bool = False

    def add(self, value: Any) -> None:
        """Put the next key, value or item in its place."""
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.keyed:
            if self.key is not None:
                self.value[self.key] = value
            self.keyed = False
        else:
            self.key, self.keyed = value if isinstance(value, str) else None, True


def _build(events: Iterator[Any]) -> Iterator[Any]:
    open_ones: list[_Open] = []
    anchors: dict[str, Any] = {}
    root: Any = None

    def put(value: Any) -> None:
        nonlocal root
        if open_ones:
            open_ones[-1].add(value)
        else:
            root = value

    for event in events:
        if isinstance(event, yaml.ScalarEvent):
            value: Any = event.value
            anchors |= {event.anchor: value} if event.anchor else {}
            put(value)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            value = {} if isinstance(event, yaml.MappingStartEvent) else []
            anchors |= {event.anchor: value} if event.anchor else {}
            put(value)
            open_ones.append(_Open(value))
            if len(open_ones) > DEEPEST:
                raise MalformedError(f"it is nested more than {DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            open_ones.pop()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise MalformedError(f"no anchor &{event.anchor}", cure="quote what begins with *")
            put(anchors[event.anchor])
        elif isinstance(event, yaml.DocumentEndEvent):
            yield root
            root, anchors = None, {}


def _walk(document: Any, number: int) -> Iterator[tuple[str, Place]]:
    """All images of a document; what an alias repeats is read once."""
    seen: set[int] = set()
    rest: list[tuple[Any, str]] = [(document, "")]
    while rest:
        node, thing = rest.pop()
        if not isinstance(node, dict | list) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            thing = _thing(node) or thing
            yield from _named(node, number, thing)
        below = node.values() if isinstance(node, dict) else node
        rest += [(one, thing) for one in reversed(list(below))]


def _thing(node: dict[str, Any]) -> str:
    """KIND/NAME of an object of Kubernetes; "" of what is none."""
    kind, metadata = node.get("kind"), node.get("metadata")
    if not isinstance(kind, str) or not isinstance(metadata, dict):
        return ""
    name = metadata.get("name", metadata.get("generateName", ""))
    return f"{kind}/{name}" if isinstance(name, str) and name else kind


def _named(node: dict[str, Any], number: int, thing: str) -> Iterator[tuple[str, Place]]:
    for key, value in node.items():
        if key in CONTAINERS:
            for one in _mappings(value):
                place = Place(number, thing, f"container {_text(one, 'name')}".rstrip())
                yield from _image(_get(one, "image"), place)
        elif key == "volumes":
            for one in _mappings(value):
                source = _get(one, "image")
                place = Place(number, thing, f"volume {_text(one, 'name')}".rstrip())
                if isinstance(source, dict):
                    yield from _image(_get(source, "reference"), place)


def _image(value: Any, place: Place) -> Iterator[tuple[str, Place]]:
    """Nothing where none is named: an operator fills such containers in."""
    # `image: {{ .Values.image }}` without quotes is a mapping to YAML.
    if isinstance(value, dict | list) or (isinstance(value, str) and "{{" in value):
        raise MalformedError(f"{place}: the image is a template", cure=RENDER)
    if isinstance(value, str) and value.strip() not in ("", "null", "~"):
        yield value.strip(), place


def _mappings(value: Any) -> list[dict[str, Any]]:
    """The mappings of a sequence; none of a schema, where such a key has a mapping."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(node: dict[str, Any], key: str) -> str:
    value = _get(node, key)
    return value if isinstance(value, str) else ""


def _get(node: dict[str, Any], key: str) -> Any:
    """The value of a key, its own or by way of merge keys; None where there is none."""
    seen: set[int] = set()
    rest: list[Any] = [node]
    while rest:
        one = rest.pop(0)
        if not isinstance(one, dict) or id(one) in seen:
            continue
        seen.add(id(one))
        if key in one:
            return one[key]
        merged = one.get(_MERGE)
        rest[:0] = merged if isinstance(merged, list) else [merged]
    return None
