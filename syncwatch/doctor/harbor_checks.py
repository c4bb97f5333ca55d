"""Pure: what is wrong with a Harbor as such: version, account, permissions, queues."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from syncwatch.doctor.checks import Checked, told, untold
from syncwatch.doctor.evidence import HarborSeen, Unasked
from syncwatch.model import MINUTE, SECOND, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncwatch.harbor.wire import SystemInfo

SKEW_NOTICED = 5 * SECOND
"""A clock that is further off is a finding; from a minute on, an error."""

_OLD_WEBHOOKS = "webhooks that name what a run copies, and robots with permissions of both kinds"
_NO_EXECUTION = "webhooks that name their execution"
_NO_CHANGES = "repositories that tell when they changed, so that no sweep is incremental"

LACKS = (
    ((2, 10), Severity.WARNING, _OLD_WEBHOOKS),
    ((2, 13), Severity.INFO, _NO_EXECUTION),
    ((2, 15, 2), Severity.INFO, _NO_CHANGES),
)
"""What a Harbor older than a version does not have (api.md §10)."""

NEEDED = {
    "replication-policy:list": "what is promised",
    "registry:list": "where it is to go",
    "replication:list": "whether Harbor is under way with anything",
    "replication:read": "how one run ended",
}
"""Permissions on the system that each answer a question of ours, and what it is for."""

USEFUL = {"jobservice-monitor:list": "a paused or long job queue"}

HARMLESS = frozenset({"list", "read", "pull"})
"""What a watcher may need; any other action changes something."""

LONG_QUEUE = 500
LONG_LATENCY = 300
"""A queue with so many jobs, or whose oldest waits for so many seconds, is long."""

WATCHED_QUEUES = ("REPLICATION", "WEBHOOK")


def of_harbor(seen: HarborSeen) -> Iterator[Checked]:
    """All checks of a Harbor as such; where it cannot be asked, nothing else can be told."""
    subject = f"harbor {seen.name}"
    if isinstance(seen.info, Unasked):
        yield _down(seen.info, subject)
        return
    version = seen.info.harbor_version
    yield told("harbor", subject, f"It answers as {version}, and accepts our credentials.")
    yield _clock(seen, subject)
    yield _notifications(seen.name, seen.info, subject)
    yield _version(version, subject)
    yield _account(seen, subject)
    yield from _permissions(seen)
    yield _excess(seen, subject)
    yield _queues(seen, subject)


def _say(subject: str, finding: str, severity: Severity, message: str, cure: str) -> Finding:
    return Finding(finding, severity, subject, message, cure)


def _down(why: Unasked, subject: str) -> Checked:
    if why.kind == "unauthorized":
        cure = "Check username and password, and that the robot account is enabled and not expired."
        found = _say(subject, "credential_rejected", Severity.ERROR, f"{why.words}.", cure)
    else:
        cure = "Check its url, the network between, and its certificate."
        found = _say(subject, "harbor_unreachable", Severity.ERROR, f"{why.words}.", cure)
    return told("harbor", subject, "", [found])


def _clock(seen: HarborSeen, subject: str) -> Checked:
    if abs(seen.skew) <= SKEW_NOTICED:
        return told("clock", subject, "Its clock and ours agree within five seconds.")
    found = _say(
        subject,
        "clock_skew",
        Severity.WARNING if abs(seen.skew) < MINUTE else Severity.ERROR,
        f"The clock of Harbor {seen.name} is {seen.skew / 1000:+.1f} s off ours.",
        "Let both follow the same time server; lag is corrected by the difference.",
    )
    return told("clock", subject, "", [found])


def _notifications(name: str, info: SystemInfo, subject: str) -> Checked:
    if info.notification_enable is None:
        return untold("notifications", subject, "Harbor does not say whether it sends webhooks.")
    if info.notification_enable:
        return told("notifications", subject, "Notifications are switched on.")
    found = _say(
        subject,
        "notification_off",
        Severity.ERROR,
        f"Harbor {name} has notifications switched off: it sends no webhook at all.",
        "Set notification_enable in Harbor's configuration.",
    )
    return told("notifications", subject, "", [found])


def _version(text: str, subject: str) -> Checked:
    numbers = version_of(text)
    if numbers is None:
        return untold("version", subject, f"Its version {text!r} cannot be read.")
    lacks = [(severity, words) for since, severity, words in LACKS if numbers < since]
    if not lacks:
        return told("version", subject, f"{text} has all that syncwatch uses.")
    found = _say(
        subject,
        "version_old",
        lacks[0][0],
        f"Harbor {text} lacks {'; '.join(words for _, words in lacks)}.",
        "Nothing is missed for it, some things are known later; update Harbor when you can.",
    )
    return told("version", subject, "", [found])


def version_of(text: str) -> tuple[int, ...] | None:
    """`v2.15.2-abcdef12` → (2, 15, 2); None for text that begins with no version."""
    found = re.match(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", text)
    return tuple(int(part) for part in found.groups("0")) if found else None


def _account(seen: HarborSeen, subject: str) -> Checked:
    if seen.is_user is None:
        return untold("account", subject, "Harbor does not say whether we are a robot or a user.")
    if not seen.is_user:
        return told("account", subject, "We ask as a robot account.")
    found = _say(
        subject,
        "password_user",
        Severity.WARNING,
        "syncwatch asks with a user's password: each question costs Harbor 0.1 s of CPU, forty "
        "times what a robot account costs.",
        "Make a robot account with the permissions in docs/harbor.md, and configure that.",
    )
    return told("account", subject, "", [found])


def _permissions(seen: HarborSeen) -> Iterator[Checked]:
    for permission, result in seen.tried.items():
        subject = f"harbor {seen.name}: {permission}"
        if result is None:
            yield told("permission", subject, f"{permission} is granted.")
        elif not result.is_refused:
            yield untold("permission", subject, f"{result.words}.")
        elif permission in USEFUL:
            yield _refused(subject, permission, USEFUL[permission], Severity.INFO)
        else:
            yield _refused(subject, permission, NEEDED.get(permission, "it"), Severity.ERROR)


def _refused(subject: str, permission: str, why: str, severity: Severity) -> Checked:
    resource, _, action = permission.partition(":")
    message = f"The account may not {action} {resource} on the system, so {why} cannot be told."
    cure = f"Grant {permission} on the system to the robot account."
    if severity is Severity.INFO:
        cure = f"Grant {permission} on the system if that is of interest; nothing else needs it."
    found = _say(subject, "permission_missing", severity, message, cure)
    if severity is Severity.INFO:
        # Nothing is wrong with it, and what it is for is not known.
        return untold("permission", subject, message, [found])
    return told("permission", subject, "", [found])


def _excess(seen: HarborSeen, subject: str) -> Checked:
    check = "permissions in excess"
    if isinstance(seen.granted, Unasked):
        return untold(check, subject, f"{seen.granted.words}.")
    excess = sorted(one for one in set(seen.granted) if one.partition(":")[2] not in HARMLESS)
    if not excess:
        return told(check, subject, "Nothing that Harbor lists for it could change anything.")
    shown = ", ".join(excess[:6]) + (f" and {len(excess) - 6} more" if len(excess) > 6 else "")
    found = _say(
        subject,
        "permission_excessive",
        Severity.WARNING,
        f"The account may do more than look: {shown}. Whoever gets hold of it may, too.",
        "Make a robot account with the permissions in docs/harbor.md, and configure that.",
    )
    return told(check, subject, "", [found])


def _queues(seen: HarborSeen, subject: str) -> Checked:
    check = "job queues"
    if isinstance(seen.queues, Unasked):
        refused = "jobservice-monitor:list is not granted, so a paused queue would not show here."
        return untold(check, subject, refused if seen.queues.is_refused else seen.queues.words)
    found = []
    for queue in seen.queues:
        if queue.job_type not in WATCHED_QUEUES:
            continue
        about = f"{subject}: {queue.job_type} queue"
        if queue.paused:
            found.append(
                _say(
                    about,
                    "queue_paused",
                    Severity.ERROR,
                    f"The job queue {queue.job_type} is paused, so nothing of it is done.",
                    "Resume it under Administration > Job Service Dashboard > Queues.",
                )
            )
        elif queue.count >= LONG_QUEUE or queue.latency >= LONG_LATENCY:
            found.append(
                _say(
                    about,
                    "queue_long",
                    Severity.WARNING,
                    f"The job queue {queue.job_type} is long: {queue.count} jobs wait, the oldest "
                    f"for {queue.latency} s.",
                    "Give the job service more workers, or look for what fills it.",
                )
            )
    return told(check, subject, "REPLICATION and WEBHOOK are neither paused nor long.", found)
