"""Values that a pod gets, checked as the API server would: names, labels, selectors, tolerations.

The rules are those of Kubernetes' "Object Names and IDs", "Labels and Selectors" (syntax) and
"Taints and Tolerations"; what it refuses would else be told by the first pod.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from syncwatch import reference
from syncwatch.config.scalars import Word, like
from syncwatch.errors import MalformedError

ARCHITECTURE = re.compile("[a-z0-9]+")
EVERY_ARCHITECTURE = "all"
"""For `architectures`: all that the cluster's nodes have."""

_SECONDS = "tolerationSeconds"
_TOLERATION = {
    **dict.fromkeys(("key", "operator", "value", "effect"), "string"),
    _SECONDS: "integer",
}
_OPERATORS, _EFFECTS = ("Exists", "Equal"), ("NoSchedule", "PreferNoSchedule", "NoExecute")

_WORD = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_WORD}")
_VALUE = re.compile(f"({_WORD})?")
# An int64 in any case.
_WHOLE = re.compile("-?[0-9]{1,18}")

ObjectName = Annotated[
    str,
    *like(
        "name",
        r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
        "not a name in Kubernetes: write a-z, 0-9, - and ., with a letter or digit at both ends",
    ),
]
"""The name of an object: a DNS subdomain."""

Architecture = Annotated[
    str,
    *like(
        "text",
        ARCHITECTURE.pattern,
        "not an architecture: write it as nodes do, amd64 or arm64",
    ),
]
"""As nodes have it in `kubernetes.io/arch`: GOARCH."""


def _keys(texts: dict[str, str]) -> dict[str, str]:
    if any(not _KEY.fullmatch(key) for key in texts):
        raise ValueError(
            "a key that Kubernetes refuses: write [DOMAIN/]NAME, the name with at most 63 of a-z, "
            "A-Z, 0-9, -, _ and ., and a letter or digit at both ends"
        )
    return texts


def _values(texts: dict[str, str]) -> dict[str, str]:
    if any(not _VALUE.fullmatch(value) for value in texts.values()):
        raise ValueError(
            "a value that Kubernetes refuses: write at most 63 of a-z, A-Z, 0-9, -, _ and ., and a "
            "letter or digit at both ends; annotations may hold anything"
        )
    return texts


def _tolerated(one: dict[str, Any]) -> dict[str, Any]:
    if unknown := one.keys() - _TOLERATION.keys():
        known = ", ".join(sorted(_TOLERATION))
        raise ValueError(f"a toleration has no {min(unknown)}; it has {known}")
    for name in one.keys() - {_SECONDS}:
        if not isinstance(one[name], str):
            words = f"a toleration's {name} that is no text; put it in quotes"
            raise ValueError(words)  # noqa: TRY004 - pydantic's is ValueError
    operator, effect = one.get("operator", "Equal"), one.get("effect")
    if operator not in _OPERATORS:
        raise ValueError("a toleration's operator that is none; write Exists or Equal")
    if effect is not None and effect not in _EFFECTS:
        raise ValueError(f"a toleration's effect that is none; write {', '.join(_EFFECTS)}")
    if operator == "Exists" and one.get("value"):
        raise ValueError("a toleration with Exists has no value; remove it, or write Equal")
    if operator == "Equal" and not one.get("key"):
        raise ValueError("a toleration with Equal has a key; add it, or write operator: Exists")
    if key := one.get("key"):
        _keys({key: ""})
    if not _VALUE.fullmatch(one.get("value", "")):
        raise ValueError(
            "a toleration's value that Kubernetes refuses; write at most 63 of a-z, A-Z, 0-9, -, _ "
            "and ., and a letter or digit at both ends"
        )
    if _SECONDS not in one:
        return one
    if effect != "NoExecute":
        raise ValueError("tolerationSeconds is for the effect NoExecute; remove it")
    return {**one, _SECONDS: _whole(one[_SECONDS])}


def _whole(seconds: object) -> int:
    """As a number, which the API server demands: of a file every value is a text."""
    if isinstance(seconds, bool) or not _WHOLE.fullmatch(str(seconds)):
        raise ValueError("tolerationSeconds that is no whole number; write one, as 300")
    return int(str(seconds))


def _scalar(value: object) -> object:
    if not isinstance(value, str | int):
        raise ValueError("not a text; write one value")  # noqa: TRY004 - pydantic's is ValueError
    return value


def _pulled(image: str) -> str:
    try:
        reference.parse(image)
    except MalformedError:
        raise ValueError(
            "not an image; write [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST], the repository in small "
            "letters"
        ) from None
    return image


_TEXTS = WithJsonSchema(
    {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "x-kind": "mapping of texts",
    }
)

Annotations = Annotated[dict[str, str], AfterValidator(_keys), _TEXTS]
"""Keys of the form of labels, and any texts."""
Labels = Annotated[dict[str, str], AfterValidator(_keys), AfterValidator(_values), _TEXTS]
"""Labels, or a selector of them."""
Image = Annotated[Word, AfterValidator(_pulled)]
"""A reference that a kubelet takes."""
Toleration = Annotated[
    dict[str, Annotated[Any, AfterValidator(_scalar)]],
    AfterValidator(_tolerated),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {name: {"type": kind} for name, kind in _TOLERATION.items()},
            "additionalProperties": False,
        }
    ),
]
"""One toleration, as a pod has it."""
