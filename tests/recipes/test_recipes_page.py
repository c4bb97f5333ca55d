"""The page of the recipes tells of each file, and leads nowhere else."""

from __future__ import annotations

import re

import yaml
from kitchen import RECIPES

PAGE = (RECIPES / "README.md").read_text(encoding="utf-8")


def test_every_recipe_is_on_the_page() -> None:
    files = {path.name for path in RECIPES.iterdir()} - {"README.md"}
    linked = set(re.findall(r"\]\(([\w.-]+)\)", PAGE))
    assert linked == files


def test_every_link_of_the_page_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        path, _, anchor = target.partition("#")
        assert not path or (RECIPES / path).resolve().exists(), target
        assert not anchor or anchor in slugs, target


def test_every_recipe_says_how_far_it_was_tested() -> None:
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert [part.split("\n")[0] for part in parts if "\n*Tested:*" not in part] == []


def test_every_object_says_what_it_is() -> None:
    for path in RECIPES.glob("*.yml"):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if path.name not in ("github-actions.yml", "gitlab-ci.yml"):
                assert {"apiVersion", "kind", "metadata", "spec"} <= document.keys(), path.name
