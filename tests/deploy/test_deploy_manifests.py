"""deploy/kubernetes and the Containerfile: each file by itself, and that they agree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml
from deploy_files import (
    FOLDER,
    TOP,
    VARIANTS,
    built,
    built_by_kubectl,
    configuration,
    container_of,
    documents,
    of_kind,
    only,
    pod_of,
    probe_namespace,
)

from syncwatch import __version__
from syncwatch.config import load

if TYPE_CHECKING:
    from pathlib import Path

    from deploy_files import Document

FILES = sorted(FOLDER.rglob("*.yaml"))
APPLIED = [path for path in FILES if path.name not in ("kustomization.yaml", "secret.example.yaml")]
BY_HAND = {
    # Options, which a cluster may lack the kind for, or a user the wish.
    "networkpolicy.yaml",
    "ingress.yaml",
    "podmonitor.yaml",
    "prometheusrule.yaml",
    "secret.example.yaml",
    "probe/nodes.yaml",
    "probe/remote.yaml",
}
NAME = "app.kubernetes.io/name"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_file_is_of_documents_that_have_a_kind_and_a_name(path: Path) -> None:
    found = documents(path)
    assert found
    for one in found:
        assert one["apiVersion"] and one["kind"]
        assert path.name == "kustomization.yaml" or one["metadata"]["name"]


def test_every_file_is_in_a_kustomization_or_known_to_be_applied_by_itself() -> None:
    named = {
        str((path.parent / name).resolve().relative_to(FOLDER))
        for path in FOLDER.rglob("kustomization.yaml")
        for name in documents(path)[0]["resources"]
    }
    files = {str(one.relative_to(FOLDER)) for one in FILES if one.name != "kustomization.yaml"}
    assert {one for one in named if one.endswith(".yaml")} == files - BY_HAND
    assert {one for one in named if not one.endswith(".yaml")} == {"common"}


@pytest.mark.parametrize("folder", [".", "common", "postgresql", "probe"])
def test_what_a_kustomization_offers_in_a_comment_is_there(folder: str) -> None:
    path = FOLDER / folder / "kustomization.yaml"
    for name in re.findall(r"^  # - (\S+)", path.read_text(), flags=re.MULTILINE):
        assert (path.parent / name).exists(), name


@pytest.mark.parametrize("folder", [".", "postgresql", "probe"])
def test_kubectl_builds_what_is_tested_here(folder: str, tmp_path: Path) -> None:
    def in_order(found: list[Document]) -> list[Document]:
        return sorted(found, key=lambda one: (one["kind"], one["metadata"]["name"]))

    path = FOLDER / folder
    assert in_order(built_by_kubectl(path, tmp_path)) == in_order(built(path))


@pytest.mark.parametrize("path", APPLIED, ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_document_names_its_namespace(path: Path) -> None:
    for one in documents(path):
        wide = ("Namespace", "ClusterRole", "ClusterRoleBinding", "PrometheusRule")
        within = one["metadata"].get("namespace")
        assert (within in ("syncwatch", "syncwatch-probe")) is (one["kind"] not in wide), one[
            "kind"
        ]


def test_the_image_is_named_once_and_is_of_this_version(variant: list[Document]) -> None:
    name, _, version = container_of(variant)["image"].rpartition(":")
    assert version == __version__
    for folder in VARIANTS.values():
        (kustomization,) = documents(folder / "kustomization.yaml")
        (image,) = kustomization["images"]
        assert (image["name"], str(image["newTag"])) == (name, __version__)


def files_of(variant: list[Document], root: Path, secret: dict[str, str]) -> None:
    """The container's files below `root`, as the kubelet makes them of ConfigMap and Secrets."""
    volumes = {one["name"]: one for one in pod_of(variant)["volumes"]}
    for mount in container_of(variant)["volumeMounts"]:
        folder = root / mount["mountPath"].lstrip("/")
        folder.mkdir(parents=True)
        volume = volumes.pop(mount["name"])
        if "secret" in volume:
            assert volume["secret"]["secretName"] == "syncwatch"
            for name, value in secret.items():
                (folder / name).write_text(value)
        for source in volume.get("projected", {}).get("sources", ()):
            if "configMap" in source:
                assert source["configMap"]["name"] == only(variant, "ConfigMap")["metadata"]["name"]
                (folder / "syncwatch.yml").write_text(configuration(variant))
        assert "subPath" not in mount
    assert not volumes, "volumes that are not mounted"


def as_seen_in(root: Path, path: Path) -> None:
    """Absolute paths of the container's, in a file below `root`."""
    changed = re.sub(r"(?<=_file: )/", f"{root}/", path.read_text())
    changed = re.sub(r"(?<=kubeconfig: )/", f"{root}/", changed)
    path.write_text(changed)


def example_secret() -> dict[str, str]:
    (secret,) = documents(FOLDER / "secret.example.yaml")
    return dict.fromkeys(secret["data"], "a value\n")


def test_the_configuration_is_good_where_the_pod_has_its_files(
    variant: list[Document], tmp_path: Path
) -> None:
    files_of(variant, tmp_path, example_secret())
    arguments = container_of(variant)["args"]
    assert arguments[:2] == ["serve", "-c"]
    path = tmp_path / arguments[2].lstrip("/")
    as_seen_in(tmp_path, path)
    settings = load(path)

    ports = {one["name"]: one["containerPort"] for one in container_of(variant)["ports"]}
    assert (settings.webhook_listen.host, settings.webhook_listen.port) == (
        "0.0.0.0",
        ports["webhook"],
    )
    assert (settings.listen.host, settings.listen.port) == ("0.0.0.0", ports["metrics"])
    assert settings.api_token is not None


def test_the_settings_that_are_offered_in_a_comment_are_good(
    variant: list[Document], tmp_path: Path
) -> None:
    """With probes in this cluster and in another one."""
    files_of(variant, tmp_path, example_secret())
    path = tmp_path / "etc/syncwatch/syncwatch.yml"
    uncommented = re.sub(
        r"^( *)# (?=( *- name|clusters:| +probe:| +kubeconfig:|cluster:|pull_host:))",
        r"\1",
        path.read_text(),
        flags=re.MULTILINE,
    )
    assert uncommented != path.read_text()
    path.write_text(uncommented)
    (tmp_path / "etc/syncwatch/cluster2").write_text("a kubeconfig")
    as_seen_in(tmp_path, path)
    own, other = load(path).clusters
    assert (own.kubeconfig, own.probe.is_on) == (None, True)
    assert other.kubeconfig is not None
    assert own.probe.namespace == other.probe.namespace == probe_namespace()


def test_the_example_of_a_secret_has_what_the_configuration_names_and_no_more() -> None:
    named = {
        one
        for folder in VARIANTS.values()
        for one in re.findall(r"/run/secrets/syncwatch/(\w+)", configuration(built(folder)))
    }
    assert named == example_secret().keys()


def test_no_secret_is_in_any_manifest() -> None:
    for path in APPLIED:
        for one in of_kind(documents(path), "Secret"):
            assert one["type"] == "kubernetes.io/service-account-token"
            assert not one.keys() & {"data", "stringData"}


def test_sqlite_lies_on_the_claim_and_never_has_two_writers() -> None:
    found = built(FOLDER)
    spec = only(found, "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    store = next(line for line in configuration(found).splitlines() if line.startswith("store:"))
    (mount,) = [one for one in container_of(found)["volumeMounts"] if one["name"] == "store"]
    assert store.startswith(f"store: sqlite:///{mount['mountPath']}/")
    (volume,) = [one for one in pod_of(found)["volumes"] if one["name"] == "store"]
    claim = only(found, "PersistentVolumeClaim")
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_on_postgresql_replicas_are_replaced_one_by_one() -> None:
    found = built(FOLDER / "postgresql")
    spec = only(found, "Deployment")["spec"]
    assert spec["replicas"] > 1
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert not of_kind(found, "PersistentVolumeClaim")
    assert yaml.safe_load(configuration(found))["store"].startswith("postgresql://")
    labels = spec["template"]["metadata"]["labels"]
    assert only(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    (term,) = pod_of(found)["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == labels


def test_the_two_differ_in_nothing_but_the_store_and_the_number() -> None:
    sqlite, postgresql = built(FOLDER), built(FOLDER / "postgresql")
    one, other = pod_of(sqlite), pod_of(postgresql)
    for pod in (one, other):
        pod.pop("affinity", None)
        pod["securityContext"].pop("fsGroupChangePolicy", None)
        (container,) = pod["containers"]
        container.pop("lifecycle", None)
        for part in (pod["volumes"], container["volumeMounts"]):
            part[:] = [each for each in part if each["name"] != "store"]
    assert one == other
    lines = [
        [line for line in configuration(found).splitlines() if not line.startswith("store")]
        for found in (sqlite, postgresql)
    ]
    assert lines[0] == lines[1]


def test_services_lead_to_the_pods_and_to_one_port_each(variant: list[Document]) -> None:
    template = only(variant, "Deployment")["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert only(variant, "Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    ports = {one["name"]: one["containerPort"] for one in container_of(variant)["ports"]}
    led = {}
    for service in of_kind(variant, "Service"):
        assert service["spec"]["selector"].items() <= labels.items()
        (port,) = service["spec"]["ports"]
        assert ports[port["targetPort"]] == port["port"]
        led[service["metadata"]["name"]] = port["targetPort"]
    assert led == {"syncwatch-webhook": "webhook", "syncwatch-web": "metrics"}


def test_prometheus_finds_the_pods(variant: list[Document]) -> None:
    (monitor,) = documents(FOLDER / "podmonitor.yaml")
    template = only(variant, "Deployment")["spec"]["template"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= template["metadata"]["labels"].items()
    assert template["metadata"]["labels"][NAME] == "syncwatch"
    assert monitor["metadata"]["namespace"] == only(variant, "Deployment")["metadata"]["namespace"]
    ports = {one["name"] for one in container_of(variant)["ports"]}
    assert {one["port"] for one in monitor["spec"]["podMetricsEndpoints"]} <= ports


def test_the_way_in_from_outside_leads_to_webhooks_only(variant: list[Document]) -> None:
    (ingress,) = documents(FOLDER / "ingress.yaml")
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["path"] == "/webhook/"
    (service,) = [
        one
        for one in of_kind(variant, "Service")
        if one["metadata"]["name"] == path["backend"]["service"]["name"]
    ]
    (port,) = service["spec"]["ports"]
    assert port["name"] == path["backend"]["service"]["port"]["name"] == "webhook"


def test_the_network_policy_is_for_these_pods_and_ports(variant: list[Document]) -> None:
    (policy,) = documents(FOLDER / "networkpolicy.yaml")
    labels = only(variant, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    ports = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert ports == {one["name"] for one in container_of(variant)["ports"]}


def test_every_file_that_the_page_names_is_there() -> None:
    page = (TOP / "docs/deploy.md").read_text()
    named = {
        one.rstrip(".") for one in re.findall(r"(?:deploy/kubernetes|tests/deploy)[\w/.-]*", page)
    }
    assert len(named) > 5
    assert [one for one in named if not (TOP / one).exists()] == []
    files = set(re.findall(r"`([\w/.-]+\.(?:yaml|sh))`", page)) - {"kustomization.yaml"}
    known = {str(one.relative_to(FOLDER)) for one in FOLDER.rglob("*.*")}
    assert {
        one for one in files if not any(f"/{two}".endswith(f"/{one}") for two in known)
    } == set()
