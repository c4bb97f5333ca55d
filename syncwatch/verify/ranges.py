"""What an answer to a ranged GET proves of a blob (RFC 9110, 14; OCI distribution 1.1, "Pulling").

Pure. One request for the last byte tells whether all of a blob is there: a registry that lost the
file answers 404, one whose file is shorter cannot give that byte, and one that answers from its
records alone gives no byte at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.model import Reason

if TYPE_CHECKING:
    from syncwatch.outbound import Answer

_RANGE = re.compile(r"\s*bytes\s+(?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Where in the whole a part lies: `first` and `last` byte, None for `*`; `total` likewise."""

    first: int | None
    last: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why an answer does not prove a blob.

    `reason` is `blob_missing` or `blob_unreadable`, or `unreadable_answer` where nothing can be
    concluded; `words` complete a sentence about the blob.
    """

    reason: Reason
    words: str


def content_range(text: str) -> ContentRange | None:
    """A Content-Range header; None for one that says nothing, or what cannot be."""
    found = _RANGE.fullmatch(text) if text.isascii() else None
    if found is None:
        return None
    first, last, total = (
        int(part) if part is not None and part != "*" else None for part in found.groups()
    )
    if first is None or last is None:
        return ContentRange(None, None, total) if total is not None else None
    possible = first <= last and (total is None or last < total)
    return ContentRange(first, last, total) if possible else None


def last_byte(size: int) -> str:
    """The Range header that asks for the last byte of a blob of `size` bytes (1 or more)."""
    return f"bytes={size - 1}-{size - 1}"


def doubt(answer: Answer, size: int) -> Doubt | None:
    """Why an answer of 200, 206 or 416 does not prove a blob of `size` bytes; None if it does."""
    if answer.status == 416:
        return _unsatisfied(answer, size)
    if answer.status == 206:
        return _of_part(answer, size)
    return _of_whole(answer, size)


def _unsatisfied(answer: Answer, size: int) -> Doubt:
    told = content_range(answer.headers.get("Content-Range", ""))
    if told is not None and told.total is not None and told.total >= size:
        return Doubt(Reason.UNREADABLE_ANSWER, "was answered 416 for a byte that is there")
    length = f"{told.total}" if told is not None else "fewer"
    return Doubt(Reason.BLOB_UNREADABLE, f"has {length} of its {size} bytes")


def _of_part(answer: Answer, size: int) -> Doubt | None:
    told = content_range(answer.headers.get("Content-Range", ""))
    if told is not None and told.total is not None and told.total != size:
        return Doubt(Reason.BLOB_UNREADABLE, f"has {told.total} bytes instead of {size}")
    if not answer.body:
        return Doubt(Reason.BLOB_UNREADABLE, "was promised, and no byte of it came")
    if told is None or told.first is None or told.last is None:
        return Doubt(Reason.UNREADABLE_ANSWER, "was answered 206 without saying which part")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        return Doubt(Reason.UNREADABLE_ANSWER, "was answered with a part of something coded")
    if told.last != size - 1 or len(answer.body) != told.last - told.first + 1:
        return Doubt(Reason.UNREADABLE_ANSWER, "was answered 206 with another part than asked for")
    return None


def _of_whole(answer: Answer, size: int) -> Doubt | None:
    """200: ranges are not supported here, so the length that is announced has to do."""
    length = _length(answer)
    if answer.headers.get("Content-Type", "").lower().startswith("text/html") and length != size:
        return Doubt(Reason.UNREADABLE_ANSWER, "was answered with a web page")
    if length is not None and length != size:
        return Doubt(Reason.BLOB_UNREADABLE, f"has {length} bytes instead of {size}")
    if size and not answer.body:
        return Doubt(Reason.BLOB_UNREADABLE, "was promised, and no byte of it came")
    if length is None:
        return Doubt(
            Reason.UNREADABLE_ANSWER,
            "is sent without its length and without ranges, so that its end cannot be proven",
        )
    return None


def _length(answer: Answer) -> int | None:
    """How long the blob is by this answer; None where it does not tell."""
    if answer.cut or answer.whole:
        return len(answer.body)
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
