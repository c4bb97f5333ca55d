"""The cluster: etcd, API server, scheduler and one node; users by token, rights by RBAC."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from servers import free_port
from servers.kubernetes.node import PAUSE, Node, Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILD = Path(__file__).parents[3] / ".ci/kubernetes"
ADMIN, SCHEDULER, KUBELET, NOBODY = "admin-token", "scheduler-token", "kubelet-token", "own-token"
"""The tokens; NOBODY is that of the user `syncwatch`, who may do what a test lets him."""

USER = "syncwatch"
TOKENS = f"""\
{ADMIN},admin,1,"system:masters"
{SCHEDULER},system:kube-scheduler,2
{KUBELET},system:node:node-1,3,"system:nodes"
{NOBODY},{USER},4
"""

AUDIT = f"""\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {{level: Metadata, users: [{USER}]}}
  - {{level: None}}
"""


@dataclass(frozen=True)
class Asked:
    """A request of the user `syncwatch`: `what` is as rights write it, `pods` or `nodes`."""

    verb: str
    what: str
    code: int


def programs() -> Path:
    """Where the programs are. Skips where there are none; under CI=true they are built."""
    ci = os.environ.get("CI", "").lower() == "true"
    command = [str(BUILD)] if ci else [str(BUILD), "--check"]
    done = subprocess.run(command, capture_output=True, timeout=900, check=False)
    if done.returncode:
        words = done.stderr.decode().strip().splitlines()[-1:] or ["no Kubernetes for tests"]
        if ci:
            pytest.fail(done.stderr.decode()[-2000:])
        pytest.skip(words[0])
    return Path(done.stdout.decode().strip())


@dataclass
class Kubernetes:
    """A running cluster."""

    url: str
    node: Node
    processes: Processes
    folder: Path
    took: float = 0.0
    to_run: set[str] = field(default_factory=set)
    """Images that tests had the node run: of all others nothing may ever have been started."""
    _namespaces: list[str] = field(default_factory=list)

    def request(
        self, method: str, path: str, body: Any = None, *, token: str = ADMIN
    ) -> tuple[int, Any]:
        """(status, JSON) of a request to the API."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=15, context=_unverified()) as answer:
                return answer.status, _read(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _read(error.read())

    def make(self, path: str, document: dict[str, Any]) -> Any:
        """Create something; an error fails the test with the server's own words."""
        status, answer = self.request("POST", path, document)
        assert status in (200, 201, 409), answer
        return answer

    def namespace(self, name: str, **labels: str) -> str:
        """A namespace with the service account that pods need, of which no controller is here."""
        metadata = {"name": name, "labels": labels}
        self.make("/api/v1/namespaces", {"metadata": metadata})
        self.make(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
        return name

    def pull_secret(self, namespace: str, name: str, host: str, user: str, password: str) -> None:
        """A secret to pull with, as `kubectl create secret docker-registry` makes it."""
        login = {"auths": {host: {"username": user, "password": password}}}
        self.make(
            f"/api/v1/namespaces/{namespace}/secrets",
            {
                "metadata": {"name": name},
                "type": "kubernetes.io/dockerconfigjson",
                "stringData": {".dockerconfigjson": json.dumps(login)},
            },
        )

    @contextmanager
    def knows_secret(self, namespace: str, name: str) -> Iterator[None]:
        """The node's kubelet has a secret while this lasts, as where a workload uses it.

        The first pod with a secret may have to pull without: its kubelet waits a second for it,
        and is refused at first where the API server's authorizer has not heard yet that such a pod
        is on that node ("no relations"; 1.20, one in six of an idle machine).
        """
        pods = f"/api/v1/namespaces/{namespace}/pods"
        holder = f"holds-{name}"
        self.make(
            pods,
            {
                "metadata": {"name": holder},
                "spec": {
                    "nodeName": self.node.name,
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "name": "holder",
                            "image": PAUSE,
                            "imagePullPolicy": "Never",
                            "volumeMounts": [{"name": "secret", "mountPath": "/secret"}],
                        }
                    ],
                    "volumes": [{"name": "secret", "secret": {"secretName": name}}],
                },
            },
        )

        def runs() -> bool:
            pod = self.request("GET", f"{pods}/{holder}")[1]
            return bool(pod["status"]["phase"] == "Running")

        try:
            # A secret is mounted only by a kubelet that has it.
            _until(runs, self.processes, "kubelet", 60)
            yield
        finally:
            self.request("DELETE", f"{pods}/{holder}", {"gracePeriodSeconds": 0})

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        """All pods that the API knows there."""
        _, listed = self.request("GET", f"/api/v1/namespaces/{namespace}/pods")
        return list(listed["items"])

    def asked(self) -> list[Asked]:
        """All that the user `syncwatch` has asked of the API; a watch is told when it has ended."""
        found = []
        whole, _, _ = (self.folder / "audit.log").read_text().rpartition("\n")
        for line in whole.splitlines():
            told = json.loads(line)
            what = told.get("objectRef", {})
            names = [what.get("resource", ""), what.get("subresource")]
            code = told.get("responseStatus", {}).get("code", 0)
            found.append(Asked(told["verb"], "/".join(filter(None, names)), code))
        return found

    def kubeconfig(self, path: Path, token: str = ADMIN) -> Path:
        """A kubeconfig that leads here."""
        path.write_text(yaml.safe_dump(_kubeconfig(self.url, token)))
        path.chmod(0o600)
        return path


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _kubeconfig(url: str, token: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [
            {"name": "tests", "cluster": {"server": url, "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "user"}}],
    }


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextmanager
def kubernetes() -> Iterator[Kubernetes]:
    """A cluster with one node, which is Ready."""
    found = programs()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="k8s-", dir="/tmp"))
    processes = Processes(folder)
    node = Node(found, folder, processes, folder / "kubelet.kubeconfig", f"k8s{os.getpid()}"[:15])
    port = free_port()
    one = Kubernetes(f"https://127.0.0.1:{port}", node, processes, folder)
    try:
        _control_plane(one, found, port)
        node.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(one.url, KUBELET)))
        node.start(free_port())
        _until(lambda: _is_ready(one), processes, "kubelet", 60)
        one.took = time.monotonic() - began
        yield one
    finally:
        node.stop()
        for name in ("scheduler", "apiserver", "etcd"):
            processes.stop(name)
        node.remove()


def _control_plane(one: Kubernetes, programs: Path, port: int) -> None:
    folder, start = one.folder, one.processes.start
    client, peer = free_port(), free_port()
    start(
        "etcd",
        "etcd",
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
    )
    (folder / "tokens.csv").write_text(TOKENS)
    (folder / "audit.yaml").write_text(AUDIT)
    (folder / "audit.log").touch()
    key = folder / "accounts.key"
    subprocess.run(
        ["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True, timeout=30
    )
    start(
        "apiserver",
        str(programs / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{client}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--advertise-address=198.51.100.1",
        "--endpoint-reconciler-type=none",
        f"--token-auth-file={folder}/tokens.csv",
        f"--audit-policy-file={folder}/audit.yaml",
        f"--audit-log-path={folder}/audit.log",
        "--authorization-mode=Node,RBAC",
        "--service-cluster-ip-range=10.198.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={key}",
        f"--service-account-key-file={key}",
        f"--cert-dir={folder}/apiserver",
    )
    _until(lambda: one.request("GET", "/readyz")[0] == 200, one.processes, "apiserver", 60)
    config = folder / "scheduler.kubeconfig"
    config.write_text(yaml.safe_dump(_kubeconfig(one.url, SCHEDULER)))
    start(
        "scheduler",
        str(programs / "kube-scheduler"),
        f"--kubeconfig={config}",
        "--leader-elect=false",
        "--port=0",
        "--secure-port=0",
    )


def _is_ready(one: Kubernetes) -> bool:
    status, node = one.request("GET", f"/api/v1/nodes/{one.node.name}")
    if status != 200:
        return False
    conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", [])}
    tainted = bool(node["spec"].get("taints"))
    if conditions.get("Ready") == "True" and tainted:
        # Nobody here takes away the taint of a node that was not ready.
        patched = {**node, "spec": {k: v for k, v in node["spec"].items() if k != "taints"}}
        one.request("PUT", f"/api/v1/nodes/{one.node.name}", patched)
    return conditions.get("Ready") == "True" and not tainted


def _until(done: Any, processes: Processes, name: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        process = processes.running[name]
        assert process.poll() is None, processes.said(name)
        try:
            if done():
                return
        except OSError:
            pass
        assert time.monotonic() < end, processes.said(name)
        time.sleep(0.2)
