"""The test cluster itself."""

from __future__ import annotations

from cluster import Cluster


def test_a_job_of_two_nodes_sees_two_hosts_and_its_fake_gpus(slurm_cluster: Cluster) -> None:
    command = "echo $(hostname) $CUDA_VISIBLE_DEVICES $SLURM_PROCID"
    lines = slurm_cluster.run(
        "srun", "-N2", "--ntasks-per-node=1", "--gpus-per-node=2", "bash", "-c", command
    )
    nodes = [line.split() for line in lines.splitlines()]
    assert len({node[0] for node in nodes}) == 2
    assert {tuple(node[1:]) for node in nodes} == {("0,1", "0"), ("0,1", "1")}
