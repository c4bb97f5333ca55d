"""What real kubelets said, as pods and events that the API would show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncwatch.model import Pulling

ROOT = Path(__file__).parent / "recordings"
SETS = sorted(one.name for one in ROOT.iterdir() if one.is_dir())

P, M, A, N = Pulling.PULLED, Pulling.MISSING, Pulling.UNAUTHORIZED, Pulling.UNREACHABLE
C, W, I = Pulling.CORRUPT, Pulling.WRONG_PLATFORM, Pulling.INCONCLUSIVE  # noqa: E741

# What may be concluded from what the kubelet said, which is less than the truth at times.
VERDICTS = {
    "01-good-digest-impossible-command": P,
    "02-good-starts": P,
    # The node held the image: its pull proves the reference only.
    "03a-present-digest-always": I,
    "03b-present-digest-ifnotpresent": I,
    "03c-present-tag-always": I,
    "03d-present-tag-ifnotpresent": I,
    "03e-present-tag-moved-ifnotpresent": I,
    "03f-present-tag-moved-always": P,
    "03g-present-blobs-gone-always": I,
    "03h-present-manifest-gone-always": M,
    "03i-content-on-node-from-another-registry": I,
    "04-tag-missing": M,
    "04b-repository-missing": M,
    "04c-bearer-404-with-right-secret": M,
    "05-digest-missing": M,
    "06-layer-blob-missing": M,
    "06b-config-blob-missing": M,
    "07-layer-corrupt-same-size": C,
    # Said in the words of a cut connection.
    "07b-layer-truncated": I,
    "07c-config-corrupt": C,
    "07d-manifest-corrupt-by-digest": C,
    "07e-layer-not-an-archive": C,
    "07f-diff-id-wrong": C,
    "08-credentials-needed-none-given": A,
    "08b-bearer-anonymous-token-then-401": A,
    "09-credentials-wrong": A,
    "09b-bearer-wrong-password": A,
    "10-credentials-right": P,
    "10b-secret-for-other-host": A,
    "10c-secret-does-not-exist": A,
    "10d-bearer-right": P,
    "10e-credentials-not-asked-again": I,
    "11-registry-down": N,
    "12-registry-hangs": I,
    "12b-behind-a-hanging-pull": P,
    "12c-hang-in-tls-handshake": I,
    "13-index-without-this-platform": W,
    "13b-single-manifest-other-platform": P,
    "14-index-with-this-platform": P,
    "14b-index-child-missing": M,
    # Another platform's manifest is missing, and no node of this one notices.
    "14c-index-other-child-missing": P,
    "15-helm-chart": I,
    "16-no-command-in-image": P,
    "16b-no-command-in-image-command-given": P,
    # Late, but pulled: the pod's deadline does nothing while an image is pulled.
    "17-deadline-while-pulling": P,
    "17b-behind-a-slow-pull": P,
    "18-unschedulable": I,
    "18b-unschedulable-with-deadline": I,
    "19-restricted-impossible-command": P,
    "19b-restricted-starts": P,
    "19c-runasnonroot-without-uid-image-root": P,
    "19d-runasnonroot-named-user": P,
    "20-tls-unknown-ca": N,
    "21-http-403": A,
    "21-http-404": M,
    "21-http-412": I,
    "21-http-429": I,
    "21-http-500": I,
    "21-http-503": I,
    "22-blob-http-403": A,
    "22-blob-http-404": M,
    "22-blob-http-429": I,
    "22-blob-http-500": I,
    # Said in the words of a truncated layer.
    "23-connection-cut-in-blob": I,
    "24-html-200": I,
    "25-invalid-image-name": I,
    "26-never-and-absent": I,
    "27-backoff-growth": M,
    "28a-delete-grace-program-ignores-sigterm": P,
    "28b-delete-grace-0": P,
    "29a-delete-in-backoff-default-grace": M,
    "29b-delete-in-backoff-grace-0": M,
    "29c-delete-in-backoff-grace-1": M,
}

IN_SET = {
    # Credentials are checked for each pod.
    ("kubernetes-1.35", "10e-credentials-not-asked-again"): A,
    # The queue stayed blocked for as long as anybody looked.
    ("kubernetes-1.35-containerd-2.1", "12b-behind-a-hanging-pull"): I,
    # It unpacks a chart as if it were an image, and says so.
    ("kubernetes-1.35-containerd-2.1", "15-helm-chart"): P,
}

HELD = (
    *("03a-present-digest-always", "03c-present-tag-always", "03g-present-blobs-gone-always"),
    "03i-content-on-node-from-another-registry",
)
"""Pods whose node had pulled the image before, of which their own events tell nothing."""


@dataclass(frozen=True)
class Line:
    """A line of a watch: a pod as it is from then on, or an event more."""

    t: float
    pod: dict[str, Any] | None
    event: dict[str, Any] | None


@dataclass(frozen=True)
class Recording:
    """One pod that a real kubelet had."""

    set: str
    name: str
    image: str
    digest: str
    lines: tuple[Line, ...]
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.set}/{self.name}"

    @property
    def verdict(self) -> Pulling:
        return IN_SET.get((self.set, self.name), VERDICTS[self.name])

    @property
    def held(self) -> bool:
        return self.name in HELD

    @property
    def pod(self) -> dict[str, Any]:
        """The pod as it was last."""
        return [line.pod for line in self.lines if line.pod is not None][-1]

    @property
    def events(self) -> list[dict[str, Any]]:
        """All of its events, in the order in which they came."""
        return [line.event for line in self.lines if line.event is not None]

    @property
    def until(self) -> float:
        return self.lines[-1].t


def recordings() -> list[Recording]:
    """All that there are; `30` and `31` are of no single pod."""
    return [
        _recording(folder)
        for one in SETS
        for folder in sorted((ROOT / one).iterdir())
        if (folder / "status.jsonl").exists() and (folder / "pod.json").exists()
    ]


def _recording(folder: Path) -> Recording:
    manifest = json.loads((folder / "pod.json").read_text())
    image = manifest["spec"]["containers"][0]["image"]
    lines = [
        Line(one["t"], _pod(manifest, one), None) for one in _read(folder / "status.jsonl")
    ] + [Line(one["t"], None, one["event"]) for one in _read(folder / "events.jsonl")]
    lines.sort(key=lambda line: line.t)
    digest = image.partition("@")[2] or _last_digest(lines)
    return Recording(folder.parent.name, folder.name, image, digest, tuple(lines), manifest)


def _read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text() if path.exists() else ""
    return [one for one in map(json.loads, text.splitlines()) if one.get("watch") != "ERROR"]


def _pod(manifest: dict[str, Any], line: dict[str, Any]) -> dict[str, Any]:
    metadata = {**manifest["metadata"], "uid": line["uid"]}
    spec = {**manifest["spec"], "nodeName": line.get("nodeName")}
    return {**manifest, "metadata": metadata, "spec": spec, "status": line.get("status") or {}}


def _last_digest(lines: list[Line]) -> str:
    """What a name served: by the node's word, for nobody else tells."""
    found = ""
    for line in lines:
        for one in (line.pod or {}).get("status", {}).get("containerStatuses", []):
            found = one.get("imageID", "").rpartition("@")[2] or found
    return found
