"""Making it so: connections tested first, then step by step, each read back and compared.

A step that fails ends it: what is done stays done, is told, and need not be done again.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from syncwatch.errors import OutboundError
from syncwatch.harbor.writing import HarborRefusedError
from syncwatch.setup import registries, rules, webhooks
from syncwatch.setup.changes import Action, Form, Hidden, Kind, Plan, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from syncwatch.harbor.writing import HarborWriter, Record

_READ: dict[Kind, Callable[[Record], Form]] = {
    Kind.REGISTRY: registries.form_of,
    Kind.RULE: rules.form_of,
    Kind.WEBHOOK: webhooks.form_of,
}


@dataclass(slots=True)
class Outcome:
    """How it ended.

    `done` are the steps done; `failed` the one that was not, with `reason`; `left` those after it.
    `asked` is False where the reason is that Harbor cannot be asked. `ignored` says what Harbor
    took and then did not have.
    """

    done: list[Step] = field(default_factory=list)
    failed: Step | None = None
    left: tuple[Step, ...] = ()
    reason: str = ""
    asked: bool = True
    ignored: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything is as the file says."""
        return not self.reason and not self.ignored


async def apply(writer: HarborWriter, plan: Plan) -> Outcome:
    """Do the plan; refusals and failures are in the outcome, secrets never."""
    ids, steps = dict(plan.registry_ids), plan.to_do
    outcome = Outcome(left=steps)
    try:
        outcome.reason = await _unhealthy(writer, plan.pings)
        for at, step in enumerate(() if outcome.reason else steps):
            outcome.failed, outcome.left = step, steps[at + 1 :]
            await _do(writer, step, ids, outcome)
            outcome.done.append(step)
            outcome.failed = None
    except (HarborRefusedError, OutboundError) as error:
        outcome.reason = _without_secrets(str(error), plan)
        outcome.asked = isinstance(error, HarborRefusedError)
    except asyncio.CancelledError:
        # Ctrl-C ends the work here, and whoever pressed it is still told what was done.
        outcome.reason, outcome.asked = "interrupted", False
    return outcome


async def _unhealthy(writer: HarborWriter, pings: Mapping[str, Record]) -> str:
    """Which endpoints Harbor does not reach, as one sentence; Harbor tells no reason."""
    wrong = [name for name, body in pings.items() if not await _reaches(writer, body)]
    if not wrong:
        return ""
    as_stored = any(pings[name].keys() == {"id"} for name in wrong)
    cure = "; a new secret in the file is sent with --rotate-secrets" if as_stored else ""
    return (
        f"the connection test of {', '.join(wrong)} failed: Harbor does not reach it or is not let "
        "in, and tells no reason (look at url, access_id, secret, certificate; its core log has "
        f"the cause{cure})"
    )


async def _reaches(writer: HarborWriter, endpoint: Record) -> bool:
    """One test. Harbor may wait for an endpoint longer than we for Harbor, or fail at it."""
    try:
        return await writer.is_healthy(endpoint)
    except OutboundError:
        # Where Harbor itself still answers, it is the endpoint that does not.
        await writer.client.system_info()
        return False


async def _do(writer: HarborWriter, step: Step, ids: dict[str, int], outcome: Outcome) -> None:
    if step.action is Action.DELETE:
        await writer.remove(step.path)
    elif step.kind is Kind.ROBOT:
        await _make_robot(writer, step)
    else:
        path = await _write(writer, step, ids)
        record = await writer.read(path)
        if step.kind is Kind.REGISTRY:
            ids[step.name] = record["id"]
        outcome.ignored += _ignored(step, _READ[step.kind](record))


async def _write(writer: HarborWriter, step: Step, ids: Mapping[str, int]) -> str:
    """Send the step; the path of the thing."""
    own_name = step.name.partition("/")[2] if step.kind is Kind.WEBHOOK else step.name
    creates = step.action is Action.CREATE
    # A PUT replaces the whole: what somebody else changed since the difference was shown stays.
    record = {} if creates or step.kind is Kind.REGISTRY else await writer.read(step.path)
    if step.kind is Kind.REGISTRY:
        form = step.form
        body = (
            registries.body_to_create(own_name, form)
            if creates
            else (registries.body_to_change(form))
        )
    elif step.kind is Kind.RULE:
        body = rules.body(own_name, record, step.form, ids)
    else:
        body = webhooks.body(own_name, record, step.form)
    if creates:
        return (await writer.create(step.path, body))[0]
    await writer.replace(step.path, body)
    return step.path


def _ignored(step: Step, found: Form) -> list[str]:
    """What the file names and is not there; a registry's secret cannot be read."""
    return [
        f"{step.title}: Harbor took {name} = {shown(value)} and has {shown(found.get(name))}"
        for name, value in (step.wanted | step.form).items()
        if name != registries.SECRET and found.get(name, "") != value
    ]


def shown(value: Any) -> str:
    """A field's value as people read it, on one line; never a secret."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "(none)"
    if value is None or value == "":
        return "(none)"
    return str(value) if isinstance(value, Hidden) else " ".join(str(value).split())


async def _make_robot(writer: HarborWriter, step: Step) -> None:
    """The file is opened first: a secret that has no place to go would be lost."""
    if step.secret_file is None:
        raise HarborRefusedError("a robot's secret needs a file; name it as secret_file")
    descriptor, secret = _open_new(step.secret_file), ""
    try:
        _, told = await writer.create(step.path, step.record)
        secret = str(told.get("secret") or "")
    finally:
        _write_secret(descriptor, step, secret)
    if not secret:
        message = f"Harbor told no secret for robot {step.name}; delete it there and try again"
        raise HarborRefusedError(message)


def _write_secret(descriptor: int, step: Step, secret: str) -> None:
    """Into the file that is open; without a secret the file goes again."""
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{secret}\n" if secret else "")
        if not secret and step.secret_file is not None:
            step.secret_file.unlink()
    except OSError as error:
        message = f"{step.secret_file} cannot be written: {error.strerror}; delete robot "
        raise HarborRefusedError(f"{message}{step.name} in Harbor and try again") from None


def _open_new(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        message = f"{path} cannot be made: {error.strerror}; no robot was made"
        raise HarborRefusedError(message) from None


def _without_secrets(text: str, plan: Plan) -> str:
    """A reason of Harbor's might repeat what was sent."""
    for step in plan.steps:
        for value in step.form.values():
            if isinstance(value, Hidden) and value.value:
                text = text.replace(value.value, "***")
    return text
