"""The one place that decides. Pure: (expectation, observation, Harbor's facts, now) → verdict.

Precedence is observation, then execution, then silence. An observation that proves the digest
ends the matter whatever Harbor says. Where the destination lacks it, `failed` needs two
witnesses: the look, taken after Harbor had finished, had given up, or the deadline had passed; and
the knowledge that nothing of Harbor's is still under way which could bring it. Where either is
missing, we wait, or we say that we do not know.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from syncwatch.facts import Standing
from syncwatch.model import (
    ATTEMPTS,
    MINUTE,
    SECOND,
    Happening,
    Held,
    Level,
    Millis,
    Observation,
    Pulling,
    Reason,
    State,
    Status,
    Verdict,
)

if TYPE_CHECKING:
    from syncwatch.facts import Facts, Owed, Run

AWAITED_STEPS = (2, 3, 5, 10, 20, 30, 60)
"""Seconds between looks at an image that may still come; news from Harbor makes one at once."""

FAILED_STEPS = (5, 15, 60, 120, 300, 600)
"""Seconds between looks at an image that failed: a late arrival must not go unseen."""

CONFIRMED_AFTER = 2 * SECOND
"""How soon a loss is looked at once more, before it is called one."""

SOURCE_WITHIN = 10 * SECOND
"""So soon the source is asked whether it still has what is not at the destination."""

STEADY = 3
"""What came and went has to be seen so often in a row before it is called verified again."""

FLAPS = 2
"""So many losses within an hour, and an image comes and goes."""

_PASSING = frozenset({Reason.UNREACHABLE, Reason.SERVER_ERROR})
"""Problems that one lost packet makes: a second look has to meet them too."""

_DAMAGED = frozenset(
    {Reason.MANIFEST_CORRUPT, Reason.CHILD_MISSING, Reason.BLOB_MISSING, Reason.BLOB_UNREADABLE}
)
"""Faults of what is there, which no execution explains."""

PROBING_AGAIN = 10 * MINUTE
"""How soon an image is looked at again that only waits for a node to pull it."""

SKIPPED = "Execution skipped"
"""How Harbor begins the status text of a run that another run of the same policy stood in for."""


def decide(owed: Owed, seen: Observation | None, facts: Facts, now: Millis) -> Verdict:
    """The verdict on one copy that is owed."""
    if seen is None:
        return _unseen(owed, facts, now)
    if seen.proves(owed.digest, owed.required_level):
        if owed.required_level is Level.PULLED:
            return _readable(owed, seen, facts, now)
        return _proved(owed, seen, facts, now)
    if seen.problem is Reason.POLICY_BLOCKED:
        return _blocked(owed, facts, now)
    if seen.problem is not None:
        return unanswered(owed, seen.problem, seen.detail, facts, now)
    return _wanting(owed, seen, facts, now)


def _unseen(owed: Owed, facts: Facts, now: Millis) -> Verdict:
    if now >= owed.deadline_at:
        words = f"{owed.destination} has not been asked for {owed.names} yet."
        return Verdict(Happening.UNANSWERED, Reason.UNOBSERVED, words, now)
    reason, words = _hope(facts, now) or silence(owed, facts)
    return Verdict(Happening.AWAITED, reason, words, now)


def _readable(owed: Owed, seen: Observation, facts: Facts, now: Millis) -> Verdict:
    """The registry serves it whole; whether a node can pull it, only a node can say."""
    pull = facts.pull
    standing = pull.standing if pull is not None else None
    if standing in (Standing.PROVED, Standing.NEEDLESS):
        return _proved(owed, seen, facts, now)
    due = _after_probe(owed, now)
    if pull is not None and standing is Standing.REFUSED:
        words = f"{owed.destination} serves {owed.names} whole, but a node cannot pull it."
        told = f"{words} {pull.message}".rstrip()
        return Verdict(Happening.BROKEN, Reason.PULL_FAILED, told, due)
    if pull is None or standing is Standing.OPEN:
        why = pull.message if pull else "No cluster is configured to pull it any more."
        words = f"{owed.destination} serves {owed.names} whole; whether a node can pull it is open."
        told = f"{words} {why}".rstrip()
        return Verdict(Happening.UNANSWERED, Reason.PROBE_INCONCLUSIVE, told, due)
    if owed.state is State.VERIFIED:
        return Verdict(Happening.UNANSWERED, None, "", due)
    doing = "a pod is pulling it" if pull.under_way else "a pod is to pull it"
    words = f"{owed.destination} serves {owed.names} whole; {doing}."
    return Verdict(Happening.AWAITED, Reason.PROBING, words, due)


def _after_probe(owed: Owed, now: Millis) -> Millis:
    """When to look again while a probe decides, which makes a look due by itself."""
    due = now + PROBING_AGAIN
    return owed.deadline_at if now < owed.deadline_at < due else due


def _proved(owed: Owed, seen: Observation, facts: Facts, now: Millis) -> Verdict:
    """Verified; looked at once more where a run could still touch it, or ended after the look."""
    if owed.state is State.FAILED and facts.flaps >= FLAPS and facts.good + 1 < STEADY:
        words = (
            f"{owed.names} at {owed.destination} comes and goes: it was lost {facts.flaps} times "
            f"within an hour, and is there in {facts.good + 1} of {STEADY} looks in a row."
        )
        return Verdict(Happening.BROKEN, owed.reason, words, now + 5 * SECOND, flapping=True)
    words = f"{owed.destination} serves {owed.names} as {owed.digest}{_depth(seen)}."
    if facts.pull is not None and facts.pull.result is Pulling.PULLED:
        words = f"{words} {facts.pull.message}".rstrip()
    return Verdict(Happening.SEEN, None, words, once_more(seen, facts, now))


def once_more(seen: Observation, facts: Facts, now: Millis) -> Millis | None:
    """When a look that proved has to be repeated; None where no run could have come after it."""
    if facts.busy_until is None:
        return now + 30 * SECOND
    return max(now, facts.busy_until) if seen.began_at < facts.busy_until else None


def _depth(seen: Observation) -> str:
    readable = seen.level is Level.READABLE
    return ": its manifests hash right, and every layer was read at its end" if readable else ""


def _blocked(owed: Owed, facts: Facts, now: Millis) -> Verdict:
    """412: what is there now may not be pulled. It may be what was there before, still."""
    hope = _hope(facts, now)
    if owed.state is State.VERIFIED:
        if not facts.troubled:
            words = f"{owed.names} may not be pulled; one more look is due."
            return Verdict(Happening.UNANSWERED, None, words, now + CONFIRMED_AFTER)
    elif hope:
        return awaited(owed, *hope, now)
    elif last_ended(facts) is None and now < owed.deadline_at:
        return awaited(owed, *silence(owed, facts), now)
    told = "may not be pulled: a policy there forbids it (412)"
    return broken(owed, Reason.POLICY_BLOCKED, told, now)


def unanswered(owed: Owed, problem: Reason, detail: str, facts: Facts, now: Millis) -> Verdict:
    """We learnt nothing: what was verified stays so until its evidence is too old."""
    told = f": {detail}" if detail else ""
    words = f"{owed.destination} could not be asked for {owed.names}{told}."
    due = again_at(owed, facts, now)
    aged = owed.proved_at is not None and now - owed.proved_at > facts.stale_after
    if aged and (owed.state is State.VERIFIED or owed.reason is Reason.STALE):
        words = f"The last good look at {owed.names} is older than stale_after{told}."
        return Verdict(Happening.AGED, Reason.STALE, words, due)
    if owed.state is State.VERIFIED and owed.at_rest:
        return Verdict(Happening.UNANSWERED, problem, words, None)
    if problem in _PASSING and not facts.troubled and owed.state is not State.VERIFIED:
        # A state changes on evidence, and one lost packet is none: what was said of it stands.
        return Verdict(_STAY[owed.state], owed.reason, "", due)
    return Verdict(Happening.UNANSWERED, problem, words, due)


def again_at(owed: Owed, facts: Facts, now: Millis) -> Millis:
    """When to ask again what could not be asked, the deadline not slept through."""
    due = now + min(facts.retry_first << min(owed.attempts, 16), facts.retry_longest)
    return owed.deadline_at if now < owed.deadline_at < due else due


def _wanting(owed: Owed, seen: Observation, facts: Facts, now: Millis) -> Verdict:
    """The destination lacks it, or has something else: who is to blame, and is it final?"""
    wrong, told = _fault(owed, seen)
    hope = _hope(facts, now)
    if hope and owed.state is not State.VERIFIED:
        return awaited(owed, *hope, now)
    run = last_ended(facts)
    if owed.verified_at is not None:
        return _gone(owed, seen, facts, run, now)
    if run is None and wrong in _DAMAGED and seen.began_at >= owed.deadline_at:
        return broken(owed, wrong, told, now)
    if run is None:
        return without_run(owed, seen, facts, told, now)
    return _after_run(owed, seen, facts, run, (wrong, told), now)


def _fault(owed: Owed, seen: Observation) -> tuple[Reason, str]:
    """What is wrong there, in a word and in a few."""
    held = seen.held.get(owed.digest)
    if held is Held.CORRUPT:
        return Reason.MANIFEST_CORRUPT, "answers with bytes that do not hash to the digest"
    flaw = seen.flaws.get(owed.digest)
    if flaw is not None:
        return flaw.reason, flaw.detail
    if seen.served == owed.digest:
        return Reason.MISSING, "names the digest, and the digest itself is not there"
    if seen.served is not None:
        return Reason.DIGEST_MISMATCH, f"still names {seen.served}"
    if held is Held.PRESENT:
        return Reason.TAG_MISSING, "is not there, though its digest is"
    return Reason.MISSING, "is not there"


def _hope(facts: Facts, now: Millis) -> tuple[Reason, str] | None:
    """The run that may still bring it, if there is one, as a reason and words."""
    for run in facts.runs:
        name = f"Harbor's execution {run.execution_id}"
        if run.status in (Status.IN_PROGRESS, ""):
            if not run.made_tasks:
                return Reason.QUEUED, f"{name} waits for its turn."
            return Reason.COPYING, f"{name} is copying."
        if run.status == Status.PENDING:
            return Reason.QUEUED, f"{name} waits for its turn."
        if run.status == Status.FAILED and run.made_tasks and not gave_up(run, facts, now):
            return Reason.RETRYING, f"{name} failed an attempt; Harbor tries again."
    return None


def gave_up(run: Run, facts: Facts, now: Millis) -> bool:
    """Whether Harbor will not try this task again; silence counts only while Harbor answers."""
    if run.errors >= ATTEMPTS:
        return True
    until = min(now, facts.asked_at) if facts.asked_at is not None else 0
    return until - run.changed_at >= facts.give_up_after


def last_ended(facts: Facts) -> Run | None:
    """The newest run that was not stood in for by another one."""
    return next((run for run in facts.runs if not run.text.startswith(SKIPPED)), None)


def succeeded(run: Run) -> bool:
    """Whether Harbor says that it succeeded, and did something."""
    return run.status == Status.SUCCEED and run.made_tasks


def silence(owed: Owed, facts: Facts) -> tuple[Reason, str]:
    """What is said while no run is known."""
    if facts.next_run_at is not None:
        return Reason.SCHEDULED, f"The next scheduled run is to bring {owed.names}."
    return Reason.WAITING, f"No execution of Harbor's for {owed.names} has been seen yet."


def without_run(owed: Owed, seen: Observation, facts: Facts, told: str, now: Millis) -> Verdict:
    """No execution is known: failed only past the deadline, and if the feed would show one."""
    if now < owed.deadline_at:
        return awaited(owed, *silence(owed, facts), now)
    if seen.began_at < owed.deadline_at:
        return Verdict(Happening.AWAITED, *silence(owed, facts), now)
    # Policies that were not read since may have been switched off or deleted: nothing was owed.
    looked = facts.policies_at is None or facts.policies_at >= owed.deadline_at
    asked = looked and facts.asked_at is not None and facts.asked_at >= owed.deadline_at
    if not asked and facts.answers:
        # Feed and policies will have been read past the deadline in a moment.
        return Verdict(Happening.AWAITED, *silence(owed, facts), now + SECOND)
    if not asked or not facts.reaches_back:
        words = f"{owed.names} {told}, and Harbor could not be asked for its executions."
        return Verdict(
            Happening.UNANSWERED, Reason.HARBOR_UNREACHABLE, words, later(owed, AWAITED_STEPS, now)
        )
    words = f"{told}, and Harbor started no execution for it"
    return broken(owed, Reason.NOT_STARTED, words, now)


def _after_run(
    owed: Owed,
    seen: Observation,
    facts: Facts,
    run: Run,
    fault: tuple[Reason, str],
    now: Millis,
) -> Verdict:
    """Harbor is done with it, one way or the other."""
    ended = run.over_at
    if not succeeded(run):
        return _after_failure(owed, seen, run, fault, now)
    # Harbor's ends are whole seconds: it may have ended up to one later.
    final_from = ended + SECOND + facts.grace
    if seen.began_at < final_from:
        words = f"Harbor's execution {run.execution_id} succeeded; {owed.names} {fault[1]} so far."
        due = min(later(owed, AWAITED_STEPS, now), max(now, final_from))
        return Verdict(Happening.AWAITED, Reason.NOT_VISIBLE_YET, words, due)
    wrong, told = fault
    if wrong is Reason.DIGEST_MISMATCH:
        told_source = _source_still_names(owed, seen, facts, now)
        if told_source is not None:
            return told_source
        wrong, told = _mismatch(seen, facts, told)
    words = f"{told}, although Harbor's execution {run.execution_id} succeeded"
    return broken(owed, wrong, words, now, false_success=True)


def _source_still_names(owed: Owed, seen: Observation, facts: Facts, now: Millis) -> Verdict | None:
    """None when the source's tag, read after the destination's, still names what is owed.

    The destination's tag was the same in all looks since `served_since`, so any of them is before.
    """
    read = facts.source_read_at is not None and facts.source_read_at >= facts.served_since
    if read and facts.source_digest == owed.digest:
        return None
    words = f"{owed.names} names {seen.served}; the source's tag has to be read again first."
    if owed.state is State.FAILED and owed.reason is not None:
        due = later(owed, FAILED_STEPS, now)
        return Verdict(Happening.BROKEN, owed.reason, words, due, ask_source=True)
    due = later(owed, AWAITED_STEPS, now)
    return Verdict(Happening.AWAITED, Reason.NOT_VISIBLE_YET, words, due, ask_source=True)


def _mismatch(seen: Observation, facts: Facts, told: str) -> tuple[Reason, str]:
    if seen.served in facts.rivals:
        return Reason.NAME_COLLISION, f"names {seen.served}, which another source brought there"
    if not facts.override:
        return Reason.NOT_OVERRIDDEN, f"{told}: the policy does not override"
    return Reason.DIGEST_MISMATCH, told


def _after_failure(
    owed: Owed, seen: Observation, run: Run, fault: tuple[Reason, str], now: Millis
) -> Verdict:
    wrong, told = fault
    if wrong in _DAMAGED and seen.began_at >= max(run.over_at, run.changed_at):
        return broken(owed, wrong, told, now)
    return after_failure(owed, seen, run, told, now)


def after_failure(
    owed: Owed, seen: Observation, run: Run, told: str, now: Millis, *, did: str = "copied"
) -> Verdict:
    """Harbor's run ended without success; `did` is what it should have done."""
    if seen.began_at < max(run.over_at, run.changed_at):
        return Verdict(Happening.AWAITED, Reason.RETRYING, "One more look is due.", now)
    name = f"Harbor's execution {run.execution_id}"
    text = f" ({run.text})" if run.text else ""
    if run.status == Status.STOPPED:
        return broken(owed, Reason.EXECUTION_STOPPED, f"{told}: {name} was stopped", now)
    if run.status == Status.SUCCEED:
        return broken(owed, Reason.EMPTY_RUN, f"{told}: {name} {did} nothing{text}", now)
    return broken(owed, Reason.EXECUTION_FAILED, f"{told}: {name} failed{text}", now)


def _gone(owed: Owed, seen: Observation, facts: Facts, run: Run | None, now: Millis) -> Verdict:
    """It was verified, and is not as it was."""
    wrong, told = _fault(owed, seen)
    absent = wrong in (Reason.MISSING, Reason.TAG_MISSING)
    if absent and facts.told_gone:
        return _deleted_perhaps(owed, facts, told, now)
    if owed.state is State.VERIFIED and (
        not facts.wanting or (absent and _may_be_gone(owed, facts, now))
    ):
        # One replica that lags behind one address is no loss: a second look has to say so too. Nor
        # is it one where the source no longer has it either.
        words = f"{owed.names} {told}; one more look is due."
        due = now + CONFIRMED_AFTER
        return Verdict(Happening.UNANSWERED, None, words, due, ask_source=absent)
    if wrong is Reason.DIGEST_MISMATCH:
        told_source = _source_still_names(owed, seen, facts, now)
        if told_source is not None:
            # What was verified is not taken away before the source was asked.
            return Verdict(
                _STAY[owed.state],
                owed.reason,
                told_source.message,
                told_source.due_at,
                ask_source=True,
            )
        wrong, told = _mismatch(seen, facts, told)
    elif wrong is Reason.MISSING:
        wrong = Reason.LOST
    claimed_at = _claimed_since(owed, run)
    until = f"; it was verified until {_moment(owed.proved_at)}" if owed.proved_at else ""
    if claimed_at is None:
        return broken(owed, wrong, f"{told}{until}", now)
    final_from = claimed_at + facts.grace
    said = seen.began_at >= final_from
    found = broken(owed, wrong, f"{told}{until}", now, false_success=said)
    due_at = found.due_at
    if not said and due_at is not None:
        due_at = min(due_at, max(now, final_from))
    return replace(found, due_at=due_at)


def _deleted_perhaps(owed: Owed, facts: Facts, told: str, now: Millis) -> Verdict:
    """Harbor told of its deletion, and the source was not read since: no loss, and not verified."""
    words = f"{owed.names} {told}, and Harbor told that it was deleted; it cannot be asked for it."
    since = facts.wanting_since
    if owed.state is State.VERIFIED and (since is None or now - since <= SOURCE_WITHIN):
        due = now + CONFIRMED_AFTER
        return Verdict(Happening.UNANSWERED, None, words, due, ask_source=True)
    happening = Happening.AGED if owed.state is State.VERIFIED else Happening.UNANSWERED
    due = again_at(owed, facts, now)
    return Verdict(happening, Reason.HARBOR_UNREACHABLE, words, due, ask_source=True)


def _may_be_gone(owed: Owed, facts: Facts, now: Millis) -> bool:
    """Whether the source may have lost it too: it was not asked since the destination lacks it.

    A source that cannot be asked is not waited for.
    """
    if not facts.answers or facts.wanting_since is None:
        return False
    if now - facts.wanting_since > max(facts.grace, SOURCE_WITHIN):
        return False
    read = facts.source_read_at is not None and facts.source_read_at >= facts.wanting_since
    return not read or facts.source_digest != owed.digest


def _moment(at: Millis) -> str:
    return f"{datetime.fromtimestamp(at // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _claimed_since(owed: Owed, run: Run | None) -> Millis | None:
    """When Harbor claimed it anew after our last proof; None where it has not.

    Whenever a run is seen to end its images are looked at once more, so that a proof is younger
    than what we know of any run before it. Harbor's own times are whole seconds.
    """
    if run is None or not succeeded(run):
        return None
    ended = run.over_at
    # Harbor's ends are whole seconds: the run may have ended up to one later.
    anew = min(ended + SECOND, run.changed_at) > (owed.proved_at or 0)
    return ended if anew else None


_STAY = {
    State.VERIFIED: Happening.UNANSWERED,
    State.PENDING: Happening.AWAITED,
    State.FAILED: Happening.BROKEN,
    State.UNKNOWN: Happening.UNANSWERED,
}
"""What leaves a state as it is."""


def awaited(owed: Owed, reason: Reason, words: str, now: Millis) -> Verdict:
    """Not there, and it may still come."""
    due = later(owed, AWAITED_STEPS, now)
    if now < owed.deadline_at < due:
        due = owed.deadline_at
    return Verdict(Happening.AWAITED, reason, words, due)


def broken(
    owed: Owed, reason: Reason, told: str, now: Millis, *, false_success: bool = False
) -> Verdict:
    """Absent or wrong; `told` completes a sentence about the image at its destination."""
    words = f"{owed.names} at {owed.destination} {told}."
    due = later(owed, FAILED_STEPS, now)
    if now < owed.deadline_at < due:
        due = owed.deadline_at
    return Verdict(Happening.BROKEN, reason, words, due, false_success)


def later(owed: Owed, steps: tuple[int, ...], now: Millis) -> Millis:
    """When the next look is worth its request: the longer nothing changed, the later."""
    changes = (owed.state is State.FAILED) is not (steps is FAILED_STEPS)
    return now + steps[0 if changes else min(owed.attempts, len(steps) - 1)] * SECOND
