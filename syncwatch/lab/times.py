"""How long things take in the lab: as recorded on a real Harbor, or quick enough for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random


@dataclass(frozen=True, slots=True)
class LabTimes:
    """Every duration and count that Harbor's settings or code fix. Durations are seconds."""

    queue_latency: float
    """Between a job's enqueuing and its first run (recording 01 shows up to 5 s when idle)."""
    run_time: float
    """The least between a task's `Running` and its end (recordings: 0.1 s)."""
    retry_scale: float
    """Multiplies the wait between attempts; 1.0 is Harbor's own."""
    refresh_interval: float
    """EXECUTION_STATUS_REFRESH_INTERVAL_SECONDS: how late an execution's status may be."""
    webhook_timeout: float
    """JOBSERVICE_WEBHOOK_JOB_HTTP_CLIENT_TIMEOUT: what a receiver has to answer."""
    blob_retry: float
    """The first wait before a blob is copied once more; it doubles."""
    request_timeout: float
    """One request to a destination (Harbor: 30 minutes)."""
    health_interval: float
    """Between two looks at each registry endpoint (`regularHealthCheckInterval`)."""
    attempts: int = 3
    """MaxFails of a replication task."""
    webhook_attempts: int = 3
    """JOBSERVICE_WEBHOOK_JOB_MAX_RETRY, which counts fails, hence attempts."""
    blob_attempts: int = 5
    """COPY_BLOB_RETRY_COUNT."""
    workers: int = 10
    """`max_job_workers`: one pool for replication and webhooks."""
    history: int = 50
    """Executions a policy keeps when the nightly sweep has run."""
    token_lifetime: int = 1800
    """`token_expiration` of /service/token, in seconds."""

    @classmethod
    def harbor(cls) -> LabTimes:
        """The times of the recorded Harbor and of its source (api.md §6 and §7)."""
        return cls(
            queue_latency=1.0,
            run_time=0.1,
            retry_scale=1.0,
            refresh_interval=30.0,
            webhook_timeout=3.0,
            blob_retry=2.0,
            request_timeout=1800.0,
            health_interval=300.0,
        )

    @classmethod
    def fast(cls) -> LabTimes:
        """The same order of things within tenths of seconds, for tests and the demo."""
        return cls(
            queue_latency=0.01,
            run_time=0.03,
            retry_scale=0.005,
            refresh_interval=0.2,
            webhook_timeout=1.0,
            blob_retry=0.01,
            request_timeout=5.0,
            health_interval=2.0,
        )

    def backoff(self, fails: int, chance: random.Random) -> float:
        """Seconds until the next attempt after `fails` failures (goharbor/work worker.go)."""
        return (fails**4 + 15 + chance.randrange(30) * (fails + 1)) * self.retry_scale
