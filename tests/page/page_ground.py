"""What the page's tests share: a browser's view of an answer, and rows put into a store."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from running import until
from sqlalchemy import insert, select

from syncwatch.store.schema import counts, expectations, policies, subjects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from running import Watched
    from sqlalchemy import Connection

RARELY = {"sweep_every": "1h"}
VOID = {"meta", "link", "input", "br", "wbr", "path", "circle", "rect", "line", "hr", "img"}


class _Reading(HTMLParser):
    """Collects texts, elements and their attributes; fails where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice: {self.get_starttag_text()}"
        self.elements.append((tag, dict(attrs)))
        # A place where a name may be broken is nothing that anybody reads.
        self.texts.append(" " * (tag != "wbr"))
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def close(self) -> None:
        super().close()
        assert self._open == []


@dataclass
class Shown:
    """An answer, read."""

    status: int
    headers: Mapping[str, str]
    html: str

    def __post_init__(self) -> None:
        reading = _Reading()
        reading.feed(self.html)
        reading.close()
        self.elements = reading.elements
        self.text = " ".join("".join(reading.texts).split())

    def links(self, beginning: str = "") -> list[str]:
        """Where its links lead, in order."""
        found = [attrs.get("href") or "" for tag, attrs in self.elements if tag == "a"]
        return [one for one in found if one.startswith(beginning)]

    def link(self, rel: str) -> str | None:
        """The link of that relation."""
        found = [attrs for tag, attrs in self.elements if tag == "a" and attrs.get("rel") == rel]
        return found[0]["href"] if found else None

    def tags(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements of that name."""
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def names(self) -> list[str]:
        """The images of its list or matrix, in order."""
        return [
            (attrs["href"] or "").partition("#")[0].removeprefix("/images/main/")
            for tag, attrs in self.elements
            if tag == "a" and attrs.get("class") == "image"
        ]


async def shown(watched: Watched, path: str, **headers: str) -> Shown:
    """What a browser without a script gets."""
    url = watched.daemon.url + path
    async with watched.session.get(url, headers=headers, allow_redirects=False) as answer:
        return Shown(answer.status, dict(answer.headers), await answer.text())


async def swept(watched: Watched) -> None:
    """Until the first sweep is over: with RARELY the next one is an hour away.

    It would find that what a test put into the store is not at Harbor.
    """

    async def over() -> bool:
        told = await watched.status()
        return bool(told["policies"] and told["harbors"][0]["sweep"]["pass_ended_at"])

    await until(over, told="the first sweep")


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


@dataclass
class Put:
    """Puts expectations into an open store, as if they had come about long ago."""

    connection: Connection
    now: int

    def many(self, names: list[tuple[str, str]], state: str = "verified", reason: str = "") -> None:
        """(repository, reference) of each, at the destination of the first policy."""
        for repository, reference in names:
            self.one(repository, reference, state=state, reason=reason)

    def one(self, repository: str, reference: str, **values: object) -> int:
        """One expectation with its subject; its id."""
        policy = self.connection.execute(select(policies)).first()
        assert policy is not None
        there = str(values.pop("there", repository))
        message = str(values.pop("message", ""))
        place = {
            "harbor": policy.harbor,
            "policy_id": policy.policy_id,
            "destination_id": policy.destination_id,
        }
        state = str(values.get("state", "verified"))
        is_open = state in ("pending", "failed", "unknown")
        subject = self.connection.execute(
            insert(subjects).values(
                source_repository=repository,
                reference=reference,
                repository=there,
                behind_since=self.now if is_open else None,
                **place,
            )
        ).inserted_primary_key[0]
        row = {
            "subject_id": subject,
            "operation": "copy",
            "origin": "push",
            "digest": digest(subject),
            "state": state,
            "reason": "",
            "message": message,
            "required_level": "readable",
            "overdue": False,
            "pushed_at": self.now - 5000,
            "expected_at": self.now - 5000,
            "deadline_at": self.now + 600_000,
            "verified_at": self.now if state == "verified" else None,
            # The daemon would look, and find that nothing of it is true.
            "due_at": self.now + 3_600_000 if state != "closed" else None,
        }
        row |= place | values
        expectation: int = self.connection.execute(
            insert(expectations).values(**row)
        ).inserted_primary_key[0]
        self.connection.execute(
            subjects.update().where(subjects.c.id == subject).values(newest_id=expectation)
        )
        self._count(row)
        return expectation

    def _count(self, row: Mapping[str, object]) -> None:
        names = ("harbor", "policy_id", "destination_id", "state", "reason")
        key = {name: row[name] for name in names} | {"overdue": int(bool(row["overdue"]))}
        where = [counts.c[name] == value for name, value in key.items()]
        done = self.connection.execute(counts.update().where(*where).values(n=counts.c.n + 1))
        if not done.rowcount:
            self.connection.execute(insert(counts).values(n=1, **key))
