"""What no recording shows: pods that nobody schedules, evicts or leaves alone, and broken input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubelets import recordings

from syncwatch.model import ProbeMode, Pulling
from syncwatch.probe.judging import Judgement, judge
from syncwatch.probe.kubelet import seconds_of

DIGEST = "sha256:" + "a" * 64
IMAGE = f"registry.test/app@{DIGEST}"
UID = "u-1"


def event(reason: str, message: str, uid: str = UID) -> dict[str, Any]:
    return {"reason": reason, "message": message, "involvedObject": {"uid": uid}}


PULLING = event("Pulling", f'Pulling image "{IMAGE}"')
PULLED = event("Pulled", f'Successfully pulled image "{IMAGE}" in 75ms (1m35.9s including waiting)')


def pod(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": UID},
        "spec": {"nodeName": status.pop("node", "node-1")},
        "status": {"phase": "Pending", **status},
    }


def said(
    one: dict[str, Any], *events: dict[str, Any], now: int = 0, mode: str = "pull", **more: Any
) -> Judgement | None:
    given = {"image": IMAGE, "digest": DIGEST, "mode": ProbeMode(mode), "deadline_at": 10, **more}
    return judge(one, list(events), now, **given)


def test_a_success_says_who_pulled_and_how_long_the_pull_alone_took() -> None:
    judged = said(pod(), PULLING, PULLED)

    assert judged == Judgement(
        Pulling.PULLED, "Node node-1 pulled it in 0.1 s.", "node-1", "", 0.075
    )


def test_a_duration_that_counts_other_pods_pulls_is_not_taken_for_one() -> None:
    assert seconds_of(f'Successfully pulled image "{IMAGE}" in 31.7s') is None
    assert seconds_of(" in 1m2.5s (2m0s including waiting). Image size: 1 bytes.") == 62.5


def test_a_pull_secret_that_is_not_there_is_named() -> None:
    lacks = "Unable to retrieve some image pull secrets (nosuch)"
    refused = event("Failed", f'Failed to pull image "{IMAGE}": 401 Unauthorized')
    events = (event("FailedToRetrieveImagePullSecret", lacks), PULLING, refused)
    judged = said(pod(), *events, now=10)

    assert judged is not None
    assert judged.result is Pulling.UNAUTHORIZED
    assert f"a pull secret is not there ({lacks}): 401 Unauthorized" in judged.message


def test_that_it_is_not_let_in_is_believed_when_it_was_refused_twice() -> None:
    refused = event("Failed", f'Failed to pull image "{IMAGE}": 401 Unauthorized')
    named = {"metadata": {"name": "one"}}
    once, twice = {**refused, **named, "count": 1}, {**refused, **named, "count": 2}

    assert said(pod(), PULLING, refused) is None
    assert said(pod(), PULLING, once, once) is None
    for events in ((refused, refused), (once, twice), (twice,)):
        judged = said(pod(), PULLING, *events)
        assert judged is not None
        assert judged.result is Pulling.UNAUTHORIZED
    # The secret came a moment late.
    judged = said(pod(), PULLING, refused, PULLED)
    assert judged is not None
    assert judged.result is Pulling.PULLED
    # There is no more time to see.
    for more in ({"now": 10}, {"gone": True}):
        judged = said(pod(), PULLING, refused, **more)
        assert judged is not None
        assert judged.result is Pulling.UNAUTHORIZED


def test_a_success_without_a_pull_before_it_is_none_yet() -> None:
    assert said(pod(), PULLED) is None


def test_a_success_of_another_image_is_none() -> None:
    carrier = event("Pulled", 'Successfully pulled image "registry.test/pause:3" in 1s')
    assert said(pod(), PULLING, carrier) is None


def test_a_node_that_held_the_image_proves_the_reference_only() -> None:
    judged = said(pod(), PULLING, PULLED, held=True)

    assert judged is not None
    assert (judged.result, judged.cause) == (Pulling.INCONCLUSIVE, "held")
    assert "proves the reference only" in judged.message


def test_a_pod_that_is_evicted_proves_nothing() -> None:
    judged = said(pod(phase="Failed", reason="Evicted", message="low on memory"), PULLING)

    assert judged is not None
    assert (judged.result, judged.cause) == (Pulling.INCONCLUSIVE, "evicted")
    assert judged.message.endswith("low on memory")


def test_a_pod_that_pulled_and_was_then_evicted_has_pulled() -> None:
    judged = said(pod(phase="Failed", reason="Evicted"), PULLING, PULLED)

    assert judged is not None
    assert judged.result is Pulling.PULLED


def test_a_pod_past_its_own_deadline_may_still_be_pulling() -> None:
    assert said(pod(phase="Failed", reason="DeadlineExceeded"), PULLING) is None


def test_a_pod_that_no_node_takes_is_given_up_with_the_schedulers_words() -> None:
    waits = event("FailedScheduling", "0/1 nodes are available: 1 had taint {key: }")

    assert said(pod(node=None), waits) is None
    judged = said(pod(node=None), waits, now=10)
    assert judged is not None
    assert (judged.result, judged.cause) == (Pulling.INCONCLUSIVE, "unschedulable")
    assert "0/1 nodes" in judged.message


def test_a_pull_that_says_nothing_more_is_given_up_as_hung() -> None:
    assert said(pod(), PULLING, now=9) is None
    judged = said(pod(), PULLING, now=10)
    assert judged is not None
    assert (judged.result, judged.cause) == (Pulling.INCONCLUSIVE, "hung")


def test_a_pod_that_somebody_deleted_proves_nothing_unless_it_had_pulled() -> None:
    judged = said(pod(), PULLING, gone=True)
    assert judged is not None
    assert (judged.result, judged.cause) == (Pulling.INCONCLUSIVE, "deleted")

    judged = said(pod(), PULLING, PULLED, gone=True)
    assert judged is not None
    assert judged.result is Pulling.PULLED


@pytest.mark.parametrize(
    "words",
    [
        "rpc error: code = NotFound desc = something that nobody knows: not found",
        "something new entirely",
        "",
    ],
)
def test_words_that_are_not_known_prove_nothing_and_are_never_called_missing(words: str) -> None:
    judged = said(pod(), PULLING, event("Failed", f'Failed to pull image "{IMAGE}": {words}'))

    assert judged is not None
    assert (judged.result, judged.cause) == (Pulling.INCONCLUSIVE, "unknown")


def test_a_program_for_another_machine_is_of_the_wrong_platform_where_it_is_to_start() -> None:
    ended = {"terminated": {"reason": "StartError", "message": "exec /app: exec format error"}}
    one = pod(phase="Failed", containerStatuses=[{"state": ended}])

    judged = said(one, PULLING, PULLED, mode="start")
    assert judged is not None
    assert judged.result is Pulling.WRONG_PLATFORM
    judged = said(one, PULLING, PULLED)
    assert judged is not None
    assert judged.result is Pulling.PULLED


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
SOME = [one for one in recordings() if one.set == "kubernetes-1.35"]


@st.composite
def altered(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """A recorded pod with something in it replaced by anything."""
    recording = draw(st.sampled_from(SOME))

    def alter(value: Any, depth: int = 0) -> Any:
        if draw(st.integers(0, 7)) == 0 and depth:
            return draw(ODD)
        if isinstance(value, dict):
            return {key: alter(one, depth + 1) for key, one in value.items()}
        return [alter(one, depth + 1) for one in value] if isinstance(value, list) else value

    return recording, alter(recording.pod), alter(recording.events)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(altered())
def test_whatever_the_api_says_no_judgement_breaks_and_none_is_made_up(given: Any) -> None:
    recording, pod_, events = given

    judged = judge(
        pod_,
        events,
        10,
        image=recording.image,
        digest=recording.digest,
        mode=ProbeMode.PULL,
        deadline_at=10,
    )

    assert judged is not None
    if judged.result is Pulling.PULLED:
        assert any("Successfully pulled" in str(one) for one in events)
