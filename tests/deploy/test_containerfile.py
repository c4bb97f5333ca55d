"""The Containerfile: what the image is built from, and that it fits the manifests."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from typing import TYPE_CHECKING

import pytest
from deploy_files import TOP, container_of, pod_of

from syncwatch import __version__

if TYPE_CHECKING:
    from deploy_files import Document


def instructions() -> list[tuple[str, str]]:
    text = (TOP / "Containerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", "")
    lines = [one.partition(" ") for one in text.splitlines() if one]
    return [(name, " ".join(rest.split())) for name, _, rest in lines]


def last_stage() -> list[tuple[str, str]]:
    every = instructions()
    begin = max(number for number, (name, _) in enumerate(every) if name == "FROM")
    return every[begin:]


def test_the_image_is_built_from_the_lock_by_hash_with_the_extras_there_are() -> None:
    runs = " && ".join(rest for name, rest in instructions() if name == "RUN")
    assert "--require-hashes --only-binary :all: -r requirements.lock" in runs
    # After the hashes were compared nothing comes from anywhere else.
    for command in re.findall(r"pip\S* (?:--python \S+ )?(?:install|wheel) [^&]*", runs):
        assert "--no-index" in command, command
    extras = re.findall(r"syncwatch\[([\w,]+)\]", runs)
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert [set(one.split(",")) for one in extras] == [set(project["optional-dependencies"])]


def test_the_image_is_of_this_version_and_runs_as_the_pods_user(variant: list[Document]) -> None:
    stage = last_stage()
    assert ("ARG", f"VERSION={__version__}") in stage
    assert [rest for name, rest in stage if name == "USER"] == ["65532:65532"]
    security = pod_of(variant)["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (65532, 65532)
    assert ("ENTRYPOINT", '["syncwatch"]') in stage
    assert not [one for one in stage if one[0] == "RUN"], "the last stage is only copied to"
    ports = " ".join(str(one["containerPort"]) for one in container_of(variant)["ports"])
    assert ("EXPOSE", ports) in stage


def test_all_that_the_image_is_built_from_gets_to_the_builder() -> None:
    ignored = (TOP / ".containerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source.removeprefix("./")
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert "*" in ignored
    assert copied == let_in
    # What a file of the package is a link to has to come along.
    for link in (one for one in (TOP / "syncwatch").rglob("*") if one.is_symlink()):
        target = str(link.resolve().relative_to(TOP))
        assert any(target.startswith(f"{one}/") for one in copied), target


@pytest.mark.parametrize("name", ["deploy/kubernetes/probe/kubeconfig.sh", "tests/deploy/prepare"])
def test_scripts_can_be_started_and_read(name: str) -> None:
    path = TOP / name
    assert os.access(path, os.X_OK)
    shell = "sh" if path.read_text().startswith("#!/bin/sh\n") else "bash"
    subprocess.run([shell, "-n", str(path)], check=True, timeout=10)
