"""Small cells trained through `train.run`, as any cell, on random images; and what became of them."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from against_peers import cell_of

from lightning_module import fit, train
from lightning_module.cell.record import Record, last_event
from lightning_module.data.images import DataSet, Images
from lightning_module.support.errors import log
from lightning_module.training import checkpoint
from lightning_module.training.interruption import Interruption

GPU = torch.cuda.is_available()


class Heard(logging.Handler):
    """Warnings, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Until(Interruption):
    """Asks to stop at the look after so many; each look waits for the device, so that the host's clock is true."""

    def __init__(self, looks: float) -> None:
        super().__init__()
        self.looks = looks

    def __bool__(self) -> bool:
        if GPU:
            torch.cuda.synchronize()
        self.looks -= 1
        return self.looks < 0


@dataclass
class Ran:
    """What became of a cell. state: its checkpoint. before: bytes that were allocated when it began."""

    record: Record
    state: dict[str, Any] | None
    replays: int
    before: int
    warnings: list[str]

    def __str__(self) -> str:
        graph = f"{self.replays} replays" if self.replays else "no graph"
        how = f"{self.record.state} ({graph}{facts(self.record, 'execution')})"
        return " ".join([how, str(self.record.status.get("error", "")), *self.warnings]).strip()


def facts(record: Record, event: str) -> str:
    """What a record says in the last event of this kind, but for what is 0 or false."""
    said = last_event(record.events, event)
    return "".join(
        f", {key} {value}" for key, value in said.items() if value and key not in ("event", "step")
    )


@dataclass
class Lab:
    """Trains small cells. exact: by kernels that give the same bits each time."""

    toy: bool
    folder: Path
    exact: bool = True
    replays: int = 0
    cells: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if GPU else "cpu"))

    def __post_init__(self) -> None:
        count, side = (100, 8) if self.toy else (10_000, 32)
        random = torch.Generator().manual_seed(0)
        self.images = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=random)
        self.labels = torch.randint(10, (count,), generator=random)
        self.base = [
            "data=cifar10",
            "recipe=he2015_cifar",
            "recipe.learning_rate=0.125",
            "recipe.drop_factor=0.5",
        ]
        self.base += ["recipe.batch_size=4", "model.depth=8"] if self.toy else ["model.depth=20"]
        self.precisions = ("32",) if self.toy else ("bf16", "tf32", "32")
        self.depths = (14, 20) if self.toy else (56, 110)
        self.short = (
            ("recipe.steps=10", "recipe.drops=[6]") if self.toy else ("recipe.steps=50", "recipe.drops=[30]")
        )
        self.epoch = count // (4 if self.toy else 128)
        fit.load = lambda config: DataSet(
            config, Images(self.images, self.labels), Images(self.images[:100], self.labels[:100])
        )
        replay = torch.cuda.CUDAGraph.replay

        def counted(graph: torch.cuda.CUDAGraph) -> None:
            self.replays += 1
            replay(graph)

        torch.cuda.CUDAGraph.replay = counted

    def train(
        self, *overrides: str, interruption: Interruption | None = None, runs: Path | None = None
    ) -> Ran:
        """Train the base cell with these overrides, from a checkpoint in `runs` if there is one."""
        self.cells += 1
        own = (
            f"runs={runs or self.folder / str(self.cells)}",
            f"trainer.deterministic={str(self.exact).lower()}",
        )
        cell = cell_of(self.device, *self.base, *own, *overrides)
        before, self.replays = torch.cuda.memory_allocated() if GPU else 0, 0
        heard = Heard()
        log.addHandler(heard)
        try:
            found = train.run(cell, Interruption() if interruption is None else interruption)
        finally:
            log.removeHandler(heard)
        if "traceback" in found.status:
            print(found.status["traceback"], file=sys.stderr)
        return Ran(found, checkpoint.load(found.folder), self.replays, before, heard.lines)


def gap(one: Ran, other: Ran) -> str:
    """How far the networks of two cells are apart."""
    if one.state is None or other.state is None:
        return "NO CHECKPOINT"
    pairs = [(a.double(), other.state["network"][key].double()) for key, a in one.state["network"].items()]
    if all(torch.equal(a, b) for a, b in pairs):
        return "bit-equal"
    worst = max(float((a - b).norm() / (a.norm() + 1e-12)) for a, b in pairs)
    return f"NOT bit-equal, worst relative difference of a tensor {worst:.2e}"


def losses(ran: Ran) -> list[float]:
    return [epoch["train/loss"] for epoch in ran.record.epochs]
