"""Rows of the overview: is what was promised kept, and how long does it take?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from building import BLUE, GREEN, ORANGE, PURPLE, RED, Query, Row, lines, number, rows
from queries import (
    DESTINATIONS,
    DESTINATIONS_PAUSED,
    DESTINATIONS_UP,
    LAG,
    OLDEST_OPEN,
    OVERDUE,
    OWED,
    POLICIES,
    RANGE,
    WINDOW,
    budget_left,
    burn,
    expectations,
    in_time,
    quantile,
    settled,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders import stat, table, timeseries

MILESTONE = "syncwatch_milestone_seconds"
NOTIFIED = f'{DESTINATIONS},milestone="notified"'
CLAIMED = f'{DESTINATIONS},milestone="claimed"'
PULLED = f'{DESTINATIONS},milestone="pulled"'
NONE_BAD = ((None, GREEN), (1, RED))
"""A count that should be 0."""


def now_row() -> Row:
    """The figures of this moment."""
    return Row(
        "Are images where they should be?",
        4,
        [
            (_in_time(), 3),
            (_error_budget_left(), 3),
            (_owed_now(), 3),
            (_overdue(), 3),
            (_oldest_owed(), 3),
            (_failed(), 3),
            (_cannot_tell(), 3),
            (_destinations_silent(), 3),
        ],
    )


def _in_time() -> stat.Panel:
    return number(
        "In time",
        "The share of copies that were proven at their destination before its deadline,"
        " over the time shown. If it is below the objective, look at the reasons"
        " further down.",
        in_time(RANGE),
        "percentunit",
        colors=((None, RED), (0.9, ORANGE), (0.99, GREEN)),
        nothing="none due",
        decimals=1,
        docs="dashboards.md#the-objective",
    )


def _error_budget_left() -> stat.Panel:
    return number(
        "Error budget left",
        "How much of the misses that the objective allows within 30 days is left."
        " Below 0 more images came late than was promised: make no risky change to the"
        " replication until it recovers.",
        budget_left("[30d]"),
        "percentunit",
        colors=((None, RED), (0, ORANGE), (0.25, GREEN)),
        nothing="none due",
        decimals=0,
        docs="dashboards.md#the-objective",
    )


def _owed_now() -> stat.Panel:
    return number(
        "Owed now",
        "Images that are expected somewhere and not proven there yet, late or not. Some"
        " are always under way; what matters is their age.",
        expectations(OWED),
        colors=((None, BLUE),),
        docs="states.md",
    )


def _overdue() -> stat.Panel:
    return number(
        "Overdue",
        "Of those owed, the ones past their deadline, whether copying, failed or"
        " impossible to ask for. Each of them is told with its reason by `syncwatch"
        " explain IMAGE` and on syncwatch's page.",
        f"sum ({OVERDUE})",
        colors=NONE_BAD,
        docs="states.md",
    )


def _oldest_owed() -> stat.Panel:
    return number(
        "Oldest owed",
        "For how long the image that waits longest has been behind; 0 when nothing is owed.",
        f"max ({OLDEST_OPEN})",
        "s",
        colors=((None, GREEN), (600, ORANGE), (3600, RED)),
        docs="metrics.md",
    )


def _failed() -> stat.Panel:
    return number(
        "Failed",
        "Images of which it is proven that they are not usable there, and that nothing"
        " under way will bring. The reasons below say what to do.",
        expectations('state="failed"'),
        colors=NONE_BAD,
        docs="states.md",
    )


def _cannot_tell() -> stat.Panel:
    return number(
        "Cannot tell",
        "Images of which nothing is known, as the destination or Harbor could not be"
        " asked. They are neither missing nor there: mend the way to ask first.",
        expectations('state="unknown"'),
        colors=((None, GREEN), (1, PURPLE)),
        docs="states.md",
    )


def _destinations_silent() -> stat.Panel:
    return number(
        "Destinations silent",
        "Destinations whose registry does not answer us or refuses our credential."
        " Nothing can be proven there until that is mended. Those in maintenance do not count.",
        f"sum (1 - ({DESTINATIONS_UP} unless {DESTINATIONS_PAUSED}))",
        colors=((None, GREEN), (1, PURPLE)),
        docs="findings.md",
    )


def objective_row() -> Row:
    """The objective and its error budget."""
    return Row(
        "Is the promise kept?",
        8,
        [
            (_in_time_by_destination(), 8),
            (_how_fast_the_error_budget_is_used(), 8),
            (_copies_that_settled(), 8),
        ],
    )


def _in_time_by_destination() -> timeseries.Panel:
    return lines(
        "In time, by destination",
        "The share of copies that were proven before their deadline, over the last"
        " $window. There are gaps where nothing was due. One destination below the"
        " others has a trouble of its own; all of them together point at Harbor.",
        Query(in_time(WINDOW, "destination"), "{{destination}}"),
        unit="percentunit",
        most=1,
        docs="dashboards.md#the-objective",
    )


def _how_fast_the_error_budget_is_used() -> timeseries.Panel:
    return lines(
        "How fast the error budget is used",
        "1 uses up 30 days' budget in 30 days. Above 14.4 over an hour it is gone"
        " within two days, above 6 over six hours within five: these are the lines"
        " that wake somebody.",
        Query(burn("[1h]"), "over 1 h"),
        Query(burn("[6h]"), "over 6 h"),
        limits=((None, GREEN), (6, ORANGE), (14.4, RED)),
        docs="dashboards.md#the-objective",
    )


def _copies_that_settled() -> timeseries.Panel:
    return lines(
        "Copies that settled, in the last $window",
        "Each copy counts once: met in time, missed at its deadline, or excused (closed"
        " before, as when a newer push replaced it). What comes after its deadline"
        " stays missed.",
        Query(settled("met|missed|excused", WINDOW, "result"), "{{result}}"),
        stacked=True,
        docs="metrics.md",
    )


def time_row() -> Row:
    """Lag and milestones."""
    return Row(
        "How long does it take?",
        8,
        [
            (_from_push_to_proof_by_destination(), 8),
            (_where_the_time_goes_p95(), 8),
            (_each_destination(), 8),
        ],
    )


def _from_push_to_proof_by_destination() -> timeseries.Panel:
    return lines(
        "From push to proof, by destination",
        "Half of the images (p50) and 95 % of them (p95) were proven at the destination"
        " within this time of being expected, over the last $window. If it grows,"
        " compare it with the milestones beside it.",
        Query(quantile(0.5, LAG, POLICIES, WINDOW, "destination"), "{{destination}} p50"),
        Query(quantile(0.95, LAG, POLICIES, WINDOW, "destination"), "{{destination}} p95"),
        unit="s",
        docs="metrics.md#what-to-know-when-reading-them",
    )


def _where_the_time_goes_p95() -> timeseries.Panel:
    return lines(
        "Where the time goes (p95)",
        "From when an image was expected until its webhook came (notified), until"
        " Harbor's task ended (claimed), until we proved it (verified), and until a node"
        " had pulled it (pulled), where a cluster is probed. Late notified: Harbor's job"
        " queue. Late claimed: the copy. Late verified: the destination shows the image"
        " late, or it is looked at too seldom. Late pulled: the probes' budget.",
        Query(
            quantile(0.95, MILESTONE, DESTINATIONS, WINDOW, "milestone"),
            "{{milestone}}",
        ),
        Query(quantile(0.95, LAG, POLICIES, WINDOW), "verified"),
        unit="s",
        docs="metrics.md#what-to-know-when-reading-them",
    )


def _each_destination() -> table.Panel:
    return rows(
        "Each destination, over the time shown",
        "The milestones of each destination, p95 in seconds from when the image was"
        " expected. A destination whose claimed is late has a slow or full link. Without a"
        " cluster that is probed nothing is pulled.",
        ("destination",),
        Query(
            quantile(
                0.95,
                MILESTONE,
                NOTIFIED,
                RANGE,
                "destination",
            ),
            "notified p95",
            "s",
        ),
        Query(
            quantile(
                0.95,
                MILESTONE,
                CLAIMED,
                RANGE,
                "destination",
            ),
            "claimed p95",
            "s",
        ),
        Query(quantile(0.5, LAG, POLICIES, RANGE, "destination"), "verified p50", "s"),
        Query(quantile(0.95, LAG, POLICIES, RANGE, "destination"), "verified p95", "s"),
        Query(quantile(0.95, MILESTONE, PULLED, RANGE, "destination"), "pulled p95", "s"),
        first="verified p95",
        docs="metrics.md",
    )
