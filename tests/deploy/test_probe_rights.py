"""The rights for probes: what they are, and whom they are given to, here and elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from deploy_files import FOLDER, TOP, built, documents, only, pod_of, probe_namespace

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


KUBECTL = """\
#!/bin/sh
case "$*" in
*crt*) printf Y2E= ;;
*token*) printf dDBrZW4= ;;
*) printf https://cluster.example.com:6443 ;;
esac
"""


@pytest.mark.parametrize("told_in", ["docs/deploy.md", "deploy/kubernetes/probe/kubeconfig.sh"])
def test_a_kubeconfig_made_as_it_is_told_is_for_nobody_else_to_read(
    told_in: str, tmp_path: Path
) -> None:
    script = "deploy/kubernetes/probe/kubeconfig.sh"
    lines = (TOP / told_in).read_text(encoding="utf-8").splitlines()
    (line,) = [one.lstrip("# ") for one in lines if "kubeconfig.sh --context" in one]
    (tmp_path / script).parent.mkdir(parents=True)
    shutil.copy(TOP / script, tmp_path / script)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/kubectl").write_text(KUBECTL)
    (tmp_path / "bin/kubectl").chmod(0o755)
    where = (tmp_path / script).parent if "./kubeconfig.sh" in line else tmp_path

    subprocess.run(
        ["sh", "-c", f"umask 022\n{line}"],
        cwd=where,
        env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        check=True,
        timeout=30,
    )

    made = where / line.rpartition("> ")[2].rstrip(")")
    assert made.stat().st_mode & 0o777 == 0o600
    (user,) = yaml.safe_load(made.read_text())["users"]
    assert user["user"]["token"] == "t0ken"


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
