"""What campaigns begin with: real inputs, from the recordings, the oracle and the lab's images."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from syncwatch.lab import images
from syncwatch.verify.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

TESTS = Path(__file__).resolve().parent.parent
DIGEST = "sha256:" + "0123456789abcdef" * 4
MANIFEST_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)

AUTHENTICATE = (
    (
        'Bearer realm="https://auth.example.com/token",service="registry.example.com",'
        'scope="repository:library/busybox:pull"'
    ),
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
    'Bearer realm="http://127.0.0.1:8080/service/token",service="harbor-registry"',
    (
        'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull",'
        'error="invalid_token",error_description="The access token \\"x\\" has expired"'
    ),
    'Basic realm="Sonatype Nexus Repository Manager"',
    'Basic realm="Registry Realm", charset="UTF-8"',
    'Basic realm="a", Bearer realm="https://auth.example.com/token"',
    "Negotiate",
    "Negotiate dG9rZW42OA==, Basic realm=simple",
    "Negotiate\nNTLM\nBasic realm=x",
    'Digest realm="d", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"',
    'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',
    "Bearer realm = https://auth.example.com/token , service = x",
    ', ,Bearer realm="https://auth.example.com/token",,scope=""',
)
REALMS = (
    "https://auth.example.com/token",
    "https://registry.example.com:443/v2/token",
    "https://tokens.example.net/token?account=reader#x",
    "http://registry.example.com/token",
    "https://auth.example.com:8443",
    "https://user:word@auth.example.com/",
    "https://[2001:db8::1]:5000/token",
    "https://192.0.2.7/token",
    "http://127.0.0.1:8080/service/token",
    "https://auth.example.com./token",
    "https://b\u00fccher.example.com/",
    "https://xn--bcher-kva.example.com/",
    "https://auth.example.co.uk/token",
    "HTTPS://AUTH.EXAMPLE.COM/token",
)
RANGES = (
    "bytes 41-41/42",
    "bytes 0-0/1",
    "bytes 0-499/1234",
    "bytes 42-1233/*",
    "bytes */1234",
    "BYTES  5-9 / 10",
    "bytes 9223372036854775806-9223372036854775806/9223372036854775807",
    "bytes=0-0",
    "items 0-1/2",
    "",
)
RETRIES = (
    "120",
    "0",
    "0,60",
    "0;w=60, 1795443200;w=60",
    "Fri, 31 Dec 1999 23:59:59 GMT",
    "Fri, 31-Dec-99 23:59:59 GMT",
    "1e9",
    "",
)
REFUSALS = (
    '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"v1"}}]}',
    '{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}',
    '{"errors":[{"code":"NOT_FOUND","message":"artifact library/a:v1 not found"}]}',
    "404 page not found",
    "<html><body>Bad gateway</body></html>",
    "",
)


def webhooks() -> list[bytes]:
    """The bodies of all recorded deliveries, of both formats."""
    bodies = (_compact(row["body"]) for row in _recorded("webhooks.jsonl"))
    return list(dict.fromkeys(bodies))


def manifests() -> list[bytes]:
    """`Content-Type`, a line break, the manifest: images of every kind that the lab makes."""
    one = images.image("a", layers=3)
    made = [
        one,
        images.image("b", docker=True),
        images.platforms("c"),
        images.index(images.image("d", docker=True), docker=True),
        images.signature(one),
        images.referrer(one),
        images.chart("e", "1.0.0"),
    ]
    typed = [f"{each.media_type}\n".encode() + each.manifest for each in made]
    return [
        *typed,
        b"\n" + one.manifest,
        b"text/html; charset=utf-8\n<html></html>",
        *_odd_manifests(),
    ]


def _odd_manifests() -> list[bytes]:
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": DIGEST,
        "size": 1024,
        "urls": ["https://layers.example.com/a"],
    }
    attested = {
        "mediaType": OCI_MANIFEST,
        "digest": "sha512:" + "0f" * 64,
        "size": 2,
        "platform": {"os": "unknown", "architecture": "unknown", "os.version": "10.0"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    documents = [
        {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": None, "layers": [foreign]},
        {"schemaVersion": 2, "manifests": [attested], "subject": foreign},
        {"schemaVersion": 1, "name": "a", "fsLayers": [{"blobSum": DIGEST}], "history": []},
    ]
    return [OCI_INDEX.encode() + b"\n" + _compact(one) for one in documents]


def answers() -> list[bytes]:
    """The kind that `wire` is asked for, a line break, an answer of Harbor's API."""
    found: dict[bytes, None] = {}
    for row in _recorded("api.jsonl"):
        kind = _kind_of_answer(row["path"].partition("?")[0])
        if kind and row["response"] is not None:
            body = row["response"][:2] if isinstance(row["response"], list) else row["response"]
            found[kind.encode() + b"\n" + _compact(body)] = None
    return list(found)[::7]


def _kind_of_answer(path: str) -> str:
    endings = {
        "/policies": "policies",
        "/executions": "executions",
        "/tasks": "tasks",
        "/artifacts": "artifacts",
        "/registries": "registries",
        "/systeminfo": "info",
    }
    return next((kind for end, kind in endings.items() if path.endswith(end)), "")


@cache
def oracle() -> dict[tuple[str, str], str]:
    """What Harbor's own function said: (pattern, name) → `matches`, `rejects` or `errors`."""
    return {
        (case["pattern"], name): answer
        for case in _oracle("match.json")
        for answer in ("matches", "rejects", "errors")
        for name in case[answer]
    }


def patterns() -> list[bytes]:
    """Pattern, a line break, name: every 30th of the oracle's, and some that were dear."""
    dear = ("{}" * 20, "{*a,a*}" * 5, "**/*a/" * 8 + "x", "{[,x}{a]" * 4, "{" * 20 + "}" * 20)
    pairs = [*list(oracle())[::30], *((pattern, "a/" * 9 + "a") for pattern in dear)]
    return [f"{pattern}\n{name}".encode() for pattern, name in pairs if "\n" not in pattern + name]


def names() -> list[bytes]:
    """Seven or more lines: repository, namespace, level, kind of path, tags, labels, filters."""
    found = []
    for case in _oracle("destination.json")[::40]:
        asked = (case["repository"], case["namespace"], case["replace_count"], case["path_type"])
        found.append([*map(str, asked), "v1,latest", "prod", "tag||v*"])
    for case in _oracle("filters.json")[::40]:
        of_one = case["artifacts"][0]
        rules = [
            "|".join((one["type"], one.get("decoration", ""), ",".join(_listed(one["value"]))))
            for one in case["filters"]
        ]
        tags, labels = ",".join(of_one["tags"]), ",".join(of_one["labels"])
        found.append([case["repository"], "n", "1", "", tags, labels, *rules])
    return ["\n".join(lines).encode() for lines in found]


def _listed(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def _recorded(name: str) -> list[dict[str, Any]]:
    lines = (
        line
        for path in sorted((TESTS / "recordings").glob(f"*/{name}"))
        for line in path.read_text(encoding="utf-8").splitlines()
    )
    return [json.loads(line) for line in lines]


def _oracle(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((TESTS / "oracle" / name).read_text("utf-8"))
    return loaded


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
