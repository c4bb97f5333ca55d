"""What setup never does: half a job unsaid, a deletion unasked, a secret told."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from setup_ground import LOGIN, PASSWORD
from setup_program import setup
from test_setup_round_trip import HOOK, ROBOT, RULE, everything

from syncwatch.errors import ConfigError
from syncwatch.lab import images
from syncwatch.lab.harbor import READ_ONLY_ROBOT
from syncwatch.setup.changes import Action
from syncwatch.setup.reading import Daemon

if TYPE_CHECKING:
    from setup_ground import Ground

HOOK_SECRET = HOOK["authorization"]


async def test_a_failing_connection_test_stops_before_anything_is_half_made(
    ground: Ground,
) -> None:
    wrong = {**ground.endpoint(**LOGIN), "name": "cluster2", "access_secret": "no"}
    sections = everything(ground) | {"registries": [ground.endpoint(**LOGIN), wrong]}

    outcome = await ground.applied(ground.write(**sections))

    assert "cluster2" in outcome.reason
    assert "cluster1" not in outcome.reason
    assert outcome.done == []
    assert len(outcome.left) == 5
    assert ground.relay.writes == []
    assert ground.harbor.world.registries == {}


async def test_a_rule_on_a_registry_that_fails_is_not_made(ground: Ground) -> None:
    ground.harbor.create_registry("cluster1", "http://127.0.0.1:9")
    outcome = await ground.applied(ground.write(replications=[RULE]))
    assert "cluster1" in outcome.reason
    assert ground.relay.writes == []


async def test_a_rule_to_what_is_away_can_be_switched_off_and_described(ground: Ground) -> None:
    registry = {"registries": [ground.endpoint(**LOGIN)]}
    await ground.applied(ground.write(**registry, replications=[RULE]))
    ground.relay.broken = "/ping"
    off = RULE | {"enabled": False, "description": "until it has moved"}
    outcome = await ground.applied(ground.write(**registry, replications=[off]))
    assert (outcome.reason, len(outcome.done)) == ("", 1)
    again = await ground.applied(ground.write(**registry, replications=[off | {"enabled": True}]))
    assert "connection test of cluster1 failed" in again.reason


async def test_a_test_that_harbor_itself_fails_at_is_a_failed_test(ground: Ground) -> None:
    """As where an adapter cannot be made at all (500), or a registry never answers."""
    ground.relay.broken = "/ping"
    outcome = await ground.applied(ground.write(**everything(ground)))
    assert "connection test of cluster1 failed" in outcome.reason
    assert outcome.asked
    assert ground.relay.writes == []


async def test_a_failure_midway_is_told_and_running_again_completes_it(ground: Ground) -> None:
    path = ground.write(**everything(ground))
    ground.relay.broken = "/webhook/"

    first = await ground.applied(path)
    assert [step.kind for step in first.done] == ["registry", "rule"]
    assert first.failed is not None
    assert first.failed.kind == "webhook"
    assert [step.kind for step in first.left] == ["robot"]
    assert first.asked is False

    ground.relay.broken = ""
    second = await ground.applied(path)
    assert [step.kind for step in second.done] == ["webhook", "robot"]
    assert second.complete


async def test_nothing_is_deleted_unless_told(ground: Ground) -> None:
    ground.harbor.create_registry("old", ground.registry.url)
    ground.harbor.create_policy("old-rule", "old", pattern="apps/**")
    ground.harbor.create_project("elsewhere")
    ground.harbor.create_webhook_policy("elsewhere", "http://127.0.0.1:9/x")
    ground.harbor.create_webhook_policy("elsewhere", "http://127.0.0.1:9/y", name="of-others")
    path = ground.write(**everything(ground))

    assert (await ground.applied(path)).complete
    assert {row.name for row in ground.harbor.world.policies.values()} == {"old-rule", RULE["name"]}

    plan = await ground.planned(path, prune=True)
    gone = [step.title for step in plan.steps if step.action is Action.DELETE]
    assert gone == ["rule old-rule", "webhook elsewhere/syncwatch", "registry old"]
    assert (await ground.applied(path, prune=True)).complete
    assert [row.name for row in ground.harbor.world.registries.values()] == ["cluster1"]
    hooks = sorted(row.name for row in ground.harbor.world.webhooks.values())
    assert hooks == ["of-others", "syncwatch"]


async def test_a_section_that_is_not_there_prunes_nothing(ground: Ground) -> None:
    ground.harbor.create_registry("old", ground.registry.url)
    ground.harbor.create_policy("old-rule", "old", pattern="apps/**")
    assert (await ground.planned(ground.write(webhooks=[HOOK]), prune=True)).to_do[0].kind == (
        "webhook"
    )
    path = ground.write(registries=[])
    outcome = await ground.applied(path, prune=True)
    assert "referenced by replication policies" in outcome.reason
    assert "412" in outcome.reason
    assert outcome.asked


async def test_the_robots_secret_goes_into_its_file_alone(ground: Ground) -> None:
    path = ground.write(robot=ROBOT)
    ended = await setup(path, "--yes")

    assert ended.code == 0
    file = path.parent / ROBOT["secret_file"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    [robot] = ground.harbor.world.robots.values()
    assert file.read_text() == f"{robot.secret}\n"
    assert robot.permissions == list(READ_ONLY_ROBOT)
    assert robot.secret not in ended.out + ended.err
    assert (await setup(path, "--yes")).code == 0
    assert len(ground.harbor.world.robots) == 1


async def test_a_robot_is_not_made_without_a_new_file_for_its_secret(ground: Ground) -> None:
    with pytest.raises(ConfigError, match=r"robot\.secret_file: required"):
        await ground.planned(ground.write(robot={"name": "syncwatch"}))
    path = ground.write(robot=ROBOT)
    (path.parent / ROBOT["secret_file"]).write_text("precious")
    with pytest.raises(ConfigError, match="not overwritten"):
        await ground.planned(path)
    assert (path.parent / ROBOT["secret_file"]).read_text() == "precious"


async def test_a_robot_that_harbor_refuses_leaves_no_file(ground: Ground) -> None:
    path = ground.write(robot=ROBOT)
    ground.relay.broken = "/robots"
    outcome = await ground.applied(path)
    assert outcome.reason
    assert not (path.parent / ROBOT["secret_file"]).exists()


async def test_a_robot_that_may_too_little_is_told_and_kept(ground: Ground) -> None:
    ground.harbor.create_robot("syncwatch", READ_ONLY_ROBOT[:1])
    plan = await ground.planned(ground.write(robot=ROBOT))
    assert plan.to_do == ()
    assert any("repository:pull" in note for note in plan.notes)


@pytest.mark.parametrize("output", ["table", "json"])
async def test_no_output_has_a_secret(ground: Ground, output: str) -> None:
    path = ground.write(**everything(ground))
    texts = []
    for options in (["--yes"], ["--yes", "--rotate-secrets"]):
        ended = await setup(path, *options, "-o", output)
        texts.append(ended.out + ended.err)
    [hook] = ground.harbor.world.webhooks.values()
    hook.targets[0]["auth_header"] = "Bearer 0ld-s3cret"
    ended = await setup(path, "--dry-run", "-o", output)
    assert ended.code == 3
    assert "(set)" in ended.out
    texts.append(ended.out + ended.err)
    for secret in (PASSWORD, HOOK_SECRET, "0ld-s3cret", ground.harbor.password):
        assert not any(secret in text for text in texts)


async def test_the_difference_is_shown_and_not_applied_without_a_terminal(ground: Ground) -> None:
    path = ground.write(**everything(ground))
    ended = await setup(path)
    assert ended.code == 3
    assert "4 to create, 0 to change, 0 to delete; 0 as they should be" in ended.out
    assert "add --yes" in ended.err
    assert (await setup(path, "--dry-run")).code == 3
    assert ground.relay.sent == []
    assert (await setup(path, "--yes")).code == 0
    ended = await setup(path, "--dry-run", "-o", "json")
    assert ended.code == 0
    assert {step["action"] for step in json.loads(ended.out)["steps"]} == {"keep"}


async def test_what_harbor_refuses_is_told_with_what_is_needed(ground: Ground) -> None:
    """A robot that may only read is the usual one at hand."""
    user, secret = ground.harbor.create_robot("reader")
    path = ground.write(registries=[ground.endpoint()])
    ended = await setup(path, "--yes", "--username", user, SYNCWATCH_SETUP_PASSWORD=secret)
    assert ended.code == 1
    assert "registry:create" in ended.err
    ended = await setup(path, "--yes", "--username", user, SYNCWATCH_SETUP_PASSWORD="wrong")
    assert ended.code == 1
    assert "does not accept our credentials" in ended.err
    await ground.harbor.stop()
    ground.relay.target = "http://127.0.0.1:9"
    assert (await setup(path, "--yes")).code == 4


async def test_another_url_without_the_secret_is_refused_in_time(ground: Ground) -> None:
    await ground.applied(ground.write(registries=[ground.endpoint(**LOGIN)]))
    moved = ground.endpoint(access_id=LOGIN["access_id"])
    moved["url"] = moved["url"].replace("127.0.0.1", "localhost")
    with pytest.raises(ConfigError, match=r"registries\[0\].url: .*forgets the stored secret"):
        await ground.planned(ground.write(registries=[moved]))
    other = ground.endpoint(provider="harbor")
    with pytest.raises(ConfigError, match=r"provider: .*cannot change"):
        await ground.planned(ground.write(registries=[other]))
    assert ground.secret_of("cluster1") == PASSWORD


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"destination": "cluster9"}, r"destination: no such registry.*did you mean 'cluster1'"),
    ({"filters": {"name": "apps/["}}, r"filters.name: malformed.*no event-based rule"),
    ({"flattening": "some"}, "not a flattening"),
    ({"trigger": "scheduled"}, "needs cron"),
    ({"trigger": "scheduled", "cron": "* * * * *"}, "not a cron that Harbor takes"),
    ({"trigger": "manual", "deletion": True}, "only event_based rules delete"),
    ({"deletion": True}, "only event_based rules delete, and this one is manual"),
    ({"trigger": "event_based", "single_active_replication": True}, "refuses this"),
    ({"trigger": "event_based", "source": "cluster1", "destination": "this Harbor"}, "never runs"),
    ({"source": "cluster1"}, "one of the two must be this Harbor"),
    ({"bandwith": 7}, "did you mean 'bandwidth'"),
    ({"bandwidth": "fast"}, "not a bandwidth"),
]


@pytest.mark.parametrize(("said", "told"), MISTAKES, ids=lambda one: str(one)[:50])
async def test_a_mistake_is_told_with_its_place(
    ground: Ground, said: dict[str, Any], told: str
) -> None:
    rule = {"name": "x", "destination": "cluster1", **said}
    path = ground.write(registries=[ground.endpoint()], replications=[rule])
    with pytest.raises(ConfigError, match=rf"setup.yml:\d+:\d+: replications\[0\].*{told}"):
        await ground.planned(path)
    assert ground.relay.sent == []


async def test_all_mistakes_are_told_at_once(ground: Ground) -> None:
    wrong = ground.endpoint(provider="docker-registri", access_id="x")
    hook = {**HOOK, "projects": ["aps", "apps"], "address": None}
    del hook["address"]
    path = ground.write(registries=[wrong, wrong | {"name": "b"}], webhooks=[hook])
    with pytest.raises(ConfigError) as caught:
        await ground.planned(path)
    problems = caught.value.problems
    assert sum("did you mean 'docker-registry'" in one for one in problems) == 2
    assert sum("no secret with it" in one for one in problems) == 2
    assert any("no project aps in this Harbor; did you mean 'apps'" in one for one in problems)
    assert any("webhook_address" in one for one in problems)
    repeated = ground.write(registries=[wrong, wrong])
    ended = await setup(repeated, "--yes")
    assert ended.code == 2
    assert "the same name as registries[0]" in ended.err


async def test_the_daemons_configuration_says_where_webhooks_go(ground: Ground) -> None:
    hook = {"name": "syncwatch", "projects": ["apps"]}
    daemon = Daemon("https://sync.example.com/webhook/main", "Bearer from-config")
    path = ground.write(webhooks=[hook])
    assert (await ground.applied(path, daemon=daemon)).complete
    [row] = ground.harbor.world.webhooks.values()
    assert row.targets[0]["address"] == daemon.address
    assert row.targets[0]["auth_header"] == daemon.authorization
    assert (await ground.planned(path, daemon=daemon)).to_do == ()


async def test_what_was_clicked_is_exported_and_applied_again_changes_nothing(
    ground: Ground,
) -> None:
    ground.harbor.create_registry("cluster1", ground.registry.url, username="u", password="p")
    tags = [{"type": "tag", "value": "v*", "decoration": "excludes"}]
    labels = [{"type": "label", "value": ["x", "y"]}]
    ground.harbor.create_policy(
        "nightly",
        "cluster1",
        pattern="apps/$${x}",
        filters=tags,
        trigger="scheduled",
        cron="0 0 2 * * *",
    )
    ground.harbor.create_policy("always", "cluster1", filters=labels, deletion=True)
    for name in ("apps", "library"):
        ground.harbor.create_webhook_policy(name, "http://127.0.0.1:9/x", auth_header="Bearer y")
    password = ground.write()

    ended = await setup(password, "--export")
    assert ended.code == 0
    assert ended.out.count("TO BE SET") == 3
    assert "Bearer y" not in ended.out
    kept = [line for line in ended.out.splitlines() if "TO BE SET" not in line]
    sections = yaml.safe_load("\n".join(kept))
    assert sections["webhooks"][0]["projects"] == ["apps", "library"]
    plan = await ground.planned(ground.write(**sections))
    assert [step.action for step in plan.steps] == [Action.KEEP] * 5


async def test_what_is_set_up_works(ground: Ground) -> None:
    rules = [{**RULE, "trigger": "event_based", "flattening": "no flattening"}]
    await ground.applied(ground.write(registries=[ground.endpoint(**LOGIN)], replications=rules))
    ground.harbor.push("apps/web", "1.0", images.image("1.0"))
    await ground.harbor.idle()
    assert [one["status"] for one in ground.harbor.executions()] == ["Succeed"]
