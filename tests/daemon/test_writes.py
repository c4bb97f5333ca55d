"""A look asked for by hand, and an expectation closed by hand, over HTTP."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from running import Watched, until
from scene import DESTINATION, LABELS, REPOSITORY, scene

from syncwatch.lab import images
from syncwatch.lab.faults import Fault
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TOKEN = "the-token-of-the-api"
NEVER = {"recheck_per_minute": 0}
OFTEN = {"recheck_per_minute": 6000, "recheck_after": "200ms"}
LOOK = "/api/v1/observations"


@dataclass(frozen=True)
class Told:
    """An answer to a write."""

    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        return self.body["error"]["message"]


async def post(
    watched: Watched, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Told:
    """Send a body: bytes as they are, None for none, anything else as JSON."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    async with watched.session.post(
        watched.daemon.url + path, data=data, headers=headers
    ) as answer:
        assert answer.content_type == "application/json"
        return Told(answer.status, await answer.json())


def authorized(watched: Watched) -> Watched:
    """From now on all questions carry the token."""
    watched.session.headers["Authorization"] = f"Bearer {TOKEN}"
    return watched


def asked_for(row: dict[str, Any]) -> list[str]:
    """Details of the looks asked for, in a row's timeline."""
    return [one["detail"] for one in row["timeline"] if one["what"] == "look asked for"]


async def is_claimed(watched: Watched, expectation_id: str) -> bool:
    """Whether the end of Harbor's run is known."""
    return (await watched.one(expectation_id))["claimed_at"] is not None


async def test_a_layer_lost_after_its_proof_is_found_by_a_look_asked_for_and_no_other(
    tmp_path: Path,
) -> None:
    async with (
        scene(tmp_path, destination=OFTEN, token=TOKEN) as stage,
        stage.watched() as watched,
    ):
        authorized(watched)
        digest = stage.push("v1")
        row = await watched.row(state="verified", level="readable")
        await until(lambda: is_claimed(watched, row["id"]), told="the end of the run")
        # Whatever was proven before that end is read once more, by this look at the latest.
        begun = (await watched.one(row["id"]))["observations"][0]["at"]
        await post(watched, LOOK, {"image": f"{REPOSITORY}:v1"})

        async def looked_at_again() -> bool:
            looks = (await watched.one(row["id"]))["observations"]
            return sum(one["at"] > begun for one in looks) >= 3

        await until(looked_at_again, told="looks after the run")
        (layer,) = images.image("v1").layer_digests
        stage.registry.lose_blob(layer)
        begun = (await watched.one(row["id"]))["observations"][0]["at"]

        await until(looked_at_again, told="three more looks")
        assert (await watched.one(row["id"]))["state"] == "verified"
        told = await post(watched, LOOK, {"image": f"{REPOSITORY}:v1"})
        assert (told.status, told.body) == (202, {"requested": 1, "destinations": [DESTINATION]})
        row = await watched.row(state="failed")
        assert (row["digest"], row["reason"], row["level"]) == (digest, "blob_missing", "matched")
        assert set(asked_for(await watched.one(row["id"]))) == {"over the API, from 127.0.0.1"}
        assert await watched.metric("syncwatch_lost_total", **LABELS) == 1


async def test_an_image_is_named_by_either_side_and_by_tag_or_digest(tmp_path: Path) -> None:
    async with scene(tmp_path, destination=NEVER, token=TOKEN) as stage:
        stage.harbor.create_policy("elsewhere", DESTINATION, pattern="other/**", namespace="mirror")
        async with stage.watched() as watched:
            authorized(watched)
            digest = stage.push("v1")
            stage.push("latest", "latest")
            stage.harbor.create_project("other")
            stage.send_webhooks(watched, "other")
            stage.harbor.push("other/web", "v1", images.image("other"))
            await watched.row(reference="v1", source_repository=REPOSITORY, state="verified")
            await watched.row(reference="latest", state="verified")
            await watched.row(repository="mirror/other/web", state="verified")
            for image in (
                REPOSITORY,
                f"{REPOSITORY}:v1",
                f"{REPOSITORY}@{digest}",
                f"{REPOSITORY}:v1@{digest}",
                f"{stage.harbor.host}/{REPOSITORY}:v1",
                f"{stage.registry.host}/{REPOSITORY}:v1",
                f"{stage.registry.host}/mirror/other/web:v1",
                f"{stage.harbor.host}/other/web:v1",
            ):
                told = await post(watched, LOOK, {"image": image, "destination": DESTINATION})
                assert (told.status, told.body.get("requested")) == (202, 1), (image, told)
            for image in (
                f"{REPOSITORY}:latest@{digest}",
                f"{stage.registry.host}/other/web:v1",
                f"{stage.harbor.host}/mirror/other/web:v1",
                "mirror/other/web:v1",
            ):
                told = await post(watched, LOOK, {"image": image})
                assert told.status == 404, (image, told)
                assert told.message == (
                    f"Nothing is expected of {image}, so it cannot be looked at yet; "
                    "push it, or run its policy, first."
                )


async def test_a_destination_that_is_named_is_the_only_one_looked_at(tmp_path: Path) -> None:
    async with (
        LabRegistry().serving() as second,
        scene(tmp_path, destination=NEVER, token=TOKEN) as stage,
    ):
        stage.harbor.create_registry("cluster2", second.url)
        stage.harbor.create_policy("to-cluster2", "cluster2", pattern="apps/**")
        async with stage.watched() as watched:
            authorized(watched)
            stage.push("v1")
            first = await watched.row(destination=DESTINATION, state="verified")
            other = await watched.row(destination="cluster2", state="verified")
            image = f"{REPOSITORY}:v1"
            told = await post(watched, LOOK, {"image": image})
            assert told.body == {"requested": 2, "destinations": [DESTINATION, "cluster2"]}
            told = await post(watched, LOOK, {"image": image, "destination": "cluster2"})
            assert told.body == {"requested": 1, "destinations": ["cluster2"]}
            told = await post(watched, LOOK, {"image": f"{second.host}/{image}"})
            assert told.body == {"requested": 1, "destinations": ["cluster2"]}
            there = {"image": f"{second.host}/{image}", "destination": DESTINATION}
            told = await post(watched, LOOK, there)
            assert told.status == 400
            assert told.message == (
                "image: its host is that of cluster2, not of cluster1; leave destination out."
            )
            # Whoever asks again and again has one line a minute in the timeline.
            for row in (first, other):
                assert len(asked_for(await watched.one(row["id"]))) == 1


async def test_the_pull_host_of_a_destination_names_it(tmp_path: Path) -> None:
    entry = {"name": DESTINATION, "pull_host": "registry.cluster1.internal:5000"}
    async with (
        scene(tmp_path, token=TOKEN, more_destinations=[entry]) as stage,
        stage.watched() as watched,
    ):
        authorized(watched)
        stage.push("v1")
        await watched.row(state="verified")
        image = f"registry.cluster1.internal:5000/{REPOSITORY}:v1"
        told = await post(watched, LOOK, {"image": image})
        assert told.body == {"requested": 1, "destinations": [DESTINATION]}


BAD_LOOKS: tuple[tuple[object, int, str], ...] = (
    (None, 400, 'The body has to be JSON like {"image": REF, "destination": NAME}: Input data'),
    (b"no json", 400, "JSON is malformed"),
    (b'{"image": "\xff"}', 400, "it is not UTF-8"),
    (b"[" * 20_000, 400, "got `array`"),
    ([], 400, "Expected `object`, got `array`"),
    ({}, 400, "Say what is to be looked at: image, repository, destination or since."),
    ({"image": 1}, 400, "got `int` - at `$.image`"),
    ({"image": None}, 400, "Say what is to be looked at"),
    ({"image": "apps/web:1", "repository": "apps/web"}, 400, "write one of the two."),
    ({"since": "yesterday"}, 400, "since: not a time with its zone: write it like 2026-"),
    ({"since": ["1h"]}, 400, "at `$.since`"),
    ({"by": "x" * 101, "since": "1h"}, 400, "by: 101 characters; write 100 at most."),
    ({"since": "1h"}, 404, "Nothing is expected since 1h, so there is nothing to look at."),
    ({"repository": "apps/web", "destination": DESTINATION}, 404, "of 'apps/web' at cluster1, so"),
    ({"image": "apps/web:1", "img": 1}, 400, "unknown field `img`"),
    ({"image": ""}, 400, "image: no repository is named; write [HOST/]REPOSITORY[:TAG|@DIGEST]."),
    ({"image": "apps/Web:1"}, 400, "image: 'apps/Web' is no repository"),
    ({"image": "a" * 60_000}, 400, "image: 'aaa"),
    ({"image": "apps/web:1", "destination": 7}, 400, "at `$.destination`"),
    (
        {"image": "apps/web:1", "destination": "cluster"},
        404,
        "destination: none is called 'cluster'; did you mean cluster1?",
    ),
    (
        {"image": "apps/web:1", "destination": "elsewhere"},
        404,
        "destination: none is called 'elsewhere'; write Harbor's name of the endpoint.",
    ),
    ({"image": "apps/web:1"}, 404, "Nothing is expected of apps/web:1, so it cannot be looked at"),
    (
        {"image": "apps/web:1", "destination": DESTINATION},
        404,
        "Nothing is expected of apps/web:1 at cluster1, so",
    ),
    (
        {"image": "registry.example.net:5000/apps/web:1"},
        404,
        "registry.example.net:5000 is the host of no Harbor and no destination here.",
    ),
    ({"image": "a" * 65_536}, 413, "A body may have 65536 bytes at most."),
)


async def test_a_look_that_cannot_be_taken_is_refused_in_one_sentence(tmp_path: Path) -> None:
    async with scene(tmp_path, token=TOKEN) as stage, stage.watched() as watched:
        authorized(watched)
        for body, status, words in BAD_LOOKS:
            told = await post(watched, LOOK, body)
            assert told.status == status, (body, told)
            assert words in told.message
            assert len(told.message) < 300
            assert told.body["error"]["code"] in ("bad_request", "not_found", "too_large")


async def test_nobody_may_write_where_no_token_is_configured(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("v1")
        row = await watched.row(state="verified")
        for path in (LOOK, f"/api/v1/expectations/{row['id']}/close"):
            told = await post(
                watched, path, {"image": f"{REPOSITORY}:v1"}, {"Authorization": "Bearer x"}
            )
            assert told.status == 403
            assert told.message.endswith("neither token nor token_file; set one.")
        told_of = await watched.one(row["id"])
        assert (told_of["state"], asked_for(told_of)) == ("verified", [])


async def test_a_wrong_token_writes_nothing_and_a_new_one_counts_after_a_reload(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, token=TOKEN) as stage, stage.watched() as watched:
        wrong = {"Authorization": "Bearer wrong"}
        for headers in (wrong, {}, {"Authorization": f"Basic {TOKEN}"}):
            for path in (LOOK, "/api/v1/expectations/1/close"):
                told = await post(watched, path, {"image": "apps/web:1"}, headers)
                assert (told.status, told.body["error"]["code"]) == (401, "unauthorized")
        stage.config.write_text(stage.config.read_text().replace(TOKEN, "another-token-for-it"))
        assert await watched.daemon.reload()
        for token, status in ((TOKEN, 401), ("another-token-for-it", 404)):
            headers = {"Authorization": f"Bearer {token}"}
            told = await post(watched, "/api/v1/expectations/1/close", None, headers)
            assert told.status == status


async def test_what_is_closed_by_hand_says_who_and_why_and_is_excused(tmp_path: Path) -> None:
    async with scene(tmp_path, token=TOKEN) as stage, stage.watched() as watched:
        authorized(watched)
        stage.registry.fault(Fault.FORBIDDEN, REPOSITORY)
        digest = stage.push("v1")
        row = await watched.row(state="unknown")
        path = f"/api/v1/expectations/{row['id']}/close"
        told = await post(watched, path, {"by": "Ada", "note": "never\n\x00 to  be there"})
        assert (told.status, told.body) == (202, {"id": row["id"]})
        row = await watched.one(row["id"])
        assert (row["state"], row["reason"], row["overdue"]) == ("closed", "by_hand", False)
        assert row["message"] == "Closed by hand by Ada: never to be there."
        assert row["timeline"][-1]["what"] == "closed/by_hand"
        assert row["timeline"][-1]["detail"] == row["message"]
        settled = "syncwatch_expectations_settled_total"
        assert await watched.metric(settled, result="excused", **LABELS) == 1
        gauge = "syncwatch_expectations"
        assert await watched.metric(gauge, state="closed", reason="by_hand", **LABELS) == 1
        assert await watched.metric("syncwatch_oldest_open_seconds", **LABELS) == 0
        assert (await watched.status())["states"]["closed"] == 1

        again = await post(watched, path, {"by": "Bob"})
        assert (again.status, again.body) == (202, told.body)
        # A look that was under way may end later.
        assert await watched.one(row["id"]) | {"observations": []} == row | {"observations": []}
        assert await watched.metric(settled, result="excused", **LABELS) == 1
        look = await post(watched, LOOK, {"image": f"{REPOSITORY}:v1"})
        assert look.status == 404

        # The same digest again begins nothing, another does.
        stage.registry.clear()
        assert stage.push("v1") == digest
        stage.push("marker")
        await watched.row(reference="marker", state="verified")
        assert await watched.states(reference="v1") == [("v1", "closed", "by_hand")]
        other = stage.push("v1", "something else")
        await watched.row(digest=other, state="verified")
        rows = await watched.expectations(reference="v1")
        assert [(one["digest"], one["state"]) for one in rows] == [
            (digest, "closed"),
            (other, "verified"),
        ]


async def test_a_note_and_a_name_are_not_needed(tmp_path: Path) -> None:
    async with scene(tmp_path, token=TOKEN) as stage, stage.watched() as watched:
        authorized(watched)
        bodies: tuple[tuple[object, str], ...] = (
            (None, "Closed by hand."),
            ({}, "Closed by hand."),
            ({"by": "Ada"}, "Closed by hand by Ada."),
            ({"note": "Gone?"}, "Closed by hand: Gone?"),
            ({"note": None, "by": " "}, "Closed by hand."),
            (
                {"note": "x" * 1000, "by": "y" * 100},
                f"Closed by hand by {'y' * 100}: {'x' * 1000}.",
            ),
        )
        for number, (body, message) in enumerate(bodies):
            stage.push(f"v{number}")
            row = await watched.row(reference=f"v{number}", state="verified")
            told = await post(watched, f"/api/v1/expectations/{row['id']}/close", body)
            assert told.status == 202
            row = await watched.one(row["id"])
            assert (row["state"], row["message"]) == ("closed", message)


BAD_CLOSES: tuple[tuple[str, object, int, str], ...] = (
    ("1", b"{", 400, 'The body has to be JSON like {"note": TEXT, "by": NAME}: '),
    ("1", {"note": 1}, 400, "at `$.note`"),
    ("1", {"reason": "x"}, 400, "unknown field `reason`"),
    ("1", {"note": "x" * 1001}, 400, "note: 1001 characters; write 1000 at most."),
    ("1", {"by": "x" * 101}, 400, "by: 101 characters; write 100 at most."),
    ("1", {"note": "x" * 65_536}, 413, "A body may have 65536 bytes at most."),
    ("1", None, 404, "There is no expectation 1."),
    ("x" * 500, None, 404, "There is no expectation xxx"),
    ("9" * 19, None, 404, "There is no expectation 999"),
    ("-1", None, 404, "There is no expectation -1."),
)


async def test_what_cannot_be_closed_is_refused_in_one_sentence(tmp_path: Path) -> None:
    async with scene(tmp_path, token=TOKEN) as stage, stage.watched() as watched:
        authorized(watched)
        for wanted, body, status, words in BAD_CLOSES:
            told = await post(watched, f"/api/v1/expectations/{wanted}/close", body)
            assert told.status == status, (wanted, body, told)
            assert words in told.message
            assert len(told.message) < 200


async def test_a_body_of_unknown_length_is_bounded_too(tmp_path: Path) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b'{"image": "' + b"a" * 1000

    async with scene(tmp_path, token=TOKEN) as stage, stage.watched() as watched:
        authorized(watched)
        async with watched.session.post(watched.daemon.url + LOOK, data=endless()) as answer:
            assert answer.status == 413


async def at_rest(watched: Watched, expectation_id: str, image: dict[str, str]) -> None:
    """Nothing calls for a look any more: one began two seconds after Harbor's execution ended."""

    async def looked() -> bool:
        await post(watched, LOOK, image)
        row = await watched.one(expectation_id)
        ended = datetime.fromisoformat(row["claimed_at"]) if row["claimed_at"] else None
        newest = datetime.fromisoformat(row["observations"][0]["at"])
        return ended is not None and newest - ended > timedelta(seconds=2.5)

    await until(looked, told="a look after the execution")

    moments: list[str] = []

    async def quiet() -> bool:
        moments.append((await watched.one(expectation_id))["observations"][0]["at"])
        return len(moments) > 15 and len(set(moments[-15:])) == 1

    await until(quiet, told="no look any more")


async def test_a_look_that_began_before_it_was_asked_for_does_not_stand_for_it(
    tmp_path: Path,
) -> None:
    async with (
        scene(tmp_path, destination=NEVER, token=TOKEN) as stage,
        stage.watched() as watched,
    ):
        authorized(watched)
        stage.push("v1")
        row = await watched.row(state="verified")
        image = {"image": f"{REPOSITORY}:v1"}
        await at_rest(watched, row["id"], image)
        (layer,) = images.image("v1").layer_digests

        def asked(digest: str) -> int:
            return sum(digest in one.path for one in stage.registry.requests)

        before = asked(layer)
        stage.registry.fault(Fault.HANG, REPOSITORY, images.image("v1").config_digest)
        await post(watched, LOOK, image)

        async def read_again() -> bool:
            return asked(layer) > before

        await until(read_again, told="the first look's reading of the layer")
        stage.registry.lose_blob(layer)
        assert (await post(watched, LOOK, image)).status == 202
        stage.registry.clear()
        row = await watched.row(within=5, state="failed")
        assert row["reason"] == "blob_missing"


async def test_a_repository_a_destination_or_a_time_is_looked_at_as_well(tmp_path: Path) -> None:
    async with (
        LabRegistry().serving() as second,
        scene(tmp_path, destination=NEVER, token=TOKEN) as stage,
    ):
        stage.harbor.create_registry("cluster2", second.url)
        stage.harbor.create_policy("to-cluster2", "cluster2", pattern="apps/**", namespace="mirror")
        async with stage.watched() as watched:
            authorized(watched)
            for repository in (REPOSITORY, "apps/db"):
                stage.push("v1", repository, repository)
            for wanted in (DESTINATION, "cluster2"):
                for name in (REPOSITORY, "apps/db"):
                    await watched.row(source_repository=name, destination=wanted, state="verified")
            both = [DESTINATION, "cluster2"]
            asked: tuple[tuple[dict[str, str], int, list[str]], ...] = (
                ({"repository": REPOSITORY}, 2, both),
                ({"repository": "mirror/apps/db"}, 1, ["cluster2"]),
                ({"destination": "cluster2"}, 2, ["cluster2"]),
                ({"since": "1h"}, 4, both),
                ({"since": "2001-01-01T00:00:00Z", "destination": DESTINATION}, 2, [DESTINATION]),
                ({"repository": "apps/db", "destination": DESTINATION}, 1, [DESTINATION]),
            )
            for body, count, names in asked:
                told = await post(watched, LOOK, body | {"by": "Ada"})
                assert (told.status, told.body) == (
                    202,
                    {"requested": count, "destinations": names},
                ), body
            assert (await post(watched, LOOK, {"since": "2099-01-01T00:00:00Z"})).status == 404
            for row in await watched.expectations():
                assert asked_for(await watched.one(row["id"])) == [
                    "by Ada over the API, from 127.0.0.1"
                ]


def pausing(name: str, what: str) -> str:
    return f"/api/v1/destinations/{name}/{what}"


def lines(row: dict[str, Any], what: str) -> list[str]:
    """Details of such lines in a row's timeline."""
    return [one["detail"] for one in row["timeline"] if one["what"] == what]


async def test_while_a_destination_is_paused_nothing_there_is_overdue(tmp_path: Path) -> None:
    short = {"deadline": "300ms", "retry_longest": "200ms"}
    async with scene(tmp_path, destination=short, token=TOKEN) as stage, stage.watched() as watched:
        authorized(watched)
        stage.registry.fault(Fault.FORBIDDEN, REPOSITORY)
        stage.push("v0")
        late = await watched.row(reference="v0", overdue=True)
        body = {"until": "1h", "by": "Ada", "note": "new disks"}
        told = await post(watched, pausing(DESTINATION, "pause"), body)
        (paused,) = told.body["destinations"]
        assert (told.status, paused["harbor"], paused["noted"]) == (202, "main", 1)
        (place,) = (await watched.status())["destinations"]
        assert (place["paused_until"], place["paused_by"]) == (paused["paused_until"], "Ada")

        # What was late before is late no more, and what comes is not.
        await watched.row(id=late["id"], overdue=False)
        stage.push("v1")
        row = await watched.row(reference="v1", state="unknown", deadline_at=place["paused_until"])
        assert row["overdue"] is False
        assert lines(await watched.one(late["id"]), "paused") == [
            f"Maintenance until {paused['paused_until']} by Ada: new disks."
        ]

        told = await post(watched, pausing(DESTINATION, "resume"), {"by": "Bob"})
        assert (told.status, told.body["destinations"][0]["paused_until"]) == (202, None)
        (place,) = (await watched.status())["destinations"]
        assert (place["paused_until"], place["paused_by"]) == (None, None)
        row = await watched.row(reference="v1", overdue=True)
        assert row["deadline_at"] < paused["paused_until"]
        assert lines(await watched.one(row["id"]), "resumed") == ["Maintenance ended by Bob."]
        assert (await post(watched, pausing(DESTINATION, "resume"))).status == 202


async def test_what_is_late_when_a_pause_ends_is_overdue_at_once(tmp_path: Path) -> None:
    slow = {"deadline": "300ms", "retry_first": "10m", "retry_longest": "10m"}
    async with scene(tmp_path, destination=slow, token=TOKEN) as stage, stage.watched() as watched:
        authorized(watched)
        await post(watched, pausing(DESTINATION, "pause"), {"until": "1h"})
        stage.registry.fault(Fault.FORBIDDEN, REPOSITORY)
        # Nothing but its deadline asks for another look.
        stage.stop_starting()
        stage.push("v1")
        await watched.row(reference="v1", state="unknown")
        assert (await post(watched, pausing(DESTINATION, "resume"))).status == 202
        await watched.row(within=5, reference="v1", overdue=True)


BAD_PAUSES: tuple[tuple[str, object, int, str], ...] = (
    (DESTINATION, None, 400, 'like {"until": TIME or DURATION, "by": NAME, "note": TEXT'),
    (DESTINATION, {}, 400, "missing required field `until`"),
    (DESTINATION, {"until": "soon"}, 400, "until: not a time with its zone"),
    (DESTINATION, {"until": "2001-01-01T00:00:00Z"}, 400, "is over; write a time to come."),
    (DESTINATION, {"until": "3000d"}, 400, "until: more than a year ahead"),
    (DESTINATION, {"until": "1h", "note": "x" * 1001}, 400, "note: 1001 characters"),
    (DESTINATION, {"until": "1h", "harbor": "other"}, 404, "harbor: none is called 'other'"),
    ("cluster", {"until": "1h"}, 404, "none is called 'cluster'; did you mean cluster1?"),
    ("a%2Fb", {"until": "1h"}, 404, "none is called 'a/b'"),
)


async def test_a_pause_that_cannot_be_meant_is_refused_in_one_sentence(tmp_path: Path) -> None:
    async with scene(tmp_path, token=TOKEN) as stage, stage.watched() as watched:
        for what in ("pause", "resume"):
            told = await post(watched, pausing(DESTINATION, what), {"until": "1h"})
            assert told.status == 401
        authorized(watched)
        for name, body, status, words in BAD_PAUSES:
            told = await post(watched, pausing(name, "pause"), body)
            assert told.status == status, (name, body, told)
            assert words in told.message
        assert (await watched.status())["destinations"][0]["paused_until"] is None
