"""How the values of a setup file are written: the words of Harbor's forms, each checked once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from syncwatch.config.scalars import written
from syncwatch.errors import PatternError
from syncwatch.plan.doublestar import check_pattern
from syncwatch.plan.promises import next_run

LOCAL = "this Harbor"
"""What a rule's source or destination is called where it is the Harbor that has the rule."""

EVENTS = (
    "PUSH_ARTIFACT",
    "PULL_ARTIFACT",
    "DELETE_ARTIFACT",
    "QUOTA_EXCEED",
    "QUOTA_WARNING",
    "SCANNING_FAILED",
    "SCANNING_STOPPED",
    "SCANNING_COMPLETED",
    "REPLICATION",
    "TAG_RETENTION",
)
"""Harbor's event types (src/pkg/notification/notification.go)."""

_LEVELS = {"flatten all levels": -1, "all levels": -1, "all": -1, "-1": -1}
_LEVELS |= {"no flattening": 0, "none": 0, "0": 0}
_FLATTEN = re.compile(r"(?:flatten )?([1-9])(?: levels?)?")


def parse_flattening(value: object) -> int:
    """The words of the rule form as Harbor's count: -1 all levels, 0 none, else how many.

    Harbor's own form offers up to 3 (controller/replication/flow/stage.go takes any).
    """
    text = " ".join(str(value).lower().split())
    levels = _FLATTEN.fullmatch(text)
    if text not in _LEVELS and not levels:
        raise ValueError("not a flattening; write flatten all levels, no flattening, or 1, 2 or 3")
    return int(levels[1]) if levels else _LEVELS[text]


def flattening_words(count: int) -> str:
    """`parse_flattening` backwards, as the form says it."""
    if count <= 0:
        return "no flattening" if count == 0 else "flatten all levels"
    return f"flatten {count} level{'s' if count > 1 else ''}"


def parse_bandwidth(value: object) -> int:
    """Kilobits a second for each task; 0 for `unlimited`, which -1 and 0 mean as well.

    Harbor stores a negative speed as 0 (docs/harbor.md).
    """
    text = str(value).strip().lower()
    if text in ("unlimited", "-1"):
        return 0
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("not a bandwidth; write kilobits a second, or unlimited")
    return int(text)


def _sound_pattern(*, for_tags: bool) -> AfterValidator:
    def check(pattern: str) -> str:
        if not pattern:
            raise ValueError("empty; write a pattern or remove the line")
        try:
            check_pattern(pattern, for_tags=for_tags)
        except PatternError as error:
            why = error.message.partition(" is malformed: ")[2]
            raise ValueError(
                f"malformed: {why}; Harbor would take it, and then start no event-based rule"
            ) from None
        return pattern

    return AfterValidator(check)


def _sound_cron(text: str) -> str:
    """Six fields, seconds first and 0, minutes no star (controller/replication/model)."""
    fields = text.split()
    if len(fields) != 6 or fields[0] != "0" or fields[1] == "*" or next_run(text, 0) is None:
        raise ValueError(
            "not a cron that Harbor takes: six fields, the first (seconds) 0, the second not *, "
            "as 0 0 2 * * * for 02:00 UTC"
        )
    return " ".join(fields)


def _to_be_made(value: Any, info: ValidationInfo) -> Path:
    """A path, from the directory of the setup file; nothing is asked of what is there."""
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("not a file: write its path")
    path = Path((info.context or {}).get("directory", "")) / value
    if not path.parent.is_dir():
        raise ValueError("the directory of this file does not exist; make it first")
    return path


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _robot_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", text):
        raise ValueError(
            "not a robot's name: write a-z, 0-9, and . _ - between them, without robot$ in front"
        )
    return text


def _known_event(text: str) -> str:
    if text not in EVENTS:
        raise ValueError(f"not an event of Harbor's; write one of {', '.join(EVENTS)}")
    return text


def _short_name(text: str) -> str:
    if len(text) > 64:
        raise ValueError("longer than the 64 characters that Harbor takes")
    return text


Flattening = Annotated[int, BeforeValidator(parse_flattening), written("flattening")]
"""`flatten all levels`, `no flattening`, or how many."""
Bandwidth = Annotated[int, BeforeValidator(parse_bandwidth), written("bandwidth")]
"""Kilobits a second, or `unlimited`."""
NamePattern = Annotated[str, _sound_pattern(for_tags=False), written("pattern")]
"""A pattern for `project/repository`, as Harbor reads it."""
TagPattern = Annotated[str, _sound_pattern(for_tags=True), written("pattern")]
"""A pattern for tags, as Harbor reads it."""
Cron = Annotated[str, AfterValidator(_sound_cron), written("cron")]
"""Harbor's cron, in UTC."""
NewFile = Annotated[Path, BeforeValidator(_to_be_made), written("file")]
"""A file to be made."""
Event = Annotated[str, AfterValidator(_known_event), written("event")]
"""One of Harbor's event types."""
RobotName = Annotated[str, AfterValidator(_robot_name), written("name")]
"""A robot's name without its prefix."""
ShortName = Annotated[str, AfterValidator(_short_name), written("name")]
"""A name of at most 64 characters."""
Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]
"""One name or a list of them."""
