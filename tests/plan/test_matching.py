"""What an administrator writes into a replication rule, and what Harbor makes of it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncwatch.errors import FlatteningError, PatternError
from syncwatch.plan.matching import (
    Artifact,
    Filter,
    check_pattern,
    covers,
    destination_repository,
    matches,
    select,
)

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        pytest.param("", "library/alpine", True, id="an empty pattern matches everything"),
        pytest.param("library/**", "library/a/b", True, id="two stars reach over slashes"),
        pytest.param("library/**", "library", False, id="two stars want what stands before them"),
        pytest.param("**/alpine", "alpine", True, id="two stars may stand for nothing"),
        pytest.param("lib**", "library/a", False, id="two stars beside letters are one star"),
        pytest.param("{**,x}", "a/b", False, id="two stars in braces are one star"),
        pytest.param("*/*", "a/b/c", False, id="one star stays in its component"),
        pytest.param("*", "", True, id="one star matches the empty name"),
        pytest.param("***", "", False, id="three stars do not match the empty name"),
        pytest.param("*{,x}", "ab", False, id="behind a star something must be left"),
        pytest.param("{a, b}", "b", False, id="blanks in braces count"),
        pytest.param("{a,{b,c}}/x", "c/x", True, id="braces may be nested"),
        pytest.param("{a,b/c}/**", "b/c/d", True, id="alternatives may differ in depth"),
        pytest.param(
            "{a,a/b}", "a", False, id="an alternative that ends yields to one that goes on"
        ),
        pytest.param("{a,a/b}", "a/b", True, id="the one that goes on matches"),
        pytest.param("[!a]", "b", False, id="an exclamation mark does not negate"),
        pytest.param("[!a]", "!", True, id="an exclamation mark is one of the class"),
        pytest.param("[^a]", "b", True, id="a caret negates"),
        pytest.param("[a-c]", "b", True, id="a range holds what lies between"),
        pytest.param("[c-a]", "b", False, id="a range turned round is empty"),
        pytest.param("{[a,[b}c]", "c", True, id="a class may begin in braces and end behind them"),
        pytest.param("a\\*b", "a*b", True, id="a backslash takes the meaning from a star"),
        pytest.param("V*", "v1", False, id="case counts"),
        pytest.param("?1", "é1", True, id="a question mark is a character, not a byte"),
        pytest.param("**/[a", "x", False, id="an error behind two stars is swallowed"),
        pytest.param("lib/[a", "app/x", False, id="an error that is not reached is none"),
    ],
)
def test_a_pattern_means_what_it_means_to_harbor(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


@pytest.mark.parametrize(
    ("pattern", "name", "reason"),
    [
        ("lib/[a", "lib/x", r"`\[` is not closed"),
        ("[]a]", "a", r"`\[\]` is empty"),
        ("[a-]", "a", r"`\[…\]` ends too early"),
        ("[-a]", "a", "`-` in"),
        ("{a,b", "a", "`{` is not closed"),
        ("a\\", "ab", "`\\\\` stands before nothing"),
        ("{a,b/c}/**", "", "braces around a `/`"),
        ("lib{a/b,c}", "lib", "braces around a `/`"),
    ],
)
def test_a_malformed_part_fails_for_the_names_that_reach_it(
    pattern: str, name: str, reason: str
) -> None:
    with pytest.raises(PatternError, match=reason):
        matches(pattern, name)


FAILS = "Harbor fails on every name that reaches this part"
NEVER_MATCHES = "Harbor does not fail on it, but this part never matches"


@pytest.mark.parametrize(
    ("pattern", "effect"),
    [
        pytest.param("lib/team/[a", FAILS, id="behind slashes"),
        pytest.param("{ok,{broken}/**", FAILS, id="braces"),
        pytest.param("lib{a/b,c}/**", FAILS, id="where the name ends at braces around a slash"),
        pytest.param("a*b\\", FAILS, id="behind a star"),
        pytest.param("library/**/v[", NEVER_MATCHES, id="behind two stars"),
        pytest.param("/[a", NEVER_MATCHES, id="behind a slash that no name begins with"),
    ],
)
def test_a_malformed_part_is_found_before_any_name_reaches_it(pattern: str, effect: str) -> None:
    with pytest.raises(PatternError, match=effect):
        check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "**",
        "library/**",
        "{library,apps/x}/**",
        "library/{a/b,c}",
        "**/x{a/b,c}",
        "v[0-9]*",
        "a\\[",
    ],
)
def test_a_pattern_that_works_for_every_repository_is_not_complained_about(pattern: str) -> None:
    check_pattern(pattern)


def test_a_tag_filter_is_also_asked_about_the_empty_name() -> None:
    check_pattern("{a,b/c}")
    with pytest.raises(PatternError, match="braces around a `/`"):
        check_pattern("{a,b/c}", for_tags=True)


def test_no_tag_reaches_what_is_behind_a_slash() -> None:
    with pytest.raises(PatternError, match=NEVER_MATCHES):
        check_pattern("v*/[a", for_tags=True)


def test_only_the_tags_that_pass_are_copied() -> None:
    artifact = Artifact(DIGEST, ["v1", "dev-1"], [])

    kept = select([Filter("tag", "dev-*", "excludes")], "library/web", [artifact])

    assert kept == (Artifact(DIGEST, ("v1",), ()),)


@pytest.mark.parametrize(
    ("rule", "stays"),
    [
        pytest.param(Filter("tag", "**"), True, id="matching everything"),
        pytest.param(Filter("tag", "?*"), False, id="wanting a character"),
        pytest.param(Filter("tag", "v*", "excludes"), True, id="excluding some"),
        pytest.param(Filter("tag", "*", "excludes"), False, id="excluding everything"),
        pytest.param(Filter("tag", "", "excludes"), True, id="excluding by the empty pattern"),
    ],
)
def test_an_untagged_artifact_stands_as_the_empty_tag(rule: Filter, stays: bool) -> None:
    untagged = Artifact(DIGEST, (), ())
    assert select([rule], "library/web", [untagged]) == ((untagged,) if stays else ())


def test_labels_must_all_be_there_to_match_and_all_to_exclude() -> None:
    both, one = Artifact("sha256:2", ["v2"], ["prod", "eu"]), Artifact("sha256:1", ["v1"], ["prod"])

    assert select([Filter("label", ["prod", "eu"])], "a/b", [both, one]) == (both,)
    assert select([Filter("label", ["prod", "eu"], "excludes")], "a/b", [both, one]) == (one,)
    assert select([Filter("label", [], "excludes")], "a/b", [both, one]) == (both, one)


def test_a_push_without_labels_never_passes_a_rule_that_wants_one() -> None:
    assert select([Filter("label", ["prod"])], "a/b", [Artifact(DIGEST, ["v1"], [])]) == ()


def test_the_resource_filter_decides_nothing() -> None:
    artifact = Artifact(DIGEST, ["v1"], [])
    assert select([Filter("resource", "image")], "a/chart", [artifact]) == (artifact,)


def test_a_repository_is_covered_when_all_name_filters_agree() -> None:
    filters = [Filter("name", "library/**"), Filter("name", "**/web"), Filter("tag", "[bad")]

    assert covers(filters, "library/team/web")
    assert not covers(filters, "library/api")


def test_a_malformed_name_filter_behind_one_that_rejects_is_not_reached() -> None:
    filters = [Filter("name", "apps/**"), Filter("name", "[bad")]

    assert select(filters, "library/web", []) == ()
    with pytest.raises(PatternError):
        select(filters, "apps/web", [])


def test_a_signature_follows_its_images_tags_and_keeps_its_own() -> None:
    signature = Artifact(DIGEST, ["sha256-1.sig"], [], parent_tags=["v1", "dev"])

    assert select([Filter("tag", "v*")], "a/b", [signature]) == (
        Artifact(DIGEST, ("sha256-1.sig",), ()),
    )
    assert select([Filter("tag", "release-*")], "a/b", [signature]) == ()


def test_a_second_tag_filter_meets_a_signatures_own_tags() -> None:
    signature = Artifact(DIGEST, ["sha256-1.sig"], [], parent_tags=["v1"])
    assert select([Filter("tag", "v*"), Filter("tag", "*1")], "a/b", [signature]) == ()


@pytest.mark.parametrize(
    ("level", "expected"), [(-1, "n/image"), (0, "n/a/b/image"), (1, "n/b/image"), (2, "n/image")]
)
def test_flattening_cuts_components_off_the_front(level: int, expected: str) -> None:
    assert destination_repository("a/b/image", "n", level) == expected


def test_without_a_namespace_the_name_stays_whatever_the_level() -> None:
    assert destination_repository("a/image", "", 5) == "a/image"


@pytest.mark.parametrize("namespace", ["n/m/", "n//m", "n/./m", "n/x/../m"])
def test_a_namespace_is_cleaned_as_a_path(namespace: str) -> None:
    assert destination_repository("a/image", namespace, 1) == "n/m/image"


@pytest.mark.parametrize(
    ("asked", "contains", "listed", "rule"),
    [
        (
            ("a/b/i", "n", 0, "ONLY_TWO"),
            '"n/a/b/i" contains 4',
            "[n a b i], but",
            "only supports 2",
        ),
        (("i", ".", 0, "AT_LEAST_TWO"), '"i" contains only 1', "[i], but", "requires at least 2"),
    ],
)
def test_a_name_that_the_destination_cannot_have_is_refused_in_harbors_words(
    asked: tuple[str, str, int, str], contains: str, listed: str, rule: str
) -> None:
    with pytest.raises(FlatteningError) as refused:
        destination_repository(*asked)
    assert str(refused.value) == (
        f"the destination repository {contains} path components {listed} "
        f"the destination registry {rule}"
    )


PIECES = st.sampled_from([*"ab/*?[]^-{},\\é", "**/", "**", "[a-b]", "{a,b}", "{a/b,*}", "{{", "}}"])
PATTERNS = st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60)
NAMES = st.text("ab/-é*\\", max_size=40) | st.text(max_size=60)


@settings(max_examples=300, deadline=None)
@given(PATTERNS, NAMES)
def test_any_pattern_answers_or_is_malformed_and_the_check_knows_it_before(
    pattern: str, name: str
) -> None:
    try:
        assert matches(pattern, name) in (True, False)
    except PatternError:
        if could_be_a_repository(name):
            with pytest.raises(PatternError, match=FAILS):
                check_pattern(pattern)
        if "/" not in name:
            with pytest.raises(PatternError, match=FAILS):
                check_pattern(pattern, for_tags=True)


def could_be_a_repository(name: str) -> bool:
    return "" not in name.split("/")


@settings(max_examples=100, deadline=None)
@given(st.text("ab/.-", min_size=1, max_size=30), st.text("ab/.-", max_size=30), st.integers(-1, 6))
def test_any_repository_gets_a_name_or_a_reason(
    repository: str, namespace: str, level: int
) -> None:
    try:
        assert "//" not in destination_repository(repository, namespace, level) or not namespace
    except FlatteningError as error:
        assert repository in str(error)


@pytest.mark.parametrize("name", ["a" * 255, "a/" * 127 + "a", "/" * 255])
@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("**/" * 333 + "x", id="two stars, again and again"),
        pytest.param("**/*a/" * 160 + "x", id="both kinds of stars"),
        pytest.param("*a" * 500 + "b", id="stars and letters"),
        pytest.param("*" * 1000, id="only stars"),
        pytest.param("{a,a}" * 200 + "/x", id="equal alternatives"),
        pytest.param("{*/,*a/}" * 120 + "x", id="alternatives over slashes"),
        pytest.param("{*a,a*}" * 140, id="stars in alternatives"),
        pytest.param("{}" * 500, id="empty braces"),
        pytest.param("{[,x}{a]" * 125, id="classes across braces"),
        pytest.param("{" * 500 + "}" * 500, id="deeply nested"),
        pytest.param("{a," * 300 + "b" + "}" * 300, id="deeply nested alternatives"),
        pytest.param("{" * 1000, id="never closed"),
        pytest.param("\\" * 1000, id="backslashes"),
    ],
)
def test_no_pattern_of_a_thousand_characters_takes_long(pattern: str, name: str) -> None:
    before = time.process_time()
    for question in (lambda: matches(pattern, name), lambda: check_pattern(pattern)):
        try:
            question()
        except PatternError:
            continue
    assert time.process_time() - before < 5


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a" * 5000, "longer than 4096 characters"),
        ("{" * 50 + "}" * 50, "nests braces deeper than 32"),
        (("{[,x}{a]" * 30 + "}" * 30) * 4, "too many alternatives"),
    ],
)
def test_a_pattern_beyond_all_reason_is_refused_with_the_bound(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        matches(pattern, "a")
