"""Causes planted at Harbor: the doctor names each one, and its cure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from clinic import ADDRESS, DESTINATION, POLICY, clinic, named
from running import running

from syncwatch.doctor.checks import Outcome
from syncwatch.doctor.evidence import HarborSeen, ProjectSeen
from syncwatch.doctor.harbor_checks import of_harbor
from syncwatch.doctor.webhook_checks import is_ours, of_project
from syncwatch.harbor.listed import Queue
from syncwatch.harbor.wire import SystemInfo
from syncwatch.lab.images import image
from syncwatch.lab.records import Execution
from syncwatch.model import Severity

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_set_up_in_order_has_nothing_wrong(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        found = await place.diagnosed()
        wrong = [c for one in found for c in one.checks if c.outcome is Outcome.WRONG]
        assert wrong == []
        worst = {one.severity for each in found for one in each.findings}
        assert worst <= {Severity.INFO}
        assert all(one.could_ask for one in found)


async def test_harbor_does_not_answer(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        await place.harbor.stop()
        found = await place.diagnosed()
        one = found[0].findings[0]
        assert (one.finding, one.subject) == ("harbor_unreachable", "harbor main")
        assert "refused" in one.message
        assert not found[0].could_ask


async def test_wrong_credentials_see_less_and_do_not_fail(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        config = place.configured({"password": "another"})
        one = await place.finding("credential_rejected", config)
        assert one.subject == "harbor main"
        assert "robot account is enabled" in one.cure


async def test_harbors_clock_is_off(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.switches.clock_skew = 90
        one = await place.finding("clock_skew")
        assert one.severity is Severity.ERROR
        assert "+90" in one.message or "+89" in one.message


async def test_notifications_are_switched_off(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.switches.notification_enable = False
        one = await place.finding("notification_off")
        assert "sends no webhook at all" in one.message


@pytest.mark.parametrize(
    ("version", "lacks", "severity"),
    [
        ("v2.9.4-0123abcd", "name what a run copies", Severity.WARNING),
        ("v2.12.2-0123abcd", "name their execution", Severity.INFO),
        ("v2.15.0-0123abcd", "tell when they changed", Severity.INFO),
    ],
)
async def test_harbor_is_too_old_for_something(
    tmp_path: Path, version: str, lacks: str, severity: Severity
) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.version = version
        one = await place.finding("version_old")
        assert lacks in one.message
        assert version in one.message
        assert one.severity is severity


async def test_a_users_password_is_used_for_a_robot_account(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        login = {"username": "admin", "password": place.harbor.password}
        config = place.configured(login)
        one = await place.finding("password_user", config)
        assert "0.1 s" in one.message
        assert "robot account" in one.cure
        assert place.harbor.password not in str(await place.findings(config))


async def test_the_robot_may_not_list_executions(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.refuse("replication", "list")
        config = place.configured()
        missing = [o for o in await place.findings(config) if o.finding == "permission_missing"]
        subjects = {one.subject: one.severity for one in missing}
        assert subjects["harbor main: replication:list"] is Severity.ERROR


async def test_the_robot_may_not_see_webhooks_of_a_project(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.refuse("notification-policy", "list", "read")
        (one,) = [o for o in await place.findings() if o.subject == "project apps"]
        assert one.finding == "permission_missing"
        assert "notification-policy" in one.message
        assert "notification-policy" in one.cure
        assert (await place.check("webhook", "project apps")).outcome is Outcome.CANNOT_TELL


async def test_the_robot_may_do_more_than_look(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.grant(("*", "repository", "push"), ("/", "registry", "delete"))
        one = await place.finding("permission_excessive")
        assert "repository:push" in one.message
        assert "registry:delete" in one.message


async def test_a_queue_is_paused_where_that_may_be_seen(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.grant(("/", "jobservice-monitor", "list"))
        place.harbor.pause_queue("REPLICATION")
        one = await place.finding("queue_paused")
        assert one.subject == "harbor main: REPLICATION queue"
        assert "Resume" in one.cure


async def test_a_queue_that_may_not_be_seen_is_not_called_well(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.pause_queue("REPLICATION")
        assert (await place.check("job queues", "harbor main")).outcome is Outcome.CANNOT_TELL
        one = await place.finding("permission_missing")
        assert one.severity is Severity.INFO
        assert one.subject == "harbor main: jobservice-monitor:list"
        check = await place.check("permission", one.subject)
        assert (check.outcome, check.findings) == (Outcome.CANNOT_TELL, (one,))


class Unlisted(dict[int, Any]):
    """Rows that policies name, and no list has."""

    def values(self) -> Any:
        return ()


async def test_what_harbor_does_not_list_is_said_to_be_unknown(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.world.registries = Unlisted(place.harbor.world.registries)
        there = await place.check("destination", f"destination {DESTINATION}")
        assert there.outcome is Outcome.CANNOT_TELL
        assert POLICY in there.message
        place.harbor.world.policies.clear()
        rules = await place.check("rule", "harbor main")
        assert rules.outcome is Outcome.CANNOT_TELL
        assert "lists no replication policy" in rules.message


@pytest.mark.parametrize(
    ("count", "latency", "is_long"), [(499, 299, False), (500, 0, True), (1, 300, True)]
)
def test_a_queue_is_long(count: int, latency: int, is_long: bool) -> None:
    """The lab's queues are short, so the evidence is made by hand."""
    queue = Queue("WEBHOOK", count, latency)
    seen = HarborSeen("main", SystemInfo("v2.16.0"), queues=(queue, Queue("SCAN", 9999)))
    found = [one for check in of_harbor(seen) for one in check.findings]
    assert [(one.finding, one.subject) for one in found] == (
        [("queue_long", "harbor main: WEBHOOK queue")] if is_long else []
    )


@pytest.mark.parametrize("what", ["broken", "html"])
async def test_something_before_harbor_answers_in_its_place(tmp_path: Path, what: str) -> None:
    async with clinic(tmp_path) as place:
        setattr(place.harbor.switches, what, True)
        one = await place.finding("harbor_unreachable")
        assert one.subject == "harbor main"


async def test_many_projects_without_a_webhook_are_told_as_one(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_policy(filters=[])
        for number in range(12):
            place.harbor.create_project(f"team-{number:02d}")
        one = await place.finding("webhook_missing")
        assert one.subject == "harbor main: projects"
        assert one.message.startswith("13 projects (library, team-00, ")


async def test_a_project_in_scope_has_no_webhook(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.world.webhooks.clear()
        one = await place.finding("webhook_missing")
        assert one.subject == "project apps"
        assert "/webhook/main" in one.cure


async def test_the_webhook_is_disabled(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_webhook(enabled=False)
        one = await place.finding("webhook_disabled")
        assert "Enable" in one.cure


@pytest.mark.parametrize(
    "address", ["http://syncwatch.example/webhook/mian", "http://old.example/webhook/main"]
)
async def test_the_webhook_goes_elsewhere(tmp_path: Path, address: str) -> None:
    async with clinic(tmp_path) as place:
        place.edit_webhook(address=address)
        config = place.configured({"webhook_address": "http://syncwatch.example"})
        one = await place.finding("webhook_wrong_target", config)
        assert address in one.message
        assert "http://syncwatch.example/webhook/main" in one.cure


@pytest.mark.parametrize("sent", ["Bearer another", ""])
async def test_the_webhook_sends_another_authorization(tmp_path: Path, sent: str) -> None:
    async with clinic(tmp_path) as place:
        place.edit_webhook(auth_header=sent)
        one = await place.finding("webhook_wrong_authorization")
        assert "401" in one.message
        assert not sent or sent not in f"{one}"


async def test_the_webhook_leaves_events_out(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_webhook(event_types=["PUSH_ARTIFACT"])
        one = await place.finding("webhook_events_missing")
        assert "DELETE_ARTIFACT, REPLICATION" in one.cure


async def test_deliveries_to_us_fail(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_webhook(address="http://127.0.0.1:9/webhook/main")
        place.harbor.push("apps/web", "1.1", image("1.1"))
        await place.harbor.idle()
        one = await place.finding("webhook_deliveries_failing")
        assert one.severity is Severity.ERROR
        assert "of the last" in one.message
        assert "20" in one.message  # the year of the last one


async def test_deliveries_that_failed_and_come_through_again_are_information(
    tmp_path: Path,
) -> None:
    async with clinic(tmp_path) as place:
        for status in ("Error", "Success"):
            number = place.harbor.world.next_id("execution") + 1000
            row = Execution(number, "WEBHOOK", place.webhook, "EVENT", 1.7e9, status)
            place.harbor.world.executions[number] = row
        one = await place.finding("webhook_deliveries_failing")
        assert one.severity is Severity.INFO
        assert "1 of the last 2" in one.message


async def test_a_delivery_of_ours_gets_in_or_is_said_not_to(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        async with running(place.configured()) as daemon:
            address = daemon.daemon.webhook_url
            place.edit_webhook(address=daemon.webhook_url)
            good = place.configured({"webhook_address": address})
            assert named(await place.findings(good)) <= {"permission_missing", "token_missing"}
            assert await daemon.metric("syncwatch_webhooks_total", outcome="ignored") == 1
            other = {"webhook_address": address, "webhook": {"authorization": "another"}}
            refused = place.configured(other)
            one = await place.finding("webhook_not_taken", refused)
            assert "does not take the Authorization" in one.message
        away = await place.finding("webhook_not_taken", good)
        assert "refused" in away.message
        assert "webhook_address" in away.cure


async def test_a_webhook_policy_of_somebody_else_is_let_be(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.harbor.create_webhook_policy("apps", "http://chat.example/hook?key=x", name="chat")
        assert "webhook_wrong_target" not in named(await place.findings())
        place.harbor.world.webhooks.pop(place.webhook)
        one = await place.finding("webhook_missing")
        assert "chat" not in one.message


async def test_what_may_be_secret_in_an_address_is_not_shown(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_webhook(address="http://me:pw@chat.example/services/T0/B0/s3cr3t?token=abc")
        one = await place.finding("webhook_wrong_target")
        assert "http://chat.example/…" in one.message
        assert not any(secret in f"{one}" for secret in ("pw", "s3cr3t", "abc"))


async def test_a_webhook_behind_a_path_is_ours(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.edit_webhook(address=ADDRESS.replace("example/", "example/inner/"))
        assert "webhook_missing" not in named(await place.findings())


def test_a_project_in_scope_has_a_retention_rule() -> None:
    """The lab has none, so the evidence is made by hand."""
    checks = of_project(ProjectSeen("apps", (), (), retained=True), "main", "")
    (one,) = [
        each
        for check in checks
        for each in check.findings
        if each.subject == "project apps" and each.finding == "retention_on"
    ]
    assert one.severity is Severity.INFO


@pytest.mark.parametrize(
    ("address", "wanted", "ours"),
    [
        ("https://s.example/webhook/main", "https://s.example", True),
        ("https://s.example:443/webhook/main/", "https://S.example/", True),
        ("http://s.example/webhook/main", "https://s.example", False),
        ("https://s.example/x/webhook/main", "https://s.example", False),
        ("https://s.example/x/webhook/main", "https://s.example/x", True),
        ("https://anywhere/x/webhook/main?y=1", "", True),
        ("https://anywhere/webhook/other", "", False),
        ("https://[::1/webhook/main", "https://s.example", False),
        ("https://s.example:port/webhook/main", "https://s.example", False),
    ],
)
def test_an_address_is_ours_by_place_and_path(address: str, wanted: str, ours: bool) -> None:
    assert is_ours(address, "main", wanted) is ours
