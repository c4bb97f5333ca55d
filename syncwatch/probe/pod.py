"""Pure: the pod that makes a kubelet pull an image. In: what to pull, and how; out: JSON.

In mode `pull` the image never runs: the container's command cannot exist, so that the runtime fails
to start it after the kubelet has pulled it (seen with containerd 1.6 and 2.1: `StartError`). With a
carrier the image is only mounted, as an image volume (KEP-4639), and the carrier runs instead.

The pod fits the "restricted" profile of Pod Security, so that no namespace has to be opened for it.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from syncwatch.model import SECOND, ProbeMode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncwatch.model import Millis

APP = "syncwatch-probe"
OWN = {"app.kubernetes.io/name": APP, "app.kubernetes.io/managed-by": "syncwatch"}
"""The labels that every pod of ours has, whichever installation made it."""
SELECTOR = ",".join(f"{key}={value}" for key, value in OWN.items())

EXPIRES_AT = "syncwatch/expires-at"
"""The annotation that says from when on anybody may delete it (RFC 3339)."""

CONTAINER = "probe"
VOLUME = "image"
NO_SUCH_COMMAND = "/syncwatch-probe-no-such-command"

DEADLINE_MARGIN = 30
"""Seconds that a pod's own deadline is longer than ours: it is for the case that we are gone."""

GRACE_SECONDS = 2
"""How long a program that runs may take to end."""

ANY_OF = ","
"""Between architectures of which any will do."""

HOSTNAME = "kubernetes.io/hostname"
ARCHITECTURE = "kubernetes.io/arch"
OS = "kubernetes.io/os"


@dataclass(frozen=True, slots=True)
class Order:
    """One pod that is to be made.

    `image` is the full reference, by digest; `architecture` "" for whichever, or several of which
    any will do (`ANY_OF`); nodes to `avoid` hold the image already.
    """

    name: str
    image: str
    digest: str
    destination: str
    cluster: str
    architecture: str
    avoid: tuple[str, ...]
    expires_at: Millis


@dataclass(frozen=True, slots=True)
class Manner:
    """How a cluster's pods are made; `timeout` in seconds. "" and () leave things out."""

    mode: ProbeMode = ProbeMode.PULL
    timeout: float = 120.0
    pull_secrets: tuple[str, ...] = ()
    service_account: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    run_as_user: int = 65532
    carrier: str = ""
    command: tuple[str, ...] = ()
    one_per_node: bool = True
    priority_class: str = ""


def new_name(random: bytes) -> str:
    """A name for a pod, of its own for these random bytes (RFC 1123: a-z, 0-9 and -)."""
    return f"{APP}-{base64.b32encode(random).decode().rstrip('=').lower()}"


def manifest(order: Order, manner: Manner) -> dict[str, Any]:
    """The pod, as the API takes it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": order.name,
            "labels": {**manner.labels, **_labels(order, manner)},
            "annotations": {**manner.annotations, **_annotations(order)},
        },
        "spec": {
            # Left out, both are true.
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            **{key: value for key, value in _spec(order, manner).items() if value},
        },
    }


def _labels(order: Order, manner: Manner) -> dict[str, str]:
    return {
        **OWN,
        "syncwatch/mode": str(manner.mode),
        "syncwatch/destination": as_label(order.destination),
        # Half of a digest is enough to tell it from all others, and fits.
        "syncwatch/digest": as_label(order.digest.replace(":", "-")[:39]),
    }


def _annotations(order: Order) -> dict[str, str]:
    return {
        "syncwatch/image": order.image,
        "syncwatch/destination": order.destination,
        "syncwatch/cluster": order.cluster,
        EXPIRES_AT: f"{datetime.fromtimestamp(order.expires_at / SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }


def as_label(text: str) -> str:
    """`text` as the value of a label: 63 of a-z, A-Z, 0-9, -, _ and . with none of these at an end
    but letters and digits (Kubernetes, "Labels and Selectors", syntax)."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:63].strip("-_.")


def _spec(order: Order, manner: Manner) -> dict[str, Any]:
    """All of it; what is empty is left out."""
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "activeDeadlineSeconds": max(1, int(manner.timeout)) + DEADLINE_MARGIN,
        "containers": [_container(order, manner)],
        "imagePullSecrets": [{"name": name} for name in manner.pull_secrets],
        "serviceAccountName": manner.service_account,
        "priorityClassName": manner.priority_class,
        "nodeSelector": _node_selector(order, manner),
        "tolerations": [dict(one) for one in manner.tolerations],
        "affinity": _affinity(order, manner),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": manner.run_as_user,
            "runAsGroup": manner.run_as_user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if manner.carrier:
        image = {"reference": order.image, "pullPolicy": "Always"}
        spec["volumes"] = [{"name": VOLUME, "image": image}]
    return spec


def _container(order: Order, manner: Manner) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": manner.carrier or order.image,
        "imagePullPolicy": "IfNotPresent" if manner.carrier else "Always",
        "resources": {
            "requests": {"cpu": "1m", "memory": "16Mi"},
            "limits": {"cpu": "100m", "memory": "64Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if manner.carrier:
        mount = {"name": VOLUME, "mountPath": "/image", "readOnly": True}
        return {**container, "volumeMounts": [mount]}
    if manner.mode is not ProbeMode.START:
        return {**container, "command": [NO_SUCH_COMMAND]}
    # Why a program of another architecture does not run is in its output and nowhere else.
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    return {**container, "command": list(manner.command)} if manner.command else container


def _node_selector(order: Order, manner: Manner) -> dict[str, str]:
    one = order.architecture and ANY_OF not in order.architecture
    chosen = {ARCHITECTURE: order.architecture} if one else {}
    return {OS: "linux", **manner.node_selector, **chosen}


def _affinity(order: Order, manner: Manner) -> dict[str, Any]:
    affinity: dict[str, Any] = {}
    of_node: dict[str, Any] = {}
    if order.avoid:
        other = {"key": HOSTNAME, "operator": "NotIn", "values": list(order.avoid)}
        of_node["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": 100, "preference": {"matchExpressions": [other]}}
        ]
    if ANY_OF in order.architecture:
        any_of = order.architecture.split(ANY_OF)
        fitting = {"key": ARCHITECTURE, "operator": "In", "values": any_of}
        of_node["requiredDuringSchedulingIgnoredDuringExecution"] = {
            "nodeSelectorTerms": [{"matchExpressions": [fitting]}]
        }
    if of_node:
        affinity["nodeAffinity"] = of_node
    if manner.one_per_node:
        affinity["podAntiAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": OWN}, "topologyKey": HOSTNAME}
            ]
        }
    return affinity


def expires_at(pod: Mapping[str, Any]) -> Millis | None:
    """From when on anybody may delete a pod; None where it does not say so."""
    metadata = pod.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    text = annotations.get(EXPIRES_AT) if isinstance(annotations, dict) else None
    try:
        return round(datetime.fromisoformat(str(text)).timestamp() * SECOND)
    except ValueError:
        return None


def grace_seconds(pod: Mapping[str, Any]) -> int:
    """How long its deletion may take: none but where a program runs.

    With a grace a kubelet of 1.20 takes a minute to end a pod whose pull failed.
    """
    status = pod.get("status")
    phase = status.get("phase") if isinstance(status, dict) else None
    return GRACE_SECONDS if phase == "Running" else 0
