"""A real SLURM cluster for the tests of this folder; they are skipped, with a reason, where none can run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

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
