"""What a cluster offers, and what only the site can decide."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import Cluster
from sweeps import Sweep, job_of, run

from lightning_module.support.errors import ConfigError
from slurm.resources import Limits
from slurm.site import Site, discover, hosts, parse_partitions

NOBODY = 65534
CPU, GPU = Limits(60, 4, 8.0, 0), Limits(1440, 16, 64.0, 4)
ROUTE = """
function slurm_job_submit(job, partitions, user)
  if job.partition == nil and job.tres_per_node ~= nil then job.partition = "batch" end
  return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, user) return slurm.SUCCESS end
return slurm.SUCCESS
"""


def test_only_a_site_that_routes_jobs_needs_no_partition() -> None:
    there = {"cpu": CPU, "gpu": GPU, "secret": GPU}
    site = Site(there, "", 1000, hidden=frozenset({"secret"}))
    assert (site.limits("secret"), site.limits("cpu,gpu")) == (GPU, CPU)
    assert site.limits("cpu").elsewhere == {"gpu": 4}
    with pytest.raises(ConfigError, match="no default partition; choose one .* cpu, gpu$"):
        site.limits(None)
    assert Site(there, "", 1000, routes=True).limits(None) == Limits(1440, 16, 64.0, 4, decided=False)
    assert Site(there, "cpu", 1000, routes=True).limits(None) == Limits(60, 4, 8.0, 0, decided=False)


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("gpu:4", 4),
        ("gpu:3090:2(S:0-1)", 2),
        ("nvme:1,gpu:2080ti:8", 8),
        ("gpu:1g.5gb:8,gpu:a100:2(IDX:0,1)", 10),
        ("gpu:(null):3(S:0)", 3),
        ("mygpu:7", 0),
        ("(null)", 0),
    ],
)
def test_gpus_of_a_node_are_counted_whatever_their_type_is_called(gres: str, gpus: int) -> None:
    (limits,) = parse_partitions(f"gpu*|infinite|4|1000|{gres}")[0].values()
    assert limits.gpus == gpus


def as_nobody(work: Callable[[], str]) -> str:
    """What a function returns for another user, in a process of theirs."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.write(writing, work().encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def test_a_cluster_with_a_hidden_partition_a_cpu_default_and_a_plug_in_that_routes(
    bare_cluster: Cluster, tmp_path: Path
) -> None:
    sweep, small = Sweep(bare_cluster, tmp_path / "runs"), ("hydra.launcher.sbatch=[hold]", "recipe.steps=70")

    def asked(*overrides: str) -> tuple[str, dict[str, str]]:
        """What a submission says, and what SLURM knows of its job."""
        done = run(*sweep.command(*small, *overrides))
        assert done.returncode == 0, done.stderr
        job = job_of(max(sweep.rows().items())[1]).partition("_")[0]
        return done.stdout, dict(re.findall(r"(\w+)=(\S*)", bare_cluster.run("scontrol", "show", "job", job)))

    conf = bare_cluster.root / "etc" / "slurm.conf"
    (conf.parent / "job_submit.lua").write_text(ROUTE)
    conf.write_text(conf.read_text() + "JobSubmitPlugins=lua\n")
    bare_cluster.run("scontrol", "reconfigure")
    bare_cluster.run("scontrol", "update", "PartitionName=high", "Hidden=YES")
    bare_cluster.run("scontrol", "update", "PartitionName=small", "Default=YES")
    bare_cluster.run("scontrol", "update", "NodeName=node4", "Gres=")

    def seen() -> str:
        site = discover()
        return f"{sorted(site.shown)} {sorted(site.hidden)} {site.default} {site.routes} {hosts('high')[0]}"

    assert as_nobody(seen) == "['batch', 'small'] ['high'] small True node1"

    said, job = asked("seed=1", "trainer.accelerator=auto")
    assert "small has none, so cells train on CPUs. With GPUs: hydra.launcher.partition=batch" in said
    assert job["Partition"] == "small" and "TresPerNode" not in job
    words = ("gpus_per_node=1", "exclude=node[3-4]", "time=0:30:00")  # as the launcher's file writes them
    said, job = asked("seed=2", "trainer.accelerator=auto", *(f"hydra.launcher.{word}" for word in words))
    assert "No GPU" not in said
    assert (job["Partition"], job["TresPerNode"]) == ("batch", "gres:gpu:1")
    assert (job["ExcNodeList"], job["TimeLimit"]) == ("node[3-4]", "00:30:00")
