"""Pure: what a kubelet said of pulling an image. In: (pod, events, now); out: a judgement, or none.

The proof is one event, `Pulled` of this very pod (by uid), whose message begins with
`Successfully pulled image` and names our reference, after a `Pulling`. Phases prove nothing: a pod
may fail, or pass its deadline, and have pulled the image. What the kubelet says in `ErrImagePull`
is a cause, and the first one that is told counts. See `kubelet` for the words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncwatch.model import ProbeMode, Pulling
from syncwatch.probe.kubelet import (
    PULLED,
    REFUSED,
    is_of,
    names_present,
    read_refusal,
    seconds_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from syncwatch.model import Millis

WORDS = 1000
"""Characters that are kept of what a kubelet said."""

_WAITING = {
    "InvalidImageName": "invalid_name",
    "ErrImageNeverPull": "never_pulled",
}
"""Reasons of a container that waits for what will not come; of the image they say nothing."""

WRONG_FORMAT = "exec format error"
"""What the kernel says of a program for another architecture; in the container's output, mostly."""

TWICE = 2
"""So many refusals of a credential make one."""

NO_LOGIN = "FailedToRetrieveImagePullSecret"
"""Reason of the event that names pull secrets which are not in the pod's namespace."""

_CAUSED = ("ErrImagePull", "ImagePullBackOff")
"""Reasons of a container that waits, whose message may hold the cause (1.35: both of them)."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a pod came to.

    `message` is one sentence, which ends with the kubelet's own words; `seconds` is how long the
    pull took, where the kubelet tells that without what other pods waited for. `cause` is a bounded
    word for what proved nothing, "" otherwise.
    """

    result: Pulling
    message: str
    node: str
    cause: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class _Facts:
    """The pod and its own events, as far as they have the shape that they should."""

    image: str
    digest: str
    mode: ProbeMode
    node: str
    phase: str
    reason: str
    words: str
    container: Mapping[str, Any]
    events: Sequence[tuple[str, str]]
    refusals: int

    @property
    def where(self) -> str:
        return f"node {self.node}" if self.node else "a node"

    @property
    def began(self) -> bool:
        """Whether its node began to pull this image, and not only the carrier's."""
        return any(one == "Pulling" and f'"{self.image}"' in text for one, text in self.events)

    def told(self, reason: str) -> str | None:
        """The message of the first event of a reason; None where there is none."""
        return next((message for one, message in self.events if one == reason), None)

    def says(
        self, result: Pulling, sentence: str, words: str = "", *, cause: str = ""
    ) -> Judgement:
        quoted = " ".join(words.split())[:WORDS]
        message = f"{sentence}: {quoted}" if quoted else f"{sentence}."
        return Judgement(result, message, self.node, cause)


def judge(
    pod: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    now: Millis,
    *,
    image: str,
    digest: str,
    mode: ProbeMode,
    deadline_at: Millis,
    held: bool = False,
    gone: bool = False,
) -> Judgement | None:
    """What became of a pod that was to pull `image`; None while nothing can be said.

    `held`: its node is known to have held the content before, so that its pull proves the reference
    and nothing of the bytes. `gone`: somebody deleted the pod. At `deadline_at` it is given up.
    """
    facts = _facts(pod, events, image, digest, mode)
    over = gone or now >= deadline_at
    decided = _pulled(facts, held=held) or _refused(facts, over=over) or _hopeless(facts)
    if decided is not None:
        return decided
    if gone:
        words = "Somebody deleted the pod before its node had pulled the image"
        return facts.says(Pulling.INCONCLUSIVE, words, cause="deleted")
    return _given_up(facts) if now >= deadline_at else None


def _pulled(facts: _Facts, *, held: bool) -> Judgement | None:
    message = next(
        (
            text
            for reason, text in facts.events
            if reason == "Pulled" and is_of(text, PULLED, facts.image)
        ),
        None,
    )
    if message is None or not facts.began:
        return None
    served = _digest_of(facts.container.get("imageID"))
    by_digest = facts.image.endswith(f"@{facts.digest}")
    if not by_digest and served != facts.digest:
        if not served and facts.phase not in ("Failed", "Succeeded"):
            return None
        words = f"{_capital(facts.where)} pulled another digest by that name"
        return facts.says(Pulling.INCONCLUSIVE, words, served, cause="other_digest")
    if held:
        words = f"{_capital(facts.where)} held the image already, so this proves the reference only"
        return facts.says(Pulling.INCONCLUSIVE, words, message, cause="held")
    if facts.mode is ProbeMode.START and not _has_started(facts):
        return _not_started(facts)
    sentence = f"{_capital(facts.where)} pulled it"
    seconds = seconds_of(message)
    took = f" in {seconds:.1f} s" if seconds is not None else ""
    return Judgement(Pulling.PULLED, f"{sentence}{took}.", facts.node, "", seconds)


def _has_started(facts: _Facts) -> bool:
    """By the container's state: `Started` is said of a program that cannot be run as well."""
    state = _mapping(facts.container.get("state"))
    ended = _mapping(state.get("terminated"))
    failed = ended.get("reason") == "StartError" or WRONG_FORMAT in _text(ended.get("message"))
    return "running" in state or (bool(ended) and not failed)


def _not_started(facts: _Facts) -> Judgement | None:
    """Why the container cannot start; None while it may."""
    state = _mapping(facts.container.get("state"))
    ended, waiting = _mapping(state.get("terminated")), _mapping(state.get("waiting"))
    words = _text(ended.get("message"))
    if _text(waiting.get("reason")) in ("CreateContainerError", "CreateContainerConfigError"):
        words = _text(waiting.get("message")) or _text(waiting.get("reason"))
    elif not ended:
        return None
    if WRONG_FORMAT in words:
        sentence = f"{_capital(facts.where)} pulled it, and cannot run it"
        return facts.says(Pulling.WRONG_PLATFORM, sentence, words)
    sentence = f"{_capital(facts.where)} pulled it, and could not start it"
    return facts.says(Pulling.INCONCLUSIVE, sentence, words, cause="not_started")


def _refused(facts: _Facts, *, over: bool) -> Judgement | None:
    """The cause that the kubelet told, by the event or by what the container waits for.

    That it is not let in is believed when it was refused twice: a kubelet waits a second for the
    pull secret of a new pod, and pulls without it then. Its next try is some twelve seconds later.
    """
    for words in _causes(facts):
        said = read_refusal(words, facts.image)
        if said.result is Pulling.UNAUTHORIZED and facts.refusals < TWICE and not over:
            return None
        sentence = f"{_capital(facts.where)} could not pull it"
        if facts.told(NO_LOGIN) is not None and said.result is Pulling.UNAUTHORIZED:
            # A kubelet of 1.35 says so, one of 1.20 does not.
            sentence += f", and a pull secret is not there ({facts.told(NO_LOGIN)})"
        return facts.says(said.result, sentence, words, cause=said.cause)
    return None


def _causes(facts: _Facts) -> Iterable[str]:
    for reason, message in facts.events:
        if reason == "Failed" and is_of(message, REFUSED, facts.image):
            yield message.partition(f'"{facts.image}": ')[2] or message
    waiting = _mapping(_mapping(facts.container.get("state")).get("waiting"))
    message = _text(waiting.get("message"))
    reason = _text(waiting.get("reason"))
    if reason == "ImagePullBackOff":
        # 1.20 has no cause there; 1.35 appends it.
        message = message.partition("ErrImagePull: ")[2]
    if reason in _CAUSED and message and facts.image in message:
        yield message


def _hopeless(facts: _Facts) -> Judgement | None:
    """Nothing will come of this pod any more, and nothing was said of the pull."""
    for reason, message in facts.events:
        if reason == "Pulled" and names_present(message, facts.image):
            words = f"{_capital(facts.where)} had it, and did not ask the registry"
            return facts.says(Pulling.INCONCLUSIVE, words, message, cause="held")
    waiting = _mapping(_mapping(facts.container.get("state")).get("waiting"))
    cause = _WAITING.get(_text(waiting.get("reason")))
    if cause is not None:
        words = f"{_capital(facts.where)} did not ask for it"
        return facts.says(Pulling.INCONCLUSIVE, words, _text(waiting.get("message")), cause=cause)
    if facts.phase == "Failed" and facts.reason and facts.reason != "DeadlineExceeded":
        cause = "evicted" if facts.reason == "Evicted" else "refused"
        words = f"The pod ended before its image was pulled ({facts.reason})"
        return facts.says(Pulling.INCONCLUSIVE, words, facts.words, cause=cause)
    return None


def _given_up(facts: _Facts) -> Judgement:
    """The time is over."""
    if facts.began:
        words = (
            f"{_capital(facts.where)} began to pull it and said nothing more: the registry may "
            "hang, the image be large, or the node wait for another pull"
        )
        return facts.says(Pulling.INCONCLUSIVE, words, cause="hung")
    unscheduled = facts.told("FailedScheduling")
    if not facts.node:
        words = "No node took the pod"
        cause = "unschedulable"
        return facts.says(Pulling.INCONCLUSIVE, words, unscheduled or "", cause=cause)
    words = f"{_capital(facts.where)} said nothing of it in time"
    return facts.says(Pulling.INCONCLUSIVE, words, cause="deadline")


def _facts(
    pod: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    image: str,
    digest: str,
    mode: ProbeMode,
) -> _Facts:
    """Whatever is not as it should be is taken for not said."""
    pod = _mapping(pod)
    status, spec = _mapping(pod.get("status")), _mapping(pod.get("spec"))
    uid = _text(_mapping(pod.get("metadata")).get("uid"))
    own: list[Mapping[str, Any]] = [
        one
        for one in map(_mapping, events if isinstance(events, list | tuple) else ())
        if uid and _mapping(one.get("involvedObject")).get("uid") == uid
    ]
    statuses = status.get("containerStatuses")
    containers = statuses if isinstance(statuses, list) else []
    return _Facts(
        image=image,
        digest=digest,
        mode=mode,
        node=_text(spec.get("nodeName")),
        phase=_text(status.get("phase")),
        reason=_text(status.get("reason")),
        words=_text(status.get("message")),
        container=_mapping(containers[0]) if containers else {},
        events=[(_text(one.get("reason")), _text(one.get("message"))) for one in own],
        refusals=_refusals(own, image),
    )


def _refusals(events: Sequence[Mapping[str, Any]], image: str) -> int:
    """How often the kubelet said that it could not pull; the same again is counted in one event."""
    counts: dict[object, int] = {}
    for place, one in enumerate(events):
        if one.get("reason") == "Failed" and is_of(_text(one.get("message")), REFUSED, image):
            count = one.get("count")
            name = _text(_mapping(one.get("metadata")).get("name")) or place
            told = count if isinstance(count, int) else 1
            counts[name] = max(counts.get(name, 0), told)
    return sum(counts.values())


def _digest_of(image_id: object) -> str:
    """The digest in an imageID; the repository in it may be another registry's."""
    return _text(image_id).rpartition("@")[2]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
