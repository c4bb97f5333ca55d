"""What bytes are taken for."""

from __future__ import annotations

import json

import pytest

from syncwatch.errors import MalformedError
from syncwatch.lab.images import chart, image, platforms, referrer
from syncwatch.verify.manifest import (
    DOCKER_LIST,
    OCI_INDEX,
    OCI_MANIFEST,
    claims_to_be_one,
    digest_of,
    is_digest,
    read,
)

SHA256 = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
SHA512 = (
    "sha512:9b71d224bd62f3785d96d46ad3ea3d73319bfbc2890caadae2dff72519673ca7"
    "2323c3d99ba5c11d7c7acc6e14b8c5da0c4663475c2e5c3adef46f73bcdec043"
)


def test_digests_are_of_the_algorithm_asked_for() -> None:
    assert digest_of(b"hello") == SHA256
    assert digest_of(b"hello", like=SHA256) == SHA256
    assert digest_of(b"hello", like=SHA512) == SHA512


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SHA256, True),
        (SHA512, True),
        ("", False),
        ("v1", False),
        (SHA256.upper(), False),
        (SHA256 + "\n", False),
        (SHA256[:-1], False),
        ("md5:0cc175b9c0f1b6a831c399e269772661", False),
        ("sha512:" + "0" * 64, False),
    ],
)
def test_a_digest_is_told_from_what_is_none(text: str, expected: bool) -> None:
    assert is_digest(text) is expected


def test_an_image_demands_its_config_and_layers() -> None:
    what = image("one", layers=3)
    got = read(what.manifest)
    assert not got.is_index
    assert [one.digest for one in got.blobs] == [digest_of(blob) for blob in what.blobs]
    assert [one.size for one in got.blobs] == [len(blob) for blob in what.blobs]
    assert got.children == ()


def test_an_index_demands_its_children_with_their_platforms() -> None:
    what = platforms("many", "amd64", "arm64")
    got = read(what.manifest)
    assert got.is_index
    assert [(one.digest, one.platform) for one in got.children] == [
        (what.children[0].digest, "linux/amd64"),
        (what.children[1].digest, "linux/arm64"),
    ]
    assert got.blobs == ()


@pytest.mark.parametrize("what", [chart("c", "1"), referrer(image("one"))])
def test_what_is_no_image_is_read_as_well(what: object) -> None:
    assert read(what.manifest).blobs  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("document", "content_type", "expected"),
    [
        ({"manifests": []}, "", OCI_INDEX),
        ({"manifests": []}, f"{DOCKER_LIST}; charset=utf-8", DOCKER_LIST),
        ({"layers": []}, "text/plain", OCI_MANIFEST),
        ({"mediaType": DOCKER_LIST, "manifests": []}, OCI_INDEX, DOCKER_LIST),
    ],
)
def test_the_media_type_is_found(
    document: dict[str, object], content_type: str, expected: str
) -> None:
    body = json.dumps({"schemaVersion": 2, **document}).encode()
    assert read(body, content_type).media_type == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"errors":[]}',
        b'{"schemaVersion":1}',
        b'{"schemaVersion":2,"layers":{}}',
        b'{"schemaVersion":2,"config":{"digest":"x","size":1}}',
        b'{"schemaVersion":2,"config":{"size":1}}',
        b'{"schemaVersion":2,"config":{"digest":"%s","size":-1}}' % SHA256.encode(),
        b'{"a":' * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_manifest_is_told(body: bytes) -> None:
    with pytest.raises(MalformedError):
        read(body)
    assert not claims_to_be_one(body, "text/html")
    assert claims_to_be_one(body, OCI_MANIFEST + "; charset=utf-8")
