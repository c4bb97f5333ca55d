"""Every error of ours: whose fault it is, whether trying again can help, and the cure.

One root, no imports: whatever is raised inside syncwatch and is meant to be read by a person is a
`SyncwatchError`. Errors of libraries are mapped to these once, at the edge where they arise
(`outbound`, `store`), so that no library's words, and no secret in them, travel further.
"""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """Whose fault an error is; the person to wake."""

    OURS = "ours"
    USER = "user"
    HARBOR = "harbor"
    DESTINATION = "destination"
    NETWORK = "network"


class SyncwatchError(Exception):
    """Root of all errors: one clear sentence, whose fault, and what to do.

    `message` names the place; `cure` says what to do and may be empty; `retryable` says whether
    the same request may succeed later without anybody's help.
    """

    fault = Fault.OURS
    retryable = False

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message} ({self.cure})" if self.cure else self.message


class ConfigError(SyncwatchError):
    """The configuration cannot be used; `problems` holds one `file:line:column: …` line each."""

    fault = Fault.USER

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PatternError(SyncwatchError):
    """A pattern of a Harbor filter is malformed, as Harbor itself finds when it evaluates it."""

    fault = Fault.USER


class FlatteningError(SyncwatchError):
    """A policy's flattening leaves no legal destination name for a repository."""

    fault = Fault.USER


class MalformedError(SyncwatchError):
    """Bytes from outside are not what they should be (a payload, an answer, a reference)."""


class IllegalTransitionError(SyncwatchError):
    """A state change that the life table of `model` does not allow: a bug of ours."""


class StoreError(SyncwatchError):
    """The store did not take or give what it should; it may be full, away or locked.

    `of_the_store` is False where it works, and another replica was quicker.
    """

    retryable = True

    def __init__(self, message: str, *, cure: str = "", of_the_store: bool = True) -> None:
        super().__init__(message, cure=cure)
        self.of_the_store = of_the_store


class OutboundError(SyncwatchError):
    """An outgoing request brought no usable answer.

    `kind` is the bounded word that states and metrics use: one of `unreachable`, `tls_error`,
    `unauthorized`, `forbidden`, `rate_limited`, `server_error`, `unreadable_answer`,
    `not_found`, `policy_blocked`. `status` is the HTTP status where one was received.
    """

    fault = Fault.NETWORK
    retryable = True

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after


class ClusterError(SyncwatchError):
    """A Kubernetes cluster did not do what it was asked.

    `kind` is a bounded word: `unreachable`, `unauthorized`, `forbidden` (a permission lacks),
    `refused` (a quota, Pod Security or a webhook does not take this pod), `throttled`, `server`
    (5xx), `misconfigured` (the kubeconfig, the context, the namespace), `left` (a pod does not go).
    """

    fault = Fault.DESTINATION
    retryable = True

    def __init__(
        self, kind: str, message: str, *, cure: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, cure=cure)
        self.kind = kind
        self.retry_after = retry_after
