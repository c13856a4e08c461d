"""What a cell asks for, and how cells become arrays."""

from __future__ import annotations

from typing import Any

import pytest

from ablations.sweep.estimate import Measured, Speed, of_device, work
from lightning_module.cell.identity import Cell
from lightning_module.support.errors import ConfigError
from slurm.options import Options, gigabytes, gpu_count, minutes, parse_options
from slurm.resources import Limits, Resources, arrays, kind, resources, throttles

ANY = Limits(minutes=None, cpus=64, mem_gb=256, gpus=8)


def cell(depth: int = 20, mode: str = "train", **trainer: Any) -> Cell:
    """ResNet on CIFAR-10 with the paper's recipe."""
    config = {
        "mode": mode,
        "model": {"depth": depth},
        "recipe": {"batch_size": 128, "steps": 64000},
        "trainer": {
            "accelerator": "gpu",
            "devices": 1,
            "nodes": 1,
            "threads": 0,
            "evaluation_batch_size": 1000,
            "precision": "32",
            **trainer,
        },
    }
    return Cell(config, (), "", multiply_adds=2_260_000 * (depth - 2), parameters=15_000 * depth)


def asked(cell: Cell, options: Options, limits: Limits, speed: Speed | None = None) -> Resources:
    """What a cell asks for, by default where nothing was measured."""
    return resources(cell, options, limits, speed or of_device([], kind(cell)))


def speed(seconds: dict[int, float]) -> Speed:
    """Of a GPU on which networks of these depths took so long a step."""
    return of_device(
        [Measured("a GPU", "gpu", work(cell(depth).to_json(), 1), step) for depth, step in seconds.items()],
        "gpu",
    )


def test_a_deep_network_gets_more_time_than_a_shallow_one() -> None:
    shallow, deep = (asked(cell(depth), Options(), ANY) for depth in (20, 1202))
    assert shallow.time < deep.time
    assert (deep.gpus_per_node, deep.ntasks_per_node, deep.nodes) == ("1", 1, 1)


def test_a_benchmark_needs_no_more_time_for_a_long_recipe() -> None:
    long = cell(1202, mode="benchmark")
    assert asked(long, Options(), ANY).time == 15 < asked(cell(1202), Options(), ANY).time


def test_what_was_measured_corrects_the_estimate() -> None:
    assumed = speed({})
    steps = {depth: assumed.step_seconds(cell(depth).to_json(), 1) for depth in (20, 56, 110)}
    slow = speed({depth: 10 * steps[depth] for depth in (20, 56)})
    assert slow.step_seconds(cell(110).to_json(), 1) == pytest.approx(10 * steps[110])
    assert asked(cell(110), Options(), ANY, slow).time > asked(cell(110), Options(), ANY).time


def test_small_cells_share_a_device() -> None:
    alone, shared = (
        asked(cell(), Options(cells_per_device=cells), ANY, speed({20: 0.0001})) for cells in (1, 8)
    )
    assert (shared.ntasks_per_node, shared.gpus_per_node, shared.cells) == (8, "1", 8)
    assert gigabytes(shared.mem) == 8 * gigabytes(alone.mem)
    assert shared.time >= alone.time, "at worst they take turns"
    several = asked(cell(devices=2), Options(cells_per_device=8), ANY)
    assert (several.ntasks_per_node, several.cells) == (2, 1)
    with pytest.raises(ConfigError, match="80 tasks.*cells_per_device"):
        asked(cell(), Options(cells_per_device=80), ANY)
    assert [len(cells) for _, cells in arrays([(number, shared) for number in range(20)], largest=2)] == [
        16,
        4,
    ]


def test_memory_grows_with_the_network_where_activations_live_in_it() -> None:
    cpu = {"accelerator": "cpu"}
    shallow, deep = (asked(cell(depth, **cpu), Options(), ANY) for depth in (20, 1202))
    assert gigabytes(shallow.mem) < 10 < gigabytes(deep.mem)
    assert asked(cell(1202, **cpu), Options(), Limits(None, cpus=4, mem_gb=8)).mem == "8G"


def test_the_user_decides_for_the_sweep_and_for_one_cell() -> None:
    options = parse_options(
        {"time": "2:00:00", "mem": "20G", "cells": ["model.depth=1202 time=2-00 mem=9000"]}
    )
    assert asked(cell(20), options, ANY).time == 120
    assert asked(cell(1202), options, ANY).time == 2880
    assert (asked(cell(20), options, ANY).mem, asked(cell(1202), options, ANY).mem) == ("20G", "9000")


@pytest.mark.parametrize("entry", ["a.flag=true", "a.rate=0.10", "a.rate=1e-1", "a.word=A", "a.list=[1,2]"])
def test_an_entry_for_some_cells_is_read_as_hydra_reads_the_configuration(entry: str) -> None:
    config = {"a": {"flag": True, "rate": 0.1, "word": "A", "list": [1, 2]}}
    options = parse_options({"cells": [f"{entry} time=7"]})
    options.check_cells([{"a": {}}, config])
    assert options.of(config).time == "7"
    assert options.of({"a": {"flag": False}}).time is None


@pytest.mark.parametrize(
    ("entry", "words"),
    [("model.dept=20", "no cell has model.dept; .* did you mean model.depth"), ("model.depth=21", "20, 56")],
)
def test_an_entry_that_no_cell_is_meant_by_is_refused(entry: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_options({"cells": [f"{entry} time=7"]}).check_cells([cell(20).config, cell(56).config])


def test_generic_resources_other_than_gpus_are_the_user_s() -> None:
    assert parse_options({"sbatch": ["gres=nvme:1"]}).more_sbatch == {"gres": "nvme:1"}


def test_options_of_sbatch_may_be_written_as_for_sbatch() -> None:
    written = ("--hold", "mail-type END", "export=ALL,A=b c")
    assert parse_options({"sbatch": written}).more_sbatch == {
        "hold": True,
        "mail-type": "END",
        "export": "ALL,A=b c",
    }


def test_a_long_cell_takes_the_partition_s_limit_and_resumes() -> None:
    assert asked(cell(1202), Options(), Limits(minutes=45, cpus=64, mem_gb=64, gpus=1)).time == 45


@pytest.mark.parametrize(
    ("options", "trainer", "words"),
    [
        ({"nodes": 2}, {}, "trainer.nodes=2"),
        ({"gpus_per_node": "a100:4"}, {}, "trainer.devices=4"),
        ({"time": "2:00:00"}, {}, "above the limit of 60 minutes"),
        ({"mem": "500G"}, {}, "more than a node"),
        ({"cpus_per_task": 40}, {"devices": 2}, "do not fit"),
        ({}, {"devices": 4}, "at most 2"),
        ({"time": 3, "signal_seconds": 120}, {}, "leaves no time to train within a limit of 3 minutes"),
    ],
)
def test_what_cannot_run_is_refused(options: dict[str, Any], trainer: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        asked(cell(**trainer), parse_options(options), Limits(minutes=60, cpus=64, mem_gb=256, gpus=2))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"partiton": "gpu"}, "did you mean partition"),
        ({"time": "soon"}, "is not a time"),
        ({"time": 0}, "leaves no time"),
        ({"mem": "lots"}, "is not a memory size"),
        ({"array_parallelism": 0}, "smallest valid value is 1"),
        ({"sbatch": ["ntasks-per-node=2"]}, "trainer.devices"),
        ({"sbatch": ["--cpus-per-task=3"]}, "follows from cpus_per_task"),
        ({"sbatch": ["gres=gpu:2"]}, "follows from gpus_per_node"),
        ({"sbatch": ["partition high"]}, "follows from partition"),
        ({"sbatch": ["-p high"]}, 'has "-p high"; an entry is a long option'),
        ({"sbatch": ["clusters=other"]}, "login node of that cluster"),
        ({"sbatch": ["--test-only"]}, "submits nothing"),
        ({"sbatch": ["wait"]}, "hydra.launcher.wait=true"),
        ({"cells": ["model.depth=20 tim=3"]}, "did you mean time"),
        ({"cells": ["model.depth time=3"]}, "an entry looks like"),
        ({"cells": ["model.depth=20,56 time=3"]}, "several values"),
        ({"cells": ["model.depth=20 cpus_per_task=many"]}, "cells.cpus_per_task=many is not a whole number"),
        ({"cells": ["model.depth=20 cpus_per_task=0"]}, "smallest valid value is 1"),
        ({"cpus_per_task": "many"}, "whole number"),
        ({"cpus_per_task": -3}, "smallest valid value is 1"),
    ],
)
def test_bad_parameters_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_options(values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90:30", 91), ("1:30:00", 90), ("1-12", 2160), ("1-12:30", 2190), ("2-0:0:1", 2881)],
)
def test_slurm_times(text: str, expected: int) -> None:
    assert minutes(text) == expected


def test_slurm_sizes() -> None:
    assert gigabytes("0") == gigabytes("0G") == 0, "all that a node has"
    assert (gigabytes("16G"), gigabytes("2048"), gigabytes("1.5TB"), gpu_count("a100:2")) == (16, 2, 1536, 2)


def test_all_memory_of_a_node_may_be_asked_for() -> None:
    options = parse_options({"mem": 0, "cells": ["model.depth=56 mem=8G"]})
    assert asked(cell(20), options, ANY).mem == "0"
    assert "all memory of a node" in str(asked(cell(20), options, ANY))
    assert asked(cell(56), options, ANY).mem == "8G"


def test_partitions_with_enough_gpus_are_named() -> None:
    offered = Limits(None, 64, 256.0, 1, elsewhere={"small": 1, "big": 4, "bigger": 8})
    with pytest.raises(ConfigError, match="choose hydra.launcher.partition=big or bigger, or"):
        asked(cell(devices=2), Options(), offered)


def test_where_the_site_may_choose_another_partition_slurm_says_what_is_too_much() -> None:
    default = Limits(minutes=60, cpus=4, mem_gb=8, gpus=0, decided=False)
    wanted = parse_options({"gpus_per_node": "a100:2", "time": "2:00:00", "cpus_per_task": 16})
    found = asked(cell(1202, devices=2), wanted, default)
    assert (found.gpus_per_node, found.time, found.cpus_per_task) == ("a100:2", 120, 16)
    assert gigabytes(found.mem) > 8
    assert asked(cell(1202), Options(), default).time == 60, "it resumes"


def test_cells_that_ask_for_the_same_share_an_array_split_at_the_limit() -> None:
    short, long = (asked(cell(depth), Options(), ANY) for depth in (20, 1202))
    wanted = [(f"s{index}", short) for index in range(5)] + [("l", long)]
    assert arrays(wanted, 2) == [(long, ["l"]), (short, ["s0", "s1"]), (short, ["s2", "s3"]), (short, ["s4"])]


def test_the_throttle_holds_for_the_sweep() -> None:
    assert sum(throttles([1000, 1000, 500], 64)) <= 64
    assert throttles([3, 1], 64) == [3, 1]
    assert throttles([100, 1], 2) == [1, 1]
