"""Values that a pod gets, checked as the API server would: names, labels, selectors, tolerations.

The rules are those of Kubernetes' "Object Names and IDs", "Labels and Selectors" (syntax) and
"Taints and Tolerations"; what it refuses would else be told by the first pod.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from syncwatch.config.scalars import like

_TOLERATION = {
    **dict.fromkeys(("key", "operator", "value", "effect"), "string"),
    "tolerationSeconds": "integer",
}
_OPERATORS, _EFFECTS = ("Exists", "Equal"), ("NoSchedule", "PreferNoSchedule", "NoExecute")

_WORD = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_WORD}")
_VALUE = re.compile(f"({_WORD})?")

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
    str, *like("text", "[a-z0-9]+", "not an architecture: write it as nodes do, amd64 or arm64")
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
    operator, effect = one.get("operator", "Equal"), one.get("effect")
    if operator not in _OPERATORS:
        raise ValueError("a toleration's operator that is none; write Exists or Equal")
    if effect is not None and effect not in _EFFECTS:
        raise ValueError(f"a toleration's effect that is none; write {', '.join(_EFFECTS)}")
    if operator == "Exists" and one.get("value"):
        raise ValueError("a toleration with Exists has no value; remove it, or write Equal")
    if operator == "Equal" and not one.get("key"):
        raise ValueError("a toleration with Equal has a key; add it, or write operator: Exists")
    if "tolerationSeconds" in one and effect != "NoExecute":
        raise ValueError("tolerationSeconds is for the effect NoExecute; remove it")
    return one


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
Toleration = Annotated[
    dict[str, str | int],
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
