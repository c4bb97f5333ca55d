"""Harbor's own functions were asked by the thousand; every one of their answers is ours too."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from syncwatch.errors import FlatteningError, PatternError
from syncwatch.plan.matching import Artifact, Filter, destination_repository, matches, select

TESTS = Path(__file__).parent.parent
TOO_DEEP = "excepting the last one, but the destination namespace flattening level is "
WORDS_OF_ERRORS = {
    "too_few_components_to_flatten": TOO_DEEP,
    "destination_needs_exactly_two_components": "but the destination registry only supports 2",
    "destination_needs_at_least_two_components": "but the destination registry requires at least 2",
}


def cases(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((TESTS / "oracle" / name).read_text())
    return loaded


def say(capsys: pytest.CaptureFixture[str], sentence: str) -> None:
    with capsys.disabled():
        print(f"\n{sentence}")


def our_match(pattern: str, name: str) -> str:
    try:
        return "matches" if matches(pattern, name) else "rejects"
    except PatternError:
        return "errors"


def test_every_name_meets_every_pattern_as_in_harbor(capsys: pytest.CaptureFixture[str]) -> None:
    compared: Counter[str] = Counter()
    different = []
    for case in cases("match.json"):
        for answer in ("matches", "rejects", "errors"):
            for name in case[answer]:
                compared[answer] += 1
                if our_match(case["pattern"], name) != answer:
                    different.append((case["pattern"], name, answer))

    say(capsys, f"match.json: {compared.total()} pairs compared: {dict(compared)}")
    assert different == []
    assert compared.total() > 50_000
    assert min(compared[answer] for answer in ("matches", "rejects", "errors")) > 500


def our_destination(case: dict[str, Any]) -> tuple[str | None, str]:
    asked = (case["repository"], case["namespace"], case["replace_count"], case["path_type"])
    try:
        return destination_repository(*asked), ""
    except FlatteningError as error:
        return None, str(error)


def test_every_repository_arrives_under_harbors_name(capsys: pytest.CaptureFixture[str]) -> None:
    all_cases = cases("destination.json")
    different = []
    for case in all_cases:
        destination, sentence = our_destination(case)
        words = WORDS_OF_ERRORS[case["error"]] if case["error"] else ""
        if (
            destination != case["destination"]
            or words not in sentence
            or bool(words) != bool(sentence)
        ):
            different.append((case, destination, sentence))

    failed = sum(case["error"] is not None for case in all_cases)
    say(capsys, f"destination.json: {len(all_cases)} cases compared, {failed} of them errors")
    assert different == []
    assert len(all_cases) > 1_500


def our_selection(case: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    filters = [Filter(**rule) for rule in case["filters"]]
    artifacts = [Artifact(**artifact) for artifact in case["artifacts"]]
    try:
        selected = select(filters, case["repository"], artifacts)
    except PatternError:
        return [], True
    return [
        {"digest": each.digest, "tags": list(each.tags), "labels": list(each.labels)}
        for each in selected
    ], False


def test_every_set_of_filters_selects_what_harbor_selects(
    capsys: pytest.CaptureFixture[str],
) -> None:
    all_cases = cases("filters.json")
    different = [
        (case, our_selection(case))
        for case in all_cases
        if our_selection(case) != (case["selected"], case["error"])
    ]

    failed = sum(case["error"] for case in all_cases)
    say(capsys, f"filters.json: {len(all_cases)} cases compared, {failed} of them errors")
    assert different == []
    assert len(all_cases) >= 400


def test_a_level_too_deep_is_refused_in_the_sentence_that_harbor_writes() -> None:
    recorded = TESTS / "recordings" / "07-flattening-and-namespace" / "api.jsonl"
    sentences = {
        execution["status_text"]
        for line in recorded.read_text().splitlines()
        for execution in answered_list(json.loads(line))
        if TOO_DEEP in execution.get("status_text", "")
    }

    with pytest.raises(FlatteningError) as refused:
        destination_repository("flat/image", "n", 2)

    assert str(refused.value) in sentences


def answered_list(call: dict[str, Any]) -> list[dict[str, Any]]:
    return (
        [each for each in call["response"] if isinstance(each, dict)]
        if isinstance(call["response"], list)
        else []
    )
