"""Pure: what one policy does with one image, and since when, by Harbor's own rules.

An event-based policy copies what is pushed while it is enabled, from then on and never before
(recording 19); a schedule copies everything that its filters select at each run; a policy that is
run by hand copies nothing by itself. One malformed pattern that an image's name reaches stops all
event-based policies of a Harbor (recording 18).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncwatch.errors import FlatteningError, PatternError
from syncwatch.explain.causes import Answer, Cause, Obstacle
from syncwatch.explain.filters import fails_on, kept_back
from syncwatch.model import SECOND, Trigger
from syncwatch.plan.matching import destination_repository, matches
from syncwatch.plan.promises import in_force, next_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncwatch.config import Settings
    from syncwatch.explain.causes import Image, Rule, Times
    from syncwatch.model import Millis
    from syncwatch.store.policies import Destination, Revision

Made = tuple["Millis | None", "Millis | None"]
"""When a policy was made and last changed, in Harbor's clock, as Harbor says now."""


@dataclass(frozen=True, slots=True)
class Judging:
    """Judges the policies of one Harbor.

    `destinations` are all ever known, by id; `made` what Harbor says of its policies, where it was
    asked.
    """

    harbor: str
    rules: Sequence[Rule]
    destinations: Mapping[int, Destination]
    settings: Settings
    times: Times
    made: Mapping[int, Made]

    def of(self, rule: Rule, image: Image) -> Answer:
        """What one policy does with an image."""
        if rule.today.rules.trigger == Trigger.EVENT_BASED:
            answer = self._event_based(rule, image)
        else:
            answer = self._run(rule, image)
        if answer.covers and (pattern := self._ignoring(answer, image)):
            why = f"Policy {rule.name} copies it, and the configuration ignores it: {pattern}."
            return replace(answer, covers=False, cause=Cause.IGNORED, why=why)
        return answer

    def _event_based(self, rule: Rule, image: Image) -> Answer:
        today = self.obstacle(rule, rule.today, image)
        if image.pushed_at is None:
            return self._unless_stopped(rule, image, today, self._brings(rule, rule.today, image))
        revision = in_force(rule.revisions, image.pushed_at)
        if revision is None:
            before = self._before(rule, image)
            return self._refused(rule.today, image, today) if today else before
        if not revision.rules.known and today is None:
            return self._unseen(rule, image)
        then = self.obstacle(rule, revision, image)
        if then is None:
            return self._unless_stopped(rule, image, None, self._brings(rule, revision, image))
        if today is not None:
            return self._refused(rule.today, image, today)
        return self._refused(rule.today, image, self._later(rule, revision, then, image))

    def _run(self, rule: Rule, image: Image) -> Answer:
        """Runs copy all that is there, whatever its age."""
        if found := self.obstacle(rule, rule.today, image):
            return self._refused(rule.today, image, found)
        pushed_at, revision = image.pushed_at, rule.today
        if pushed_at is not None:
            before = in_force(rule.revisions, pushed_at)
            scheduled = before is not None and before.rules.trigger == Trigger.SCHEDULED
            if scheduled and before and self.obstacle(rule, before, image) is None:
                revision = before
            else:
                pushed_at = None
        after = self.times.now if pushed_at is None else pushed_at
        run = next_run(revision.rules.cron, after)
        coming = run is None or run > self.times.now
        when = "the next run is at" if coming else "the first run after its push was at"
        at = self.times.told(run) if run is not None else "a time unknown"
        why = f"Policy {rule.name} copies it by its schedule: {when} {at}."
        return replace(self._brings(rule, revision, image), why=why, expected_since=run)

    def obstacle(self, rule: Rule, revision: Revision, image: Image) -> Obstacle | None:
        """Why the rules of one revision do not bring an image, None where they do."""
        rules, name = revision.rules, rule.name
        if not rules.pushes and rules.trigger == Trigger.EVENT_BASED:
            why = f"Policy {name} is event based with a remote source, so it never runs."
            return Obstacle(Cause.REMOTE_SOURCE, why)
        if not rules.pushes:
            why = f"Policy {name} pulls into Harbor {self.harbor}, and copies nothing out of it."
            return Obstacle(Cause.PULL_MODE, why)
        if found := kept_back(name, rules, image):
            return found
        try:
            repository = self._named(revision, image)
        except FlatteningError as error:
            why = f"Policy {name} cannot name it at its destination: {error.message}."
            return Obstacle(Cause.FLATTENING_TOO_DEEP, why)
        return self._unusable(rule, revision) or self._not_by_itself(rule, revision, repository)

    def _unusable(self, rule: Rule, revision: Revision) -> Obstacle | None:
        there = self.destinations.get(revision.destination_id or 0)
        if there is None:
            why = f"Policy {rule.name} copies to an endpoint that Harbor does not list."
            return Obstacle(Cause.DESTINATION_UNKNOWN, why)
        if there.gone_at is not None:
            at = self.times.told(there.gone_at + self.times.skew)
            why = f"Policy {rule.name} copied to {there.name} at {there.url}, which Harbor no "
            return Obstacle(Cause.DESTINATION_GONE, f"{why}longer has (gone at {at}).")
        return None

    def _not_by_itself(self, rule: Rule, revision: Revision, repository: str) -> Obstacle | None:
        rules = revision.rules
        if not rules.enabled:
            since = self.times.told(_since(rule, revision, enabled=False))
            why = f"Policy {rule.name} is disabled since {since}, or longer: what is pushed now "
            return Obstacle(Cause.DISABLED, f"{why}is not copied, not even later.")
        if rules.trigger == Trigger.EVENT_BASED:
            return None
        if rules.trigger != Trigger.SCHEDULED:
            why = f"Policy {rule.name} copies only when it is run by hand; its next run would "
            return Obstacle(Cause.MANUAL, f"{why}bring it as {repository}.")
        if next_run(rules.cron, self.times.now) is None:
            why = f"The schedule {rules.cron!r} of policy {rule.name} never comes."
            return Obstacle(Cause.SCHEDULE_UNREADABLE, why)
        return None

    def _before(self, rule: Rule, image: Image) -> Answer:
        """Pushed before our first sight of the policy."""
        first, pushed_at = rule.revisions[0], image.pushed_at or 0
        created, updated = self.made.get(rule.policy.policy_id, (None, None))
        if created is None and first.since > self.times.watching_since + SECOND:
            created = first.since
        if created is not None and created > pushed_at:
            why = f"before policy {rule.name} was made ({self.times.told(created)})"
            return self._too_early(rule, image, Cause.BEFORE_RULE, why)
        if then := self.obstacle(rule, first, image):
            return self._refused(rule.today, image, self._later(rule, first, then, image))
        if len(rule.revisions) > 1:
            # Harbor keeps the last change alone, which is not the one that counts here.
            updated = None
        if updated is not None and updated > pushed_at:
            why = f"before policy {rule.name} was last changed ({self.times.told(updated)})"
            return self._too_early(rule, image, Cause.BEFORE_SCOPE, why)
        return self._unwatched(rule, image, known=updated is not None)

    def _too_early(self, rule: Rule, image: Image, cause: Cause, before: str) -> Answer:
        why = f"It was pushed at {self.times.told(image.pushed_at or 0)}, {before}{FROM_NOW}"
        return self._refused(rule.today, image, Obstacle(cause, why))

    def _unwatched(self, rule: Rule, image: Image, *, known: bool) -> Answer:
        """Pushed before we came; whether the policy was then what it is now may be `known`."""
        watched = self.times.told(self.times.watching_since)
        why = f"It was pushed at {self.times.told(image.pushed_at or 0)}, before Harbor "
        why += f"{self.harbor} was watched ({watched}), so nothing is expected of it here"
        brings = self._brings(rule, rule.revisions[0], image)
        if known:
            told = f"Policy {rule.name} covered it. {why}."
            return replace(brings, cause=Cause.BEFORE_WATCHING, why=told)
        told = f"{why}, and what policy {rule.name} did then is not known."
        return replace(brings, covers=None, cause=Cause.BEFORE_WATCHING, why=told)

    def _unseen(self, rule: Rule, image: Image) -> Answer:
        """It would bring it by the rules before and after, and was saved in between."""
        why = (
            f"Policy {rule.name} was saved while syncwatch did not look, around the push: whether "
        )
        why += "it was enabled then, with these filters, cannot be told."
        brings = self._brings(rule, rule.today, image)
        return replace(brings, covers=None, cause=Cause.SAVED_UNSEEN, why=why, expected_since=None)

    def _later(self, rule: Rule, revision: Revision, then: Obstacle, image: Image) -> Obstacle:
        """The policy would bring it now, and did not when it was pushed."""
        pushed = f"It was pushed at {self.times.told(image.pushed_at or 0)}"
        if then.cause is Cause.DISABLED:
            since = self.times.told(_since(rule, rule.today, enabled=True))
            why = f"{pushed}, while policy {rule.name} was disabled; it is enabled since {since}"
            return Obstacle(Cause.DISABLED_WHEN_PUSHED, f"{why}{FROM_NOW}")
        known = list(rule.revisions)
        later = known[known.index(revision) + 1 :]
        since = self.times.told(later[0].since if later else rule.today.since)
        why = f"{pushed}, before policy {rule.name} got its present scope ({since})"
        return Obstacle(Cause.BEFORE_SCOPE, f"{why}{FROM_NOW} Until then: {then.why}")

    def _unless_stopped(
        self, rule: Rule, image: Image, found: Obstacle | None, brings: Answer
    ) -> Answer:
        stopped = found or self._stopped(rule, image)
        return self._refused(rule.today, image, stopped) if stopped else brings

    def _stopped(self, rule: Rule, image: Image) -> Obstacle | None:
        """Another event-based policy on which Harbor fails for this image, before any starts."""
        for other in self.rules:
            at = image.pushed_at
            revision = other.today if at is None else in_force(other.revisions, at)
            if other is rule or revision is None:
                continue
            rules = revision.rules
            asked = rules.enabled and rules.pushes and rules.trigger == Trigger.EVENT_BASED
            if asked and (broken := fails_on(rules, image)):
                why = f"The {broken.type} filter {broken.value!r} of policy {other.name} is "
                why += f"malformed, and stops every event-based policy of Harbor {self.harbor} "
                return Obstacle(
                    Cause.MALFORMED_ELSEWHERE, f"{why}for this image, {rule.name} with them."
                )
        return None

    def _brings(self, rule: Rule, revision: Revision, image: Image) -> Answer:
        at = image.pushed_at
        if at is None:
            why = f"Policy {rule.name} selects it and is enabled: it is copied when it is pushed."
        else:
            pushed = self.times.told(at)
            why = f"Policy {rule.name} selects it, and was enabled when it was pushed ({pushed})."
        found = Answer(True, why, expected_since=at)
        return self._placed(found, revision, image)

    def _refused(self, revision: Revision, image: Image, found: Obstacle) -> Answer:
        return self._placed(Answer(False, found.why, found.cause), revision, image)

    def _placed(self, answer: Answer, revision: Revision, image: Image) -> Answer:
        try:
            repository = self._named(revision, image) if revision.rules.pushes else None
        except FlatteningError:
            repository = None
        return replace(answer, destination_id=revision.destination_id, repository=repository)

    @staticmethod
    def _named(revision: Revision, image: Image) -> str:
        rules = revision.rules
        return destination_repository(
            image.repository, rules.namespace, rules.replace_count, rules.path_type
        )

    def _ignoring(self, answer: Answer, image: Image) -> str:
        """The entry of our configuration that leaves an image out there; "" for none."""
        there = self.destinations.get(answer.destination_id or 0)
        for entry in self.settings.ignore:
            try:
                fits = (
                    (not entry.repository or matches(entry.repository, image.repository))
                    and (not entry.reference or matches(entry.reference, image.reference))
                    and (not entry.destination or (there and there.name == entry.destination))
                )
            except PatternError:
                continue
            if fits:
                told = entry.model_dump(exclude_none=True)
                return ", ".join(f"{name} {value!r}" for name, value in told.items())
        return ""


FROM_NOW = (
    ": an event-based policy copies only what is pushed from then on. Push it again, or run it."
)


def _since(rule: Rule, revision: Revision, *, enabled: bool) -> Millis:
    """From when on, without a break until this revision, a policy was enabled or disabled."""
    found = revision.since
    for one in reversed(rule.revisions[: list(rule.revisions).index(revision)]):
        if one.rules.enabled != enabled:
            break
        found = one.since
    return found
