"""A real SLURM cluster for the tests of this folder; they are skipped, with a reason, where none can run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import Cluster, cluster, unavailable


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[Cluster]:
    """Four nodes with accounting, for the whole session."""
    if reason := unavailable():
        pytest.skip(reason)
    with cluster() as running:
        yield running


@pytest.fixture
def bare_cluster() -> Iterator[Cluster]:
    """Four nodes without accounting, of its own."""
    if reason := unavailable():
        pytest.skip(reason)
    with cluster("none") as running:
        yield running
