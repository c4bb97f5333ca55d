"""The reference cannot part from the settings, nor the settings from what was promised."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from syncwatch.config import reference, settings_schema

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
PROMISED = {
    "": {
        "keep": "30d",
        "keep_deliveries": 100_000,
        "keep_expectations": 1_000_000,
        "webhook_listen": "0.0.0.0:8080",
        "listen": "127.0.0.1:8081",
        "token": None,
        "token_file": None,
        "store": "sqlite:///syncwatch.db",
        "store_password_file": None,
        "log_format": "auto",
        "log_level": "info",
        "counters_gone_after": "1h",
    },
    "HarborSettings": {
        "name": None,
        "url": None,
        "username": None,
        "password": None,
        "password_file": None,
        "ca_file": None,
        "insecure_skip_verify": False,
        "webhook": None,
        "poll_every": "5s",
        "policies_every": "15s",
        "sweep_every": "15m",
        "give_up_after": "4m",
        "claim_wait": "1m",
        "recovered_after": "3m",
        "duplicate_within": "1h",
        "timeout": "10s",
    },
    "WebhookSettings": {
        "authorization": None,
        "authorization_file": None,
        "allow_unauthenticated": False,
    },
    "DestinationSettings": {
        "name": None,
        "harbor": None,
        "url": None,
        "pull_host": None,
        "username": None,
        "password": None,
        "password_file": None,
        "docker_config": None,
        "ca_file": None,
        "insecure_skip_verify": False,
        "token_realms": [],
        "level": "readable",
        "platforms": [],
        "deadline": "10m",
        "grace": "30s",
        "stale_after": "7d",
        "retry_first": "1s",
        "retry_longest": "1m",
        "recheck_per_minute": 60,
        "timeout": "10s",
        "concurrency": 8,
        "cluster": None,
        "pause_until": None,
    },
    "ClusterSettings": {
        "name": None,
        "kubeconfig": None,
        "context": None,
        "timeout": "10s",
        "probe": None,
    },
    "ProbeSettings": {
        "mode": "pull",
        "namespace": "syncwatch-probe",
        "per_hour": 60,
        "at_once": 2,
        "one_per_node": True,
        "timeout": "2m",
        "images": "new",
        "sample": 1.0,
        "policies": [],
        "again_after": None,
        "size_limit": 10_000_000_000,
        "pull_secrets": [],
        "service_account": None,
        "architectures": [],
        "look_at_nodes": False,
        "node_selector": {},
        "tolerations": [],
        "labels": {},
        "annotations": {},
        "priority_class": None,
        "run_as_user": 65532,
        "command": [],
        "carrier": None,
    },
    "NotificationSettings": {
        "url": None,
        "authorization": None,
        "authorization_file": None,
        "events": ["image.verified", "image.failed", "image.verified.everywhere"],
        "ca_file": None,
        "insecure_skip_verify": False,
        "timeout": "10s",
        "per_minute": 60,
        "give_up_after": "1d",
    },
    "IgnoreSettings": {"repository": None, "reference": None, "destination": None},
}


def subschemas(schema: object) -> list[dict[str, Any]]:
    """A schema and everything in it that is a mapping."""
    inner = schema.values() if isinstance(schema, dict) else schema
    found = [schema] if isinstance(schema, dict) else []
    if isinstance(schema, dict | list):
        found += [one for part in inner for one in subschemas(part)]
    return found


@pytest.mark.parametrize("section", PROMISED)
def test_every_setting_promised_exists_with_its_default(section: str) -> None:
    schema = settings_schema()
    properties = (schema["$defs"][section] if section else schema)["properties"]

    defaults = {name: properties[name].get("default") for name in PROMISED[section]}

    assert defaults == PROMISED[section]


def test_the_page_holds_the_reference_of_today() -> None:
    page = PAGE.read_text(encoding="utf-8")

    part = f"<!-- generated: settings -->\n\n{reference()}\n<!-- end of generated -->"
    assert part in page, "out of date; run: .venv/bin/python docs/generate.py"


def test_every_setting_is_described() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]

    assert len(rows) > 60
    assert all(re.search(r"\| [^|]*[.!]? \|$", row) and "None |" not in row for row in rows)
    assert all(row.count(" | ") == 3 for row in rows)


def test_the_schema_is_json_schema_2020_12() -> None:
    schema = json.loads(json.dumps(settings_schema()))

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    assert schema["description"]
    for part in subschemas(schema):
        target = part.get("$ref")
        if isinstance(target, str):
            assert target.removeprefix("#/$defs/") in schema["$defs"]


def test_the_schema_refuses_unknown_settings_everywhere() -> None:
    objects = [part for part in subschemas(settings_schema()) if part.get("type") == "object"]

    assert len(objects) == 12
    texts = [part for part in objects if part.get("x-kind") == "mapping of texts"]
    assert len(texts) == 3
    others = [part for part in objects if part not in texts]
    assert all(part["additionalProperties"] is False for part in others)


def test_defaults_match_their_own_patterns() -> None:
    for part in subschemas(settings_schema()):
        if "pattern" in part and "default" in part:
            assert re.search(part["pattern"], part["default"])


def test_the_schema_has_no_null() -> None:
    assert "null" not in json.dumps(settings_schema())
