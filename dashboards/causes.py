"""Rows of the overview: what is owed or wrong, why, and whether we would know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from building import GREEN, GREY, ORANGE, PURPLE, RED, Query, Row, lines, number, rows, switches
from queries import (
    CLUSTERS_UP,
    DESTINATIONS,
    DESTINATIONS_PAUSED,
    DESTINATIONS_UP,
    HARBORS,
    HARBORS_UP,
    LAG,
    LAST_SWEEP,
    LAST_WEBHOOK,
    OLDEST_OPEN,
    OVERDUE,
    OWED,
    POLICIES,
    RANGE,
    WINDOW,
    age,
    expectations,
    findings,
    in_time,
    increase,
    quantile,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries

BY_PAIR = "{{policy}} → {{destination}}"
PAIR = ("policy", "destination")
FALSE_SUCCESS = "syncwatch_false_success_total"
LOST = "syncwatch_lost_total"
ASKED = {
    "1": ("can be asked", GREEN),
    "0": ("cannot be asked", PURPLE),
    "2": ("in maintenance", GREY),
}
NONE_BAD = ((None, GREEN), (1, RED))
"""A count that should be 0."""


def owed_row() -> Row:
    """What is open, by state, age and reason."""
    return Row(
        "What is owed, and why?",
        8,
        [
            (_owed_by_state(), 8),
            (_overdue_by_policy(), 8),
            (_oldest_owed_by_policy(), 8),
            (_failed_by_reason(), 8),
            (_cannot_tell_by_reason(), 8),
            (_on_their_way_by_reason(), 8),
        ],
    )


def _owed_by_state() -> timeseries.Panel:
    return lines(
        "Owed, by state",
        "Pending: on its way. Failed: proven not to be usable there. Unknown: could not"
        " be asked, which is neither.",
        Query(expectations(OWED, "state"), "{{state}}"),
        stacked=True,
        nothing="nothing",
        docs="states.md",
    )


def _overdue_by_policy() -> timeseries.Panel:
    return lines(
        "Overdue, by policy",
        "Images past their deadline. Images of a destination that is paused are not counted here.",
        Query(
            f"sum by (policy, destination) ({OVERDUE}) > 0",
            BY_PAIR,
        ),
        stacked=True,
        nothing="nothing",
        docs="states.md",
    )


def _oldest_owed_by_policy() -> timeseries.Panel:
    return lines(
        "Oldest owed, by policy",
        "For how long the oldest image of each policy has been behind. A line that"
        " climbs without end is an image that nothing will bring: ask `syncwatch"
        " explain` for it.",
        Query(
            f"max by (policy, destination) ({OLDEST_OPEN}) > 0",
            BY_PAIR,
        ),
        unit="s",
        nothing="nothing",
        docs="metrics.md",
    )


def _failed_by_reason() -> timeseries.Panel:
    return lines(
        "Failed, by reason",
        "Why images are not usable: `execution_failed` Harbor gave up, `not_started`"
        " Harbor did not begin, `blob_missing` and the like the destination lost"
        " content. Each reason has its cure in docs/states.md.",
        Query(expectations('state="failed"', "reason") + " > 0", "{{reason}}"),
        stacked=True,
        nothing="nothing",
        docs="states.md",
    )


def _cannot_tell_by_reason() -> timeseries.Panel:
    return lines(
        "Cannot tell, by reason",
        "Why images could not be asked for. `unauthorized` and `forbidden`: our"
        " credential there. `unreachable`, `server_error`, `tls_error`: the way or the"
        " registry. `probe_inconclusive`: no node told whether it can pull. They say nothing"
        " of the images.",
        Query(expectations('state="unknown"', "reason") + " > 0", "{{reason}}"),
        stacked=True,
        nothing="nothing",
        docs="states.md",
    )


def _on_their_way_by_reason() -> timeseries.Panel:
    return lines(
        "On their way, by reason",
        "Where pending images are: `waiting` for Harbor to begin, `queued`, `copying`,"
        " `retrying`, `not_visible_yet` after Harbor's success, `scheduled` until a"
        " policy's next run, `probing` until a node has pulled it.",
        Query(expectations('state="pending"', "reason") + " > 0", "{{reason}}"),
        stacked=True,
        nothing="nothing",
        docs="states.md",
    )


def truth_row() -> Row:
    """False successes, losses, Harbor's executions, the age of proofs."""
    return Row(
        "Is Harbor's word true, and does it stay true?",
        8,
        [
            (_false_successes(), 3),
            (_lost(), 3),
            (_false_successes_and_losses(), 6),
            (_harbor_s_executions(), 6),
            (_age_of_the_oldest_proof_by_destination(), 6),
        ],
    )


def _false_successes() -> stat.Panel:
    return number(
        "False successes",
        "Images that Harbor called copied while the destination did not have them, over"
        " the time shown. Each is failed above with its reason; push it again, or copy"
        " it anew, once the reason is mended.",
        increase(FALSE_SUCCESS, POLICIES, RANGE),
        colors=NONE_BAD,
        decimals=0,
        docs="how-it-decides.md",
    )


def _lost() -> stat.Panel:
    return number(
        "Lost",
        "Images that were proven there and were found gone or damaged later, over the"
        " time shown. Look for clean-up jobs, garbage collection and full disks at the"
        " destination.",
        increase(LOST, POLICIES, RANGE),
        colors=NONE_BAD,
        decimals=0,
        docs="how-it-decides.md",
    )


def _false_successes_and_losses() -> timeseries.Panel:
    return lines(
        "False successes and losses, in the last $window",
        "Where and when it happened. At one destination only: look there. At all of"
        " them at once: look at Harbor.",
        Query(
            increase(FALSE_SUCCESS, POLICIES, WINDOW, "destination") + " > 0",
            "{{destination}} false success",
        ),
        Query(
            increase(LOST, POLICIES, WINDOW, "destination") + " > 0",
            "{{destination}} lost",
        ),
        nothing="none",
        docs="how-it-decides.md",
    )


def _harbor_s_executions() -> timeseries.Panel:
    return lines(
        "Harbor's executions, in the last $window",
        "How Harbor's own runs ended, by its word. Many `Failed` and few failed images:"
        " its retries help. `Succeed` and failed images: see the false successes.",
        Query(
            increase("syncwatch_executions_total", POLICIES, WINDOW, "status"),
            "{{status}}",
        ),
        stacked=True,
        docs="harbor.md",
    )


def _age_of_the_oldest_proof_by_destination() -> timeseries.Panel:
    return lines(
        "Age of the oldest proof, by destination",
        "The oldest proof that a verified image still rests on. When it nears"
        " `stale_after` (7 days) images become unknown/stale: raise"
        " `recheck_per_minute`, or see why the destination cannot be asked.",
        Query(
            f"max by (destination) (syncwatch_evidence_oldest_seconds{{{DESTINATIONS}}})",
            "{{destination}}",
        ),
        unit="s",
        docs="configuration.md",
    )


def told_row() -> Row:
    """Webhooks, sweeps, and who answers."""
    return Row(
        "Are we told, and can we ask?",
        8,
        [
            (_last_webhook(), 3),
            (_last_sweep(), 3),
            (_webhooks(), 6),
            (_events_that_no_webhook_told_of(), 6),
            (_who_can_be_asked(), 6),
        ],
    )


def _last_webhook() -> stat.Panel:
    return number(
        "Last webhook",
        "How long ago the last new webhook of a Harbor came, the longest of all. Long"
        " while Harbor copies: see the finding about webhooks, and Harbor's job queue."
        " Images are still found by the feed and the sweep, later.",
        f"max ({age(LAST_WEBHOOK)})",
        "s",
        nothing="never",
        docs="findings.md",
    )


def _last_sweep() -> stat.Panel:
    return number(
        "Last sweep",
        "How long ago a sweep of a Harbor ended without trouble, the longest of all."
        " Beyond a few times `sweep_every` (15 min) what no webhook told of is missed.",
        f"max ({age(LAST_SWEEP)})",
        "s",
        colors=((None, GREEN), (2700, ORANGE), (7200, RED)),
        nothing="never",
        docs="how-it-decides.md#the-sweep",
    )


def _webhooks() -> timeseries.Panel:
    return lines(
        "Webhooks, in the last $window",
        "What became of each delivery. `unauthorized`: Harbor sends another secret than"
        " ours. `malformed`, `too_large`: something else posts here. `not_durable`: the"
        " store could not keep it, and Harbor tries again.",
        Query(
            increase("syncwatch_webhooks_total", HARBORS, WINDOW, "outcome"),
            "{{outcome}}",
        ),
        stacked=True,
        docs="metrics.md",
    )


def _events_that_no_webhook_told_of() -> timeseries.Panel:
    return lines(
        "Events that no webhook told of, in the last $window",
        "Pushes and deletions found by Harbor's feed of executions or by the sweep, as"
        " their webhook never came. They are checked all the same, only later. See that"
        " each project has its webhook policy.",
        Query(
            increase("syncwatch_events_recovered_total", HARBORS, WINDOW, "source"),
            "by {{source}}",
        ),
        docs="harbor.md",
    )


def _who_can_be_asked() -> statetimeline.Panel:
    return switches(
        "Who can be asked?",
        "Each Harbor and each destination: whether it answers, and accepts our"
        " credential. While it does not, nothing new is known of its images, and they"
        " are unknown rather than failed. One in maintenance may be away. A cluster is"
        " asked for probes only.",
        Query(HARBORS_UP, "Harbor {{harbor}}"),
        Query(f"2 * ({DESTINATIONS_PAUSED}) or {DESTINATIONS_UP}", "{{destination}}"),
        Query(CLUSTERS_UP, "cluster {{cluster}}"),
        words=ASKED,
        docs="findings.md",
    )


def each_row() -> Row:
    """Findings, and each policy."""
    return Row(
        "What is wrong with the set-up, and where?", 9, [(_findings_now(), 9), (_each_policy(), 15)]
    )


def _findings_now() -> table.Panel:
    return rows(
        "Findings now",
        "What is wrong with Harbor's rules, webhooks, credentials and destinations."
        " `syncwatch doctor` says of each one where it is and what cures it.",
        ("severity", "finding", "harbor"),
        Query(
            findings(),
            "places",
        ),
        first="severity",
        down=False,
        docs="findings.md",
    )


def _each_policy() -> table.Panel:
    return rows(
        "Each policy, over the time shown",
        "One line for each replication policy. A policy without a share in time had"
        " nothing due. A click leads to what it owes.",
        PAIR,
        Query(
            in_time(RANGE, *PAIR),
            "in time",
            "percentunit",
            ((None, RED), (0.9, ORANGE), (0.99, GREEN)),
        ),
        Query(expectations(OWED, *PAIR), "owed"),
        Query(
            f"sum by (policy, destination) ({OVERDUE})",
            "overdue",
            colors=((None, GREY), (1, RED)),
        ),
        Query(
            f"max by (policy, destination) ({OLDEST_OPEN})",
            "oldest owed",
            "s",
        ),
        Query(quantile(0.95, LAG, POLICIES, RANGE, *PAIR), "lag p95", "s"),
        first="overdue",
        link="${page:raw}/images?state=open&policy=${__data.fields.policy:percentencode}"
        "&destination=${__data.fields.destination:percentencode}",
        docs="dashboards.md",
    )
