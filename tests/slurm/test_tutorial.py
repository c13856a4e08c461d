"""The part of the tutorial that is followed on a cluster."""

from __future__ import annotations

from pathlib import Path

import tutorial
from cluster import Cluster

from reports.notebook import frame


def test_a_network_of_ones_own_is_trained_on_the_cluster(slurm_cluster: Cluster, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    tutorial.write_files(lab)
    assert "6 of 6 cells finished" in tutorial.follow("On SLURM", lab)
    assert frame(runs=lab / "cluster")["job"].ne("").all()
    page = (lab / "cluster_results" / "my_study-seed_0_1" / "report.md").read_text(encoding="utf-8")
    assert "Does each unit of a residual network need weights of its own?" in page
