"""The page has every field, and its example is a setup file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from syncwatch.config.outline import sections
from syncwatch.setup.reading import load_setup
from syncwatch.setup.sections import SetupFile

if TYPE_CHECKING:
    import trustme

DOCS = Path(__file__).parent.parent.parent / "docs"


def fields() -> set[str]:
    return {name for _, model in sections(SetupFile) for name in model.model_fields}


def test_every_field_is_on_the_page() -> None:
    page = (DOCS / "setup.md").read_text()
    assert sorted(name for name in fields() if f"`{name}`" not in page) == []


def test_the_example_is_read_and_leaves_little_out(tmp_path: Path, authority: trustme.CA) -> None:
    text = (DOCS / "setup.example.yml").read_text().replace("/run/secrets/", f"{tmp_path}/")
    for name in ("harbor-admin", "cluster1-pusher", "webhook"):
        (tmp_path / name).write_text("secret\n")
    for name in ("harbor-ca.pem", "cluster1-ca.pem"):
        authority.cert_pem.write_to_path(str(tmp_path / name))
    path = tmp_path / "setup.yml"
    path.write_text(text)
    said = set(_said(load_setup(path).value))
    plain = {"password", "access_secret", "ca_certificate", "authorization"}
    assert fields() - said == plain | {"insecure_skip_verify", "timeout"}


def _said(section: BaseModel) -> list[str]:
    found = list(section.model_fields_set)
    for name in section.model_fields_set:
        value = getattr(section, name)
        for one in value if isinstance(value, tuple) else (value,):
            found += _said(one) if isinstance(one, BaseModel) else []
    return found
