"""One fault anywhere in any image, and the verdict is the one word that this fault allows.

Hypothesis makes images (layers shared or empty, foreign ones, attestations, charts, caches, indexes
up to three deep), puts one into a lab registry behind tokens, and does one thing to it. What is
there is read off the registry's own contents, by an oracle that knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from syncwatch.facts import Facts, Owed, Run
from syncwatch.lab import images
from syncwatch.lab.images import FOREIGN_TYPES, INDEX_TYPES, MANIFEST_TYPES
from syncwatch.lab.registry import Fault, LabRegistry
from syncwatch.model import REASONS, Level, Operation, Reason, State, Status, step
from syncwatch.outbound import Outbound
from syncwatch.verdict import decide
from syncwatch.verify.registry import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from syncwatch.lab.contents import Contents
    from syncwatch.lab.images import Image
    from syncwatch.model import Observation

R = Reason
REPOSITORY, TAG = "a/b", "1.0"
ENDED, LOOKED = 1_000_000, 2_000_000
"""Milliseconds: when Harbor's run ended, and when the look began, long after."""

ACCESS = {
    Fault.RESET: R.UNREACHABLE,
    Fault.UNAUTHORIZED: R.UNAUTHORIZED,
    Fault.FORBIDDEN: R.FORBIDDEN,
    Fault.RATE_LIMITED: R.RATE_LIMITED,
    Fault.SERVER_ERROR: R.SERVER_ERROR,
    Fault.BAD_GATEWAY: R.SERVER_ERROR,
    Fault.UNAVAILABLE: R.SERVER_ERROR,
    Fault.HTML: R.UNREADABLE_ANSWER,
    Fault.EXPIRED_TOKEN: R.UNAUTHORIZED,
}
"""What keeps us from a part of any kind, and the word for it."""

ACCESS_TO_MANIFESTS = {
    Fault.ABORT_BODY: R.UNREACHABLE,
    Fault.CUT_BODY: R.UNREACHABLE,
    Fault.ENDLESS: R.UNREADABLE_ANSWER,
    Fault.HEADER_FLOOD: R.UNREADABLE_ANSWER,
}
ACCESS_TO_BLOBS = {
    Fault.BLOB_UNAUTHORIZED: R.UNAUTHORIZED,
    Fault.BLOB_FORBIDDEN: R.FORBIDDEN,
    Fault.REDIRECT_LOOP: R.UNREADABLE_ANSWER,
    Fault.STORAGE_FORBIDDEN: R.FORBIDDEN,
    Fault.STORAGE_DOWN: R.SERVER_ERROR,
    Fault.HEADER_FLOOD: R.UNREADABLE_ANSWER,
    Fault.BLOB_HTML: R.UNREADABLE_ANSWER,
}
HARMLESS = (Fault.NO_DIGEST, Fault.ACCEPT_TRAP, Fault.NO_LENGTH, Fault.NOT_MODIFIED_LIE)
HARMLESS_TO_BLOBS = (Fault.NO_RANGES, Fault.REDIRECT, Fault.NO_LENGTH)

LOSSES = frozenset(
    {R.MISSING, R.TAG_MISSING, R.LOST, R.CHILD_MISSING, R.BLOB_MISSING}
    | {R.BLOB_UNREADABLE, R.MANIFEST_CORRUPT, R.DIGEST_MISMATCH}
)
"""What may only be said of bytes that are not there, or are others."""


@dataclass(frozen=True)
class Part:
    """Something that has to be there; `kind` is tag, top, child or blob."""

    kind: str
    reference: str
    size: int = 0


def needed(contents: Contents, top: str) -> list[Part]:
    """All parts of an image that lies whole in the repository, each once."""
    found = {TAG: Part("tag", TAG), top: Part("top", top)}
    waiting = [top]
    while waiting:
        for entry, is_manifest in descriptors(contents, waiting.pop()):
            digest = entry["digest"]
            if is_manifest and digest not in found:
                waiting.append(digest)
            found.setdefault(
                digest, Part("child" if is_manifest else "blob", digest, entry["size"])
            )
    return list(found.values())


def descriptors(contents: Contents, digest: str) -> list[tuple[dict[str, Any], bool]]:
    """What a manifest demands, and whether each is a manifest itself."""
    document = json.loads(contents.repository(REPOSITORY).manifests[digest].body)
    entries = [*document.get("manifests", ()), *document.get("layers", ())]
    entries += [document["config"]] if "config" in document else []
    return [
        (one, one["mediaType"] in MANIFEST_TYPES | INDEX_TYPES)
        for one in entries
        if one["mediaType"] not in FOREIGN_TYPES
    ]


def oracle(contents: Contents, parts: list[Part]) -> Reason | None:
    """What is wrong with what is there; None where every needed byte is."""
    held = contents.repository(REPOSITORY)
    wrong = set()
    for part in parts:
        if part.kind == "tag":
            wrong |= {R.TAG_MISSING} if part.reference not in held.tags else set()
        elif part.kind == "blob":
            body = contents.blob(REPOSITORY, part.reference)
            if body is None:
                wrong.add(R.BLOB_MISSING)
            elif len(body) != part.size:
                wrong.add(R.BLOB_UNREADABLE)
        elif part.reference not in held.manifests:
            wrong.add(R.MISSING if part.kind == "top" else R.CHILD_MISSING)
        else:
            body = held.manifests[part.reference].body
            algorithm = part.reference.partition(":")[0]
            good = images.digest_of(body, algorithm) == part.reference
            wrong |= set() if good else {R.MANIFEST_CORRUPT}
    assert len(wrong) <= 1, "a single fault"
    return wrong.pop() if wrong else None


def leaves() -> st.SearchStrategy[Image]:
    pool = [b"", b"x", b"shared layer" * 9, bytes(range(256)) * 5, b"the last of them" * 70]
    seeds = st.sampled_from(["red", "green", "blue"])
    algorithms = st.sampled_from(["sha256", "sha256", "sha512"])
    return st.one_of(
        st.builds(
            lambda seed, layers, algorithm: images.layered(seed, *layers, algorithm=algorithm),
            seeds,
            st.lists(st.sampled_from(pool), max_size=4),
            algorithms,
        ),
        st.builds(images.foreign, seeds, st.sampled_from(sorted(FOREIGN_TYPES))),
        st.builds(images.chart, seeds, st.just("1.0")),
        st.builds(images.artifact, seeds),
        st.builds(images.build_cache, seeds),
        st.builds(images.attested, seeds),
    )


def under(children: st.SearchStrategy[Image]) -> st.SearchStrategy[Image]:
    algorithms = st.sampled_from(["sha256", "sha512"])
    docker = st.booleans()
    listed = st.lists(children, min_size=1, max_size=3)
    return st.builds(
        lambda entries, docker, algorithm: images.index(
            *entries, docker=docker, algorithm=algorithm
        ),
        listed,
        docker,
        algorithms,
    )


IMAGES = st.one_of(leaves(), under(leaves()), under(under(leaves())))
"""An attested image or a cache is an index itself: three deep with two above it."""


@dataclass(frozen=True)
class Harm:
    """One thing done to one part: to the contents, or to the answers (`fault`, `allowed`)."""

    words: str
    do: Callable[[LabRegistry, Part], object] | None = None
    fault: Fault | None = None
    allowed: frozenset[Reason | None] = frozenset()
    times: int | None = None


def lose(registry: LabRegistry, part: Part) -> None:
    held = registry.contents.repository(REPOSITORY)
    held.tags.pop(part.reference, None)
    held.manifests.pop(part.reference, None)
    held.blobs.discard(part.reference)


def harms(part: Part) -> list[Harm]:
    """All that may befall a part."""
    access = dict(ACCESS) | (ACCESS_TO_BLOBS if part.kind == "blob" else ACCESS_TO_MANIFESTS)
    if part.kind == "tag":
        # A tag is asked for by HEAD, which has no body.
        access = dict(ACCESS) | {Fault.HEADER_FLOOD: R.UNREADABLE_ANSWER}
    found = [Harm(f"{fault} on a {part.kind}", None, fault, frozenset({word}))
             for fault, word in access.items()]  # fmt: skip
    found.append(Harm("nothing"))
    found.append(Harm(f"lost {part.kind}", lose))
    fine: frozenset[Reason | None] = frozenset({None})
    harmless = HARMLESS_TO_BLOBS if part.kind == "blob" else HARMLESS
    found += [Harm(f"{one} on a {part.kind}", None, one, fine) for one in harmless]
    found.append(Harm("an expired token", None, Fault.EXPIRED_TOKEN, fine, times=1))
    if part.kind == "blob":
        found += _harms_of_blobs(part)
    elif part.kind != "tag":
        gone = R.MISSING if part.kind == "top" else R.CHILD_MISSING
        words = {
            Fault.DIGEST_NOT_FOUND: gone,
            Fault.GET_NOT_FOUND: gone,
            Fault.ALTERED: R.MANIFEST_CORRUPT,
            Fault.POLICY_BLOCKED: R.POLICY_BLOCKED,
            Fault.WRONG_DIGEST: None,
        }
        found += [Harm(f"{one} on a {part.kind}", None, one, frozenset({word}))
                  for one, word in words.items()]  # fmt: skip
        found.append(Harm(f"corrupt {part.kind}", _corrupt))
    return found


def _harms_of_blobs(part: Part) -> list[Harm]:
    words: dict[Fault, Reason | None] = {
        Fault.BLOB_NOT_FOUND: R.BLOB_MISSING,
        Fault.STORAGE_NOT_FOUND: R.BLOB_MISSING,
    }
    found = []
    if part.size:
        words |= dict.fromkeys(
            (Fault.EMPTY_206, Fault.BLOB_TRUNCATED, Fault.TRUNCATED_206, Fault.CUT_BODY),
            R.BLOB_UNREADABLE,
        )
        words[Fault.ABORT_BODY] = R.UNREACHABLE
        found.append(Harm("a blob one byte short", lambda r, p: r.truncate_blob(p.reference)))
        found.append(Harm("an empty blob", lambda r, p: r.empty_blob(p.reference)))
    found += [Harm(f"{one} on a blob", None, one, frozenset({word}))
              for one, word in words.items()]  # fmt: skip
    return found


def _corrupt(registry: LabRegistry, part: Part) -> None:
    registry.corrupt_manifest(REPOSITORY, part.reference)


def word(state: State, seen: Observation, digest: str) -> tuple[State, Reason | None]:
    """State and reason that an expectation in `state` comes to, long after Harbor's success."""
    run = Run(1, 1, Status.SUCCEED, "", ENDED, ENDED, 0, made_tasks=True)
    verified = ENDED if state is State.VERIFIED else None
    owed = Owed(
        state=state,
        reason=None if verified else R.WAITING,
        operation=Operation.COPY,
        digest=digest,
        required_level=Level.READABLE,
        expected_at=ENDED - 1000,
        deadline_at=ENDED + 60_000,
        verified_at=verified,
        proved_at=verified,
        attempts=0,
        names=f"{REPOSITORY}:{TAG}",
        destination="there",
    )
    facts = Facts(
        runs=(run,),
        asked_at=LOOKED,
        answers=True,
        reaches_back=True,
        source_digest=digest,
        source_read_at=LOOKED + 1,
        served_since=LOOKED,
        override=True,
        rivals=frozenset(),
        busy_until=0,
        next_run_at=None,
        grace=1000,
        give_up_after=1000,
        stale_after=10**9,
        retry_first=1000,
        retry_longest=60_000,
        troubled=True,
        wanting=True,
    )
    verdict = decide(owed, seen, facts, LOOKED)
    after = step(state, verdict.happening)
    return after, None if after is State.VERIFIED else verdict.reason


class Place:
    """A registry behind tokens, and a client of it, in a loop of their own."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.registry = LabRegistry(users={"reader": "secret"}, bearer=True)
        self.client: RegistryClient

    @contextlib.asynccontextmanager
    async def open(self) -> Any:
        outbound = Outbound(timeout=20.0)
        async with self.registry.serving():
            self.client = RegistryClient(
                url=self.registry.url,
                outbound=outbound,
                credentials=lambda: ("reader", "secret"),
                clock=lambda: LOOKED,
            )
            try:
                yield
            finally:
                await outbound.close()

    def put(self, image: Image) -> list[Part]:
        """Only this image is there, and nothing is wrong."""
        self.registry.clear()
        self.registry.contents.bytes.clear()
        self.registry.contents.repositories.clear()
        self.registry.push(REPOSITORY, TAG, image)
        return needed(self.registry.contents, image.digest)

    def look(self, digest: str) -> Observation:
        looking = self.client.look(REPOSITORY, TAG, [digest], level=Level.READABLE)
        return self.runner.run(looking)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with asyncio.Runner() as runner:
        there = Place(runner)
        stack = contextlib.AsyncExitStack()
        runner.run(stack.enter_async_context(there.open()))
        yield there
        runner.run(stack.aclose())


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(image=IMAGES, data=st.data())
def test_a_single_fault_gets_the_word_that_it_allows(
    place: Place, image: Image, data: st.DataObject
) -> None:
    parts = place.put(image)
    part = data.draw(st.sampled_from(parts), label="part")
    harm = data.draw(st.sampled_from(harms(part)), label="harm")
    event(harm.words)
    if harm.do is not None:
        harm.do(place.registry, part)
    if harm.fault is not None:
        place.registry.fault(harm.fault, REPOSITORY, part.reference, harm.times)
    wrong = oracle(place.registry.contents, parts)
    allowed = harm.allowed or frozenset({wrong})
    seen = place.look(image.digest)
    state, reason = word(State.PENDING, seen, image.digest)
    assert reason in allowed, (state, reason, seen.detail)
    assert (state is State.VERIFIED) == (reason is None)
    assert reason is None or reason in REASONS[state]
    if wrong is not None:
        assert state is State.FAILED
    if harm.fault in ACCESS or harm.fault in ACCESS_TO_BLOBS:
        assert reason not in LOSSES
    _keeps_what_was_verified(seen, image.digest, reason)


def _keeps_what_was_verified(seen: Observation, digest: str, reason: Reason | None) -> None:
    """What was verified is taken away by what was seen, never by what could not be asked."""
    state, later = word(State.VERIFIED, seen, digest)
    if reason is None or reason not in LOSSES | {R.POLICY_BLOCKED}:
        assert state is State.VERIFIED
    else:
        expected = R.LOST if reason is R.MISSING else reason
        assert (state, later) == (State.FAILED, expected)
