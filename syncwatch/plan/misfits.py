"""Entries of the configuration that do not fit what Harbor has, as findings. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.errors import PatternError
from syncwatch.model import Finding, Severity
from syncwatch.plan.matching import check_pattern
from syncwatch.plan.opening import for_destination

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from syncwatch.config import DestinationSettings, Settings
    from syncwatch.store.policies import Destination


def wrong_address(
    destination: Destination, settings: DestinationSettings, known: Sequence[Destination]
) -> str:
    """Why a look at the configured url would prove nothing: Harbor has moved away from it."""
    if not settings.url or settings.url.rstrip("/") == destination.url:
        return ""
    before = [
        one
        for one in known
        if one.harbor == destination.harbor
        and one.registry_id == destination.registry_id
        and one.url == settings.url.rstrip("/")
    ]
    return f"Harbor now copies to {destination.url}, the configuration has {settings.url}" * bool(
        before
    )


def misnamed(settings: Settings, harbor: str, known: Sequence[Destination]) -> list[Finding]:
    """Entries of the configuration that do not fit what Harbor has."""
    found = []
    present = [one for one in known if one.gone_at is None]
    for entry in settings.destinations:
        if entry.name == "*" or entry.harbor not in (None, harbor):
            continue
        if any(one.name == entry.name for one in present):
            continue
        renamed = next((one.name for one in present if one.first_name == entry.name), None)
        elsewhere = entry.harbor is None and len(settings.harbors) > 1
        if renamed is None and elsewhere:
            continue
        words = f", which calls it {renamed} now" if renamed else ""
        found.append(
            Finding(
                "destination_unknown",
                Severity.WARNING,
                f"destination {entry.name}",
                f"The configuration names {entry.name}, unknown to Harbor {harbor}{words}.",
                "Use the name of the registry endpoint in Harbor.",
            )
        )
    for one in present:
        entry = for_destination(settings, one)
        if why := wrong_address(one, entry, known):
            found.append(
                Finding(
                    "destination_url_changed",
                    Severity.ERROR,
                    f"destination {one.name}",
                    f"{why}; nothing is asked there, and no credential sent.",
                    "Set url to the new address, if the credential may go there.",
                )
            )
        elif entry.url and entry.url.rstrip("/") != one.url:
            found.append(
                Finding(
                    "destination_url_changed",
                    Severity.INFO,
                    f"destination {one.name}",
                    f"Harbor copies {one.name} to {one.url}, and it is looked at by {entry.url}.",
                    "Nothing to do where both are one registry; else correct url.",
                )
            )
    return [*found, *_malformed_ignores(settings)]


def _malformed_ignores(settings: Settings) -> Iterator[Finding]:
    """Patterns that can never be right; the others work on."""
    for rule in settings.ignore:
        for pattern in (rule.repository, rule.reference):
            try:
                check_pattern(pattern or "")
            except PatternError as error:
                yield Finding(
                    "config_invalid",
                    Severity.WARNING,
                    f"ignore {pattern}",
                    f"The pattern {pattern!r} under ignore is malformed: {error.message}.",
                    "Correct it; until then it ignores nothing that reaches the bad part.",
                )
