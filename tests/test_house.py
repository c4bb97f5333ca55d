"""What holds for every committed file: sizes, docstrings, and nothing that only one machine has."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "syncwatch").rglob("*.py"))

LINES_OF_A_FUNCTION = 80
LINES_OF_A_FILE = 500

# Written in halves, so that this file does not hold what it looks for.
HOSTS = ("pypi" + ".org", "files.python" + "hosted.org", "registry.npm" + "js.org")
HOSTS += ("proxy.go" + "lang.org", "crates" + ".io", "test.py" + "pi.org")
PATHS = re.compile(r"(?<![\w.$}/-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me)/\w")
LOCKS = {"uv" + ".lock", "py" + "lock.toml", "poetry" + ".lock", "Pip" + "file.lock"}


def committed() -> list[Path]:
    """Every committed file that is there."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    told = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name for name in told.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def texts() -> list[tuple[str, str]]:
    """(name, text) of every committed file that is text."""
    found = []
    for path in committed():
        try:
            found.append((str(path.relative_to(ROOT)), path.read_text()))
        except UnicodeDecodeError:
            continue
    return found


def test_no_committed_file_names_a_path_of_one_machine() -> None:
    named = [
        f"{name}: {line.strip()[:100]}"
        for name, text in texts()
        for line in text.splitlines()
        if str(ROOT) + "/" in line or PATHS.search(line)
    ]
    assert named == []


def test_no_committed_file_names_a_package_registry() -> None:
    named = [f"{name}: {host}" for name, text in texts() for host in HOSTS if host in text]
    assert named == []


def test_no_lock_file_that_holds_addresses_is_committed() -> None:
    assert [path for path in committed() if path.name in LOCKS] == []


def test_every_requirement_is_locked_with_a_hash() -> None:
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    assert len(blocks) > 20
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_no_file_of_ours_is_longer_than_500_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LINES_OF_A_FILE}
    assert long == {}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is_and_has_no_long_function(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module has no docstring"
    long = [
        f"{node.name}, line {node.lineno}: {size} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := (node.end_lineno or 0) - node.lineno + 1) > LINES_OF_A_FUNCTION
    ]
    assert long == []
