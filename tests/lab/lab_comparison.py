"""Whether two JSON documents are the same but for ids, digests, times and ports.

Ids and digests are not skipped: each recorded one must always meet the same one of ours.
"""

from __future__ import annotations

import copy
import json
import re
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

TIME = re.compile(r"\b(\d{4})-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")
A_POLICY = re.compile(r"the policy (\d+)")
OF_A_POLICY = re.compile(r"/projects/(\d+)/webhook/policies/(\d+)")
JOB = re.compile(r"[0-9a-f]{24}")

# Whole numbers that tell of the recorded machine or its images, not of Harbor's rules.
NUMBERS_THAT_DIFFER = {"occur_at", "execution_timestamp", "date_created", "size"}
KINDS = {
    "policy_id": "policy",
    "execution_id": "execution",
    "task_id": "task",
    "project_id": "project",
    "repository_id": "repository",
    "artifact_id": "artifact",
    "subject_artifact_id": "artifact",
    "child_id": "artifact",
    "parent_id": "artifact",
    "vendor_id": "webhook",
    "requestid": "request",
}
INSIDE = {
    "tags": "tag",
    "accessories": "accessory",
    "src_registry": "registry",
    "dest_registry": "registry",
    "cve_allowlist": "allowlist",
    "credential": "",
}
# Ids that grow in the order of making, which is a rule of Harbor's where one event makes many.
ORDERED = {"policy", "registry", "webhook", "execution", "task", "artifact", "tag", "accessory"}


class DifferenceError(AssertionError):
    """Where and how ours differs from the recorded."""


class Comparison:
    """Compares, and keeps which recorded id or digest is which of ours."""

    def __init__(self, hosts: dict[str, str]) -> None:
        self.hosts = hosts
        """Our host:port to the recorded one."""
        self.pairs: dict[str, dict[Any, Any]] = {}

    def attempt(self) -> Comparison:
        """A copy that may fail without a trace."""
        return copy.deepcopy(self)

    def adopt(self, other: Comparison) -> None:
        self.pairs = other.pairs

    def bind(self, kind: str, recorded: Any, ours: Any, where: str) -> None:
        """The two are the same thing, now and for ever."""
        known = self.pairs.setdefault(kind, {})
        if known.setdefault(recorded, ours) != ours:
            raise DifferenceError(
                f"{where}: {kind} {recorded} was {known[recorded]}, is now {ours}"
            )
        if list(known.values()).count(ours) > 1:
            raise DifferenceError(f"{where}: {kind} {ours} stands for more than {recorded}")
        if kind in ORDERED and sorted(known.values()) != [known[one] for one in sorted(known)]:
            raise DifferenceError(f"{where}: {kind} {recorded} was made in another order")

    def ours(self, kind: str, recorded: Any) -> Any:
        """Our id for a recorded one; unknown ones are meant as they are (999999)."""
        return self.pairs.get(kind, {}).get(recorded, recorded)

    def ours_text(self, recorded: str) -> str:
        """A recorded text with our digests."""

        def translate(found: re.Match[str]) -> str:
            ours = str(self.ours("digest", found[0].replace("-", ":")))
            return ours.replace(":", found[0][6])

        return DIGEST.sub(translate, recorded)

    def same(self, recorded: Any, ours: Any, where: str, kind: str = "", key: str = "") -> None:
        """Raises DifferenceError. `kind` is what an `id` in here identifies."""
        if recorded == "<redacted>":
            return
        if type(recorded) is not type(ours):
            raise DifferenceError(f"{where}: {recorded!r} was recorded, ours is {ours!r}")
        match recorded:
            case dict():
                self._same_object(recorded, ours, where, kind)
            case list():
                if len(recorded) != len(ours):
                    raise DifferenceError(
                        f"{where}: {len(recorded)} elements recorded, ours {ours!r}"
                    )
                for position, (one, other) in enumerate(zip(recorded, ours, strict=True)):
                    self.same(one, other, f"{where}[{position}]", kind, key)
            case str():
                self._same_text(recorded, ours, where, kind, key)
            case _:
                self._same_plain(recorded, ours, where, kind, key)

    def same_order_in_time(self, recorded: Any, ours: Any, where: str) -> None:
        """What happened a second or more before something else happened before it here too.

        Only times in ms: whole seconds are too coarse for a lab that needs no second.
        """
        was, now = (
            [one[0] for one in TIME.finditer(json.dumps(document, sort_keys=True))]
            for document in (recorded, ours)
        )
        moments = [
            (datetime.fromisoformat(one), datetime.fromisoformat(other))
            for one, other in zip(was, now, strict=True)
            if one[:4] != "0001" and "." in one and not one.endswith(".000Z")
        ]
        for (before, ours_before), (after, ours_after) in permutations(moments, 2):
            if after - before >= timedelta(seconds=1) and ours_after < ours_before:
                raise DifferenceError(f"{where}: {before} came before {after}, not so here")

    def _same_object(
        self, recorded: dict[str, Any], ours: dict[str, Any], where: str, kind: str
    ) -> None:
        if recorded.keys() != ours.keys():
            missing, extra = recorded.keys() - ours.keys(), ours.keys() - recorded.keys()
            raise DifferenceError(f"{where}: ours lacks {sorted(missing)} and has {sorted(extra)}")
        for key, value in recorded.items():
            self.same(value, ours[key], f"{where}.{key}", INSIDE.get(key, kind), key)

    def _same_plain(self, recorded: Any, ours: Any, where: str, kind: str, key: str) -> None:
        if key == "id":
            self.bind(kind or where, recorded, ours, where)
        elif key in KINDS:
            self.bind(KINDS[key], recorded, ours, where)
        elif key not in NUMBERS_THAT_DIFFER and recorded != ours:
            raise DifferenceError(f"{where}: {recorded!r} was recorded, ours is {ours!r}")

    def _same_text(self, recorded: str, ours: str, where: str, kind: str, key: str) -> None:
        if key == "payload":
            was, now = json.loads(recorded), json.loads(ours)
            if list(was) != list(now):
                raise DifferenceError(f"{where}: another order of keys")
            self.same(was, now, where, "delivery")
        elif key in ("id", "requestid"):
            self.bind(KINDS.get(key, "delivery"), recorded, ours, where)
        elif key == "job_id":
            if not JOB.fullmatch(ours):
                raise DifferenceError(f"{where}: {ours!r} is no job id")
        elif self._plain(recorded, ours, where) != self._plain(ours, ours, where):
            raise DifferenceError(f"{where}: {recorded!r} was recorded, ours is {ours!r}")

    def _plain(self, text: str, ours: str, where: str) -> str:
        """A text without what may differ; what it names is bound on the way."""
        if text is not ours:
            self._bind_named(text, ours, where)
        for here, there in self.hosts.items():
            text = text.replace(here, there)
        text = A_POLICY.sub("the policy N", text)
        text = OF_A_POLICY.sub("/projects/N/webhook/policies/N", text)
        text = TIME.sub(lambda at: at[0] if at[1] == "0001" else "time" + (at[2] or "")[:1], text)
        return DIGEST.sub("digest", text)

    def _bind_named(self, recorded: str, ours: str, where: str) -> None:
        found = [DIGEST.findall(text) for text in (recorded, ours)]
        for was, now in zip(*found, strict=False):
            self.bind("digest", was.replace("-", ":"), now.replace("-", ":"), where)
        for was, now in zip(A_POLICY.findall(recorded), A_POLICY.findall(ours), strict=False):
            self.bind("policy", int(was), int(now), where)
        named = [OF_A_POLICY.findall(text) for text in (recorded, ours)]
        for (project, policy), (our_project, our_policy) in zip(*named, strict=False):
            self.bind("project", int(project), int(our_project), where)
            self.bind("webhook", int(policy), int(our_policy), where)
