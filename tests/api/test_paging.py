"""Findings by pages: none twice, none left out, whatever comes and goes between two pages."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from syncwatch.report.operations import QueryError
from syncwatch.report.paging import FINDING_PLACE, as_cursor, page_of_findings, read_cursor

RANDOM = random.Random(1)
ROWS: list[Any] = [
    SimpleNamespace(since=since, harbor="main", finding="a", subject=f"{n}", source="x")
    for n, since in enumerate(RANDOM.choices(range(1, 9), k=40))
]


def after(cursor: str | None) -> Any:
    return read_cursor(cursor, FINDING_PLACE)


@pytest.mark.parametrize("limit", [1, 3, 39, 40, 41])
def test_all_are_told_once_the_oldest_first(limit: int) -> None:
    told, cursor = [], None
    while True:
        shown, cursor = page_of_findings(ROWS, after(cursor), limit)
        told += shown
        if cursor is None:
            break
    assert len(told) == len(ROWS)
    assert [one.since for one in told] == sorted(one.since for one in ROWS)


def test_what_goes_and_comes_meanwhile_shifts_nothing() -> None:
    first, cursor = page_of_findings(ROWS, None, 10)
    rows = [one for one in ROWS if one is not first[-1] and one is not first[0]]
    rows.append(SimpleNamespace(since=0, harbor="main", finding="a", subject="old", source="x"))
    rest, _ = page_of_findings(rows, after(cursor), 100)
    assert not any(one in first for one in rest)
    assert len(rest) == len(ROWS) - len(first)


def test_a_page_that_another_finding_fills_leaves_all_to_the_next() -> None:
    shown, cursor = page_of_findings(ROWS, None, 0)
    assert shown == []
    assert len(page_of_findings(ROWS, after(cursor), 100)[0]) == len(ROWS)


def test_without_rows_there_is_no_next() -> None:
    assert page_of_findings([], None, 10) == ([], None)
    assert page_of_findings([], None, 0) == ([], None)


def test_a_cursor_is_read_as_it_was_written() -> None:
    place = (1764000000000, "main", "name_collision", "apps/wéb:1 🐳", "policies")
    assert after(as_cursor(place)) == place
    assert after(None) is None
    with pytest.raises(QueryError, match="cursor is not one that a list gave"):
        after(as_cursor(place[:-1]))
