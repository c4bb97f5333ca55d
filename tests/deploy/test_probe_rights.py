"""The rights for probes: what they are, and whom they are given to, here and elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from deploy_files import FOLDER, built, documents, only, pod_of, probe_namespace

from syncwatch.config import ClusterSettings

if TYPE_CHECKING:
    from pathlib import Path

    from deploy_files import Document


def subjects_of(path: Path) -> list[dict[str, str]]:
    return [each for one in documents(path) for each in one.get("subjects", ())]


@pytest.mark.parametrize("name", ["role.yaml", "nodes.yaml"])
def test_the_rights_for_probes_are_given_to_the_pods_account(
    variant: list[Document], name: str
) -> None:
    account = only(variant, "ServiceAccount")["metadata"]
    assert pod_of(variant)["serviceAccountName"] == account["name"]
    expected = {"kind": "ServiceAccount", "name": account["name"], "namespace": "syncwatch"}
    assert subjects_of(FOLDER / "probe" / name) == [expected]
    assert account["namespace"] == "syncwatch"


def test_the_account_of_another_cluster_is_the_one_with_the_rights() -> None:
    found = documents(FOLDER / "probe/remote.yaml")
    account = only(found, "ServiceAccount")["metadata"]
    for name in ("role.yaml", "nodes.yaml"):
        (subject,) = subjects_of(FOLDER / "probe" / name)
        assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    secret = only(found, "Secret")
    annotations = secret["metadata"]["annotations"]
    assert annotations == {"kubernetes.io/service-account.name": account["name"]}
    script = (FOLDER / "probe/kubeconfig.sh").read_text()
    assert f"-n {account['namespace']} get secret {secret['metadata']['name']}" in script
    assert f"namespace: {probe_namespace()}" in script


def test_the_role_is_for_the_namespace_where_probes_are_made() -> None:
    found = built(FOLDER / "probe")
    default = ClusterSettings(name="own", probe={"mode": "pull"}).probe.namespace  # type: ignore[arg-type]
    assert {one["metadata"]["namespace"] for one in found if one["kind"] != "Namespace"} == {
        default
    }
    assert probe_namespace() == default
    rules = only(found, "Role")["rules"]
    assert not any("*" in each for rule in rules for each in (rule["verbs"], rule["resources"]))
    assert {one for rule in rules for one in rule["resources"]} == {"pods", "events"}
