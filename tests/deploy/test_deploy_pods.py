"""The pods: what they may do, where they may write, and how their health is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy_files import container_of, of_kind, only, pod_of

if TYPE_CHECKING:
    from deploy_files import Document

RESTRICTED_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}


def test_pods_fit_the_restricted_profile(variant: list[Document]) -> None:
    """Field by field, as Kubernetes' documentation has it: "Pod Security Standards"."""
    pod, container = pod_of(variant), container_of(variant)
    # Baseline.
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
    assert "sysctls" not in pod["securityContext"]
    assert all("hostPort" not in port for port in container["ports"])
    own = container["securityContext"]
    assert not own.keys() & {"privileged", "procMount", "seLinuxOptions", "windowsOptions"}
    annotations = only(variant, "Deployment")["spec"]["template"]["metadata"].get("annotations", {})
    assert not any("apparmor" in name for name in annotations)
    # Restricted.
    assert {kind for one in pod["volumes"] for kind in one if kind != "name"} <= RESTRICTED_VOLUMES
    assert own["allowPrivilegeEscalation"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["capabilities"] == {"drop": ["ALL"]}
    # More than that.
    assert own["readOnlyRootFilesystem"] is True
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    for namespace in of_kind(variant, "Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_what_is_written_to_is_a_volume(variant: list[Document]) -> None:
    mounts = {one["mountPath"]: one for one in container_of(variant)["volumeMounts"]}
    writable = {path for path, one in mounts.items() if not one.get("readOnly")}
    sqlite = bool(of_kind(variant, "PersistentVolumeClaim"))
    assert writable == ({"/tmp", "/var/lib/syncwatch"} if sqlite else {"/tmp"})
    # Below a read-only mount nothing else can be mounted: the token of the account lies there.
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert not any(f"/var{one}/" in token or f"{one}/" in token for one in mounts)


def test_health_is_asked_on_the_port_of_the_webhooks_and_never_readyz(
    variant: list[Document],
) -> None:
    container = container_of(variant)
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[name]["httpGet"] == {"path": "/healthz", "port": "webhook"}, name
