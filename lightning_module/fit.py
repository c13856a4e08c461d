"""Training one cell into its record: the only place that builds a Trainer.

`fit` is what each process does; `python -m lightning_module.fit CELL.json` is one process of several.
"""

from __future__ import annotations

import math
import os
import sys
import time
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.strategies import DDPStrategy

from lightning_module.benchmark.measure import Benchmark
from lightning_module.cell import record
from lightning_module.cell.config import Config, parse_config
from lightning_module.cell.identity import Cell
from lightning_module.data.images import load
from lightning_module.networks.responses import layer_responses
from lightning_module.support.disk import Busy, Lock
from lightning_module.support.program import start_program
from lightning_module.tracking.reporter import Reporter
from lightning_module.training import checkpoint
from lightning_module.training.classifier import Classifier
from lightning_module.training.device_memory import (
    device_memory,
    peak_memory,
    with_activation_checkpoint,
)
from lightning_module.training.interruption import Interruption, leave_with_parent
from lightning_module.training.network import initial, sound
from lightning_module.training.realised import realised
from lightning_module.training.resume import choose
from lightning_module.training.torch_setup import on_gpu, set_up_torch

CHECKPOINT_SECONDS = 60.0
"""Least time between two checkpoints where `trainer.checkpoint_every` says nothing: what a kill can cost."""


def fit(cell: Cell, interruption: Interruption, environment: ClusterEnvironment | None = None) -> None:
    """Train in this process, which is one of `trainer.devices` x `trainer.nodes`.

    Rank 0 holds the lock and writes the record; a failure of the cell ends up there, not in the caller. A cell that
    has its result, which may have come while nobody held the lock, is left as it is; Busy if other ranks wait for it.
    """
    folder = cell.run_folder
    rank = environment.global_rank() if environment else 0
    if rank == 0:
        with Lock(folder):
            if record.read(folder).state in record.FINAL:
                if parse_config(cell.config).trainer.processes > 1:
                    raise Busy(f"{folder.name} was trained by another process meanwhile")
                return
            writer = record.Writer(folder, cell)
            try:
                _fit(cell, folder, interruption, environment, writer)
            finally:
                writer.close()
        return
    try:
        _fit(cell, folder, interruption, environment, None)
    except Exception:
        (folder / f"error-{rank}.txt").write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
        raise


def _fit(
    cell: Cell,
    folder: Path,
    interruption: Interruption,
    environment: ClusterEnvironment | None,
    writer: record.Writer | None,
) -> None:
    """Train on, from the last checkpoint if there is one, to an end that the log is told of."""
    config = parse_config(cell.config)
    config = with_activation_checkpoint(config, device_memory(config, on_gpu(config)))
    data = load(config.data)
    reporter = Reporter(cell, config, folder, writer)
    training = _Training(config, folder, interruption, reporter)
    try:
        set_up_torch(config, cell.multiply_adds)
        network = initial(config, data.classes)
        about = {**realised(config, cell.parameters, network), "images_crc32": data.checksum()}
        kind = Benchmark if config.mode == "benchmark" else Classifier
        module = kind(sound(config, network), network, data, training.on_epoch, training.on_call)
        training.module = module
        trainer = _trainer(config, training, environment)
        if config.trainer.processes > 1:
            trainer.strategy.setup_environment()  # the ranks agree on where they go on before anything else
        state, set_aside = choose(folder, cell.identity, config.recipe, network)
        if state:
            reporter.step = state["step"]
            # A cell killed again and again must not save a call more each time.
            training.saved = time.monotonic()
            module.restore(state, 0 if writer else 1)
        reporter.start(trainer.strategy.root_device.type, about)
        reporter.set_aside(set_aside)
        if reporter.step < config.recipe.steps:
            trainer.fit(module)
            reporter.event("execution", **module.executed())
        if dist.is_initialized():
            # Its threads let go of tensors, for which Python must still be there.
            dist.destroy_process_group()
        if module.interrupted:
            reporter.end(None)
            return
        if config.mode == "train":
            reporter.learning_rates(module.step, module.warm_up_ends)
        if module.diverged:  # a result, not a fault
            reporter.end("diverged", error=module.diverged)
            return
        if isinstance(module, Benchmark):
            reporter.benchmark(module)
            return
        if config.recipe.warm_up == "train_error":
            reporter.event("warm_up", ended=module.warm_up_ends)
        if writer:
            # A network as it was built: the units of a compiled one do not say what their layers respond.
            trained = config.model.build(data.classes, config.data.channels)
            trained.load_state_dict(module.network.state_dict())
            device = trainer.strategy.root_device
            watches = getattr(config.model, "watches", None)
            responses = layer_responses(trained.to(device), data.sample().to(device), watches)
            reporter.event("layer_responses", responses=list(responses.items()))
        reporter.end("finished")
    except (Exception, SystemExit) as error:
        if interruption and config.trainer.processes > 1:
            # Told to stop, another rank was killed before it had left, and this one lost the connection: no fault.
            traceback.print_exc()
            reporter.end(None)
            return
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        reporter.end("failed", error=reason, traceback=traceback.format_exc())
        if not writer:
            raise
    finally:
        training.saver.close()


class _Training(Callback):
    """What happens between calls: checkpoints, and leaving together when one process is asked to."""

    module: Classifier

    def __init__(self, config: Config, folder: Path, interruption: Interruption, reporter: Reporter) -> None:
        self.config, self.folder, self.interruption, self.reporter = config, folder, interruption, reporter
        self.saver, self.saved = checkpoint.Saver(), -math.inf
        self.hosts: dist.ProcessGroup | None = None

    def on_call(self) -> None:
        """Between optimizer steps, on every rank."""
        self.reporter.call(self.module.step)
        every = self.config.trainer.checkpoint_every
        if not self.module.epoch_is_over:  # else the record has the epoch first: see on_epoch
            self._save_or_leave(due=every is not None and self.module.step % every == 0)

    def on_epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """The record comes before the checkpoint: a kill between them repeats the epoch, never skips it."""
        self.reporter.epoch(epoch, step, {**metrics, "peak_memory": peak_memory(self.module.device)})
        for test, right in self.module.right_images.items():
            self.reporter.event("right_images", test=test, **right)
        if not self.module.diverged:
            self._save_or_leave(due=self.config.trainer.checkpoint_every is not None)

    def _save_or_leave(self, due: bool) -> None:
        """Checkpoint at the end, when asked to stop, and when it is due, by steps or by the clock."""
        end = self.module.is_last
        if self.config.trainer.checkpoint_every is None:
            due = time.monotonic() - self.saved > CHECKPOINT_SECONDS
        stop, due = self._agreed(bool(self.interruption), due)
        if self.module.goes_on and (end or stop or due):
            self.save()
        if end or stop:
            self.saver.wait()
        if stop and not end:
            self.module.interrupted = True
            self.module.trainer.should_stop = True

    def save(self) -> None:
        """Begin a checkpoint, on every rank because sums are taken over processes; rank 0 writes."""
        self.saved = time.monotonic()
        state = self.module.state()
        if writer := self.reporter.writer:
            self.saver.save(self.folder, self.reporter.cell.identity, writer.attempt, writer.epochs, state)

    def _agreed(self, stop: bool, due: bool) -> tuple[bool, bool]:
        """What any rank was asked, and what is due by the clock of any."""
        if self.module.trainer.world_size == 1:
            return stop, due
        if self.hosts is None:
            self.hosts = dist.new_group(backend="gloo")  # which does not wait for the devices
        flags = torch.tensor([stop, due], dtype=torch.int32)
        dist.all_reduce(flags, dist.ReduceOp.MAX, self.hosts)
        stop, due = map(bool, flags.tolist())
        return stop, due


def _trainer(config: Config, training: _Training, environment: ClusterEnvironment | None) -> Trainer:
    several = config.trainer.processes > 1
    if environment is None:
        environment = LightningEnvironment()
    return Trainer(
        accelerator="gpu" if on_gpu(config) else "cpu",
        devices=config.trainer.devices,
        num_nodes=config.trainer.nodes,
        strategy=DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True) if several else "auto",
        plugins=[environment],
        max_epochs=-1,
        callbacks=[training],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def main(path: str) -> None:
    """One process of several, started by `lightning_module.processes`."""
    start_program()
    interruption = Interruption()
    interruption.install()
    leave_with_parent(os.getppid())
    cell = Cell.read(Path(path))
    fit(cell, interruption, TorchElasticEnvironment())
    if record.read(cell.run_folder).state == "failed":
        sys.exit(1)  # so that torchrun ends the ranks that wait for this one on their devices


if __name__ == "__main__":
    main(sys.argv[1])
