"""Pure: which filter of a policy keeps an image back, in one sentence.

The order is Harbor's: name filters first, then the others as they stand (pkg/reg/filter); the
first that refuses decides, and a malformed one fails the whole policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.errors import PatternError
from syncwatch.explain.causes import Cause, Obstacle
from syncwatch.model import Origin, Trigger
from syncwatch.plan.matching import Artifact, matches, select
from syncwatch.plan.promises import filters_of

if TYPE_CHECKING:
    from syncwatch.explain.causes import Image
    from syncwatch.model import Rules
    from syncwatch.plan.matching import Filter


def kept_back(policy: str, rules: Rules, image: Image) -> Obstacle | None:
    """The filter that refuses an image, None where all let it pass."""
    filters = [one for one in filters_of(rules) if one.value]
    named = [one for one in filters if one.type == "name"]
    for one in [*named, *(other for other in filters if other.type != "name")]:
        try:
            found = _refuses(policy, rules, one, image)
        except PatternError as error:
            return _malformed(policy, rules, one, error)
        if found is not None:
            return found
    return None


def labels_seen(rules: Rules, image: Image) -> tuple[str, ...]:
    """The labels that Harbor sees: a push event carries none, a run by hand or schedule has all."""
    pushed = rules.trigger == Trigger.EVENT_BASED and image.origin is not Origin.TAG
    return () if pushed else image.labels


def fails_on(rules: Rules, image: Image) -> Filter | None:
    """The malformed filter that Harbor meets when it asks these rules about an image."""
    tags = (image.tag,) if image.tag else ()
    artifact = Artifact(image.digest or "", tags, labels_seen(rules, image))
    filters = filters_of(rules)
    try:
        select(filters, image.repository, [artifact])
    except PatternError:
        return next((one for one in filters if _fails(one, image)), None)
    return None


def _fails(one: Filter, image: Image) -> bool:
    if one.type not in ("name", "tag"):
        return False
    try:
        matches(str(one.value), image.repository if one.type == "name" else image.tag)
    except PatternError:
        return True
    return False


def _refuses(policy: str, rules: Rules, one: Filter, image: Image) -> Obstacle | None:
    if one.type == "label":
        return _refuses_labels(policy, rules, one, image)
    if one.type not in ("name", "tag"):
        return None
    subject = image.repository if one.type == "name" else image.tag
    pattern = str(one.value)
    if matches(pattern, subject) != one.excludes:
        return None
    what = "repositories" if one.type == "name" else "tags"
    shown = subject or "an image without a tag"
    if one.excludes:
        cause = Cause.NAME_FILTER if one.type == "name" else Cause.TAG_EXCLUDED
        why = f"Policy {policy} excludes {what} that match {pattern!r}, and {shown} does."
    else:
        cause = Cause.NAME_FILTER if one.type == "name" else Cause.TAG_FILTER
        why = f"Policy {policy} copies {what} that match {pattern!r}, and {shown} does not."
    return Obstacle(cause, why)


def _refuses_labels(policy: str, rules: Rules, one: Filter, image: Image) -> Obstacle | None:
    wanted, seen = tuple(one.value), labels_seen(rules, image)
    if set(wanted).issubset(seen) != one.excludes:
        return None
    names = f"label{'s' * (len(wanted) > 1)} {' and '.join(wanted)}"
    if one.excludes:
        why = f"Policy {policy} excludes images with the {names}, and it has that."
        return Obstacle(Cause.LABEL_EXCLUDED, why)
    if rules.trigger == Trigger.EVENT_BASED and image.origin is not Origin.TAG:
        why = f"Policy {policy} wants the {names}, and push events carry no labels: "
        return Obstacle(Cause.LABELS_NEVER_MATCH, f"{why}no push is ever copied.")
    has = f"has {' and '.join(seen)}" if seen else "has none"
    return Obstacle(Cause.LABEL_FILTER, f"Policy {policy} wants the {names}, and the image {has}.")


def _malformed(policy: str, rules: Rules, one: Filter, error: PatternError) -> Obstacle:
    stops = rules.trigger == Trigger.EVENT_BASED and rules.enabled
    effect = "this policy and every other event-based one" if stops else "the policy's runs"
    why = f"The {one.type} filter {one.value!r} of policy {policy} is malformed, which stops "
    return Obstacle(Cause.MALFORMED_PATTERN, f"{why}{effect}: {_reason(error)}.")


def _reason(error: PatternError) -> str:
    return error.message.partition(" is malformed: ")[2] or error.message
