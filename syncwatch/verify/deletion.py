"""The verdict on a deletion. Pure: (expectation, observation, Harbor's facts, now) → verdict.

What was deleted at the source has to be gone at the destination: the reference, whatever it names
there, unless another source is expected to have put it there. Absence seen is the end of the
matter, once no run that may still bring it back is under way; it does not age and is not
re-checked. What is still there is nobody's failure while Harbor is at it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from syncwatch.model import SECOND, Happening, Reason, State, Status, Verdict
from syncwatch.verdict import (
    AWAITED_STEPS,
    CONFIRMED_AFTER,
    after_failure,
    awaited,
    broken,
    gave_up,
    last_ended,
    later,
    once_more,
    silence,
    succeeded,
    unanswered,
    without_run,
)

if TYPE_CHECKING:
    from syncwatch.facts import Facts, Owed, Run
    from syncwatch.model import Millis, Observation


def decide_deletion(owed: Owed, seen: Observation | None, facts: Facts, now: Millis) -> Verdict:
    """The verdict on one deletion that is owed; only events make Harbor delete."""
    facts = replace(facts, runs=[run for run in facts.runs if run.by_event])
    if seen is None:
        return _unseen(owed, facts, now)
    if seen.problem is Reason.POLICY_BLOCKED:
        return _there(owed, seen, facts, "is still there, and a policy there forbids it", now)
    if seen.served is not None:
        return _served(owed, seen, facts, seen.served, now)
    if seen.problem is not None:
        # Absence does not age, so there is no proof that could be too old.
        return unanswered(replace(owed, proved_at=None), seen.problem, seen.detail, facts, now)
    words = f"{owed.destination} no longer has {owed.names}."
    return Verdict(Happening.SEEN, None, words, once_more(seen, facts, now))


def _unseen(owed: Owed, facts: Facts, now: Millis) -> Verdict:
    if now >= owed.deadline_at:
        words = f"{owed.destination} has not been asked for {owed.names} yet."
        return Verdict(Happening.UNANSWERED, Reason.UNOBSERVED, words, now)
    reason, words = _hope(facts, now) or silence(owed, facts)
    return Verdict(Happening.AWAITED, reason, words, now)


def _served(owed: Owed, seen: Observation, facts: Facts, served: str, now: Millis) -> Verdict:
    if served in facts.rivals:
        words = (
            f"{owed.destination} serves {owed.names} as {served}, which another source is expected "
            "to have brought there."
        )
        return Verdict(Happening.SEEN, None, words, once_more(seen, facts, now))
    return _there(owed, seen, facts, f"still names {served}", now)


def _there(owed: Owed, seen: Observation, facts: Facts, told: str, now: Millis) -> Verdict:
    """It is not gone: is Harbor at it, and if not, who is to blame?"""
    if owed.state is State.VERIFIED:
        return _back(owed, facts, now)
    hope = _hope(facts, now)
    if hope:
        return awaited(owed, *hope, now)
    run = last_ended(facts)
    if run is None:
        return without_run(owed, seen, facts, told, now)
    if succeeded(run):
        return _after_success(owed, seen, facts, run, told, now)
    return after_failure(owed, seen, run, told, now, did="deleted")


def _back(owed: Owed, facts: Facts, now: Millis) -> Verdict:
    """It was gone, and is there: a copy that came late, unless one replica merely lags behind."""
    words = f"{owed.names} is there again; one more look is due."
    if facts.busy_until is None:
        return Verdict(Happening.UNANSWERED, None, words, now + 30 * SECOND)
    if not owed.attempts:
        return Verdict(Happening.UNANSWERED, None, words, now + CONFIRMED_AFTER)
    return broken(owed, Reason.NOT_DELETED, "is there again, although it was gone before", now)


def _hope(facts: Facts, now: Millis) -> tuple[Reason, str] | None:
    """The run that may still delete it, if there is one, as a reason and words."""
    for run in facts.runs:
        name = f"Harbor's execution {run.execution_id}"
        running = run.status in (Status.IN_PROGRESS, "")
        if run.status == Status.PENDING or (running and not run.made_tasks):
            return Reason.QUEUED, f"{name} waits for its turn to delete it."
        if running:
            return Reason.COPYING, f"{name} is deleting it."
        if run.status == Status.FAILED and run.made_tasks and not gave_up(run, facts, now):
            return Reason.RETRYING, f"{name} failed an attempt to delete it; Harbor tries again."
    return None


def _after_success(
    owed: Owed, seen: Observation, facts: Facts, run: Run, told: str, now: Millis
) -> Verdict:
    name = f"Harbor's execution {run.execution_id}"
    # Harbor's ends are whole seconds: it may have ended up to one later.
    final_from = run.over_at + SECOND + facts.grace
    if seen.began_at < final_from:
        words = f"{name} deleted it; {owed.names} {told} so far."
        due = min(later(owed, AWAITED_STEPS, now), max(now, final_from))
        return Verdict(Happening.AWAITED, Reason.NOT_VISIBLE_YET, words, due)
    words = f"{told}, although {name} deleted it"
    # What was gone in between was truly deleted.
    false = owed.verified_at is None
    return broken(owed, Reason.NOT_DELETED, words, now, false_success=false)
