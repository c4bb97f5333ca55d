"""What tests on the real Kubernetes share: one cluster for all files of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from real_cluster import NAMESPACE, apply_rights
from servers.kubernetes.cluster import kubernetes as bring_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers.kubernetes.cluster import Kubernetes


@pytest.fixture(scope="session")
def cluster() -> Iterator[Kubernetes]:
    """With the namespace of probes and the rights that deploy/ gives, for the user `syncwatch`."""
    with bring_up() as one:
        one.namespace(NAMESPACE)
        apply_rights(one)
        yield one


def pytest_configure(config: pytest.Config) -> None:
    words = "rows of kubelets' answers that only `-m kubernetes` runs"
    config.addinivalue_line("markers", f"kubernetes_rows: {words}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave those rows out unless marks are asked for."""
    if config.option.markexpr:
        return
    left_out = [one for one in items if one.get_closest_marker("kubernetes_rows")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [one for one in items if one not in left_out]
