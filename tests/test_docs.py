"""What the pages say is what the code has, and the other way round."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml
from running import SECRET, running, settings_file
from servers import needs
from servers.kubernetes_api import KubernetesApi

from syncwatch.cli import app
from syncwatch.config import load
from syncwatch.config.outline import sections
from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry
from syncwatch.model import REASONS, Happening, Reason, State
from syncwatch.report.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parent.parent
DOCS = TOP / "docs"
PAGES = {
    str(path.relative_to(TOP)): path.read_text(encoding="utf-8")
    for path in sorted([*TOP.glob("*.md"), *DOCS.glob("*.md")])
}
MODULES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for path in (TOP / "syncwatch").rglob("*.py")
    if "lab" not in path.relative_to(TOP).parts
}

_spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
assert _spec is not None and _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


def nodes(kind: type[Any]) -> Iterator[Any]:
    for tree in MODULES.values():
        yield from (node for node in ast.walk(tree) if isinstance(node, kind))


def headings(page: str) -> list[str]:
    plain = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ (.+)$", plain, flags=re.MULTILINE)


def blocks(page: str, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language in languages]


def test_generated_parts_are_up_to_date() -> None:
    pages = [str(path.relative_to(TOP)) for path in generate.outdated()]
    assert pages == [], "run: make docs"


def test_every_state_reason_and_event_has_its_prose() -> None:
    data = generate.read_data("reasons")
    assert set(data["states"]) == set(State)
    assert set(data["reasons"]) == set(Reason)
    assert set(data["happenings"]) == set(Happening)
    told = headings(PAGES["docs/states.md"])
    assert set(State) | set(Reason) <= set(told)
    for name, prose in data["reasons"].items():
        assert all(prose[part].strip() for part in ("means", "confirm", "cure")), name


def test_reasons_said_and_reasons_of_later_versions_are_told_apart() -> None:
    said = {
        Reason[node.attr]
        for path, tree in MODULES.items()
        if path.name != "model.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Reason"
        and node.attr in Reason.__members__
    }
    # An OutboundError's kind becomes a reason by its name.
    kinds = {
        node.value
        for path in (TOP / "syncwatch" / "outbound.py", TOP / "syncwatch/verify/refusal.py")
        for node in ast.walk(MODULES[path])
        if isinstance(node, ast.Constant) and node.value in REASONS[State.UNKNOWN]
    }
    reasons = generate.read_data("reasons")["reasons"]
    later = {name for name, prose in reasons.items() if prose.get("later")}
    assert later == set(Reason) - said - kinds, "set or drop `later` in docs/data/reasons.toml"


def test_every_metric_named_on_a_page_exists() -> None:
    known = {family.name for family in FAMILIES}
    known |= {f"{name}_{part}" for name in known for part in ("bucket", "count", "sum")}
    for name, page in PAGES.items():
        assert set(re.findall(r"\bsyncwatch_[a-z_]+\b", page)) <= known, name


def test_every_metric_has_its_line() -> None:
    for family in FAMILIES:
        assert f"| `{family.name}` | {family.type} |" in PAGES["docs/metrics.md"]


def findings_in_the_code() -> set[str]:
    """Names given to Finding and to the functions that make one; every form has to be known."""
    found: set[str] = set()
    for call in nodes(ast.Call):
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        place = {"Finding": 0, "_say": 1}.get(name)
        if place is None:
            continue
        given = call.args[place]
        texts = [n.value for n in ast.walk(given) if isinstance(n, ast.Constant)]
        known = bool(texts) or ast.unparse(given) in ("finding", "answer.broken")
        assert known, f"a finding's name that this test cannot read: {ast.unparse(call)}"
        found |= {text for text in texts if isinstance(text, str)}
    for table in nodes(ast.Assign):
        if ast.unparse(table.targets[0]) == "_FINDINGS":
            assert isinstance(table.value, ast.Dict)
            found |= {value.elts[0].value for value in table.value.values}  # type: ignore[attr-defined]
    for call in nodes(ast.Call):
        if isinstance(call.func, ast.Name) and call.func.id == "NoPromise" and len(call.args) == 3:
            found |= {call.args[2].value}
    return found


def test_every_finding_has_its_heading() -> None:
    data = generate.read_data("findings")
    placed = [name for about in data["about"].values() for name in about["findings"]]
    assert sorted(placed) == sorted(data["findings"])
    assert set(placed) == findings_in_the_code()
    assert set(placed) <= set(headings(PAGES["docs/findings.md"]))


def routes_in_the_code() -> set[tuple[str, str]]:
    return {
        # What a part of a path may hold is aiohttp's business: {image:.+} is {image}.
        (call.func.attr.upper(), re.sub(r":[^}]*}", "}", call.args[0].value))
        for call in nodes(ast.Call)
        if isinstance(call.func, ast.Attribute)
        and ast.unparse(call.func.value) == "web"
        and call.func.attr in ("get", "post", "put", "patch", "delete")
    }


def test_every_route_is_on_the_page_of_the_api_and_in_the_readme() -> None:
    table = re.findall(r"^\| `([A-Z]+) (/\S*)` \|", PAGES["docs/api.md"], flags=re.MULTILINE)
    assert set(table) == routes_in_the_code()
    pages = set(re.findall(r"^\| `GET (/\S*)`", PAGES["docs/page.md"], flags=re.MULTILINE))
    for method, path in routes_in_the_code():
        below = path in pages - {"/"} or path.startswith("/sign-")
        assert below or f"`{method} {path}`" in PAGES["README.md"], path


def commands() -> dict[tuple[str, ...], set[str]]:
    """Every command with its options."""

    def below(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], set[str]]]:
        for name, command in getattr(group, "commands", {}).items():
            options = {text for one in command.params for text in one.opts}
            yield (*path, name), options | {"--help"}
            yield from below(command, (*path, name))

    return dict(below(typer.main.get_command(app), ()))


def test_every_command_is_in_the_readme() -> None:
    known = commands()
    groups = {path[:-1] for path in known if len(path) > 1}
    for path in known.keys() - groups:
        assert f"| `syncwatch {' '.join(path)}` |" in PAGES["README.md"]


@pytest.mark.parametrize("name", PAGES)
def test_every_command_in_a_shell_block_exists(name: str) -> None:
    known = commands()
    for block in blocks(PAGES[name], "sh", "console"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True) if "syncwatch " in line else []
            starts = [i for i, w in enumerate(words) if w in ("syncwatch", ".venv/bin/syncwatch")]
            for start in starts:
                said = words[start + 1 :]
                said = said[: said.index("&&")] if "&&" in said else said
                path = next((tuple(said[:n]) for n in (2, 1) if tuple(said[:n]) in known), None)
                assert path is not None, line
                options = {word.partition("=")[0] for word in said if word.startswith("-")}
                assert options <= known[path], line


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        page = ((TOP / name).parent / path).resolve() if path else TOP / name
        assert page.exists(), target
        if anchor:
            known = {slug(one) for one in headings(page.read_text(encoding="utf-8"))}
            assert anchor in known, target


def slug(heading: str) -> str:
    """The anchor that a heading gets on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


async def test_the_examples_of_the_api_have_the_fields_of_real_answers(tmp_path: Path) -> None:
    page = PAGES["docs/api.md"]
    examples = {
        path: json.loads(text)
        for path, text in re.findall(
            r"<!-- example: (\S+) -->\n```json\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE
        )
    }
    async with (
        LabHarbor().serving() as harbor,
        LabRegistry().serving() as registry,
        KubernetesApi().serving() as kubernetes,
    ):
        harbor.create_registry("cluster1-registry", registry.url)
        harbor.create_policy("to-cluster1", "cluster1-registry", pattern="apps/**")
        user, password = harbor.create_robot("syncwatch")
        kubeconfig = str(kubernetes.kubeconfig(tmp_path / "kubeconfig"))
        config = settings_file(
            tmp_path,
            {"url": harbor.url, "username": user, "password": password},
            {"cluster": "cluster1", "level": "pulled"},
            more_destinations=[{"name": "cluster2"}],
            clusters=[{"name": "cluster1", "kubeconfig": kubeconfig, "probe": {"mode": "pull"}}],
        )
        async with running(config) as watched:
            harbor.create_webhook_policy("apps", watched.webhook_url, auth_header=SECRET)
            harbor.push("apps/web", "1.4.0", images.image("web"))
            row = await watched.row(state="verified")
            (probe,) = (await watched.get("/api/v1/probes"))["items"]
            assert examples.keys() == {
                path
                for method, path in routes_in_the_code()
                if method == "GET" and path.startswith("/api/")
            }
            for path, example in examples.items():
                query = {"image": "apps/web:1.4.0"} if asks_for_an_image(path) else {}
                one = (probe if "/probes/" in path else row)["id"]
                answer = await watched.get(path.replace("{id}", one), **query)
                assert shape(example) == shape(answer), path


def asks_for_an_image(path: str) -> bool:
    return path.endswith(("/explain", "/gate"))


def shape(value: Any) -> Any:
    """The names in an answer; a list is as its first item, and one that may be null has no say."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items() if name != "last_execution"}
    return shape(value[0]) if isinstance(value, list) and value else None


def test_the_configuration_of_the_readme_is_good(tmp_path: Path) -> None:
    (text,) = [one for one in blocks(PAGES["README.md"], "yaml") if one.startswith("harbors:")]
    (tmp_path / "secrets").mkdir()
    for name in ("harbor", "webhook", "cluster1"):
        (tmp_path / "secrets" / name).write_text("a secret\n")
    path = tmp_path / "syncwatch.yml"
    path.write_text(text)
    settings = load(path)
    assert settings.harbor("main").username == "robot$syncwatch"
    assert settings.destination("main", "cluster1-registry").username == "reader"


def permissions(robot: dict[str, Any]) -> set[tuple[str, str, str, str]]:
    return {
        (part["kind"], part["namespace"], one["resource"], one["action"])
        for part in robot["permissions"]
        for one in part["access"]
    }


def bodies(name: str) -> list[dict[str, Any]]:
    """JSON objects of a page: whole blocks, and what a curl of a shell block sends."""
    page = PAGES[name]
    found = blocks(page, "json")
    for block in blocks(page, "sh"):
        sent = re.sub(r"'\"\$\(.*?\)\"'", "VALUE", block)
        found += re.findall(r"-d '(\{.*?\})'$", sent, flags=re.DOTALL | re.MULTILINE)
    return [json.loads(one) for one in found]


@pytest.mark.parametrize("name", ["README.md", "docs/harbor.md"])
def test_the_robot_has_the_rights_that_were_seen_to_be_enough(name: str) -> None:
    recording = TOP / "tests/recordings/16-robot-permissions/api.jsonl"
    calls = [json.loads(line) for line in recording.read_text().splitlines()]
    made = next(call["request"] for call in calls if call["path"] == "/robots")
    (robot,) = [one for one in bodies(name) if "permissions" in one]
    assert permissions(robot) == permissions(made)
    assert (robot["level"], robot["duration"]) == (made["level"], made["duration"])


@pytest.mark.parametrize("name", ["README.md", "docs/harbor.md"])
def test_the_webhook_tells_of_what_syncwatch_reads(name: str) -> None:
    (webhook,) = [one for one in bodies(name) if "event_types" in one]
    assert webhook["event_types"] == ["PUSH_ARTIFACT", "DELETE_ARTIFACT", "REPLICATION"]
    (target,) = webhook["targets"]
    assert target["address"].endswith("/webhook/main")
    assert target["payload_format"] in ("CloudEvents", "Default")


def test_settings_without_effect_are_named_and_no_others() -> None:
    used = {node.attr for node in nodes(ast.Attribute)}
    unused = [
        (f"{where}.", name)
        for where, section in sections()
        for name in section.model_fields
        if name not in used
    ]
    # What is inside an unused section goes without saying.
    inside = tuple(f"{where}{name}" for where, name in unused)
    outer = {name for where, name in unused if not where.startswith(inside)}
    lines = [one for one in PAGES["README.md"].splitlines() if "have no effect: " in one]
    assert {name for line in lines for name in re.findall(r"`(\w+)`", line)} == outer


@pytest.mark.real
def test_prometheus_reads_the_queries_and_rules(tmp_path: Path) -> None:
    promtool = needs("promtool")
    queries = [one for page in PAGES.values() for one in blocks(page, "promql")]
    rules = [{"record": f"query:{number}", "expr": one} for number, one in enumerate(queries)]
    groups = [{"name": "queries", "rules": rules}]
    for text in blocks(PAGES["docs/metrics.md"], "yaml"):
        groups += yaml.safe_load(text)["groups"]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": groups}))
    told = subprocess.run(
        [promtool, "check", "rules", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
