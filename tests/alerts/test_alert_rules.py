"""The files under deploy/: every alert whole, tested by promtool, and about metrics there are."""

from __future__ import annotations

import importlib.util
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml
from alert_rules import (
    ALERTMANAGER,
    ALERTS,
    GROUPS,
    NAMES,
    PAGE,
    PROMETHEUS,
    RECORDS,
    RULES,
    TARGET,
    TOP,
    UNITS,
    Labels,
    hurried,
    run,
)

from syncwatch.cli import app
from syncwatch.model import Reason
from syncwatch.report.families import BY_NAME

if TYPE_CHECKING:
    from pathlib import Path

SEVERITIES = {"critical", "warning", "info", "none"}
RUNBOOKS = "https://syncwatch.example.com/docs/alerts.md#"
TEXTS = ("summary", "description", "command", "runbook_url")

of_each = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])


def in_order(rule: dict[str, Any]) -> list[dict[str, Any]]:
    """The test cases of an alert, as (what is expected when), in the order of time."""
    path = next((one for one in UNITS if one.stem == rule["alert"]), None)
    assert path is not None, f"tests/alerts/units/{rule['alert']}.yml is missing"
    return list(yaml.safe_load(path.read_text())["tests"])


def expected(test: dict[str, Any], name: str) -> list[bool]:
    """Whether a test expects an alert to fire, by time."""
    cases = [one for one in test["alert_rule_test"] if one["alertname"] == name]
    cases.sort(key=lambda one: seconds(str(one["eval_time"])))
    return [bool(one["exp_alerts"]) for one in cases]


def seconds(duration: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([smhd])", duration))


@pytest.mark.real
def test_the_files_for_prometheus_and_alertmanager_are_good(tmp_path: Path) -> None:
    run("promtool", "check", "rules", "--lint-fatal", RULES)
    run("promtool", "check", "rules", hurried(tmp_path))
    run("promtool", "check", "config", PROMETHEUS)
    run("amtool", "check-config", ALERTMANAGER)


@pytest.mark.real
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_its_unit_tests_pass(path: Path) -> None:
    run("promtool", "test", "rules", path)


@of_each
def test_an_alert_is_tested_as_it_fires_and_as_it_does_not_and_as_it_resolves(
    rule: dict[str, Any],
) -> None:
    name = rule["alert"]
    told = [expected(test, name) for test in in_order(rule)]
    fires = [one for one in told if True in one]
    assert fires, "never expected to fire"
    if name == "SyncwatchWatchdog":
        assert told == [[True] * 3], "it never stops"
        return
    assert [one for one in told if one and True not in one], "no test in which it does not fire"
    assert [one for one in fires if one[0] is False and one[-1] is False], "never seen to resolve"


def test_every_rule_of_a_name_is_expected_to_fire_with_its_severity() -> None:
    for rule in ALERTS:
        found = {
            one["exp_labels"]["severity"]
            for test in in_order(rule)
            for case in test["alert_rule_test"]
            if case["alertname"] == rule["alert"]
            for one in case["exp_alerts"]
        }
        assert rule["labels"]["severity"] in found, rule["alert"]


@of_each
def test_an_alert_is_whole(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert name.startswith("Syncwatch")
    assert "for" in rule or "keep_firing_for" in rule
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(rule["annotations"]) == set(TEXTS)
    assert all(text.strip() for text in rule["annotations"].values())
    assert rule["annotations"]["runbook_url"] == RUNBOOKS + name.lower()


@of_each
def test_an_alert_has_its_runbook(rule: dict[str, Any]) -> None:
    page = PAGE.read_text()
    assert f"\n### {rule['alert']}\n" in page
    part = page.split(f"\n### {rule['alert']}\n")[1].split("\n### ")[0].split("\n## ")[0]
    for word in ("**Counts:**", "**To confirm:**", "**To do:**", "**To tune:**"):
        assert word in part, word
    row = re.search(rf"^\| \[`{rule['alert']}`\].*$", page, flags=re.MULTILINE)
    assert row and rule["labels"]["severity"] in row[0]


def test_no_runbook_is_of_an_alert_that_is_gone() -> None:
    told = re.findall(r"^### (Syncwatch\w+)$", PAGE.read_text(), flags=re.MULTILINE)
    assert told == NAMES


def test_the_only_addresses_are_the_prefix_of_the_runbooks() -> None:
    rules = re.sub(r"^ *#.*$", "", RULES.read_text(), flags=re.MULTILINE)
    told = re.findall(r"https?://[^\s'\"]+", rules)
    assert {one for one in told if not one.startswith(RUNBOOKS)} == {"http://{{"}


def test_every_expression_is_of_metrics_and_labels_that_are_exported() -> None:
    labels = Labels()
    for rule in ALERTS:
        found = labels.of(rule["expr"])
        said = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert said <= found, f"{rule['alert']} has no {said - found}"
        if rule["alert"] != "SyncwatchTargetDown":
            assert not found & TARGET, f"{rule['alert']} is one for each process"


def test_every_metric_and_label_in_the_texts_is_exported() -> None:
    recorded = {rule["record"] for rule in RECORDS}
    for rule in ALERTS:
        text = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\bsyncwatch:[\w:]+", text)) <= recorded
        for name, labels in re.findall(r"\b(syncwatch_\w+)\{(.*?)\}", text):
            named = set(re.findall(r"(\w+)=~?", labels))
            assert named <= set(BY_NAME[name].labels), name


def test_recording_rules_have_names_of_their_own_and_are_used() -> None:
    names = [rule["record"] for rule in RECORDS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"syncwatch:[a-z_]+:[a-z]+(\d+[mhd])?", one) for one in names)
    texts = RULES.read_text()
    for name in names:
        assert len(re.findall(rf"{name}\b", texts)) > 1, f"{name} is of no use"


def test_every_reason_and_finding_that_an_expression_names_exists() -> None:
    told = (TOP / "docs/findings.md").read_text()
    for rule in ALERTS:
        for reason in re.findall(r'reason="(\w+)"', rule["expr"]):
            assert reason in set(Reason)
        for found in re.findall(r'finding!?=~?"([\w|]+)"', rule["expr"]):
            assert all(f"\n### {one}\n" in told for one in found.split("|")), found


def test_dead_rules_and_other_findings_share_no_finding() -> None:
    dead = re.search(r'finding=~"([\w|]+)"', RULES.read_text())
    others = re.search(r'finding!~"([\w|]+)"', RULES.read_text())
    assert dead and others
    assert set(dead[1].split("|")) <= set(others[1].split("|"))


@of_each
def test_a_command_is_one_that_exists(rule: dict[str, Any]) -> None:
    # A value of a label, put between single quotes that its own cannot end.
    safe = r"""'\{\{ \$labels\.(\w+) \| reReplaceAll "'" "'\\\\''" \}\}'"""
    command = re.sub(safe, r"\1", rule["annotations"]["command"])
    # One command for each answer of a query, of which a bounded word of ours is put in.
    command = re.sub(
        r"^\{\{ range \$place, \$one := .*?\}\}\{\{ if .*?\}\}; \{\{ end \}\}", "", command
    )
    command = command.replace("'{{ $one.Labels.result }}'", "result").removesuffix("{{ end }}")
    words = shlex.split(command)
    if words[0] == "amtool":
        return
    if words[0] == "syncwatch":
        assert "{{" not in command
        known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        options = {text for one in known[words[1]].params for text in one.opts}
        assert {one.partition("=")[0] for one in words[2:] if one.startswith("-")} <= options
        return
    assert words[:2] == ["curl", "-sS"]
    assert "{{" not in command or rule["alert"] == "SyncwatchTargetDown"
    path = re.sub(r"^.*?(?=/(healthz|readyz|api/))", "", words[-1]).partition("?")[0]
    assert f"`GET {path}`" in (TOP / "docs/api.md").read_text()


@pytest.mark.real
@of_each
def test_who_is_told_follows_from_the_severity(rule: dict[str, Any]) -> None:
    severity = rule["labels"]["severity"]
    told = run(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={ALERTMANAGER}",
        f"alertname={rule['alert']}",
        f"severity={severity}",
    )
    receiver = {"critical": "page", "none": "dead-man"}.get(severity, "tickets")
    assert told.strip() == receiver


def test_every_alert_that_alertmanager_is_told_of_exists() -> None:
    settings = yaml.safe_load(ALERTMANAGER.read_text())
    named = set(re.findall(r"Syncwatch[A-Z]\w+", str(settings)))
    assert named <= set(NAMES)
    for rule in settings["inhibit_rules"]:
        source = re.findall(r"Syncwatch[A-Z]\w+", str(rule["source_matchers"]))
        labels = set.intersection(*(_labels_of(one) for one in source))
        assert set(rule.get("equal", [])) <= labels | {"policy"}, rule


def _labels_of(name: str) -> set[str]:
    labels = Labels()
    return set.union(*(labels.of(one["expr"]) for one in ALERTS if one["alert"] == name))


def test_the_rules_for_kubernetes_are_those_of_the_file() -> None:
    spec = importlib.util.spec_from_file_location("deploy_generate", TOP / "deploy/generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    manifest = TOP / "deploy/kubernetes/prometheusrule.yaml"
    assert manifest.read_text() == generate.manifest(), "run: python deploy/generate.py"
    assert yaml.safe_load(manifest.read_text())["spec"]["groups"] == GROUPS
