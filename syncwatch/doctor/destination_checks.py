"""Pure: what is wrong with a destination, by one look from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.doctor.checks import Checked, told, untold
from syncwatch.model import Finding, Reason, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from syncwatch.doctor.evidence import DestinationSeen
    from syncwatch.model import Observation

_FINDINGS = {
    Reason.UNREACHABLE: ("destination_unreachable", "Check that it runs, its url, the network."),
    Reason.SERVER_ERROR: ("destination_unreachable", "Look into the registry's own log."),
    Reason.UNREADABLE_ANSWER: (
        "destination_unreachable",
        "Check url: what answers there does not answer as a registry does.",
    ),
    Reason.TLS_ERROR: ("destination_tls", "Set ca_file to the certificate of its authority."),
    Reason.UNAUTHORIZED: ("destination_unauthorized", "Check username and password for reading."),
    Reason.FORBIDDEN: ("destination_unauthorized", "Give that user the right to pull."),
}


def of_destination(seen: DestinationSeen) -> Iterator[Checked]:
    """The checks of one destination."""
    subject = f"destination {seen.name}"
    yield _address(seen, subject)
    yield _reached(seen, subject)
    if seen.knock.problem is not None:
        return
    yield _through(seen, subject)
    yield _blocked(seen, subject)
    yield _trap(seen, subject)


def unknown(names: list[str], harbor: str) -> Iterator[Checked]:
    """Destinations that the configuration names and no Harbor has."""
    for name in names:
        subject = f"destination {name}"
        found = _say(
            subject,
            "destination_unknown",
            Severity.WARNING,
            f"The configuration names {name}, unknown to Harbor {harbor}.",
            "Use the name of the registry endpoint in Harbor.",
        )
        yield told("address", subject, "", [found])


def blocked(name: str, count: int) -> Checked:
    """What the daemon's own looks say: so many images are there and blocked by a policy."""
    subject, check = f"destination {name}", "blocked by policy"
    if not count:
        return told(check, subject, "No image is known to be blocked there.")
    return told(check, subject, "", [_policy(name, subject, f"{count} images")])


def _say(subject: str, finding: str, severity: Severity, message: str, cure: str) -> Finding:
    return Finding(finding, severity, subject, message, cure)


def _address(seen: DestinationSeen, subject: str) -> Checked:
    configured = seen.configured_url.rstrip("/")
    if not configured or configured == seen.url.rstrip("/"):
        return told("address", subject, f"It is looked at where Harbor copies to: {seen.url}.")
    found = _say(
        subject,
        "destination_url_changed",
        Severity.INFO,
        f"Harbor copies {seen.name} to {seen.url}, and it is looked at by {configured}.",
        "Nothing to do where both are one registry; else correct url.",
    )
    return told("address", subject, "", [found])


def _problem(seen: Observation, name: str, subject: str) -> Finding | None:
    if seen.problem not in _FINDINGS:
        return None
    finding, cure = _FINDINGS[seen.problem]
    words = f"{name} cannot be asked ({seen.problem}): {seen.detail}."
    return Finding(finding, Severity.ERROR, subject, words, cure)


def _reached(seen: DestinationSeen, subject: str) -> Checked:
    for look in (seen.knock, seen.look):
        if look is not None and (found := _problem(look, seen.name, subject)):
            return told("destination", subject, "", [found])
    problem = seen.knock.problem or (seen.look.problem if seen.look else None)
    if problem is not None and problem is not Reason.POLICY_BLOCKED:
        return untold("destination", subject, f"{seen.knock.detail or problem}.")
    return told("destination", subject, "It answers from here, and takes our credential.")


def _through(seen: DestinationSeen, subject: str) -> Checked:
    check = "pull-through"
    if not seen.image:
        return untold(check, subject, "There is no image in scope to ask by.")
    if seen.through is None:
        return told(check, subject, "It does not fetch what it is asked for.")
    if seen.through.problem is not Reason.PULL_THROUGH:
        return untold(check, subject, f"{seen.through.detail}.")
    found = _say(
        subject,
        "pull_through",
        Severity.ERROR,
        f"Nothing can be looked at there without creating it: {seen.through.detail}.",
        "Set url to the registry that Harbor copies to, not to a cache before it.",
    )
    return told(check, subject, "", [found])


def _blocked(seen: DestinationSeen, subject: str) -> Checked:
    check = "blocked by policy"
    if seen.look is None:
        return untold(check, subject, "No image could be looked at.")
    if seen.look.problem is Reason.POLICY_BLOCKED:
        return told(check, subject, "", [_policy(seen.name, subject, seen.image)])
    if seen.look.problem is not None:
        return untold(check, subject, f"{seen.look.detail}.")
    if seen.look.served is None:
        return untold(check, subject, f"{seen.image} is not there.")
    return told(check, subject, f"{seen.image} is not blocked.")


def _policy(name: str, subject: str, what: str) -> Finding:
    return _say(
        subject,
        "destination_policy",
        Severity.ERROR,
        f"{name} answers 412 for {what}: the image is there, and a policy of its project "
        "(vulnerabilities, or content trust) keeps everybody from pulling it.",
        "Change the project's policy there, or fix or sign the image.",
    )


def _trap(seen: DestinationSeen, subject: str) -> Checked:
    check = "accept trap"
    if seen.trapped is None:
        return untold(check, subject, "There is no index in scope to try it with.")
    if not seen.trapped:
        return told(check, subject, "An index is served, whatever was accepted.")
    found = _say(
        subject,
        "accept_trap",
        Severity.INFO,
        f"{seen.name} answers 404 for an index to who does not accept index types, as "
        "docker-registry 2.8 does: to simple scripts an image that is there looks missing.",
        "Send all four manifest types in Accept, as syncwatch does.",
    )
    return told(check, subject, "", [found])
