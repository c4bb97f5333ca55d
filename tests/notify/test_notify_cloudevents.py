"""What an answer means, how long is waited, and what an event looks like, without a network."""

from __future__ import annotations

import pytest

from syncwatch.notify.cloudevents import (
    LONGEST_PAUSE,
    LONGEST_WISH,
    Outcome,
    envelope,
    outcome,
    pause,
    wished,
)
from syncwatch.store.notifications import Notification

NOW = 1_795_500_000_000


@pytest.mark.parametrize(
    ("status", "at_first", "at_last"),
    [
        (200, Outcome.DELIVERED, Outcome.DELIVERED),
        (204, Outcome.DELIVERED, Outcome.DELIVERED),
        (307, Outcome.AWAY, Outcome.AWAY),
        (401, Outcome.AWAY, Outcome.AWAY),
        (404, Outcome.AWAY, Outcome.AWAY),
        (429, Outcome.AWAY, Outcome.AWAY),
        (503, Outcome.AWAY, Outcome.AWAY),
        (400, Outcome.DOUBTFUL, Outcome.REFUSED),
        (410, Outcome.DOUBTFUL, Outcome.REFUSED),
        (413, Outcome.DOUBTFUL, Outcome.REFUSED),
        (500, Outcome.DOUBTFUL, Outcome.POSTPONED),
    ],
)
def test_an_answer_speaks_of_the_receiver_or_of_the_event(
    status: int, at_first: Outcome, at_last: Outcome
) -> None:
    assert [outcome(status, doubts) for doubts in range(4)] == [
        at_first,
        at_first,
        at_last,
        at_last,
    ]


def test_pauses_double_up_to_five_minutes() -> None:
    assert [pause(attempts) for attempts in (1, 2, 3, 4)] == [1000, 2000, 4000, 8000]
    assert pause(10) == pause(1_000_000) == LONGEST_PAUSE


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("120", 120_000),
        ("0", 0),
        ("-3", 0),
        ("soon", 0),
        ("", 0),
        ("99999999999", LONGEST_WISH),
        ("Tue, 24 Nov 2026 06:01:00 GMT", 60_000),
        ("Tue, 24 Nov 2020 06:01:00 GMT", 0),
        ("Tue, 24 Nov 9999 06:01:00 GMT", LONGEST_WISH),
    ],
)
def test_a_retry_after_is_a_number_or_a_date(text: str, wish: int) -> None:
    assert wished({"Retry-After": text}, NOW) == wish


def test_an_event_is_the_same_each_time() -> None:
    one = Notification(7, "image.failed", "main", "apps/web:1.0", '{"a": 1}', NOW, 0)
    again = Notification(7, "image.failed", "main", "apps/web:1.0", '{"a": 1}', NOW, 5)
    assert envelope(one) == envelope(again)
    assert envelope(one) == {
        "specversion": "1.0",
        "id": f"{NOW}-7",
        "source": "/harbors/main",
        "type": "image.failed",
        "subject": "apps/web:1.0",
        "time": "2026-11-24T06:00:00.000Z",
        "datacontenttype": "application/json",
        "data": {"a": 1},
    }
