"""Pure: what is wrong with syncwatch's own place and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.doctor.checks import Checked, told, untold
from syncwatch.model import MINUTE, SECOND, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncwatch.doctor.evidence import OwnSeen
    from syncwatch.model import Millis

ENOUGH_ROOM = 1024**3
"""Bytes that should be free where the store's file is."""

EARLIEST: Millis = 1_767_225_600_000
"""2026-01-01: a clock before it is wrong, for this program was not there yet."""

SUBJECT = "syncwatch"


def of_own_place(seen: OwnSeen) -> Iterator[Checked]:
    """Store, disk, clock and secrets."""
    yield _store(seen)
    yield _disk(seen)
    yield _clock(seen)
    yield _secrets(seen)


def of_deadline(name: str, *, deadline: Millis, grace: Millis, give_up_after: Millis) -> Checked:
    """Whether a destination's deadline leaves Harbor the time that it takes at its best."""
    subject = f"destination {name}"
    if deadline <= grace:
        found = _say(
            subject,
            "deadline_short",
            Severity.WARNING,
            f"The deadline of {name} ({deadline // SECOND} s) is not longer than its grace "
            f"({grace // SECOND} s): an image is overdue before it may be called missing.",
            "Set deadline to several times grace; ten minutes is usual.",
        )
    elif deadline < give_up_after:
        found = _say(
            subject,
            "deadline_short",
            Severity.INFO,
            f"The deadline of {name} ({deadline // SECOND} s) is shorter than Harbor's three "
            f"attempts take ({give_up_after // MINUTE} min): what the third one brings is overdue.",
            "Nothing, if that is meant; else set deadline to ten minutes.",
        )
    else:
        return told("deadline", subject, "Its deadline leaves Harbor time for three attempts.")
    return told("deadline", subject, "", [found])


def of_token(*, is_set: bool) -> Checked:
    """Whether anybody may write."""
    if is_set:
        return told("token", SUBJECT, "A token protects API and page.")
    found = _say(
        SUBJECT,
        "token_missing",
        Severity.INFO,
        "No token is configured: whoever reaches listen may read, and nobody may ask for a look "
        "or close anything.",
        "Set token_file, if somebody is to write or the page is to be protected.",
    )
    return told("token", SUBJECT, "", [found])


def of_open_webhook(harbor: str, *, is_open: bool) -> Checked:
    """Whether deliveries have to prove themselves."""
    check, subject = "open webhook", f"harbor {harbor}"
    if not is_open:
        return told(check, subject, "Deliveries have to carry the agreed Authorization.")
    found = _say(
        subject,
        "webhook_open",
        Severity.INFO,
        f"Deliveries for Harbor {harbor} are taken from anybody who reaches webhook_listen.",
        "Set webhook.authorization_file, and the same value as Auth Header in Harbor.",
    )
    return told(check, subject, "", [found])


def _say(subject: str, finding: str, severity: Severity, message: str, cure: str) -> Finding:
    return Finding(finding, severity, subject, message, cure)


def _store(seen: OwnSeen) -> Checked:
    if not seen.store_trouble:
        return told("store", SUBJECT, f"{seen.store} can be written.")
    found = _say(
        SUBJECT,
        "store_unwritable",
        Severity.ERROR,
        f"The store {seen.store} cannot be written: {seen.store_trouble}.",
        "Make room, give syncwatch the right to write there, or bring the database back.",
    )
    return told("store", SUBJECT, "", [found])


def _disk(seen: OwnSeen) -> Checked:
    if seen.free is None:
        return untold("disk", SUBJECT, f"The disk of {seen.store} cannot be seen from here.")
    if seen.free >= ENOUGH_ROOM:
        return told("disk", SUBJECT, "More than 1 GiB is free where the store is.")
    found = _say(
        SUBJECT,
        "disk_low",
        Severity.WARNING if seen.free >= ENOUGH_ROOM // 10 else Severity.ERROR,
        f"Less than {'1 GiB' if seen.free >= ENOUGH_ROOM // 10 else '100 MiB'} is free where "
        f"{seen.store} is; a full disk stops all deliveries.",
        "Make room, or shorten keep.",
    )
    return told("disk", SUBJECT, "", [found])


def _clock(seen: OwnSeen) -> Checked:
    if seen.now >= EARLIEST:
        return told("own clock", SUBJECT, "Our own clock is plausible.")
    found = _say(
        SUBJECT,
        "clock_implausible",
        Severity.ERROR,
        "Our own clock is before 2026, when this program was not there yet.",
        "Set the machine's clock, best by a time server.",
    )
    return told("own clock", SUBJECT, "", [found])


def _secrets(seen: OwnSeen) -> Checked:
    found = [
        _say(
            f"{SUBJECT}: {place}",
            "secret_unreadable",
            Severity.WARNING,
            f"The newest content of the secret of {place} cannot be used ({why}); its last good "
            "value is.",
            "Correct the file; it is read again at once.",
        )
        for place, why in sorted(seen.secret_problems.items())
    ]
    return told("secrets", SUBJECT, "All files of secrets can be used.", found)
