"""Pure: the answers of the API as values. In JSON they hold what stands here, in this order.

The words of each field go to /openapi.json and docs/api.md. Times are RFC 3339 in UTC with
milliseconds. A name may be added, at the end of its object; none is renamed and none left out.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from syncwatch.model import (  # noqa: TC001 - msgspec reads the annotations
    Level,
    Operation,
    Origin,
    Reason,
    Severity,
    State,
)

EXAMPLE_DIGEST = "sha256:94b752bab6c93e031e521293c5e4547dbe82d16bff7f4a8670cc9e344c0c4dcb"
Time = Annotated[
    str,
    Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-23T17:42:17.587Z"]),
]


class Expectation(Struct, frozen=True, kw_only=True):
    """An image that a policy owes to a destination, and how far it came."""

    id: Annotated[str, Meta(description="ours, stays with it", examples=["17"])]
    harbor: Annotated[str, Meta(description="the Harbor's name in the configuration")]
    policy: Annotated[str, Meta(description="the replication policy's name at Harbor")]
    policy_id: Annotated[int, Meta(description="its id there")]
    destination: Annotated[str, Meta(description="Harbor's name of the registry endpoint")]
    source_repository: Annotated[str, Meta(description="the repository at the source")]
    repository: Annotated[str, Meta(description="the repository at the destination")]
    reference: Annotated[str, Meta(description="the tag, or the digest of what has none")]
    operation: Annotated[Operation, Meta(description="what Harbor is to do there")]
    origin: Annotated[Origin, Meta(description="what it came from")]
    digest: Annotated[str, Meta(description="what was pushed", examples=[EXAMPLE_DIGEST])]
    state: Annotated[State, Meta(description="where it is in [its life](states.md)")]
    reason: Annotated[
        Reason | None, Meta(description="[why](states.md); null when verified, and only then")
    ]
    message: Annotated[str, Meta(description="the same in one sentence")]
    level: Annotated[
        Level | None, Meta(description="how deep it was proved; null before any proof")
    ]
    required_level: Annotated[Level, Meta(description="how deep it has to be, to be verified")]
    overdue: Annotated[bool, Meta(description="whether it is owed, and its deadline is over")]
    pushed_at: Annotated[Time, Meta(description="Harbor's time of the tag, in Harbor's clock")]
    expected_at: Annotated[
        Time,
        Meta(description="from when it is owed, in our clock: the push, or the next scheduled run"),
    ]
    deadline_at: Annotated[Time, Meta(description="`expected_at` and the destination's `deadline`")]
    notified_at: Annotated[Time | None, Meta(description="when the webhook came")]
    claimed_at: Annotated[
        Time | None, Meta(description="when Harbor says that it copied it, in whole seconds")
    ]
    verified_at: Annotated[Time | None, Meta(description="when it was first proved")]
    pulled_at: Annotated[Time | None, Meta(description="when a node of its cluster had pulled it")]
    observed_at: Annotated[Time | None, Meta(description="when a look last learnt something")]
    execution_id: Annotated[
        int | None, Meta(description="Harbor's execution that copied it, or is to")
    ]
    task_id: Annotated[int | None, Meta(description="its task for this image")]


class Moment(Struct, frozen=True, kw_only=True):
    """Something that happened to an expectation."""

    at: Annotated[Time, Meta(description="when")]
    what: Annotated[str, Meta(description="a word or two", examples=["verified"])]
    detail: Annotated[str, Meta(description="a sentence, or part of one; may be empty")]


class RequestMade(Struct, frozen=True, kw_only=True):
    """One request of a look, to the destination."""

    method: Annotated[str, Meta(description="its method")]
    url: Annotated[str, Meta(description="what was asked for, without credentials")]
    status: Annotated[int | None, Meta(description="HTTP's; null where no answer came")]
    digest: Annotated[str | None, Meta(description="the digest that the answer had or named")]
    seconds: Annotated[float, Meta(description="how long it took")]


class Look(Struct, frozen=True, kw_only=True):
    """One look at the name at the destination."""

    at: Annotated[Time, Meta(description="when it ended")]
    level: Annotated[
        Level | None, Meta(description="how deep it proved what it was served; null for not at all")
    ]
    reason: Annotated[Reason | None, Meta(description="what was wrong; null where nothing was")]
    detail: Annotated[str, Meta(description="the same in words; empty where nothing was")]
    requests: Annotated[tuple[RequestMade, ...], Meta(description="what it asked, in order")]


class Accessory(Struct, frozen=True, kw_only=True):
    """A signature or referrer that the source has for the image."""

    digest: Annotated[str, Meta(description="its own digest")]
    type: Annotated[
        str, Meta(description="Harbor's word for its kind", examples=["signature.cosign"])
    ]
    reference: Annotated[
        str | None, Meta(description="its tag at the source; null where it only has a digest")
    ]
    at_destination: Annotated[
        bool | None,
        Meta(description="whether its digest is there; null where that could not be found out"),
    ]
    found_by: Annotated[
        tuple[str, ...],
        Meta(
            description="how a client there finds it: `tag` (cosign's scheme), `referrers` (the "
            "API), `fallback` (the tag that stands in for the API)"
        ),
    ]


class OneExpectation(Expectation, frozen=True, kw_only=True):
    """An expectation with all that is known of it."""

    timeline: Annotated[
        tuple[Moment, ...], Meta(description="what happened to it, the oldest first")
    ]
    observations: Annotated[
        tuple[Look, ...],
        Meta(description="the last five looks, the newest first, and the last good one"),
    ]
    accessories: Annotated[
        tuple[Accessory, ...],
        Meta(
            description="the source's signatures and referrers of it, as the newest look found "
            "them; they change no verdict"
        ),
    ]


Next = Annotated[
    str | None, Meta(description="the `cursor` of the page that follows; null on the last")
]


class Expectations(Struct, frozen=True, kw_only=True):
    """A page of expectations."""

    items: Annotated[tuple[Expectation, ...], Meta(description="the newest first")]
    next: Next


class Finding(Struct, frozen=True, kw_only=True):
    """Something that is wrong with the set-up."""

    finding: Annotated[
        str, Meta(description="[its name](findings.md)", examples=["webhook_missing"])
    ]
    severity: Annotated[Severity, Meta(description="how bad it is")]
    harbor: Annotated[
        str, Meta(description="whose it is; empty for what is wrong with syncwatch itself")
    ]
    subject: Annotated[str, Meta(description="what it is about", examples=["policy to-cluster1"])]
    message: Annotated[str, Meta(description="what is wrong, in one sentence")]
    cure: Annotated[str, Meta(description="what to do")]
    since: Annotated[Time, Meta(description="when it was first seen so")]


class Findings(Struct, frozen=True, kw_only=True):
    """A page of findings."""

    items: Annotated[tuple[Finding, ...], Meta(description="the oldest first")]
    next: Next


class Sweep(Struct, frozen=True, kw_only=True):
    """The complete pass over a Harbor that is under way, or the last one."""

    pass_began_at: Annotated[Time | None, Meta(description="null before the first")]
    pass_ended_at: Annotated[Time | None, Meta(description="null while it lasts")]
    projects: Annotated[int, Meta(description="projects to be read")]
    projects_done: Annotated[int, Meta(description="those that were")]
    repositories: Annotated[int, Meta(description="repositories read so far")]
    tags: Annotated[int, Meta(description="tags read so far")]
    expected_end_at: Annotated[
        Time | None,
        Meta(
            description="when it ends if each project that is left takes as long as those that are "
            "done; null while none is under way, and before the first project"
        ),
    ]


class HarborStatus(Struct, frozen=True, kw_only=True):
    """A Harbor that is watched."""

    name: Annotated[str, Meta(description="its name in the configuration")]
    up: Annotated[bool, Meta(description="whether it answers, its list of executions too")]
    version: Annotated[str | None, Meta(description="Harbor's; null before it was asked")]
    last_webhook_at: Annotated[Time | None, Meta(description="null before the first")]
    last_sweep_at: Annotated[
        Time | None,
        Meta(description="when the last [sweep](how-it-decides.md) ended well; null before it"),
    ]
    sweep: Annotated[Sweep, Meta(description="the complete pass under way, or the last one")]


class DestinationStatus(Struct, frozen=True, kw_only=True):
    """A registry endpoint of a Harbor."""

    harbor: Annotated[str, Meta(description="whose endpoint")]
    name: Annotated[str, Meta(description="Harbor's name of it")]
    up: Annotated[bool | None, Meta(description="whether it answers; null before it was asked")]
    open: Annotated[int, Meta(description="images that are owed to it")]
    overdue: Annotated[int, Meta(description="those of them whose deadline is over")]
    oldest_open_seconds: Annotated[
        float, Meta(description="for how long the oldest of them has been owed; 0 without any")
    ]
    paused_until: Annotated[
        Time | None,
        Meta(
            description="when its maintenance ends, by hand or by `pause_until` of the "
            "configuration, whichever is later; null for none"
        ),
    ]
    paused_by: Annotated[str | None, Meta(description="who said so; null where nobody is named")]


class Execution(Struct, frozen=True, kw_only=True):
    """A run of a policy, in Harbor's own words."""

    execution_id: Annotated[int, Meta(description="Harbor's id")]
    status: Annotated[str, Meta(description="Harbor's word", examples=["Succeed"])]
    status_text: Annotated[str, Meta(description="Harbor's sentence; mostly empty")]
    trigger: Annotated[str, Meta(description="what started it", examples=["event_based"])]
    total: Annotated[int, Meta(description="how many tasks it has")]
    started_at: Annotated[Time | None, Meta(description="when it began")]
    ended_at: Annotated[Time | None, Meta(description="when it ended; null before")]


class ClusterStatus(Struct, frozen=True, kw_only=True):
    """A cluster whose nodes are made to [pull](probe.md)."""

    name: Annotated[str, Meta(description="its name in the configuration")]
    up: Annotated[
        bool | None,
        Meta(
            description="whether its API answers and lets us do what probes need; null before any "
            "pod"
        ),
    ]
    waiting: Annotated[int, Meta(description="probes that are due and have not begun")]
    oldest_waiting_seconds: Annotated[
        float, Meta(description="for how long the oldest of them has been due; 0 without any")
    ]
    under_way: Annotated[int, Meta(description="pods whose kubelet has not spoken yet")]
    results: Annotated[
        dict[str, int], Meta(description="pods of the last 24 hours, by what they came to")
    ]


class PolicyStatus(Struct, frozen=True, kw_only=True):
    """A replication policy."""

    harbor: Annotated[str, Meta(description="whose policy")]
    policy: Annotated[str, Meta(description="its name")]
    policy_id: Annotated[int, Meta(description="its id there")]
    destination: Annotated[
        str | None, Meta(description="where it copies to; null where that is not known")
    ]
    trigger: Annotated[str, Meta(description="what starts it", examples=["event_based"])]
    enabled: Annotated[bool, Meta(description="whether it is")]
    followed: Annotated[bool, Meta(description="false where it pulls into this Harbor")]
    last_execution: Annotated[
        Execution | None, Meta(description="its newest run; null before any was seen")
    ]


class Status(Struct, frozen=True, kw_only=True):
    """What is watched, and how it is doing."""

    version: Annotated[str, Meta(description="syncwatch's own")]
    harbors: Annotated[tuple[HarborStatus, ...], Meta(description="those configured")]
    destinations: Annotated[
        tuple[DestinationStatus, ...], Meta(description="the registry endpoints that they have")
    ]
    policies: Annotated[tuple[PolicyStatus, ...], Meta(description="the policies that they have")]
    states: Annotated[
        dict[str, int], Meta(description="how many expectations are in each [state](states.md)")
    ]
    clusters: Annotated[
        tuple[ClusterStatus, ...],
        Meta(description="the clusters whose nodes are made to pull, once there was a reason to"),
    ]


class Health(Struct, frozen=True, kw_only=True):
    """Whether the loops live."""

    dead: Annotated[
        tuple[str, ...], Meta(description="those that have not come round for five minutes")
    ]


class Ready(Struct, frozen=True, kw_only=True):
    """The store answers, and every Harbor was seen."""

    ready: Annotated[bool, Meta(description="true")]


class LooksDue(Struct, frozen=True, kw_only=True):
    """What is going to be looked at."""

    requested: Annotated[
        int, Meta(description="how many expectations, 5000 at most in one request")
    ]
    destinations: Annotated[tuple[str, ...], Meta(description="where they are, by name")]
    more: Annotated[
        bool | UnsetType,
        Meta(description="true where that was not all: ask again for the rest; else left out"),
    ] = UNSET


class Closed(Struct, frozen=True, kw_only=True):
    """What is closed now."""

    id: Annotated[str, Meta(description="the expectation's", examples=["17"])]


class PausedDestination(Struct, frozen=True, kw_only=True):
    """A destination as it is after the request."""

    harbor: Annotated[str, Meta(description="whose endpoint")]
    destination: Annotated[str, Meta(description="Harbor's name of it")]
    paused_until: Annotated[Time | None, Meta(description="null where it is not paused")]
    noted: Annotated[
        int, Meta(description="how many expectations have it in their timeline, 1000 at most")
    ]


class Paused(Struct, frozen=True, kw_only=True):
    """The destinations that were meant."""

    destinations: Annotated[tuple[PausedDestination, ...], Meta(description="each of them")]
