"""What a verdict is made of, beside the observation: what is owed, Harbor's runs, what is known.

Pure values. `verify.judging` reads them in the transaction that writes the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from syncwatch.model import Pulling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncwatch.model import Level, Millis, Operation, Reason, State


@dataclass(frozen=True, slots=True)
class Owed:
    """What the verdict needs of an expectation. `names` is how a message calls the image there.

    `verified_at` is when it was first verified, `proved_at` when a look last proved it. `at_rest`
    says that nothing called for this look: it was a re-check.
    """

    state: State
    reason: Reason | None
    operation: Operation
    digest: str
    required_level: Level
    expected_at: Millis
    deadline_at: Millis
    verified_at: Millis | None
    proved_at: Millis | None
    attempts: int
    names: str
    destination: str
    at_rest: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One task of Harbor's that was to bring the image, or an execution that made no task.

    `ended_at` (whole seconds) and `changed_at` are in our clock; `errors` counts attempts known to
    have failed; `made_tasks` is False where the execution has none (yet).
    """

    execution_id: int
    task_id: int | None
    status: str
    text: str
    ended_at: Millis | None
    changed_at: Millis
    errors: int
    made_tasks: bool
    by_event: bool = True

    @property
    def over_at(self) -> Millis:
        """When it ended, as far as Harbor says so; else when it last changed."""
        return self.ended_at if self.ended_at is not None else self.changed_at


class Standing(StrEnum):
    """What the probes of an image amount to."""

    PROVED = "proved"  # a node pulled it
    NEEDLESS = "needless"  # no node pulls such a thing: a chart, a signature
    REFUSED = "refused"  # a node could not pull it
    OPEN = "open"  # the last probe proved nothing, either way
    AWAITED = "awaited"  # none has ended yet


_REFUSALS = frozenset(
    {
        Pulling.MISSING,
        Pulling.UNAUTHORIZED,
        Pulling.UNREACHABLE,
        Pulling.CORRUPT,
        Pulling.WRONG_PLATFORM,
    }
)


@dataclass(frozen=True, slots=True)
class Pull:
    """What is known of the destination's own cluster pulling a digest.

    `proved_at` is when a node's pull of it ended well; `result` with its `message` (one sentence,
    with the kubelet's words) is of the last probe that `ended_at`, `attempts` so many in a row have
    not been pulled. `is_image` is None while not known; `under_way` that pods are, `due_at` when
    the next probe is.
    """

    proved_at: Millis | None = None
    result: Pulling | None = None
    cause: str = ""
    message: str = ""
    ended_at: Millis | None = None
    attempts: int = 0
    is_image: bool | None = None
    under_way: bool = False
    due_at: Millis | None = None

    @property
    def standing(self) -> Standing:
        """What they amount to.

        What was pulled stays so when a later probe proves nothing, and not when it is refused. One
        connection that failed is no refusal: a second pod has to say so too.
        """
        if self.is_image is False:
            return Standing.NEEDLESS
        confirmed = self.result is not Pulling.UNREACHABLE or self.attempts > 1
        if self.result in _REFUSALS and confirmed:
            return Standing.REFUSED
        if self.proved_at is not None:
            return Standing.PROVED
        if self.result is None or self.result in _REFUSALS:
            return Standing.AWAITED
        return Standing.OPEN


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the observation.

    `runs` are those that may bring this image, newest first. `asked_at` is when Harbor's feed of
    executions was last read to its end, `answers` whether it does so now, `reaches_back` whether it
    covers the time since the push.
    `source_read_at` is when the source's tag was last read, `source_digest` what it named;
    `served_since` is the first of the looks in a row that saw what this one saw served.
    `rivals` are digests that other subjects expect under the same name there. `busy_until` is
    None while any run may still touch the destination's repository, else when the last one ended
    (0 for never). `next_run_at` is the next run of a scheduled policy.
    Of the looks before this one: `troubled` says that the last met a problem too, `wanting` that
    the last one that met none did not prove the digest either (`wanting_since`: nor those since
    then), `good` how many in a row did; `told_gone` that Harbor told of its deletion at the source,
    which was not read since; `policies_at` is when Harbor's policies were last read;
    `flaps` is how often the expectation left `verified` within the last hour. `pull` is what the
    destination's cluster said of pulling it, None where nothing was ever asked of it.
    """

    runs: Sequence[Run]
    asked_at: Millis | None
    answers: bool
    reaches_back: bool
    source_digest: str | None
    source_read_at: Millis | None
    served_since: Millis
    override: bool
    rivals: frozenset[str]
    busy_until: Millis | None
    next_run_at: Millis | None
    grace: Millis
    give_up_after: Millis
    stale_after: Millis
    retry_first: Millis
    retry_longest: Millis
    troubled: bool = False
    wanting: bool = False
    wanting_since: Millis | None = None
    told_gone: bool = False
    policies_at: Millis | None = None
    good: int = 0
    flaps: int = 0
    pull: Pull | None = None
