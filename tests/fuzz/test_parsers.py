"""Every parser of what others send meets thousands of altered inputs; `run.py` takes a million."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from campaign import Target, campaign
from header_targets import check_realm, check_redirects, rendered
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_targets import check_manifest, written
from run import TARGETS

from syncwatch.harbor import wire
from syncwatch.plan.matching import check_pattern, matches
from syncwatch.verify.challenge import Challenge, challenges
from syncwatch.verify.manifest import OCI_INDEX
from syncwatch.verify.ranges import ContentRange, content_range

if TYPE_CHECKING:
    from collections.abc import Hashable

CASES = 20_000


@pytest.mark.parametrize("name", TARGETS)
def test_no_altered_input_breaks_a_parser(name: str) -> None:
    result = campaign(TARGETS[name], CASES)

    assert list(result.findings.values()) == []
    assert result.shapes > 10, "the inputs all look the same to it"


@pytest.mark.parametrize(
    "realm",
    [
        pytest.param("https://xn--a.example.com/", id="a label that is no IDNA"),
        pytest.param("https://\u212a.example.com/", id="a Kelvin sign, whose small letter is k"),
        pytest.param("http://[]@", id="brackets around nothing"),
        pytest.param("https://evil.test%2f.example.com/", id="a host that is no name"),
    ],
)
def test_a_realm_that_is_no_host_is_refused(realm: str) -> None:
    check_realm(b"a" + realm.encode())


@pytest.mark.parametrize(
    "places",
    [
        pytest.param("//[]@", id="brackets around nothing"),
        pytest.param("/a%2Fb/%C5%BF/k\nn", id="a path that is quoted, and a place beside it"),
    ],
)
def test_a_redirect_leads_to_a_url_or_nowhere(places: str) -> None:
    check_redirects(places.encode())


_LAYER = '{"digest":"sha256:%s","size":1}'
_ONE, _OTHER = _LAYER % ("a" * 64), _LAYER % ("b" * 64)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(f'"layers":[{_ONE}],"Layers":[{_OTHER}]', id="a capital letter"),
        pytest.param(f'"layers":[{_ONE}],"layer\u017f":[{_OTHER}]', id="a long s"),
        pytest.param(
            f'"config":{_ONE[:-1]},"Digest":"sha256:0"}}', id="a second digest of the config"
        ),
        pytest.param(f'"mediaType":"{OCI_INDEX}","layers":[{_ONE}]', id="an index with layers"),
    ],
)
def test_a_manifest_that_go_reads_otherwise_is_not_read(fields: str) -> None:
    check_manifest(f'\n{{"schemaVersion":2,{fields}}}'.encode())


@pytest.mark.parametrize("count", ["\u00b2", "9" * 5000])
def test_a_count_that_is_no_number_is_none(count: str) -> None:
    assert wire.item_count(f"a [{count} item(s) in total]") is None


def test_a_pattern_of_braces_is_compiled_once_and_soon() -> None:
    assert seconds_of("{}" * 2000, "a") < 1


def test_a_pattern_that_is_refused_is_refused_at_once_the_second_time() -> None:
    pattern = ("{[,x}{a]" * 30 + "}" * 30) * 15
    seconds_of(pattern, "a")
    assert seconds_of(pattern, "b") < 0.01


def seconds_of(pattern: str, name: str) -> float:
    before = time.process_time()
    try:
        matches(pattern, name)
        check_pattern(pattern)
    except Exception:
        pass
    return time.process_time() - before


WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.!#$%&'*+^`|~", min_size=1, max_size=12)
VALUES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=30)
CHALLENGES = st.lists(
    st.builds(Challenge, WORDS, st.dictionaries(WORDS, VALUES, max_size=4)), max_size=4
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(CHALLENGES)
def test_challenges_that_are_written_are_read_as_they_were(given_ones: list[Challenge]) -> None:
    assert challenges([rendered(given_ones)]) == given_ones
    assert challenges([rendered([one]) for one in given_ones]) == given_ones


SIZES = st.integers(0, 10**18)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SIZES, SIZES, SIZES | st.none())
def test_a_content_range_that_is_written_is_read_unless_it_cannot_be(
    first: int, last: int, total: int | None
) -> None:
    told = ContentRange(first, last, total)
    possible = first <= last and (total is None or last < total)
    assert content_range(written(told)) == (told if possible else None)


class TestTheSearchItself:
    """What finds nothing may have looked nowhere."""

    @staticmethod
    def broken(check: object) -> Target:
        seeds = [b'{"size": 41, "name": "library/busybox"}']
        return Target("broken", "", check, lambda: seeds, [b'"size"'])  # type: ignore[arg-type]

    def test_an_error_three_steps_deep_is_found_and_made_small(self) -> None:
        def check(data: bytes) -> Hashable:
            depth = data.count(b"[") and 1 + (b"[[" in data) + (b"[[[" in data)
            if depth == 3 and b"size" not in data:
                raise KeyError("size")
            return depth

        (finding,) = campaign(self.broken(check), 20_000).findings.values()

        assert finding.data == b"[[["
        assert "KeyError" in finding.words

    def test_a_slow_answer_is_found(self) -> None:
        def check(data: bytes) -> Hashable:
            end = time.process_time() + (0.06 if b"\0" in data else 0)
            while time.process_time() < end:
                pass
            return None

        assert list(campaign(self.broken(check), 1_000).findings) == ["slow"]

    def test_the_same_seed_asks_the_same_and_another_one_something_else(self) -> None:
        asked: list[list[bytes]] = []
        for seed in (1, 1, 2):
            asked.append([])
            campaign(self.broken(asked[-1].append), 500, seed=seed)

        assert asked[0] == asked[1] != asked[2]
        assert len(set(asked[0])) > 400
