"""Causes planted at destinations and in our own place: the doctor names each one, and its cure."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from clinic import DESTINATION, clinic, named

from syncwatch.config import load
from syncwatch.doctor.checks import Outcome
from syncwatch.doctor.evidence import OwnSeen
from syncwatch.doctor.here import own_place
from syncwatch.doctor.own_checks import of_own_place
from syncwatch.lab import images
from syncwatch.lab.faults import Fault
from syncwatch.lab.registry import LabRegistry
from syncwatch.model import Severity
from syncwatch.runtime import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from syncwatch.config import Settings
    from syncwatch.doctor.checks import Checked

SUBJECT = f"destination {DESTINATION}"


def names_in(directory: Path) -> list[str]:
    return sorted(one.name for one in directory.iterdir())


async def test_a_destination_does_not_answer(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        await place.registry.stop()
        one = await place.finding("destination_unreachable")
        assert one.subject == SUBJECT
        assert "refused" in one.message
        await place.registry.start()


async def test_a_destination_does_not_take_the_credential(tmp_path: Path) -> None:
    registry = LabRegistry(users={"reader": "right"})
    async with clinic(tmp_path, registry) as place:
        entry = {"name": DESTINATION, "url": registry.url, "username": "reader"}
        wrong = place.configured(more_destinations=[entry | {"password": "wrong-one"}])
        one = await place.finding("destination_unauthorized", wrong)
        assert one.subject == SUBJECT
        assert "wrong-one" not in f"{one}"
        right = place.configured(more_destinations=[entry | {"password": "right"}])
        assert "destination_unauthorized" not in named(await place.findings(right))


async def test_a_destinations_certificate_is_not_trusted(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    registry = LabRegistry(tls=context)
    async with clinic(tmp_path, registry) as place:
        one = await place.finding("destination_tls")
        assert "ca_file" in one.cure
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        trusted = place.configured(None, {"ca_file": str(tmp_path / "ca.pem")})
        assert "destination_tls" not in named(await place.findings(trusted))


async def test_a_policy_there_blocks_images(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        place.registry.fault(Fault.POLICY_BLOCKED)
        one = await place.finding("destination_policy")
        assert one.subject == SUBJECT
        assert "412" in one.message


async def test_a_destination_fetches_what_it_is_asked_for(tmp_path: Path) -> None:
    async with LabRegistry().serving() as upstream:
        cache = LabRegistry(pull_through=upstream.url)
        async with clinic(tmp_path, cache) as place:
            one = await place.finding("pull_through")
            assert one.subject == SUBJECT
            assert "not to a cache" in one.cure


async def test_a_destination_hides_an_index_from_who_does_not_accept_one(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        index = images.platforms("both", "amd64", "arm64")
        place.push(tag="2.0", image=index)
        await place.harbor.idle()
        place.registry.fault(Fault.ACCEPT_TRAP)
        one = await place.finding("accept_trap")
        assert one.severity is Severity.INFO
        place.registry.clear()
        assert (await place.check("accept trap", SUBJECT)).outcome is Outcome.OK


async def test_the_configuration_looks_elsewhere_than_harbor_copies(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        entry = {"name": DESTINATION, "url": place.registry.url.replace("127.0.0.1", "localhost")}
        one = await place.finding(
            "destination_url_changed", place.configured(more_destinations=[entry])
        )
        assert place.registry.url in one.message


async def test_the_configuration_names_a_destination_that_no_harbor_has(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        config = place.configured(more_destinations=[{"name": "cluster2"}])
        one = await place.finding("destination_unknown", config)
        assert one.subject == "destination cluster2"


async def test_a_deadline_leaves_no_time(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        short = place.configured(None, {"deadline": "20s", "grace": "30s"})
        assert (await place.finding("deadline_short", short)).severity is Severity.WARNING
        brief = place.configured(None, {"deadline": "2m"})
        one = await place.finding("deadline_short", brief)
        assert one.severity is Severity.INFO
        assert "4 min" in one.message


async def test_nobody_can_write_without_a_token(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        one = await place.finding("token_missing")
        assert one.severity is Severity.INFO
        with_one = place.configured(token="a-token-of-some-length")
        assert "token_missing" not in named(await place.findings(with_one))


async def test_anybody_may_deliver(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        config = place.configured({"webhook": {"allow_unauthenticated": True}})
        one = await place.finding("webhook_open", config)
        assert one.severity is Severity.INFO


async def test_the_store_cannot_be_written(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        config = place.configured(store=f"sqlite:///{tmp_path}/nowhere/syncwatch.db")
        one = await place.finding("store_unwritable", config)
        assert "nowhere" in one.message
        assert not (tmp_path / "nowhere").exists()


async def test_examining_the_store_leaves_nothing_behind(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        config = place.configured()
        before = names_in(tmp_path)
        await place.findings(config)
        assert names_in(tmp_path) == before


@pytest.mark.parametrize(
    ("free", "severity"), [(2_000_000_000, None), (900_000_000, "warning"), (9_000_000, "error")]
)
def test_little_room_is_left_for_the_store(free: int, severity: str | None) -> None:
    checks = of_own_place(OwnSeen("sqlite:///s.db", "", free, 1_800_000_000_000))
    found = [one for check in checks for one in check.findings]
    assert [(one.finding, one.severity) for one in found] == (
        [("disk_low", severity)] if severity else []
    )


def test_our_own_clock_is_before_this_program() -> None:
    checks = of_own_place(OwnSeen("sqlite:///s.db", "", None, 1_000))
    told = {check.check: check for check in checks}
    assert told["own clock"].findings[0].finding == "clock_implausible"
    assert told["disk"].outcome is Outcome.CANNOT_TELL


async def test_a_secrets_file_became_empty(tmp_path: Path) -> None:
    async with clinic(tmp_path) as place:
        secret = tmp_path / "webhook"
        secret.write_text("Bearer webhook-secret\n")
        config = place.configured({"webhook": {"authorization_file": str(secret)}})
        settings = load(config)
        assert not any(one.findings for one in await secrets_checked(settings))
        secret.write_text("\n")
        ((one,),) = [each.findings for each in await secrets_checked(settings) if each.findings]
        assert (one.finding, one.subject) == (
            "secret_unreadable",
            "syncwatch: webhook of harbor main",
        )


async def secrets_checked(settings: Settings) -> list[Checked]:
    own = await own_place(settings, Clock(), try_store=False)
    return [one for one in of_own_place(own) if one.check == "secrets"]
