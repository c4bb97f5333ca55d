"""Every field of the forms goes to Harbor and comes back; what is not named stays."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from setup_ground import LOGIN, PASSWORD, USER, standing

from syncwatch.lab import rendering
from syncwatch.lab.registry import LabRegistry
from syncwatch.setup import rules, webhooks
from syncwatch.setup.changes import Action
from syncwatch.setup.sections import RegistrySection, ReplicationSection, WebhookSection

if TYPE_CHECKING:
    import trustme
    from setup_ground import Ground

RECORDINGS = Path(__file__).parent.parent / "recordings"

RULE = {"name": "to-cluster1", "destination": "cluster1", "filters": {"name": "apps/**"}}
HOOK = {
    "name": "syncwatch",
    "projects": "in_scope",
    "address": "http://127.0.0.1:9/webhook/main",
    "authorization": "Bearer h00k-s3cret",
}
ROBOT = {"name": "syncwatch", "secret_file": "robot-secret"}


def everything(ground: Ground) -> dict[str, Any]:
    return {
        "registries": [ground.endpoint(**LOGIN)],
        "replications": [RULE],
        "webhooks": [HOOK],
        "robot": ROBOT,
    }


async def test_applied_twice_the_second_time_sends_nothing(ground: Ground) -> None:
    path = ground.write(**everything(ground))

    first = await ground.applied(path)
    assert (first.reason, first.ignored, len(first.done)) == ("", [], 4)
    ground.relay.sent.clear()
    second = await ground.applied(path)

    assert second.done == []
    assert ground.relay.sent == []
    plan = await ground.planned(path)
    assert {step.action for step in plan.steps} == {Action.KEEP}
    assert len(plan.steps) == 4


# Each with what Harbor then has, in Harbor's own words.
RULE_FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"description": "what it is"}, {"description": "what it is"}),
    ({"namespace": "mirror"}, {"dest_namespace": "mirror"}),
    ({"flattening": "flatten all levels"}, {"dest_namespace_replace_count": -1}),
    ({"flattening": "no flattening"}, {"dest_namespace_replace_count": 0}),
    ({"flattening": "flatten 2 levels"}, {"dest_namespace_replace_count": 2}),
    ({"flattening": 3}, {"dest_namespace_replace_count": 3}),
    ({"filters": {}}, {"filters": []}),
    ({"filters": {"name": "a/**"}}, {"filters": [{"type": "name", "value": "a/**"}]}),
    (
        {"filters": {"tag": {"matches": "v*", "excludes": "*-rc"}}},
        {
            "filters": [
                {"type": "tag", "value": "v*", "decoration": "matches"},
                {"type": "tag", "value": "*-rc", "decoration": "excludes"},
            ]
        },
    ),
    (
        {"filters": {"label": {"matches": ["b", "a"]}}},
        {"filters": [{"type": "label", "value": ["a", "b"], "decoration": "matches"}]},
    ),
    (
        {"filters": {"label": {"excludes": ["wip"]}}},
        {"filters": [{"type": "label", "value": ["wip"], "decoration": "excludes"}]},
    ),
    ({"filters": {"resource": "image"}}, {"filters": [{"type": "resource", "value": "image"}]}),
    ({"trigger": "event_based"}, {"trigger": {"type": "event_based"}}),
    (
        {"trigger": "scheduled", "cron": "0 30 2 * * *"},
        {"trigger": {"type": "scheduled", "trigger_settings": {"cron": "0 30 2 * * *"}}},
    ),
    (
        {"trigger": "event_based", "deletion": True},
        {"deletion": True, "replicate_deletion": True},
    ),
    ({"bandwidth": 2048}, {"speed": 2048}),
    ({"bandwidth": "unlimited"}, {"speed": 0}),
    ({"bandwidth": -1}, {"speed": 0}),
    ({"bandwidth": 0}, {"speed": 0}),
    ({"override": False}, {"override": False}),
    ({"enabled": False}, {"enabled": False}),
    ({"copy_by_chunk": True}, {"copy_by_chunk": True}),
    ({"single_active_replication": True}, {"single_active_replication": True}),
]


@pytest.mark.parametrize(("said", "stored"), RULE_FIELDS, ids=lambda one: str(one)[:60])
async def test_a_field_of_a_rule_survives_when_it_is_made_and_when_it_is_changed(
    ground: Ground, said: dict[str, Any], stored: dict[str, Any]
) -> None:
    endpoint = ground.endpoint()
    made = {"name": "made", "destination": "cluster1", **said}
    changed = {"name": "changed", "destination": "cluster1"}
    await ground.applied(ground.write(registries=[endpoint], replications=[changed]))

    path = ground.write(registries=[endpoint], replications=[made, {**changed, **said}])
    outcome = await ground.applied(path)

    assert (outcome.reason, outcome.ignored) == ("", [])
    for name in ("made", "changed"):
        found = rule(ground, name)
        kept = {key: found.get(key) for key in stored}
        kept["filters"] = sorted(found["filters"], key=str)
        assert kept == {
            "filters": kept["filters"],
            **stored,
            **({"filters": sorted(stored["filters"], key=str)} if "filters" in stored else {}),
        }
    ground.relay.sent.clear()
    assert (await ground.applied(path)).done == []
    assert ground.relay.sent == []


def test_every_field_of_the_forms_is_tried() -> None:
    tried = {
        name for said, *_ in [*RULE_FIELDS, *REGISTRY_FIELDS, *WEBHOOK_FIELDS] for name in said
    }
    apart = {"name", "source", "destination", "projects", "url"}  # in every one of them
    apart |= {"ca_certificate", "ca_certificate_file"}  # tried with TLS
    apart |= {"access_secret_file", "authorization_file"}  # tried with files
    sections = (RegistrySection, ReplicationSection, WebhookSection)
    assert {name for one in sections for name in one.model_fields} == tried | apart


def rule(ground: Ground, name: str) -> dict[str, Any]:
    """A rule as Harbor's API gives it."""
    return rendering.policy(ground.harbor.world, ground.harbor.policy(name))


async def test_a_rule_may_pull(ground: Ground) -> None:
    pulls = {"name": "from-cluster1", "source": "cluster1", "filters": {"name": "x/*"}}
    path = ground.write(registries=[ground.endpoint()], replications=[pulls])
    await ground.applied(path)
    found = rule(ground, "from-cluster1")
    assert (found["src_registry"]["name"], found["dest_registry"]["id"]) == ("cluster1", 0)
    assert (await ground.planned(path)).to_do == ()


REGISTRY_FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"description": "where it is"}, {"description": "where it is"}),
    (LOGIN, {"access_key": USER, "access_secret": PASSWORD}),
    ({"verify_certificate": False}, {"insecure": True}),
    ({"provider": "aws-ecr"}, {"type": "aws-ecr"}),
]


@pytest.mark.parametrize(("said", "stored"), REGISTRY_FIELDS, ids=lambda one: str(one)[:40])
async def test_a_field_of_a_registry_survives(
    ground: Ground, said: dict[str, Any], stored: dict[str, Any]
) -> None:
    endpoint = ground.endpoint(**said)
    path = ground.write(registries=[endpoint])
    outcome = await ground.applied(path)
    assert (outcome.reason, outcome.ignored) == ("", [])
    [row] = ground.harbor.world.registries.values()
    assert {name: getattr(row, name) for name in stored} == stored
    assert (await ground.planned(path)).to_do == ()


WEBHOOK_FIELDS: list[tuple[dict[str, Any], str, Any]] = [
    ({"description": "for us"}, "description", "for us"),
    ({"events": ["REPLICATION"]}, "event_types", ["REPLICATION"]),
    ({"enabled": False}, "enabled", False),
    ({"payload_format": "Default"}, "payload_format", "Default"),
    ({"skip_certificate_verification": True}, "skip_cert_verify", True),
    ({"authorization": "Basic YTpi"}, "auth_header", "Basic YTpi"),
    (
        {"address": "https://sync.example.com/webhook/x"},
        "address",
        "https://sync.example.com/webhook/x",
    ),
]


@pytest.mark.parametrize(("said", "key", "stored"), WEBHOOK_FIELDS, ids=lambda one: str(one)[:40])
async def test_a_field_of_a_webhook_survives(
    ground: Ground, said: dict[str, Any], key: str, stored: Any
) -> None:
    hook = {**HOOK, "projects": ["apps"]}
    await ground.applied(ground.write(webhooks=[hook]))
    path = ground.write(webhooks=[{**hook, **said}])
    outcome = await ground.applied(path)
    assert (outcome.reason, outcome.ignored, len(outcome.done)) == ("", [], 1)
    [row] = ground.harbor.world.webhooks.values()
    found = row.targets[0].get(key, getattr(row, key, None))
    assert found == stored
    assert (await ground.planned(path)).to_do == ()


async def test_what_a_change_loses_beside_it_is_told(ground: Ground) -> None:
    registry, rule = ground.endpoint(**LOGIN), RULE | {"enabled": True}
    await ground.applied(ground.write(registries=[registry], replications=[rule]))
    ground.relay.lost = {"enabled": False, "speed": 7}
    path = ground.write(registries=[registry], replications=[rule | {"override": False}])
    outcome = await ground.applied(path)
    assert not outcome.complete
    assert outcome.ignored == ["rule to-cluster1: Harbor took enabled = yes and has no"]
    ground.relay.lost = {}
    assert (await ground.applied(path)).complete


async def test_a_changed_field_is_the_only_change_sent(ground: Ground) -> None:
    """A PUT replaces the whole rule: what the file does not name is sent as it was."""
    ground.harbor.create_registry("cluster1", ground.registry.url)
    ground.harbor.create_policy(
        "to-cluster1",
        "cluster1",
        pattern="apps/**",
        namespace="mirror",
        replace_count=2,
        override=False,
        deletion=True,
    )
    row = ground.harbor.policy("to-cluster1")
    row.speed, row.copy_by_chunk, row.description = 512, True, "made by hand"
    before = rule(ground, "to-cluster1")

    said = [{"name": "to-cluster1", "destination": "cluster1", "enabled": False}]
    await ground.applied(ground.write(replications=said))

    [(method, _, body)] = ground.relay.writes
    assert method == "PUT"
    assert body == before | {"enabled": False}
    after = rule(ground, "to-cluster1")
    assert after | {"update_time": ""} == before | {"enabled": False, "update_time": ""}


async def test_a_webhook_keeps_what_the_file_does_not_name(ground: Ground) -> None:
    address = "http://127.0.0.1:9/webhook/main"
    ground.harbor.create_webhook_policy("apps", address, auth_header="Bearer x")
    [row] = ground.harbor.world.webhooks.values()
    row.creator = "somebody"
    row.targets.insert(0, {"type": "slack", "address": "https://chat.example.com/x"})
    hook = {"name": "syncwatch", "projects": ["apps"], "enabled": False, "address": address}

    await ground.applied(ground.write(webhooks=[hook]))

    [(_, _, body)] = ground.relay.writes
    assert body["enabled"] is False
    assert body["creator"] == "somebody"
    assert body["targets"] == row.targets
    assert body["event_types"] == row.event_types


async def test_what_somebody_changes_while_the_difference_is_read_stays(ground: Ground) -> None:
    ground.harbor.create_registry("cluster1", ground.registry.url)
    ground.harbor.create_policy("to-cluster1", "cluster1", pattern="apps/**")
    said = [{"name": "to-cluster1", "destination": "cluster1", "enabled": False}]
    path = ground.write(replications=said)
    plan = await ground.planned(path)
    ground.harbor.policy("to-cluster1").namespace = "meanwhile"
    assert (await ground.apply(path, plan)).complete
    row = ground.harbor.policy("to-cluster1")
    assert (row.namespace, row.enabled) == ("meanwhile", False)


async def test_a_login_can_be_taken_away(ground: Ground) -> None:
    await ground.applied(ground.write(registries=[ground.endpoint(**LOGIN)]))
    path = ground.write(registries=[ground.endpoint(access_id="")])
    assert (await ground.applied(path)).complete
    assert ground.secret_of("cluster1") == ""


async def test_only_the_changed_fields_of_a_registry_are_sent(ground: Ground) -> None:
    await ground.applied(ground.write(registries=[ground.endpoint(**LOGIN)]))
    ground.relay.sent.clear()
    path = ground.write(registries=[ground.endpoint(**LOGIN, description="new")])
    await ground.applied(path)
    assert [body for _, _, body in ground.relay.writes] == [{"description": "new"}]
    assert ground.secret_of("cluster1") == PASSWORD


async def test_a_secret_goes_with_another_address_and_when_it_is_rotated(ground: Ground) -> None:
    moved = ground.endpoint(**LOGIN)
    await ground.applied(ground.write(registries=[moved]))
    moved["url"] = moved["url"].replace("127.0.0.1", "localhost")
    ground.relay.sent.clear()

    await ground.applied(ground.write(registries=[moved]))
    assert ground.relay.writes[0][2] == {"url": moved["url"], "access_secret": PASSWORD}

    ground.registry.users = {USER: "another"}
    rotated = ground.write(registries=[{**moved, "access_secret": "another"}])
    assert (await ground.planned(rotated)).to_do == ()
    ground.relay.sent.clear()
    await ground.applied(rotated, rotate=True)
    assert [body for _, _, body in ground.relay.writes] == [{"access_secret": "another"}]
    assert ground.secret_of("cluster1") == "another"


async def test_a_pattern_reaches_projects_as_harbor_reads_it(ground: Ground) -> None:
    for name in ("team-a", "team-b", "other"):
        ground.harbor.create_project(name)
    said = [{**RULE, "filters": {"name": "{team-*,apps/x}/**"}}]
    path = ground.write(registries=[ground.endpoint()], replications=said, webhooks=[HOOK])
    plan = await ground.planned(path)
    hooks = sorted(step.name for step in plan.steps if step.kind == "webhook")
    assert hooks == ["apps/syncwatch", "team-a/syncwatch", "team-b/syncwatch"]


async def test_an_older_harbor_is_not_asked_for_what_it_would_ignore(tmp_path: Path) -> None:
    async with standing(tmp_path, version="v2.12.0-abcdef12") as ground:
        said = [{**RULE, "single_active_replication": True, "trigger": "manual"}]
        path = ground.write(registries=[ground.endpoint()], replications=said)
        with pytest.raises(Exception, match=r"setup.yml:\d+:\d+: .*needs Harbor 2.14"):
            await ground.planned(path)
        outcome = await ground.applied(ground.write(**everything(ground)))
        assert (outcome.reason, outcome.ignored) == ("", [])


async def test_a_certificate_of_a_private_authority_survives(
    ground: Ground, authority: trustme.CA
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with LabRegistry(tls=tls).serving() as registry:
        endpoint = ground.endpoint(url=registry.url, verify_certificate=True)
        path = ground.write(registries=[endpoint])
        assert "connection test" in (await ground.applied(path)).reason
        authority.cert_pem.write_to_path(str(path.parent / "ca.pem"))
        path = ground.write(registries=[{**endpoint, "ca_certificate_file": "ca.pem"}])
        assert (await ground.applied(path)).complete
        assert (await ground.planned(path)).to_do == ()


async def test_secrets_come_from_files_and_the_environment(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key in JSON, as Google's registries take it, has many lines."""
    key = '{\n  "private_key": "x"\n}'
    ground.registry.users = {"_json_key": key}
    (ground.directory / "key").write_text(key + "\n")
    (ground.directory / "hook").write_text("Bearer new\nBearer old\n")
    monkeypatch.setenv("LAB_ADDRESS", "http://127.0.0.1:9/x")
    endpoint = ground.endpoint(access_id="_json_key", access_secret_file="key")
    hook = {"name": "h", "projects": "apps", "address": "${LAB_ADDRESS}"}
    hook["authorization_file"] = "hook"
    path = ground.write(registries=[endpoint], webhooks=[hook])
    assert (await ground.applied(path)).complete
    assert ground.secret_of("cluster1") == key
    [row] = ground.harbor.world.webhooks.values()
    assert row.targets[0]["auth_header"] == "Bearer new"
    assert row.targets[0]["address"] == "http://127.0.0.1:9/x"


def recorded(path: str) -> list[dict[str, Any]]:
    """Every record that a real Harbor gave in lists at this path."""
    calls = [
        json.loads(line)
        for file in sorted(RECORDINGS.glob("*/api.jsonl"))
        for line in file.read_text().splitlines()
    ]
    answers = [one["response"] for one in calls if one["method"] == "GET" and one["path"] == path]
    return [record for answer in answers if isinstance(answer, list) for record in answer]


def test_what_a_real_harbor_gave_is_sent_back_as_it_was() -> None:
    policies, hooks = recorded(rules.PATH), recorded("/projects/apps/webhook/policies")
    assert policies
    assert hooks
    for record in policies:
        changed = rules.body("", record, {"enabled": False}, {})
        assert changed == record | {"enabled": False}
        # Said again in the file's words, it is the same rule.
        form = rules.form_of(record)
        again = rules.body("", record, form, {form["destination"]: record["dest_registry"]["id"]})
        assert rules.form_of(again | {"dest_registry": record["dest_registry"]}) == form
    for record in hooks:
        assert webhooks.body("", record, {}) == record
        assert webhooks.body("", record, webhooks.form_of(record)) == record | {
            "description": "",
            "event_types": sorted(record["event_types"]),
        }
