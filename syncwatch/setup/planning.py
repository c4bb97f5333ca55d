"""From the file and what Harbor has to the steps that make the one the other.

What Harbor would refuse, ignore or lose is found here, before anything is done, with its place in
the file. Nobody is asked; secrets are read from their files. Things are known by their names: a new
name is a new thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.config.consistency import suggestion
from syncwatch.errors import ConfigError
from syncwatch.setup import registries, robot, rules, webhooks
from syncwatch.setup.changes import (
    Action,
    FieldChange,
    Form,
    Kind,
    Plan,
    Step,
    additions,
    differences,
)
from syncwatch.setup.scope import is_pattern, projects_of, rules_after
from syncwatch.setup.sections import IN_SCOPE
from syncwatch.setup.words import LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from syncwatch.config.consistency import Loc
    from syncwatch.config.loading import Loaded
    from syncwatch.harbor.writing import Record
    from syncwatch.setup.looking import Present
    from syncwatch.setup.reading import Daemon
    from syncwatch.setup.sections import (
        RegistrySection,
        ReplicationSection,
        SetupFile,
        WebhookSection,
    )


def plan(
    loaded: Loaded[SetupFile],
    present: Present,
    daemon: Daemon,
    *,
    prune: bool = False,
    rotate: bool = False,
) -> Plan:
    """What is to be done. Raises ConfigError with every reason why it cannot be.

    `prune` adds deletions, `rotate` sends every secret of the file again.
    """
    planner = _Planner(loaded, present, daemon, rotate=rotate, prune=prune)
    steps = list(planner.steps())
    if planner.problems:
        raise ConfigError([loaded.line(loc, message) for loc, message in planner.problems])
    return Plan(
        tuple(steps),
        tuple(dict.fromkeys(planner.notes)),
        planner.pings(steps),
        {one["name"]: one["id"] for one in present.registries},
    )


class _Planner:
    """Walks the file once, in the order in which things are made."""

    def __init__(
        self,
        loaded: Loaded[SetupFile],
        present: Present,
        daemon: Daemon,
        *,
        rotate: bool,
        prune: bool,
    ) -> None:
        self._file = loaded.value
        self._present = present
        self._daemon = daemon
        self._rotate = rotate
        self._prune = prune
        self._endpoints = _by_name(present.registries)
        self._rules = _by_name(present.rules)
        self.problems: list[tuple[Loc, str]] = []
        self.notes: list[str] = []

    def steps(self) -> Iterator[Step]:
        """Everything, in its order: what others need first, deletions last."""
        for index, registry in enumerate(self._file.registries or ()):
            yield self._registry(("registries", index), registry)
        for index, rule in enumerate(self._file.replications or ()):
            yield self._rule(("replications", index), rule)
        yield from self._webhooks()
        yield from self._robot()
        if self._prune:
            yield from self._deletions()

    def pings(self, steps: Iterable[Step]) -> dict[str, Record]:
        """The connection tests: of endpoints to be made or changed, as the file has them; of those
        that rules to be made or changed use, as Harbor has them, unless only switched off."""
        said = {one.name: registries.wanted(one) for one in self._file.registries or ()}
        tests: dict[str, Record] = {}
        for step in steps:
            if step.action not in (Action.CREATE, Action.CHANGE) or _is_harmless(step):
                continue
            if step.kind is Kind.REGISTRY:
                tests[step.name] = registries.body_to_test(said[step.name], step.record)
            elif step.kind is Kind.RULE:
                form = rules.form_of(step.record) | step.form
                for name in {form["source"], form["destination"]} - {LOCAL}:
                    if name not in tests:
                        tests[name] = {"id": self._endpoints[name]["id"]}
        return tests

    def _problem(self, loc: Loc, message: str) -> None:
        self.problems.append((loc, message))

    def _registry(self, loc: Loc, section: RegistrySection) -> Step:
        form, record = registries.wanted(section), self._endpoints.get(section.name)
        if form.get("ca_certificate") and not self._since(2, 15):
            self._problem(loc, "ca_certificate needs Harbor 2.15; this one would ignore it")
        if record is None:
            self._check_new_registry(loc, form)
            return _made(
                Kind.REGISTRY, section.name, registries.PATH, _filled(form, registries.DEFAULTS)
            )
        secret = form.pop(registries.SECRET, None)
        changes = differences(form, registries.form_of(record))
        changed = {one.field for one in changes}
        self._check_changed_registry(loc, record, form | {registries.SECRET: secret}, changed)
        if secret is not None and (self._rotate or changed & {"url", "access_id"}):
            changes += (FieldChange(registries.SECRET, None, secret),)
        elif secret is not None:
            self.notes.append(
                "Harbor never tells a stored access secret: whether those of unchanged registries "
                "differ from the file cannot be seen; --rotate-secrets sends them again."
            )
        return _changed(Kind.REGISTRY, section.name, registries.PATH, record, changes, form)

    def _check_new_registry(self, loc: Loc, form: Form) -> None:
        adapters = self._present.adapters
        if adapters is not None and form["provider"] not in adapters:
            cure = suggestion(form["provider"], adapters) or f"it has {', '.join(adapters)}"
            self._problem((*loc, "provider"), f"not a provider of this Harbor; {cure}")
        if form.get("access_id") and registries.SECRET not in form:
            self._problem((*loc, "access_id"), "no secret with it; set access_secret_file")

    def _check_changed_registry(
        self, loc: Loc, record: Record, form: Form, changed: set[str]
    ) -> None:
        present = registries.form_of(record)
        if "provider" in changed:
            message = f"Harbor has it as {present['provider']} and cannot change that"
            self._problem((*loc, "provider"), f"{message}; use another name")
        user = form.get("access_id", present["access_id"])
        if not user or form[registries.SECRET] is not None:
            return
        if "access_id" in changed:
            message = "another access_id needs its secret; set access_secret_file"
            self._problem((*loc, "access_id"), message)
        elif "url" in changed:
            message = "with another url Harbor forgets the stored secret; set access_secret_file"
            self._problem((*loc, "url"), message)

    def _rule(self, loc: Loc, section: ReplicationSection) -> Step:
        form, record = rules.wanted(section), self._rules.get(section.name)
        whole = (rules.form_of(record) if record else rules.DEFAULTS) | form
        self._check_rule(loc, form, whole)
        if record is None:
            return _made(Kind.RULE, section.name, rules.PATH, _filled(form, rules.DEFAULTS))
        changes = differences(form, rules.form_of(record))
        return _changed(Kind.RULE, section.name, rules.PATH, record, changes, form)

    def _check_rule(self, loc: Loc, form: Form, whole: Form) -> None:
        for side in ("source", "destination"):
            if whole[side] != LOCAL and whole[side] not in self._known_registries():
                cure = suggestion(whole[side], self._known_registries()) or "add it to registries"
                self._problem((*loc, side), f"no such registry here or in Harbor; {cure}")
        trigger, event_based = whole["trigger"], whole["trigger"] == "event_based"
        if form.get("single_active_replication") and not self._since(2, 14):
            message = "needs Harbor 2.14; this one would ignore it"
            self._problem((*loc, "single_active_replication"), message)
        if whole["single_active_replication"] and event_based:
            message = "with trigger event_based Harbor refuses single_active_replication"
            self._problem(loc, f"{message}; set it to false")
        if event_based and whole["source"] != LOCAL:
            message = "event_based with a registry as source never runs; set another trigger"
            self._problem(loc, message)
        if form.get("deletion") and not event_based:
            message = f"only event_based rules delete, and this one is {trigger}"
            self._problem((*loc, "deletion"), message)
        if form.get("cron") and trigger != "scheduled":
            message = f"only for trigger: scheduled, and this rule is {trigger}"
            self._problem((*loc, "cron"), message)

    def _known_registries(self) -> list[str]:
        said = [one.name for one in self._file.registries or ()]
        if self._prune and self._file.registries is not None:
            return said
        return [*said, *self._endpoints]

    def _since(self, *version: int) -> bool:
        """Whether this Harbor is at least that old; one that does not say is taken for new."""
        return self._present.version >= version or self._present.version == (0, 0)

    def _webhooks(self) -> Iterator[Step]:
        after = rules_after(self._file, self._present.rules, prune=self._prune)
        seen: set[tuple[str, str]] = set()
        for index, section in enumerate(self._file.webhooks or ()):
            loc: Loc = ("webhooks", index)
            projects = projects_of(section, after, self._present.projects)
            self._check_webhook(loc, section, projects)
            for project in projects:
                if (project, section.name) in seen:
                    message = f"project {project} has a webhook of this name above; rename one"
                    self._problem((*loc, "name"), message)
                    continue
                seen.add((project, section.name))
                yield self._webhook(section, project)

    def _check_webhook(self, loc: Loc, section: WebhookSection, projects: list[str]) -> None:
        if section.address is None and self._daemon.address is None:
            cure = "set it, or name with -c the configuration that has webhook_address"
            self._problem((*loc, "address"), f"required; {cure}")
        known = [one["name"] for one in self._present.projects]
        for word in section.projects:
            if word == IN_SCOPE or is_pattern(word) or word in known:
                continue
            cure = suggestion(word, known) or "make it in Harbor first"
            self._problem((*loc, "projects"), f"no project {word} in this Harbor; {cure}")
        if not projects:
            self.notes.append(f"Webhook {section.name} reaches no project.")

    def _webhook(self, section: WebhookSection, project: str) -> Step:
        form = webhooks.wanted(
            section,
            address=self._daemon.address or "",
            authorization=self._daemon.authorization,
        )
        path, name = webhooks.path(project), f"{project}/{section.name}"
        record = _by_name(self._present.webhooks.get(project, [])).get(section.name)
        if record is None:
            if "authorization" not in form:
                self.notes.append(f"Webhook {section.name} sends no Authorization: set one.")
            return _made(Kind.WEBHOOK, name, path, _filled(form, webhooks.DEFAULTS))
        changes = differences(form, webhooks.form_of(record))
        return _changed(Kind.WEBHOOK, name, path, record, changes, form)

    def _robot(self) -> Iterator[Step]:
        section = self._file.robot
        if section is None:
            return
        found = [one for one in self._present.robots if robot.is_it(one, section.name)]
        if found:
            missing = robot.lacks(found[0])
            if missing:
                self.notes.append(
                    f"Robot {section.name} exists and lacks {', '.join(missing)}: grant these in "
                    "Harbor; an existing robot is never changed."
                )
            if section.secret_file and not self._present.secret_file_taken:
                self.notes.append(
                    f"Robot {section.name} exists, and {section.secret_file} does not: Harbor told "
                    "its secret once. Where it is lost, delete the robot there and run this again."
                )
            yield Step(Action.KEEP, Kind.ROBOT, section.name, robot.PATH)
            return
        loc: Loc = ("robot", "secret_file")
        if section.secret_file is None:
            message = "Harbor tells a robot's secret once; name the file to write it to"
            self._problem(loc, f"required: {message}")
        elif self._present.secret_file_taken:
            self._problem(
                loc, "exists already and is not overwritten; move it away or name another"
            )
        form = robot.wanted(section)
        yield Step(
            Action.CREATE,
            Kind.ROBOT,
            section.name,
            robot.PATH,
            additions(form),
            robot.body(section),
            secret_file=section.secret_file,
        )

    def _deletions(self) -> Iterator[Step]:
        """Rules before the registries that they use; webhooks only by names of the file."""
        if self._file.replications is not None:
            said = {one.name for one in self._file.replications}
            yield from _gone(Kind.RULE, rules.PATH, self._present.rules, said)
        yield from self._webhooks_gone()
        if self._file.registries is not None:
            said = {one.name for one in self._file.registries}
            yield from _gone(Kind.REGISTRY, registries.PATH, self._present.registries, said)

    def _webhooks_gone(self) -> Iterator[Step]:
        after = rules_after(self._file, self._present.rules, prune=True)
        meant: dict[str, set[str]] = {}
        for section in self._file.webhooks or ():
            projects = projects_of(section, after, self._present.projects)
            meant.setdefault(section.name, set()).update(projects)
        for project, found in self._present.webhooks.items():
            for record in found:
                name = record.get("name", "")
                if name in meant and project not in meant[name]:
                    path = f"{webhooks.path(project)}/{record['id']}"
                    yield Step(Action.DELETE, Kind.WEBHOOK, f"{project}/{name}", path)


def _is_harmless(step: Step) -> bool:
    """Whether a rule is only described or switched off, as for an endpoint that is away.

    Harbor takes that without reaching the endpoint; it changes no registry that it does not reach.
    """
    return (step.kind, step.action) == (Kind.RULE, Action.CHANGE) and all(
        one.field == "description" or (one.field == "enabled" and not one.new)
        for one in step.fields
    )


def _by_name(records: Iterable[Record]) -> dict[str, Record]:
    return {one.get("name", ""): one for one in records}


def _filled(form: Form, defaults: Form) -> Form:
    """What the file says, then what Harbor's own form would have."""
    return form | {name: value for name, value in defaults.items() if name not in form}


def _made(kind: Kind, name: str, path: str, form: Form) -> Step:
    return Step(Action.CREATE, kind, name, path, additions(form), form=form)


def _changed(
    kind: Kind,
    name: str,
    path: str,
    record: Record,
    changes: tuple[FieldChange, ...],
    wanted: Form,
) -> Step:
    own = f"{path}/{record['id']}"
    form = {one.field: one.new for one in changes}
    action = Action.CHANGE if changes else Action.KEEP
    return Step(action, kind, name, own, changes, record, form, wanted)


def _gone(kind: Kind, path: str, present: Iterable[Record], said: set[str]) -> Iterator[Step]:
    for record in present:
        if record.get("name", "") not in said:
            yield Step(Action.DELETE, kind, record.get("name", ""), f"{path}/{record['id']}")
