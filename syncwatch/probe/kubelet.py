"""Pure: what kubelets say, and what may be concluded of it.

The words come from the container runtime and change with it: containerd 1.6 and 2.1 tell the same
refusal in different sentences. What was seen to stay the same in all of them are the reasons of
events, the heads of their messages, and the fragments below, in this order. A sentence that is not
known is inconclusive: `not found` also stands in those about a wrong platform, and `unexpected EOF`
in those about a cut connection and a truncated layer alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from syncwatch.model import Pulling

PULLED = "Successfully pulled image "
"""How the message of a `Pulled` event begins that proves a pull; `already present` proves none."""

REFUSED = "Failed to pull image "
"""How the message of a `Failed` event begins that has a cause; the others have none."""

_PRESENT = ("already present on machine", "can be accessed by the pod")
"""In messages of `Pulled` where the registry was not asked (1.20, 1.35)."""

_TOOK = re.compile(
    r" in ((?:\d+h)?(?:\d+m)?[\d.]+(?:h|ms|m|s|µs|us|ns))(?P<whole> \([^)]*including waiting\))?"
)
_PART = re.compile(r"([\d.]+)(h|ms|m|s|µs|us|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Said:
    """What a sentence amounts to: a result, and for one that proves nothing, a bounded cause."""

    result: Pulling
    cause: str = ""


_OPEN = Pulling.INCONCLUSIVE
_FRAGMENTS: tuple[tuple[str, Said], ...] = (
    ("no match for platform", Said(Pulling.WRONG_PLATFORM)),
    ("unexpected media type", Said(_OPEN, "strange_answer")),
    ("mismatched image rootfs", Said(_OPEN, "not_an_image")),
    # Of a kind that is not known: something else answered, as with a page of HTML.
    ('failed commit on ref "unknown-', Said(_OPEN, "strange_answer")),
    ("unexpected commit digest", Said(Pulling.CORRUPT)),
    ("wrong diff id", Said(Pulling.CORRUPT)),
    ("invalid tar header", Said(Pulling.CORRUPT)),
    ("401 Unauthorized", Said(Pulling.UNAUTHORIZED)),
    ("403 Forbidden", Said(Pulling.UNAUTHORIZED)),
    ("no basic auth credentials", Said(Pulling.UNAUTHORIZED)),
    ("pull access denied", Said(Pulling.UNAUTHORIZED)),
    ("connection refused", Said(Pulling.UNREACHABLE)),
    ("x509:", Said(Pulling.UNREACHABLE)),
    ("i/o timeout", Said(Pulling.UNREACHABLE)),
    ("no such host", Said(Pulling.UNREACHABLE)),
    ("network is unreachable", Said(Pulling.UNREACHABLE)),
    ("no route to host", Said(Pulling.UNREACHABLE)),
    (" 412 ", Said(_OPEN, "policy")),
    (" 429 ", Said(_OPEN, "rate_limited")),
    ("unexpected EOF", Said(_OPEN, "cut_off")),
    ("connection reset", Said(_OPEN, "cut_off")),
    ("QPS exceeded", Said(_OPEN, "rate_limited")),
)

_SERVER_ERROR = re.compile(r" 5\d\d [A-Z]")
_MISSING = re.compile(r"from remote: not found|/manifests/sha256:[0-9a-f]{64} not found")


def read_refusal(message: str, image: str) -> Said:
    """What the message of a refused pull of `image` amounts to."""
    for fragment, said in _FRAGMENTS:
        if fragment in message:
            return said
    if _SERVER_ERROR.search(message):
        return Said(_OPEN, "server_error")
    if _MISSING.search(message) or message.rstrip().endswith(f"{image}: not found"):
        return Said(Pulling.MISSING)
    return Said(_OPEN, "unknown")


def is_of(message: str, head: str, image: str) -> bool:
    """Whether an event's message begins with `head` and names the image."""
    return message.startswith(f'{head}"{image}"')


def names_present(message: str, image: str) -> bool:
    """Whether a message says that the node had the image, and nobody was asked."""
    return f'"{image}"' in message and any(words in message for words in _PRESENT)


def seconds_of(message: str) -> float | None:
    """How long the pull alone took; None where the kubelet's figure includes other pods' pulls.

    From the pull request 111772 (Kubernetes) on both are told, and the first is without waiting.
    """
    found = _TOOK.search(message)
    if found is None or found["whole"] is None:
        return None
    try:
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(found[1]))
    except ValueError:
        return None
