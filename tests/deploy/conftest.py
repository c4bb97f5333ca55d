"""What all tests of deploy/kubernetes look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from deploy_files import VARIANTS, built

if TYPE_CHECKING:
    from deploy_files import Document


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> list[Document]:
    """All that `kubectl apply -k` applies."""
    return built(VARIANTS[request.param])
