"""The files of deploy/kubernetes as documents, and where an API server takes them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).parents[2]
FOLDER = TOP / "deploy/kubernetes"
VARIANTS = {"sqlite": FOLDER, "postgresql": FOLDER / "postgresql"}

PLURALS = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}
CLUSTER_WIDE = ("Namespace", "ClusterRole", "ClusterRoleBinding", "PersistentVolume")

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    """All documents of one file."""
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def built(folder: Path) -> list[Document]:
    """What `kubectl apply -k` would apply of a folder whose kustomization only lists resources."""
    (kustomization,) = documents(folder / "kustomization.yaml")
    assert kustomization.keys() <= {"apiVersion", "kind", "resources", "images"}
    found: list[Document] = []
    for name in kustomization["resources"]:
        path = folder / name
        found += built(path) if path.is_dir() else documents(path)
    return found


def kubectl() -> str:
    """Where kubectl is. Skips where it is missing, in CI too: Debian's is too old to be asked."""
    path = shutil.which("kubectl")
    if path is None:
        pytest.skip("kubectl is not installed")
    return path


def built_by_kubectl(folder: Path, home: Path) -> list[Document]:
    """What `kubectl apply -k` applies; `home` is where it may write."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(folder)],
        env={**os.environ, "HOME": str(home)},
        check=True,
        capture_output=True,
        timeout=60,
    )
    return list(yaml.safe_load_all(done.stdout))


def of_kind(found: list[Document], kind: str) -> list[Document]:
    return [one for one in found if one["kind"] == kind]


def only(found: list[Document], kind: str) -> Document:
    (one,) = of_kind(found, kind)
    return one


def name_of(document: Document) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def pod_of(found: list[Document]) -> Document:
    return dict(only(found, "Deployment")["spec"]["template"]["spec"])


def container_of(found: list[Document]) -> Document:
    (one,) = pod_of(found)["containers"]
    return dict(one)


def configuration(found: list[Document]) -> str:
    return str(only(found, "ConfigMap")["data"]["syncwatch.yml"])


def path_of(document: Document) -> str:
    """Where such a document is created."""
    group, kind = document["apiVersion"], document["kind"]
    root = f"/api/{group}" if "/" not in group else f"/apis/{group}"
    if kind not in CLUSTER_WIDE:
        root += f"/namespaces/{document['metadata']['namespace']}"
    return f"{root}/{PLURALS.get(kind, kind.lower() + 's')}"


def probe_namespace() -> str:
    return str(only(built(FOLDER / "probe"), "Namespace")["metadata"]["name"])
