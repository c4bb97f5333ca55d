"""What a real API server (Debian's 1.20) makes of deploy/kubernetes: it takes it, or says why not.

No pod runs here: that is test_in_a_cluster.py.
"""

from __future__ import annotations

import base64
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from deploy_files import (
    FOLDER,
    VARIANTS,
    built,
    built_by_kubectl,
    documents,
    kubectl,
    name_of,
    only,
    path_of,
)
from servers.kubernetes.cluster import kubernetes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers.kubernetes.cluster import Kubernetes

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.real,
    pytest.mark.slow,
    # The first of them may have to wait until the programs are built.
    pytest.mark.timeout(300, func_only=True),
]

UNKNOWN_TO_1_20 = {"PodDisruptionBudget": "policy/v1 came with 1.21"}
"""What current clusters have and this one has not."""
OF_THE_OPERATOR = {"PodMonitor", "PrometheusRule"}
"""Kinds of the Prometheus Operator, which no Kubernetes has by itself."""

NOWHERE = {
    "automountServiceAccountToken": False,
    "nodeSelector": {"nowhere": ""},
    "containers": [{"name": "one", "image": "one"}],
}
"""A pod that stays where it was made."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kubernetes]:
    with kubernetes() as one:
        yield one


def create(cluster: Kubernetes, found: list[dict[str, Any]]) -> list[str]:
    """Create all that this API server knows, in the order of the files; what it does not know."""
    unknown = []
    for one in found:
        status, answer = cluster.request("POST", path_of(one), one)
        if one["kind"] in UNKNOWN_TO_1_20 or one["kind"] in OF_THE_OPERATOR:
            assert status == 404, f"{name_of(one)}: {answer}"
            unknown.append(one["kind"])
        else:
            assert status == 201, f"{name_of(one)}: {answer}"
            same_in(one, answer, name_of(one))
    return unknown


def same_in(written: Any, kept: Any, where: str) -> None:
    """Nothing that is written was dropped: the API server does not complain of what it ignores."""
    if isinstance(written, dict):
        for name, value in written.items():
            assert name in kept, f"{where}.{name} is not known"
            same_in(value, kept[name], f"{where}.{name}")
    elif isinstance(written, list):
        assert len(written) == len(kept), where
        for number, value in enumerate(written):
            same_in(value, kept[number], f"{where}[{number}]")
    elif not where.endswith(("cpu", "memory", "storage", "sizeLimit")):
        assert written == kept, where


def clear(cluster: Kubernetes, found: list[dict[str, Any]]) -> None:
    # Namespaces stay: no controller is here that would empty one.
    for one in found:
        if one["kind"] != "Namespace":
            cluster.request("DELETE", f"{path_of(one)}/{one['metadata']['name']}")


@pytest.mark.parametrize("name", VARIANTS)
def test_it_takes_all_that_is_applied(cluster: Kubernetes, name: str) -> None:
    found = built(VARIANTS[name])
    unknown = create(cluster, without_namespaces_that_are_there(cluster, found))
    assert unknown == (["PodDisruptionBudget"] if name == "postgresql" else [])
    clear(cluster, found)


def without_namespaces_that_are_there(
    cluster: Kubernetes, found: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    def there(one: dict[str, Any]) -> bool:
        path = f"{path_of(one)}/{one['metadata']['name']}"
        return one["kind"] == "Namespace" and cluster.request("GET", path)[0] == 200

    return [one for one in found if not there(one)]


def test_one_variant_takes_the_place_of_the_other(cluster: Kubernetes, tmp_path: Path) -> None:
    """By `kubectl apply`, over what is there: to PostgreSQL, and back."""
    for name in ("sqlite", "postgresql", "sqlite"):
        found = built_by_kubectl(VARIANTS[name], tmp_path)
        known = [one for one in found if one["kind"] not in UNKNOWN_TO_1_20]
        apply(cluster, tmp_path, known)
        path = "/apis/apps/v1/namespaces/syncwatch/deployments/syncwatch"
        _, deployment = cluster.request("GET", path)
        wanted = only(found, "Deployment")
        same_in(wanted["spec"], deployment["spec"], name)
        assert deployment["spec"]["strategy"] == wanted["spec"]["strategy"]
        assert ("store" in map(_name, deployment["spec"]["template"]["spec"]["volumes"])) is (
            name == "sqlite"
        )
    clear(cluster, known)


def _name(one: dict[str, Any]) -> str:
    return str(one["name"])


def apply(cluster: Kubernetes, folder: Path, found: list[dict[str, Any]]) -> None:
    subprocess.run(
        [kubectl(), f"--kubeconfig={cluster.kubeconfig(folder / 'admin')}", "apply", "-f", "-"],
        input=yaml.safe_dump_all(found).encode(),
        env={**os.environ, "HOME": str(folder)},
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_it_takes_the_options_that_it_has_the_kind_for(cluster: Kubernetes) -> None:
    names = ("networkpolicy.yaml", "ingress.yaml", "podmonitor.yaml")
    found = [one for name in names for one in documents(FOLDER / name)]
    namespace = documents(FOLDER / "common/namespace.yaml")
    create(cluster, without_namespaces_that_are_there(cluster, namespace))
    assert create(cluster, found) == ["PodMonitor"]
    clear(cluster, found)


def test_it_refuses_the_example_of_a_secret(cluster: Kubernetes) -> None:
    namespace = documents(FOLDER / "common/namespace.yaml")
    create(cluster, without_namespaces_that_are_there(cluster, namespace))
    (secret,) = documents(FOLDER / "secret.example.yaml")
    status, answer = cluster.request("POST", path_of(secret), secret)
    assert status == 400
    assert "base64" in answer["message"]


def test_the_account_of_another_cluster_may_probe_and_do_nothing_else(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    """With the files and the script that docs/deploy.md names, in their order."""
    files = ("namespace.yaml", "role.yaml", "remote.yaml")
    found = [one for name in files for one in documents(FOLDER / "probe" / name)]
    create(cluster, without_namespaces_that_are_there(cluster, found))
    # The account that pods have, which a controller makes elsewhere.
    accounts = "/api/v1/namespaces/syncwatch-probe/serviceaccounts"
    cluster.make(accounts, {"metadata": {"name": "default"}})
    token = give_token(cluster)

    def may(method: str, path: str, body: Any = None) -> bool:
        status, answer = cluster.request(method, path, body, token=token)
        assert status in (200, 201, 403, 404, 422), answer
        return status != 403

    probes, events = "/api/v1/namespaces/syncwatch-probe/pods", "events?limit=1"
    assert may("GET", probes)
    assert may("GET", f"{probes}/one")
    assert may("POST", probes, {"metadata": {"name": "one"}, "spec": NOWHERE})
    assert may("DELETE", f"{probes}/one")
    assert may("GET", f"/api/v1/namespaces/syncwatch-probe/{events}")
    assert not may("GET", "/api/v1/namespaces/syncwatch-probe/secrets")
    assert not may("GET", f"{probes}/one/log")
    assert not may("POST", f"{probes}/one/exec")
    assert not may("PATCH", f"{probes}/one")
    for name in ("syncwatch", "default", "kube-system"):
        for what in ("pods", "secrets", "configmaps"):
            assert not may("GET", f"/api/v1/namespaces/{name}/{what}")
    assert not may("GET", "/api/v1/nodes")
    nodes = documents(FOLDER / "probe/nodes.yaml")
    create(cluster, nodes)
    assert may("GET", "/api/v1/nodes")
    assert not may("GET", "/api/v1/nodes/node-1")
    clear(cluster, nodes)

    kubectl()
    made = yaml.safe_load(script(cluster, tmp_path))
    (there,), (user,) = made["clusters"], made["users"]
    assert there["cluster"]["server"] == cluster.url
    assert base64.b64decode(there["cluster"]["certificate-authority-data"]) == b"an authority"
    assert user["user"] == {"token": token}
    (context,) = made["contexts"]
    assert made["current-context"] == context["name"]
    assert context["context"]["namespace"] == "syncwatch-probe"
    assert script(cluster, tmp_path, SERVER="https://elsewhere:6443") != script(cluster, tmp_path)


def give_token(cluster: Kubernetes) -> str:
    """Fill the Secret of the token, as the controller does that is not here; the token."""
    account = "/api/v1/namespaces/syncwatch/serviceaccounts/syncwatch"
    answer = cluster.make(
        f"{account}/token",
        {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}},
    )
    token = str(answer["status"]["token"])
    path = "/api/v1/namespaces/syncwatch/secrets/syncwatch-token"
    _, secret = cluster.request("GET", path)
    data = {"token": token.encode(), "ca.crt": b"an authority"}
    secret["data"] = {name: base64.b64encode(value).decode() for name, value in data.items()}
    status, answer = cluster.request("PUT", path, secret)
    assert status == 200, answer
    return token


def script(cluster: Kubernetes, folder: Path, **environment: str) -> str:
    """What kubeconfig.sh prints."""
    done = subprocess.run(
        [
            str(FOLDER / "probe/kubeconfig.sh"),
            f"--kubeconfig={cluster.kubeconfig(folder / 'admin')}",
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        check=True,
        capture_output=True,
        timeout=60,
    )
    return done.stdout.decode()
