"""Pure: the checks of a project: does it tell us what happens in it, and does a delivery get in."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncwatch.doctor.checks import Checked, told, untold
from syncwatch.doctor.evidence import Unasked
from syncwatch.harbor.wire import DELETE, PUSH, REPLICATION
from syncwatch.model import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from syncwatch.doctor.evidence import ProjectSeen, RoundTripSeen, WebhookSeen

WANTED = frozenset({PUSH, DELETE, REPLICATION})

LOOKED_BACK = 20
"""How many of the last deliveries are looked at; Harbor keeps 50 a policy."""

PORTS = {"http": 80, "https": 443}


def of_project(seen: ProjectSeen, harbor: str, address: str) -> Iterator[Checked]:
    """The checks of one project; `address` is `webhook_address`, "" where not configured."""
    subject = f"project {seen.name}"
    yield _permissions(seen, subject)
    yield _retention(seen, subject)
    if isinstance(seen.webhooks, Unasked):
        yield untold("webhook", subject, f"{seen.webhooks.words}.")
        return
    found = _wrong(seen.webhooks, subject, harbor, address)
    good = f"It tells us of {', '.join(sorted(WANTED))}."
    deliveries = [one.deliveries for one in _ours(seen.webhooks, harbor, address) if one.enabled]
    unknown = next((one for one in deliveries if isinstance(one, Unasked)), None)
    if not found and unknown is not None:
        yield untold("webhook", subject, f"How its deliveries ended: {unknown.words}.")
    else:
        yield told("webhook", subject, good, found)


def is_ours(address: str, harbor: str, wanted: str) -> bool:
    """Whether an address is our webhook: its path, and scheme, host and port of `wanted` if set."""
    try:
        parts, known = urlsplit(address), urlsplit(wanted)
        same_place = not wanted or _place(address) == _place(wanted)
    except ValueError:
        return False
    path = f"{known.path.rstrip('/')}/webhook/{harbor}"
    given = parts.path.rstrip("/")
    return same_place and (given == path if wanted else given.endswith(path))


def _place(address: str) -> tuple[str, str, int | None]:
    parts = urlsplit(address)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or PORTS.get(parts.scheme)


def _say(subject: str, finding: str, severity: Severity, message: str, cure: str) -> Finding:
    return Finding(finding, severity, subject, message, cure)


def _ours(webhooks: Sequence[WebhookSeen], harbor: str, address: str) -> list[WebhookSeen]:
    return [one for one in webhooks if one.is_http and is_ours(one.address, harbor, address)]


def _wrong(
    webhooks: Sequence[WebhookSeen], subject: str, harbor: str, address: str
) -> list[Finding]:
    where = f"{address.rstrip('/') or 'our webhook_listen'}/webhook/{harbor}"
    make = f"Add a webhook policy of type http to {where} with {', '.join(sorted(WANTED))}."
    ours = _ours(webhooks, harbor, address)
    if not ours:
        return [_none(webhooks, subject, harbor, make)]
    enabled = [one for one in ours if one.enabled]
    if not enabled:
        words = f"Webhook policy {ours[0].name} of {subject} points to us and is disabled."
        return [_say(subject, "webhook_disabled", Severity.ERROR, words, "Enable it in Harbor.")]
    right = [one for one in enabled if one.authorized is not False]
    if not right:
        return [_unauthorized(enabled[0], subject)]
    found = []
    missing = sorted(WANTED - frozenset().union(*(one.events for one in right)))
    if missing:
        found.append(
            _say(
                subject,
                "webhook_events_missing",
                Severity.WARNING,
                f"Webhook policy {right[0].name} of {subject} does not tell of "
                f"{', '.join(missing)}: that is known later, by the feed and the sweep.",
                f"Add {', '.join(missing)} to its event types.",
            )
        )
    failing = _failing(right, subject)
    return [*found, failing] if failing else found


def _none(webhooks: Sequence[WebhookSeen], subject: str, harbor: str, make: str) -> Finding:
    """Nothing points to us: nothing at all, or something that seems to mean to."""
    astray = [one for one in webhooks if _means_us(one, harbor)]
    if astray:
        return _say(
            subject,
            "webhook_wrong_target",
            Severity.ERROR,
            f"Webhook policy {astray[0].name} of {subject} goes to {_shown(astray[0].address)}, "
            "which is not our webhook.",
            make.replace("Add a webhook policy of type http to", "Change its target to"),
        )
    return _say(
        subject,
        "webhook_missing",
        Severity.ERROR,
        f"{subject.replace('project', 'Project', 1)} has no webhook policy that points to "
        "syncwatch: pushes are known late, by the feed of executions and the sweep.",
        make,
    )


def _means_us(one: WebhookSeen, harbor: str) -> bool:
    path = one.address.partition("://")[2].partition("/")[2]
    return one.is_http and (
        "syncwatch" in f"{one.name} {one.address}".lower() or f"webhook/{harbor}" in path
    )


def _shown(address: str) -> str:
    """An address without what may be secret in it: user, password, query, other paths."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    path = parts.path if "/webhook/" in parts.path else "/…" * (parts.path not in ("", "/"))
    return f"{parts.scheme}://{parts.hostname or ''}{port}{path}"


def _unauthorized(one: WebhookSeen, subject: str) -> Finding:
    return _say(
        subject,
        "webhook_wrong_authorization",
        Severity.ERROR,
        f"Webhook policy {one.name} of {subject} sends an Authorization value other than the "
        "configured one, or none: its deliveries are answered 401 and lost.",
        "Set its Auth Header to the value of webhook.authorization, word for word.",
    )


def _failing(right: Sequence[WebhookSeen], subject: str) -> Finding | None:
    for one in right:
        if isinstance(one.deliveries, Unasked):
            continue
        ended = [d for d in one.deliveries if d.status in ("Error", "Success")][:LOOKED_BACK]
        failed = [d for d in ended if d.status == "Error"]
        if not failed:
            continue
        now = ended[0].status == "Error"
        last = (failed[0].start_time or "a time not told").removesuffix(".000Z")
        return _say(
            subject,
            "webhook_deliveries_failing",
            Severity.ERROR if now else Severity.INFO,
            f"{len(failed)} of the last {len(ended)} deliveries of webhook policy {one.name} of "
            f"{subject} failed, the last one of {last}"
            f"{'' if now else '; those after it came through'}.",
            "Let Harbor's job service reach syncwatch: address, DNS, firewall, certificate. What "
            "was lost is found by the feed and the sweep.",
        )
    return None


def _permissions(seen: ProjectSeen, subject: str) -> Checked:
    asked = {
        "notification-policy": (seen.webhooks,),
        "repository": (seen.repositories,),
        "artifact": tuple(seen.samples.values()),
    }
    refused = [
        name
        for name, answers in asked.items()
        if any(isinstance(one, Unasked) and one.is_refused for one in answers)
    ]
    check = "project permissions"
    if refused:
        found = _say(
            subject,
            "permission_missing",
            Severity.ERROR if set(refused) - {"notification-policy"} else Severity.WARNING,
            f"The account may not list or read {', '.join(refused)} in {subject}.",
            f"Grant list and read of {', '.join(refused)} there to the robot account.",
        )
        return told(check, subject, "", [found])
    answers = [one for group in asked.values() for one in group]
    trouble = next((one for one in answers if isinstance(one, Unasked)), None)
    if trouble:
        return untold(check, subject, f"{trouble.words}.")
    return told(check, subject, "All that was asked there was answered.")


def _retention(seen: ProjectSeen, subject: str) -> Checked:
    if not seen.retained:
        return told("retention", subject, "It has no tag retention rule.")
    found = _say(
        subject,
        "retention_on",
        Severity.INFO,
        f"Project {seen.name} has a tag retention rule: what it deletes before it was copied never "
        "arrives, and what it deletes later is no longer expected.",
        "Nothing, if the rule keeps what clusters run.",
    )
    return told("retention", subject, "", [found])


def of_round_trip(seen: RoundTripSeen) -> Checked:
    """Whether a delivery as Harbor's would get in, and be taken."""
    check, subject = "round trip", f"harbor {seen.harbor}"
    where = f"{seen.address}/webhook/{seen.harbor}"
    if seen.status == 202:
        return told(check, subject, f"A delivery to {where} was taken.")
    if seen.trouble is not None and not seen.configured:
        return untold(check, subject, f"No daemon answers here: {seen.trouble.words}.")
    if seen.trouble is not None and seen.trouble.kind == "tls_error":
        return untold(check, subject, f"{seen.trouble.words}; Harbor may trust it.")
    meanings = {
        401: "it does not take the Authorization that this configuration has",
        404: "nothing there knows this Harbor by its name",
        503: "it could not store it",
    }
    answered = f"it was answered {seen.status}"
    why = seen.trouble.words if seen.trouble else meanings.get(seen.status or 0, answered)
    found = _say(
        subject,
        "webhook_not_taken",
        Severity.ERROR,
        f"A delivery to {where} does not get in: {why}.",
        "Check webhook_address, what stands before syncwatch, and that the running daemon has "
        "this configuration.",
    )
    return told(check, subject, "", [found])
