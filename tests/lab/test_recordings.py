"""The contract: the lab answers, does and sends what the recorded Harbor did.

Each folder of tests/recordings is played: its calls in their order, between them what was done and
is not in it (pushes, a destination stopped, a blob lost). Compared are statuses, headers, bodies
and webhooks (`lab_comparison`); what of a folder is not its own is named where it is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab_receiver import until
from lab_replay import COMPARED, END, RECORDINGS, Recording, Scenario, Stage, staged

from syncwatch.lab import images

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from syncwatch.lab.images import Image

    Doing = Callable[[Stage], Awaitable[None]]


def push(repository: str, tag: str, image: Image, recorded: str = "") -> Doing:
    """Push; `recorded` begins the digest that the recording has for it."""

    async def do(stage: Stage) -> None:
        stage.push(repository, tag, image, recorded)

    return do


async def settled(stage: Stage) -> None:
    """No job is under way or waits for another attempt."""
    await stage.harbor.world.settled()


async def refreshed(stage: Stage) -> None:
    """The execution statuses were refreshed once."""
    stage.harbor.refresh()


def webhooks(count: int) -> Doing:
    """So many webhooks have come."""

    async def do(stage: Stage) -> None:
        await until(lambda: len(stage.receiver.deliveries) >= count, f"{count} webhooks")

    return do


def answer(status: int) -> Doing:
    async def do(stage: Stage) -> None:
        stage.receiver.status = status

    return do


def destination_down(port: int) -> Doing:
    async def do(stage: Stage) -> None:
        await stage.registries[port].stop()

    return do


def destination_up(port: int) -> Doing:
    async def do(stage: Stage) -> None:
        await stage.registries[port].start()

    return do


async def credentials_revoked(stage: Stage) -> None:
    stage.registries[5003].users = {}


WEB = images.platforms("web 1.4.0")
APP, APP2 = images.image("app"), images.image("app 2")
MOVED = [images.image(f"burst {number}") for number in range(5)]


async def only_the_filtered_tags_arrived(stage: Stage) -> None:
    assert set(stage.cluster1.contents.repository("multi/app").tags) == {"rel-1", "rel-2"}


async def the_old_digest_stays(stage: Stage) -> None:
    assert stage.cluster1.digest("ovr/app", "latest") == APP.digest


async def blob_lost(stage: Stage) -> None:
    stage.cluster1.lose_blob(APP.layer_digests[0])


async def the_blob_is_still_lost(stage: Stage) -> None:
    assert stage.cluster1.contents.blob("lost/app", APP.layer_digests[0]) is None


async def all_landed_on_one_name(stage: Stage) -> None:
    assert list(stage.cluster1.contents.repositories["n/image"].tags) == ["1"]


async def the_artifact_is_gone_there(stage: Stage) -> None:
    assert stage.cluster1.digest("tags/app", "v1") is None


async def the_chart_arrived(stage: Stage) -> None:
    assert stage.cluster1.digest("charts/demo", "0.1.0")


async def the_last_digest_arrived(stage: Stage) -> None:
    assert stage.cluster1.digest("burst/app", "latest") == MOVED[-1].digest


async def only_what_was_enabled_arrived(stage: Stage) -> None:
    assert set(stage.cluster1.contents.repository("dis/app").tags) == {"2"}


async def history_before_20(stage: Stage) -> None:
    """55 executions before the first of this folder, the last four as recorded."""
    harbor = stage.harbor
    harbor.create_policy("before", 1, pattern="before/**")
    for number in range(51):
        harbor.push("before/app", f"{number}", APP)
    await settled(stage)
    await flattened(stage)
    for namespace, count in (("n", 0), ("n", 1), ("n", 2), ("n/m", 1)):
        policy = harbor.create_policy(
            f"flat2-{namespace}-{count}",
            1,
            pattern="flat/**",
            trigger="manual",
            namespace=namespace,
            replace_count=count,
        )
        harbor.run(policy)
        await settled(stage)


async def flattened(stage: Stage) -> None:
    """The three repositories of recording 07, the last of them the newest."""
    for path in ("image", "b/image", "b/c/image"):
        stage.push(f"flat/{path}", "1", images.image(path))


async def many_tags(stage: Stage) -> None:
    """In each repository four tags, one that the filter excludes, one image without a tag."""
    for repository, untagged in (("many/a", "76ceccd0"), ("many/b", "97b0d35a")):
        stage.push(repository, "dev-1", images.image(f"{repository} dev"))
        for number in range(4):
            stage.push(repository, f"v{number}", images.image(f"{repository} {number}"))
        stage.push(repository, "", images.image(f"{repository} untagged"), untagged)


async def lab_before_16(stage: Stage) -> None:
    """What the recorded machine held by then: 30 policies, 14 projects, 16 repositories."""
    harbor = stage.harbor
    harbor.create_registry(
        "cluster2-registry", stage.registries[5002].url, username="pusher", password="pushpass"
    )
    harbor.create_webhook_policy(
        "apps",
        f"{stage.receiver.url}/hook",
        name="syncwatch-ce",
        auth_header="Bearer lab-secret",
        cloud_events=True,
    )
    # Nobody listens here: this folder has no webhooks.
    harbor.switches.drop_webhooks = True
    harbor.create_policy("cluster1-registry-replication", 1, pattern="library1/**")
    harbor.push("library1/alpine", "latest", APP)
    await settled(stage)
    harbor.push("apps/team/web", "1.4.0", WEB)
    for name in ("multi/app", "ovr/app", "lost/app", "void/app"):
        harbor.push(name, "1", APP)
    await flattened(stage)
    for name in ("down/app", "sig/app", "charts/demo"):
        harbor.push(name, "1", APP)
    for name, count in (("many/a", 4), ("many/b", 4), ("burst/app", 5)):
        for number in range(count):
            harbor.push(name, f"{number}", MOVED[number])
    harbor.create_project("tags")
    harbor.push("tags/app", "1", APP)
    _move_to_the_end_of_the_list(stage, "tags/app")
    for number in range(19):
        harbor.create_policy(f"flat-{number}", 1, pattern="flat/**", trigger="manual")
    for recorded in reversed(stage.recording.calls[1]["response"]):
        harbor.create_policy(
            recorded["name"],
            recorded["dest_registry"]["name"],
            filters=recorded["filters"],
            trigger=recorded["trigger"]["type"],
            namespace=recorded.get("dest_namespace", ""),
            replace_count=recorded["dest_namespace_replace_count"],
        )


def _move_to_the_end_of_the_list(stage: Stage, repository: str) -> None:
    row = stage.harbor.world.repository(repository)
    assert row is not None
    row.created -= 60


SCENARIOS = {
    "01-push-single": Scenario(
        projects=("library1",),
        registry_known=False,
        doings={3: [push("library1/alpine", "latest", APP, "edea795d"), settled]},
    ),
    "02-push-index-cloudevents": Scenario(
        projects=("library1", "apps"),
        doings={
            0: [push("library1/alpine", "latest", APP)],
            3: [push("apps/team/web", "1.4.0", WEB, "fa2b9a19"), settled],
        },
    ),
    "03-retag-and-delete": Scenario(
        projects=("tags",),
        doings={
            3: [push("tags/app", "v1", APP, "63ba7285"), settled],
            5: [refreshed],
            6: [settled],
            9: [refreshed],
            # The second attempt at deleting the tag had ended before the next call.
            10: [webhooks(7)],
            14: [webhooks(9)],
            END: [settled, the_artifact_is_gone_there],
        },
        # Its third attempt was recorded in folder 05.
        cut_short=frozenset({44}),
        # Lines 1 to 16 of the audit log tell of other folders.
        newest_only={20: 4},
    ),
    "04-one-digest-three-tags": Scenario(
        projects=("multi",),
        doings={
            3: [
                push("multi/app", "rel-1", APP, "8eceb088"),
                push("multi/app", "dev-1", APP),
                push("multi/app", "rel-2", APP),
                settled,
            ],
            6: [push("multi/app", "dev-2", APP2, "0da360f2"), settled],
            END: [only_the_filtered_tags_arrived],
        },
    ),
    "05-override-false-succeeds-with-old-bytes": Scenario(
        projects=("ovr",),
        doings={
            3: [push("ovr/app", "latest", APP, "a2eb40a"), settled],
            5: [refreshed, push("ovr/app", "latest", APP2, "596567d5"), settled],
            END: [the_old_digest_stays],
        },
        # The third attempt of folder 03.
        elsewhere=frozenset({44}),
    ),
    "06-destination-lost-a-blob": Scenario(
        projects=("lost",),
        doings={
            3: [push("lost/app", "1", APP, "ff3dbf8"), settled],
            5: [blob_lost],
            6: [settled],
            END: [the_blob_is_still_lost],
        },
    ),
    "07-flattening-and-namespace": Scenario(
        projects=("flat",),
        doings={0: [flattened], END: [all_landed_on_one_name]},
    ),
    "08-empty-success": Scenario(
        projects=("void",),
        doings={3: [push("void/app", "1", APP, "56c721c")], 4: [settled]},
    ),
    "09-destination-down-then-up": Scenario(
        projects=("down",),
        doings={
            # The endpoint answers when it is made, and is down when the push comes.
            3: [
                destination_down(5002),
                push("down/app", "1", APP, "6b86939"),
                webhooks(3),
                refreshed,
                destination_up(5002),
                settled,
            ],
        },
    ),
    "10-signature-and-referrer": Scenario(
        projects=("sig",),
        doings={
            3: [push("sig/app", "1", APP, "039b0cad"), settled],
            5: [
                push("sig/app", images.signature_tag(APP), images.signature(APP), "1d18751e"),
                settled,
                push("sig/app", "", images.referrer(APP), "e2535980"),
                settled,
            ],
        },
    ),
    "11-helm-chart": Scenario(
        projects=("charts",),
        doings={
            3: [push("charts/demo", "0.1.0", images.chart("demo", "0.1.0"), "0bc0f76"), settled],
            END: [the_chart_arrived],
        },
    ),
    "12-manual-run-many-tags": Scenario(projects=("many",), doings={3: [many_tags], 4: [settled]}),
    "13-mutable-tag-burst": Scenario(
        projects=("burst",),
        doings={
            3: [
                push("burst/app", "latest", image, recorded)
                for image, recorded in zip(
                    MOVED, ("53b090c", "be00ad8", "0b8cc12", "8382595", "a85c217"), strict=True
                )
            ]
            + [settled],
            END: [the_last_digest_arrived],
        },
    ),
    "14-webhook-target-fails": Scenario(
        projects=("hookfail",),
        doings={4: [answer(500), push("hookfail/app", "1", APP, "83f4ebab"), settled, refreshed]},
    ),
    "15-destination-credentials-revoked": Scenario(
        projects=("cred",),
        registry_known=False,
        doings={3: [credentials_revoked, push("cred/app", "1", APP, "483af4b"), settled]},
    ),
    "16-robot-permissions": Scenario(
        doings={0: [lab_before_16]}, robot_from=1, history_made_up=True
    ),
    "17-repush-same-digest-and-move-tag-back": Scenario(
        projects=("re",),
        doings={
            3: [
                push("re/app", "latest", APP, "f829319"),
                settled,
                push("re/app", "latest", APP),
                settled,
                push("re/app", "latest", APP2, "0985f68"),
                settled,
                push("re/app", "latest", APP),
                settled,
            ],
        },
    ),
    "18-two-policies-one-cannot-start": Scenario(
        projects=("two",),
        doings={
            5: [push("two/app", "1", APP, "f07fba8"), settled],
            8: [push("two/app", "2", APP2, "ce28d0b"), settled],
        },
    ),
    "19-disabled-then-enabled": Scenario(
        projects=("dis",),
        doings={
            3: [push("dis/app", "1", APP, "486ecd2"), settled],
            6: [push("dis/app", "2", APP2, "0ed98e3"), settled],
            8: [only_what_was_enabled_arrived],
            9: [settled],
        },
        # The recorder kept these answers by reference and changed `enabled` in them afterwards,
        # to send them back in calls 4 and 12.
        any_value={3: {"enabled"}, 5: {"enabled"}},
    ),
    "20-reading-the-feed-and-a-tag": Scenario(
        projects=("feed",),
        doings={
            0: [history_before_20],
            3: [push("feed/app", "1", APP, "14aa9f2b"), settled],
        },
    ),
}


def test_every_recording_is_played() -> None:
    assert set(SCENARIOS) == {path.name for path in RECORDINGS.iterdir() if path.is_dir()}


@pytest.mark.parametrize("name", sorted(SCENARIOS))
async def test_the_lab_does_what_the_recorded_harbor_did(
    name: str, request: pytest.FixtureRequest
) -> None:
    async with staged(Recording(name), SCENARIOS[name]) as stage:
        await stage.play()
        counted = request.config.stash[COMPARED]
        counted["recordings"] += 1
        counted["calls"] += stage.calls
        counted["webhooks"] += stage.webhooks
