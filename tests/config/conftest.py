from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def _authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(_authority: trustme.CA, tmp_path: Path) -> Path:
    """A file with the certificate of an authority."""
    path = tmp_path / "authority.pem"
    _authority.cert_pem.write_to_path(str(path))
    return path
