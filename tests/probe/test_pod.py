"""The pod: what it pulls, what it may not do, and that it fits the restricted profile."""

from __future__ import annotations

import re
from typing import Any

import pytest

from syncwatch.model import ProbeMode
from syncwatch.probe import pod

DIGEST = "sha256:" + "b" * 64
IMAGE = f"registry.cluster1.internal:5000/library/app@{DIGEST}"
ORDER = pod.Order(
    name="syncwatch-probe-abc",
    image=IMAGE,
    digest=DIGEST,
    destination="Cluster 1 / über",
    cluster="cluster1",
    architecture="",
    avoid=(),
    expires_at=1_790_000_000_000,
)


def spec(manner: pod.Manner | None = None, order: pod.Order = ORDER) -> Any:
    return pod.manifest(order, manner or pod.Manner())["spec"]


def test_it_pulls_by_digest_from_the_registry_and_never_from_the_node() -> None:
    (container,) = spec()["containers"]

    assert container["image"] == IMAGE
    assert container["imagePullPolicy"] == "Always"
    assert spec()["restartPolicy"] == "Never"


def test_in_mode_pull_its_command_cannot_exist() -> None:
    (container,) = spec()["containers"]

    assert container["command"] == ["/syncwatch-probe-no-such-command"]
    assert "args" not in container


def test_in_mode_start_it_runs_the_given_command_or_the_images_own() -> None:
    (own,) = spec(pod.Manner(mode=ProbeMode.START))["containers"]
    (given,) = spec(pod.Manner(mode=ProbeMode.START, command=("/app", "--version")))["containers"]

    assert "command" not in own
    assert given["command"] == ["/app", "--version"]


def test_with_a_carrier_the_image_is_only_mounted() -> None:
    made = spec(pod.Manner(carrier="registry.test/pause:3.10"))
    (container,) = made["containers"]

    assert container["image"] == "registry.test/pause:3.10"
    assert made["volumes"] == [
        {"name": "image", "image": {"reference": IMAGE, "pullPolicy": "Always"}}
    ]
    assert container["volumeMounts"][0]["readOnly"] is True
    assert "command" not in container


@pytest.mark.parametrize(
    "manner",
    [
        pod.Manner(),
        pod.Manner(mode=ProbeMode.START),
        pod.Manner(carrier="registry.test/pause:3.10"),
    ],
    ids=["pull", "start", "carrier"],
)
def test_it_fits_the_restricted_profile_and_has_no_token(manner: pod.Manner) -> None:
    """kubernetes.io, "Pod Security Standards", Restricted."""
    made = spec(manner)

    assert made["automountServiceAccountToken"] is False
    assert made["enableServiceLinks"] is False
    assert made["securityContext"]["runAsNonRoot"] is True
    assert made["securityContext"]["runAsUser"] > 0
    assert made["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & made.keys()
    assert {key for one in made.get("volumes", []) for key in one} <= {"name", "image"}
    for container in made["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in context
        assert container["resources"]["requests"]["cpu"] == "1m"


def test_its_own_deadline_is_later_than_ours() -> None:
    assert spec(pod.Manner(timeout=120))["activeDeadlineSeconds"] > 120


def test_it_pulls_as_workloads_do() -> None:
    made = spec(
        pod.Manner(
            pull_secrets=("one", "two"),
            service_account="workload",
            node_selector={"pool": "a"},
            tolerations=({"key": "gpu", "operator": "Exists"},),
            priority_class="low",
        )
    )

    assert made["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert made["serviceAccountName"] == "workload"
    assert made["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "a"}
    assert made["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert made["priorityClassName"] == "low"


def test_it_says_what_it_proves_in_labels_that_kubernetes_takes() -> None:
    made = pod.manifest(ORDER, pod.Manner(labels={"team": "platform"}))["metadata"]

    assert made["labels"]["app.kubernetes.io/name"] == "syncwatch-probe"
    assert made["labels"]["team"] == "platform"
    assert made["annotations"]["syncwatch/image"] == IMAGE
    assert made["annotations"]["syncwatch/destination"] == "Cluster 1 / über"
    for value in made["labels"].values():
        assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", value)


def test_a_label_of_ours_is_not_taken_away_by_the_configuration() -> None:
    made = pod.manifest(ORDER, pod.Manner(labels={"app.kubernetes.io/name": "other"}))
    assert made["metadata"]["labels"]["app.kubernetes.io/name"] == "syncwatch-probe"


def test_it_prefers_nodes_that_do_not_hold_the_image_and_nodes_without_a_probe() -> None:
    from dataclasses import replace

    made = spec(order=replace(ORDER, avoid=("node-1", "node-2"), architecture="arm64"))
    preferred = made["affinity"]["nodeAffinity"]
    (term,) = preferred["preferredDuringSchedulingIgnoredDuringExecution"]

    assert term["preference"]["matchExpressions"] == [
        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node-1", "node-2"]}
    ]
    assert made["nodeSelector"]["kubernetes.io/arch"] == "arm64"
    (apart,) = made["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert "affinity" not in spec(pod.Manner(one_per_node=False))


def test_it_says_from_when_on_anybody_may_delete_it() -> None:
    made = pod.manifest(ORDER, pod.Manner())

    assert pod.expires_at(made) == ORDER.expires_at
    for broken in ({}, {"metadata": None}, {"metadata": {"annotations": {}}}):
        assert pod.expires_at(broken) is None


def test_names_are_their_own_and_such_as_kubernetes_takes() -> None:
    names = {pod.new_name(bytes([one] * 8)) for one in range(256)}

    assert len(names) == 256
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) for name in names)
