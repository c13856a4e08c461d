"""The LightningModule: the hot loop, and what is measured around it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lightning_module.cell.config import Config
from lightning_module.data.images import Source
from lightning_module.data.stream import TrainStream
from lightning_module.training import recipe
from lightning_module.training.bf16_weights import bf16_weights
from lightning_module.training.evaluation import evaluate, packed
from lightning_module.training.execution import executed, without_graph
from lightning_module.training.precise_bn import set_precise_statistics
from lightning_module.training.schedule import Calls, Schedule
from lightning_module.training.step import Graphed, Step, batch_norms, counted_together

EpochEnd = Callable[[int, int, dict[str, float]], None]
"""(epoch, step, metrics) -> None."""


class Classifier(LightningModule):
    """Trains a network by the recipe, several optimizer steps per Lightning call.

    Everything that depends on the step (batch, augmentation, learning rate) is a function of it, so the whole
    state is: weights, optimizer, `step`, `warm_up_ends`, and the sums over the epoch so far. Nothing is read
    back from the device within an epoch. An epoch ends with the first step that completes it.
    """

    goes_on = True
    """Whether a run that was interrupted goes on from a checkpoint."""

    def __init__(
        self,
        config: Config,
        network: nn.Module,
        data: Source,
        on_epoch: EpochEnd,
        on_call: Callable[[], None],
    ) -> None:
        """on_epoch(epoch, step, metrics) is called on every rank after each epoch, on_call after each call."""
        super().__init__()
        self.automatic_optimization = False
        self.config, self.network, self.data = config, network, data
        self.on_epoch, self.on_call = on_epoch, on_call
        self.schedule = Schedule(config.recipe.steps, config.recipe.batch_size, data.train_images)
        self.step = 0
        self.warm_up_ends = recipe.warm_up_end(config.recipe, config.layers)
        self.seconds = 0.0
        self.interrupted = False
        self.diverged = ""
        self.evaluation: dict[str, float] = {}
        self.right_images: dict[str, dict[str, Any]] = {}
        self._optimizer_state: dict[str, Any] | None = None
        self._sums = torch.zeros(3, dtype=torch.float64)
        self._window = torch.zeros((), dtype=torch.int64)

    # The schedule of calls

    @property
    def is_last(self) -> bool:
        """Whether all steps are made."""
        return self.step == self.config.recipe.steps

    @property
    def epoch_is_over(self) -> bool:
        """Whether the last step completed an epoch, of which the record does not know yet."""
        return self.schedule.ends_epoch(self.step)

    def calls(self) -> Iterator[tuple[int, int]]:
        """(first step, step after the last) of each call up to the end of the epoch.

        A call ends where something looks at the state: there the results cannot depend on its length.
        """
        trainer = self.config.trainer
        marks = (trainer.steps_per_call, trainer.checkpoint_every or recipe.WINDOW, recipe.WINDOW)
        return self.schedule.calls(self.step, marks)

    def train_dataloader(self) -> Calls:
        """The calls of the next epoch."""
        return Calls(self.calls)

    def val_dataloader(self) -> list[list[str]]:
        """The names of what is tested, one loader each."""
        return [[name] for name in self.held_out]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Nothing to move: a call is two numbers, a test a name."""
        return batch

    # Training

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's optimizer, in the state of the checkpoint if there was one."""
        optimizer = recipe.optimizer(self.config.recipe, self.network, fused=True)
        if self._optimizer_state is not None:
            optimizer.load_state_dict(self._optimizer_state)
        self._rate = math.nan
        if not without_graph(self.config.trainer, self.device):
            # A graph reads the learning rate from the device's memory, where it can change.
            rate = torch.zeros((), device=self.device)
            for group in optimizer.param_groups:
                group["lr"] = rate
        return optimizer

    def executed(self) -> dict[str, Any]:
        """How the steps were made: see execution.py. After fit."""
        return executed(self._make_step, self._plain, compiled=self.config.trainer.compile)

    def on_fit_start(self) -> None:
        """Data, sums and the step on their device."""
        share: dict[str, Any] = {"rank": self.global_rank, "processes": self.trainer.world_size}
        share["device"], batch_size = self.device, self.config.recipe.batch_size
        self.stream = self.data.stream(batch_size=batch_size, seed=self.config.seed, **share)
        self.held_out = self.data.tests(batch_size=self.config.trainer.evaluation_batch_size, **share)
        self._sums, self._window = self._sums.to(self.device), self._window.to(self.device)
        # Lightning's own optimizer does bookkeeping at each step that nothing here looks at.
        self._optimizer = cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False))
        self.norms, self.one_step = batch_norms(self.network), self._step()
        self._plain = without_graph(self.config.trainer, self.device)
        self._make_step: Callable[..., None] = (
            self.one_step if self._plain else Graphed(self.one_step, self.device)
        )
        on_gpu = self.device.type == "cuda"
        self._random: torch.Generator = (
            torch.cuda.default_generators[self.device.index] if on_gpu else torch.default_generator
        )
        self._clock = time.perf_counter()

    def _step(self) -> Step:
        # What comes before a step is little: places in the data set, or a batch that was decoded elsewhere.
        stream = self.stream
        self.inputs: Callable[[int], tuple[Tensor, ...]] = stream.batch
        batch: Callable[..., tuple[Tensor, Tensor]] = lambda images, labels: (images, labels)  # noqa: E731
        if isinstance(stream, TrainStream):
            self.inputs, batch = (lambda step: (stream.places(step),)), stream.augmented
        return Step(
            batch,
            self.network,
            self._optimizer,
            self.manual_backward if self.trainer.world_size > 1 else Tensor.backward,
            self.config.trainer.precision,
            torch.channels_last if self.config.trainer.channels_last else torch.contiguous_format,
            self._sums,
            self._window,
            bf16_weights(self.network, self.config.trainer),
        )

    def prepare(self, step: int) -> None:
        """Learning rate and random numbers of a step; dropout is a function of it too, another in each process."""
        limit = self.config.recipe.warm_up_limit
        if self.warm_up_ends is None and limit is not None and step >= limit:
            self.warm_up_ends = limit
        rate = recipe.learning_rate(self.config.recipe, step, self.warm_up_ends)
        if rate != self._rate:
            self._rate = rate
            for group in self._optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
        self._seed(step)

    def _seed(self, step: int) -> None:
        # Not torch.manual_seed, which takes longer than all else here.
        self._random.manual_seed(hash((self.config.seed, step, self.global_rank)))

    def training_step(self, call: tuple[int, int], _: int) -> None:
        """Optimizer steps call[0] to call[1] - 1."""
        steps = call[1] - call[0]
        with counted_together(self.norms, steps):
            for step in range(*call):
                self.prepare(step)
                self._make_step(*self.inputs(step))
        self._sums[2] += steps * self.config.recipe.batch_size // self.trainer.world_size
        self.step = call[1]
        if self.step % recipe.WINDOW == 0:
            self._look_at_warm_up()
        self.on_call()

    def _look_at_warm_up(self) -> None:
        if self.warm_up_ends is None:
            wrong = int(self._over_processes(self._window))
            error = 100 * wrong / (recipe.WINDOW * self.config.recipe.batch_size)
            if error < self.config.recipe.warm_up_error:
                self.warm_up_ends = self.step
        self._window.zero_()

    def _over_processes(self, value: Tensor) -> Tensor:
        total = value.clone()
        if self.trainer.world_size > 1:
            dist.all_reduce(total)
        return total

    # Evaluation, with running statistics, each image once

    def on_validation_start(self) -> None:
        """Stop the clock of training, and let every process test with the same statistics of batch normalisation.

        The sums of the epoch are read first: until they are known the device has not done what it was told.
        """
        self._epoch_sums = self._over_processes(self._sums).tolist()
        self.seconds_training = self.seconds + time.perf_counter() - self._clock
        if self.is_last and not self.interrupted and self.config.recipe.bn_statistics == "precise":
            training = self._epoch_of_images(), self.config.trainer.precision, self.trainer.world_size
            set_precise_statistics(self.network, *training)
        torch.backends.cudnn.benchmark = False  # whole images have many shapes: each would be tried out
        if self.trainer.world_size > 1 and not self.config.trainer.sync_batch_norm:
            for buffer in self.network.buffers():
                dist.broadcast(buffer, 0)

    def _epoch_of_images(self) -> Iterator[tuple[Tensor, int]]:
        """Batches of an epoch that training did not come to, and how many images of each count."""
        for step, counted in self.schedule.epoch_after_training():
            self._seed(step)
            images, _ = self.one_step.data(*self.inputs(step))
            yield images, min(max(counted - self.global_rank * len(images), 0), len(images))

    def validation_step(self, name: str, _: int, dataloader_idx: int = 0) -> None:
        """Loss and error over a whole held-out part, by the mean probabilities of each image's views."""
        if self.interrupted or (name in self.data.final_tests and not self.is_last):
            return
        sums, right = evaluate(self.network, self.held_out[name], self.config.trainer.precision, self.device)
        loss_sum, count, *wrong = self._over_processes(sums).tolist()
        errors = ("error", "top5_error") if self.config.data.name == "imagenet" else ("error",)
        self.evaluation[f"{name}/loss"] = loss_sum / count
        self.evaluation |= {f"{name}/{key}": 100 * n / count for key, n in zip(errors, wrong, strict=False)}
        if self.is_last:
            bits = packed(right, int(count), self.global_rank, self.trainer.world_size)
            self.right_images[name] = {"images": int(count), **dict(zip(errors, bits, strict=False))}

    def on_validation_end(self) -> None:
        """Let cuDNN try its kernels out again: the images of training all have one shape."""
        torch.backends.cudnn.benchmark = not self.config.trainer.deterministic

    def on_train_epoch_end(self) -> None:
        """Read the sums of the epoch and report its metrics."""
        if self.interrupted:
            return
        epoch = self.schedule.epochs(self.step)
        loss, wrong, count = self._epoch_sums
        self.seconds += time.perf_counter() - self._clock
        metrics = {
            "train/loss": loss / count,
            "train/error": 100 * wrong / count,
            **self.evaluation,
            "learning_rate": recipe.learning_rate(self.config.recipe, self.step - 1, self.warm_up_ends),
            "seconds": self.seconds,
            "images_per_second": count / self.seconds_training,
        }
        self._sums.zero_()
        self.seconds, self._clock = 0.0, time.perf_counter()
        if not math.isfinite(metrics["train/loss"]):
            self.diverged = f"training loss {metrics['train/loss']} in epoch {epoch}"
        self.on_epoch(epoch, self.step, metrics)
        if self.diverged or self.is_last:
            self.trainer.should_stop = True

    # State

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as tensors on their device and plain values; the same on every rank.

        The seconds are those of its steps: the device is waited for.
        Tensors of the network and the optimizer are those that training goes on with, no copies.
        """
        optimizer = self._optimizer.state_dict()
        for group in optimizer["param_groups"]:
            group["lr"] = self._rate
        sums, window = (self._over_processes(value) for value in (self._sums, self._window))
        sums.tolist()
        return {
            "step": self.step,
            "warm_up_ends": self.warm_up_ends,
            "seconds": self.seconds + time.perf_counter() - self._clock,
            "sums": sums,
            "window": window,
            "network": self.network.state_dict(),
            "optimizer": optimizer,
        }

    def restore(self, state: dict[str, Any], rank: int) -> None:
        """Continue from a state, before fit; sums over processes are carried on by rank 0."""
        self.step, self.warm_up_ends, self.seconds = state["step"], state["warm_up_ends"], state["seconds"]
        if rank == 0:
            self._sums, self._window = state["sums"], state["window"]
        self.network.load_state_dict(state["network"])
        self._optimizer_state = state["optimizer"]
