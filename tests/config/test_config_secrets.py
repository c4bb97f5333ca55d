"""Secrets follow their files, and never show."""

from __future__ import annotations

import base64
import json
import logging
import os
from typing import TYPE_CHECKING

import pytest

from syncwatch.config import (
    DestinationSettings,
    DockerConfigCredential,
    HarborSettings,
    Login,
    PasswordCredential,
    Secret,
    WebhookSettings,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_follows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old\n")
    secret = Secret(file=file)
    assert secret.value() == "old"

    file.write_text("new one\r\n")

    assert secret.value() == "new one"
    assert secret.problem is None


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    file, other = tmp_path / "secret", tmp_path / "other"
    file.write_text("old\n")
    secret = Secret(file=file)
    assert secret.value() == "old"
    other.write_text("new\n")
    status = file.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))

    other.replace(file)

    assert secret.value() == "new"


def test_the_swap_of_a_kubernetes_secret_is_noticed(tmp_path: Path) -> None:
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "password").write_text(f"{version}\n")
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "password").symlink_to("..data/password")
    secret = Secret(file=tmp_path / "password")
    assert secret.value() == "one"

    (tmp_path / "..tmp").symlink_to("two")
    (tmp_path / "..tmp").replace(tmp_path / "..data")

    assert secret.value() == "two"


def test_every_line_is_valid_while_a_secret_is_rotated(tmp_path: Path) -> None:
    file = tmp_path / "authorization"
    file.write_text("Bearer new\n\nBearer old\n")
    secret = WebhookSettings(authorization_file=file).secret
    assert secret is not None

    assert secret.values() == ("Bearer new", "Bearer old")
    assert secret.value() == "Bearer new"
    assert secret.matches("Bearer old")
    assert not secret.matches("Bearer ol")
    assert not secret.matches("")
    assert not secret.matches("Bearer \udcff")


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_truncated_or_empty_keeps_its_last_value(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("good\n")
    secret = Secret(file=file)
    assert secret.value() == "good"

    file.write_bytes(content)
    assert secret.value() == "good"
    assert secret.problem == "empty"

    file.write_text("better\n")
    assert secret.value() == "better"
    assert secret.problem is None


def test_a_file_that_is_gone_keeps_its_last_value_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    secret = Secret(file=file)
    assert secret.value() == "hunter2"

    file.unlink()
    with caplog.at_level(logging.WARNING):
        assert [secret.value(), secret.value()] == ["hunter2", "hunter2"]

    assert caplog.messages == [
        f"secret file {file}: No such file or directory; its last value stays"
    ]
    assert secret.problem == "No such file or directory"
    file.write_text("back\n")
    assert secret.value() == "back"


def test_a_secret_can_be_read_again_on_demand(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("one\n")
    secret = Secret(file=file)

    secret.forget()

    assert secret.value() == "one"


def test_a_secret_shows_its_file_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    secret = Secret(file=tmp_path / "secret")
    secret.values()
    shown = [secret, Secret("hunter2"), PasswordCredential("u", secret), Login("u", "hunter2")]

    assert "hunter2" not in f"{shown!r} {shown[-1]} %s" % (shown[-1],)
    assert str(tmp_path / "secret") in repr(secret)


def test_a_login_follows_its_password_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old\n")
    credential = HarborSettings(
        name="main", url="https://h", username="robot$syncwatch", password_file=file
    ).credential
    assert credential is not None
    assert credential.login() == ("robot$syncwatch", "old")

    file.write_text("new!\n")

    assert credential.login() == ("robot$syncwatch", "new!")
    assert credential.problem is None


def docker_config(**auths: object) -> str:
    return json.dumps({"auths": {name.replace("_", "."): entry for name, entry in auths.items()}})


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_a_docker_config_gives_the_login_for_its_registry_only(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(docker_config(r_example=auth("u:p:q"), other_example=auth("v:w")))

    settings = DestinationSettings(name="d", url="https://R.example/", docker_config=file)

    assert settings.credential is not None
    assert settings.credential.login() == Login("u", "p:q")
    assert DockerConfigCredential(file, "r.example:5000").login() is None


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("https://r.example", "r.example"),
        ("http://R.example:5000/v2/", "r.example:5000"),
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
    ],
)
def test_a_docker_config_may_name_registries_by_url(key: str, host: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"auths": {key: {"username": "u", "password": "p"}}}))

    assert DockerConfigCredential(file, host).login() == Login("u", "p")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not a Docker config: JSON with auths expected"),
        ("[]", "not a Docker config: JSON with auths expected"),
        ('{"credsStore": "pass"}', "not a Docker config: JSON with auths expected"),
        ('{"auths": []}', "not a Docker config: JSON with auths expected"),
        (
            docker_config(r={"auth": "%"}),
            "its entry for this registry holds no username and password",
        ),
        (
            docker_config(r=auth("hunter2")),
            "its entry for this registry holds no username and password",
        ),
        (docker_config(r={}), "its entry for this registry holds no username and password"),
        (docker_config(r=7), "its entry for this registry holds no username and password"),
        (
            docker_config(r={"identitytoken": "hunter2"}),
            "its entry for this registry holds no username and password",
        ),
    ],
)
def test_a_malformed_docker_config_keeps_the_last_login(
    content: str, problem: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "config.json"
    file.write_text(docker_config(r=auth("u:p")))
    credential = DockerConfigCredential(file, "r")
    assert credential.login() == Login("u", "p")

    file.write_text(content)

    assert [credential.login(), credential.login()] == [Login("u", "p")] * 2
    assert credential.problem == problem
    assert caplog.messages == [f"docker config {file}: {problem}; its last login stays"]
    file.write_text(docker_config(r=auth("u:new")))
    assert credential.login() == Login("u", "new")
    assert credential.problem is None
