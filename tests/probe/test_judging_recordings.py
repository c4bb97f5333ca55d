"""Every recorded pod is judged right: at its end, line by line, and whatever comes first."""

from __future__ import annotations

import random

import pytest
from kubelets import Recording, recordings

from syncwatch.model import ProbeMode, Pulling
from syncwatch.probe.judging import Judgement, judge

ALL = recordings()
LONG_AGO = 10**15


def said(
    recording: Recording, lines: list, *, now: int = 0, mode: str = "pull"
) -> Judgement | None:
    pods = [line.pod for line in lines if line.pod is not None]
    return judge(
        pods[-1] if pods else {},
        [line.event for line in lines if line.event is not None],
        now,
        image=recording.image,
        digest=recording.digest,
        mode=ProbeMode(mode),
        deadline_at=LONG_AGO,
        held=recording.held,
    )


def test_there_are_some_two_hundred_of_three_combinations() -> None:
    assert len(ALL) > 190
    assert len({one.set for one in ALL}) == 3


@pytest.mark.parametrize("recording", ALL, ids=lambda one: one.id)
def test_a_recorded_pod_is_judged_right_at_its_end(recording: Recording) -> None:
    judged = said(recording, list(recording.lines), now=LONG_AGO)

    assert judged is not None
    assert judged.result is recording.verdict, judged.message
    assert (judged.cause != "") == (judged.result is Pulling.INCONCLUSIVE)
    assert "\n" not in judged.message


@pytest.mark.parametrize("recording", ALL, ids=lambda one: one.id)
def test_line_by_line_nothing_else_is_ever_said_of_it(recording: Recording) -> None:
    told = [
        judged.result
        for count in range(len(recording.lines) + 1)
        if (judged := said(recording, list(recording.lines[:count]))) is not None
    ]

    assert set(told) <= {recording.verdict}


@pytest.mark.parametrize("recording", ALL, ids=lambda one: one.id)
def test_the_order_of_what_is_heard_changes_nothing(recording: Recording) -> None:
    pods = [line for line in recording.lines if line.pod is not None]
    events = [line for line in recording.lines if line.event is not None]
    shuffled = random.Random(recording.id).sample(events, len(events))

    for lines in (pods + events, events + pods, shuffled + pods):
        judged = said(recording, lines, now=LONG_AGO)
        assert judged is not None
        assert judged.result is recording.verdict, judged.message


@pytest.mark.parametrize("recording", ALL, ids=lambda one: one.id)
def test_what_another_pod_was_told_counts_nothing(recording: Recording) -> None:
    pod = {**recording.pod, "metadata": {"uid": "another"}}
    pod["status"] = {"phase": "Pending"}

    judged = judge(
        pod,
        recording.events,
        0,
        image=recording.image,
        digest=recording.digest,
        mode=ProbeMode.PULL,
        deadline_at=1,
    )

    assert judged is None


@pytest.mark.parametrize(
    "recording",
    [one for one in ALL if one.name in ("01-good-digest-impossible-command", "02-good-starts")],
    ids=lambda one: one.id,
)
def test_in_mode_start_only_what_started_counts(recording: Recording) -> None:
    judged = said(recording, list(recording.lines), now=LONG_AGO, mode="start")

    assert judged is not None
    if recording.name == "02-good-starts":
        assert judged.result is Pulling.PULLED
    else:
        assert (judged.result, judged.cause) == (Pulling.INCONCLUSIVE, "not_started")
