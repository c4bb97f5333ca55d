"""The dashboard of syncwatch itself: does it run, does it get answers, does it keep up?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from building import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    Query,
    Row,
    lines,
    number,
    rows,
    switches,
)
from pulling import pulling_row
from queries import (
    DESTINATIONS,
    HARBORS,
    HARBORS_UP,
    LAST_SWEEP,
    LAST_WEBHOOK,
    NOW,
    RANGE,
    WINDOW,
    age,
    findings,
    increase,
    of_processes,
    quantile,
    rate,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries

HARBOR = "syncwatch_harbor_request_duration_seconds"
REGISTRY = "syncwatch_registry_request_duration_seconds"
SWEEP = "syncwatch_sweep_duration_seconds"
FINE = 'code=~"2..|3..|404"'
"""Answers that tell us what we asked; 404 says that something is not there."""

OURS = (
    "config_invalid|store_unwritable|token_missing|permission_missing|permission_excessive"
    "|password_user|credential_rejected|harbor_unreachable|clock_skew|notification_.+|cluster_.+"
)
"""Findings about syncwatch and its accounts, rather than about Harbor's rules."""
WEBHOOKS = "syncwatch_webhooks_total"
KEPT = f'{HARBORS},outcome=~"accepted|duplicate|ignored"'
REFUSED = f'{HARBORS},outcome!~"accepted|duplicate|ignored"'
ANSWERS = f"{REGISTRY}_count"
GOOD = rate(ANSWERS, f"{DESTINATIONS},{FINE}", "destination")
EVERY = rate(ANSWERS, DESTINATIONS, "destination")
AVERAGE = (
    f"{increase(f'{SWEEP}_sum', HARBORS, WINDOW, 'harbor')}"
    f" / ({increase(f'{SWEEP}_count', HARBORS, WINDOW, 'harbor')} > 0)"
)
"""Seconds that a sweep took on average."""


def all_rows() -> list[Row]:
    """The rows from top to bottom; a new one comes last, for ids follow from the order."""
    return [
        _running_row(),
        _harbor_row(),
        _registries_row(),
        _webhooks_row(),
        _told_row(),
        _work_row(),
        pulling_row(),
    ]


def _running_row() -> Row:
    return Row(
        "Does it run?",
        5,
        [
            (_version(), 3),
            (_processes(), 3),
            (_scrape_takes(), 3),
            (_series(), 3),
            (_clock_against_harbor_s(), 3),
            (_which_processes_are_up(), 9),
        ],
    )


def _version() -> stat.Panel:
    return number(
        "Version",
        "The version that runs. There are two of them while replicas are being replaced.",
        "max by (version) (syncwatch_build_info)",
        legend="{{version}}",
        nothing="none runs",
    )


def _processes() -> stat.Panel:
    return number(
        "Processes",
        "Processes that Prometheus reaches. Without any nothing is watched, and no other"
        " panel means anything: see the log of syncwatch, and whether the target is"
        " scraped.",
        "count (syncwatch_build_info)",
        colors=((None, RED), (1, GREEN)),
        docs="operations.md",
    )


def _scrape_takes() -> stat.Panel:
    return number(
        "Scrape takes",
        "How long the slowest of the last scrapes of `/metrics` took. Near the scrape"
        " timeout (10 s by default) all panels will have gaps.",
        f"max ({of_processes('scrape_duration_seconds')})",
        "s",
        colors=((None, GREEN), (1, ORANGE), (5, RED)),
        docs="metrics.md",
    )


def _series() -> stat.Panel:
    return number(
        "Series",
        "Series that the largest process exposes. It grows with policies times"
        " destinations, never with images.",
        f"max ({of_processes('scrape_samples_scraped')})",
        colors=((None, GREY), (20_000, ORANGE)),
        docs="metrics.md",
    )


def _clock_against_harbor_s() -> stat.Panel:
    return number(
        "Clock against Harbor's",
        "How far the two clocks are apart, the most of all Harbors. From a few seconds"
        " on it is a finding: set both by NTP. Lags are corrected for it.",
        f"max (abs (max by (harbor) (syncwatch_harbor_clock_skew_seconds{{{HARBORS}}})))",
        "s",
        colors=((None, GREEN), (5, ORANGE), (60, RED)),
        docs="findings.md",
    )


def _which_processes_are_up() -> statetimeline.Panel:
    return switches(
        "Which processes are up?",
        "Each process by its address, while Prometheus could scrape it. A gap is a"
        " process that was not known then.",
        Query(of_processes("up"), "{{instance}}"),
        words={"1": ("up", GREEN), "0": ("down", RED)},
        docs="operations.md",
    )


def _harbor_row() -> Row:
    return Row(
        "Does Harbor answer us?",
        8,
        [
            (_requests_to_harbor_by_answer(), 9),
            (_how_long_harbor_takes_to_answer(), 9),
            (_which_harbors_can_be_asked(), 6),
        ],
    )


def _requests_to_harbor_by_answer() -> timeseries.Panel:
    return lines(
        "Requests to Harbor, by answer",
        "Requests in a second by HTTP status; `error` is no complete answer. 401 and"
        " 403: the robot account. 429: Harbor or a proxy limits us. 5xx and `error`:"
        " Harbor is in trouble, and what it owes is unknown meanwhile.",
        Query(rate(f"{HARBOR}_count", HARBORS, "code"), "{{code}}"),
        unit="reqps",
        stacked=True,
        docs="metrics.md",
    )


def _how_long_harbor_takes_to_answer() -> timeseries.Panel:
    return lines(
        "How long Harbor takes to answer",
        "Half (p50), 95 % and 99 % of the answers came within this time. Near `timeout`"
        " (10 s) Harbor counts as unreachable.",
        Query(quantile(0.5, HARBOR, HARBORS, NOW, "harbor"), "{{harbor}} p50"),
        Query(quantile(0.95, HARBOR, HARBORS, NOW, "harbor"), "{{harbor}} p95"),
        Query(quantile(0.99, HARBOR, HARBORS, NOW, "harbor"), "{{harbor}} p99"),
        unit="s",
        docs="configuration.md",
    )


def _which_harbors_can_be_asked() -> statetimeline.Panel:
    return switches(
        "Which Harbors can be asked?",
        "Whether Harbor answers, accepts our credential and shows policies and"
        " executions. If not, the finding says which of these it is.",
        Query(HARBORS_UP, "{{harbor}}"),
        words={"1": ("can be asked", GREEN), "0": ("cannot be asked", PURPLE)},
        docs="findings.md",
    )


def _registries_row() -> Row:
    return Row(
        "Do destinations answer us?",
        8,
        [
            (_requests_to_destinations_by_answer(), 6),
            (_questions_that_got_no_answer_by_destination(), 6),
            (_how_long_destinations_take_to_answer_p95(), 6),
            (_requests_under_way_at_a_time(), 6),
        ],
    )


def _requests_to_destinations_by_answer() -> timeseries.Panel:
    return lines(
        "Requests to destinations, by answer",
        "Requests in a second by HTTP status; `error` is no complete answer. 404 is an"
        " answer too: something is not there.",
        Query(rate(ANSWERS, DESTINATIONS, "code"), "{{code}}"),
        unit="reqps",
        stacked=True,
        docs="metrics.md",
    )


def _questions_that_got_no_answer_by_destination() -> timeseries.Panel:
    return lines(
        "Questions that got no answer, by destination",
        "The share of requests that were refused, limited or broken off, so that"
        " nothing was learnt. All of one destination: it is down or our credential is"
        " wrong. Some of all: our own network.",
        Query(f"1 - ({GOOD} or {EVERY} * 0) / {EVERY}", "{{destination}}"),
        unit="percentunit",
        most=1,
        docs="findings.md",
    )


def _how_long_destinations_take_to_answer_p95() -> timeseries.Panel:
    return lines(
        "How long destinations take to answer (p95)",
        "95 % of the answers came within this time. A slow registry makes every proof"
        " late; fewer rechecks (`recheck_per_minute`) spare it.",
        Query(
            quantile(0.95, REGISTRY, DESTINATIONS, NOW, "destination"),
            "{{destination}}",
        ),
        unit="s",
        docs="configuration.md",
    )


def _requests_under_way_at_a_time() -> timeseries.Panel:
    return lines(
        "Requests under way at a time",
        "Seconds of waiting in each second, which is how many requests are under way on"
        " average. At `concurrency` (8) looks wait for each other.",
        Query(rate(f"{REGISTRY}_sum", DESTINATIONS, "destination"), "{{destination}}"),
        docs="configuration.md",
    )


def _webhooks_row() -> Row:
    return Row(
        "Do webhooks come, and are they kept?",
        8,
        [
            (_refused(), 3),
            (_last_webhook(), 3),
            (_webhooks_taken_by_event(), 6),
            (_webhooks_refused_by_outcome(), 6),
            (_since_the_last_webhook_and_sweep(), 6),
        ],
    )


def _refused() -> stat.Panel:
    return number(
        "Refused",
        "Deliveries that were not taken, over the time shown: wrong secret, no JSON, too"
        " large, or not durable. Beside Harbor nobody should post here.",
        increase(WEBHOOKS, REFUSED, RANGE),
        colors=((None, GREEN), (1, ORANGE)),
        decimals=0,
        docs="metrics.md",
    )


def _last_webhook() -> stat.Panel:
    return number(
        "Last webhook",
        "How long ago the last new delivery came, the longest of all Harbors.",
        f"max ({age(LAST_WEBHOOK)})",
        "s",
        colors=((None, BLUE),),
        nothing="never",
        docs="findings.md",
    )


def _webhooks_taken_by_event() -> timeseries.Panel:
    return lines(
        "Webhooks taken, by event",
        "Deliveries in a second that were answered 202. `REPLICATION` comes several"
        " times for each copy; a push without any is found by the feed or the sweep.",
        Query(rate(WEBHOOKS, KEPT, "event"), "{{event}}"),
        unit="reqps",
        stacked=True,
        docs="harbor.md",
    )


def _webhooks_refused_by_outcome() -> timeseries.Panel:
    return lines(
        "Webhooks refused, by outcome",
        "Deliveries in a second that were not taken. `not_durable` is answered 503, and"
        " Harbor tries again: see whether the store is full, locked or away.",
        Query(rate(WEBHOOKS, REFUSED, "outcome"), "{{outcome}}"),
        unit="reqps",
        stacked=True,
        nothing="none",
        docs="metrics.md",
    )


def _since_the_last_webhook_and_sweep() -> timeseries.Panel:
    return lines(
        "Since the last webhook and sweep",
        "Saw teeth are healthy. Webhooks that stop while Harbor copies: their policy,"
        " their address or Harbor's job queue.",
        Query(
            age(LAST_WEBHOOK),
            "{{harbor}} webhook",
        ),
        Query(age(LAST_SWEEP), "{{harbor}} sweep"),
        unit="s",
        docs="how-it-decides.md#the-sweep",
    )


def _told_row() -> Row:
    return Row(
        "Who asks, and who is told?",
        8,
        [
            (_the_gate_s_answers(), 6),
            (_waiting_at_the_gate(), 5),
            (_notifications(), 5),
            (_events_that_wait(), 3),
            (_oldest_notification(), 5),
        ],
    )


def _the_gate_s_answers() -> timeseries.Panel:
    return lines(
        "The gate's answers, in the last $window",
        "What pipelines heard: 200 usable, 409 not yet, 422 failed, 404 nothing expects it there,"
        " 503 cannot ask. Many 503 hold deployments up for a reason that is ours or the"
        " registry's, not the image's.",
        Query("sum by (status) (increase(syncwatch_gate_answers_total[$window]))", "{{status}}"),
        stacked=True,
        docs="api.md",
    )


def _waiting_at_the_gate() -> timeseries.Panel:
    return lines(
        "Waiting at the gate",
        "Questions that are held back until their image is usable, or their `wait` is over. Each is"
        " a pipeline that stands still.",
        Query("sum by (instance) (syncwatch_gate_waiting)", "{{instance}}"),
        docs="api.md",
    )


def _notifications() -> timeseries.Panel:
    return lines(
        "Notifications, in the last $window",
        "What became of events for the receiver: `delivered`; `failed`, an attempt that is made"
        " again; `gave_up` and `dropped`, events that it never gets. The receiver's own log says"
        " why it refuses.",
        Query("sum by (outcome) (increase(syncwatch_notifications_total[$window]))", "{{outcome}}"),
        stacked=True,
        nothing="no receiver",
        docs="notifications.md",
    )


def _events_that_wait() -> stat.Panel:
    return number(
        "Notifications waiting",
        "Events that the receiver has not taken yet.",
        "max (syncwatch_notifications_waiting)",
        colors=((None, GREEN), (100, ORANGE)),
        nothing="no receiver",
        docs="notifications.md",
    )


def _oldest_notification() -> timeseries.Panel:
    return lines(
        "How late notifications are",
        "Seconds since the oldest event that still waits for delivery happened; 0 when none waits."
        " If it climbs, the receiver is away, or `per_minute` is too low for what happens.",
        Query("max (syncwatch_notifications_oldest_seconds)", "the oldest that waits"),
        unit="s",
        nothing="no receiver",
        docs="notifications.md",
    )


def _work_row() -> Row:
    return Row(
        "Does it keep up?",
        8,
        [
            (_how_long_sweeps_take(), 6),
            (_expectations_kept_by_state(), 6),
            (_work_of_each_process(), 6),
            (_findings_about_syncwatch_itself(), 6),
        ],
    )


def _how_long_sweeps_take() -> timeseries.Panel:
    return lines(
        "How long sweeps take",
        "The average of the last $window. Near `sweep_every` (15 min) they follow each"
        " other without a pause: make it longer, or narrow what is watched.",
        Query(AVERAGE, "{{harbor}}"),
        unit="s",
        nothing="none ended",
        docs="how-it-decides.md#the-sweep",
    )


def _expectations_kept_by_state() -> timeseries.Panel:
    return lines(
        "Expectations kept, by state",
        "What the store holds. Closed ones go after `keep` (30 days).",
        Query(
            "sum by (state) (max by (harbor, policy, destination, state, reason)"
            f" (syncwatch_expectations{{{HARBORS}}}))",
            "{{state}}",
        ),
        stacked=True,
        docs="operations.md",
    )


def _work_of_each_process() -> timeseries.Panel:
    return lines(
        "Work of each process",
        "Harbors and destinations whose lease each process holds. With several replicas"
        " they are shared; a replica without any does nothing but answer.",
        Query("sum by (instance, kind) (syncwatch_leases)", "{{instance}} {{kind}}"),
        docs="operations.md",
    )


def _findings_about_syncwatch_itself() -> table.Panel:
    return rows(
        "Findings about syncwatch itself",
        "What is wrong with its configuration, its store, or its account at Harbor or in a cluster."
        " `syncwatch doctor` says what cures it.",
        ("severity", "finding", "harbor"),
        Query(
            findings(f'finding=~"{OURS}"'),
            "places",
        ),
        first="severity",
        down=False,
        docs="findings.md",
    )
