"""The metrics of probes: what pods came to, how long each took, and how each cluster stands.

Counters exist from 0 for every destination whose cluster is probed here, and go with it; gauges are
those of the clusters whose lease this replica holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from syncwatch.model import SECOND, Pulling
from syncwatch.report.buckets import Buckets
from syncwatch.report.families import BY_NAME, PROBE_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from prometheus_client.core import Metric

    from syncwatch.model import ClusterFigures, Millis

COUNTED = "syncwatch_probes_total"
TOOK = "syncwatch_probe_duration_seconds"


class ClusterMetrics:
    """What is counted and shown of clusters."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str, str], float] = {}
        self._took: dict[tuple[str, str, str], Buckets] = {}
        self._figures: dict[str, ClusterFigures] = {}

    def expect(self, cluster: str, destinations: Collection[str]) -> None:
        """These destinations, and no others, are probed by a cluster's nodes."""
        wanted = {(cluster, one, str(result)) for one in destinations for result in Pulling}
        for counts in (self._counted, self._took):
            for key in [key for key in counts if key[0] == cluster and key not in wanted]:
                del counts[key]
        for key in wanted:
            self._counted.setdefault(key, 0.0)
            self._took.setdefault(key, Buckets(PROBE_BUCKETS))

    def probed(self, cluster: str, destination: str, result: Pulling, seconds: float) -> None:
        """A pod was judged, so many seconds after it was to be made."""
        key = (cluster, destination, str(result))
        self._counted[key] = self._counted.get(key, 0.0) + 1
        self._took.setdefault(key, Buckets(PROBE_BUCKETS)).observe(seconds)

    def stands(self, cluster: str, figures: ClusterFigures | None) -> None:
        """How it stands; None where that is no longer ours to show."""
        if figures is None:
            self._figures.pop(cluster, None)
        else:
            self._figures[cluster] = figures

    def collect(self, now: Millis) -> Iterator[Metric]:
        """The families; none where no cluster is probed."""
        if self._counted:
            yield self._counters()
            yield self._histograms()
        if self._figures:
            yield from self._gauges(now)

    def _counters(self) -> Metric:
        told = BY_NAME[COUNTED]
        family = CounterMetricFamily(told.name, told.help, labels=told.labels)
        for key, value in self._counted.items():
            family.add_metric(key, value)
        return family

    def _histograms(self) -> Metric:
        told = BY_NAME[TOOK]
        family = HistogramMetricFamily(told.name, told.help, labels=told.labels)
        for key, buckets in self._took.items():
            pairs, total = buckets.exposed()
            family.add_metric(key, buckets=pairs, sum_value=total)
        return family

    def _gauges(self, now: Millis) -> Iterator[Metric]:
        shown: dict[str, Callable[[ClusterFigures], float | None]] = {
            "syncwatch_cluster_up": _up,
            "syncwatch_probes_waiting": lambda one: one.waiting,
            "syncwatch_probes_under_way": lambda one: one.under_way,
            "syncwatch_probes_budget_left": lambda one: one.budget_left,
            "syncwatch_probes_oldest_waiting_seconds": lambda one: _age(one, now),
        }
        for name, value_of in shown.items():
            told = BY_NAME[name]
            family = GaugeMetricFamily(told.name, told.help, labels=told.labels)
            for cluster, figures in self._figures.items():
                if (value := value_of(figures)) is not None:
                    family.add_metric([cluster], value)
            yield family


def _up(figures: ClusterFigures) -> float | None:
    return None if figures.up is None else float(figures.up)


def _age(figures: ClusterFigures, now: Millis) -> float:
    return 0.0 if figures.oldest_at is None else max(0.0, (now - figures.oldest_at) / SECOND)
