"""What a cell tells while it trains: to its record, to W&B and to whoever watches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning_module.benchmark.measure import Benchmark
from lightning_module.cell import record
from lightning_module.cell.config import Config
from lightning_module.cell.identity import Cell
from lightning_module.support.errors import ConfigError, log
from lightning_module.tracking.progress import Progress
from lightning_module.tracking.provenance import provenance
from lightning_module.tracking.wandb_run import Tracker
from lightning_module.tracking.wandb_wanted import wanted
from lightning_module.training.realised import departure, used


class Reporter:
    """Record, W&B and progress of a cell on rank 0; silent on the others."""

    def __init__(self, cell: Cell, config: Config, folder: Path, writer: record.Writer | None) -> None:
        self.cell, self.config, self.folder, self.writer = cell, config, folder, writer
        self.step = 0
        self.tracker = Tracker()
        self.progress: Progress | None = None

    def start(self, device: str, realised: Mapping[str, Any]) -> None:
        """A new attempt begins at `self.step`; realised: what the run really is, see realised.py."""
        if not self.writer:
            return
        trainer = self.config.trainer
        about = {"devices": trainer.processes, "precision": trainer.precision, **provenance(device)}
        about |= {"activation_checkpoint": trainer.activation_checkpoint, "realised": realised}
        about["deterministic"] = trainer.deterministic
        about["batch_norm_images"] = self.config.recipe.batch_size // (
            1 if trainer.sync_batch_norm else trainer.processes
        )
        self.writer.start(self.step, about)
        self.tracker = self._track()
        if self.tracker.url:
            self.event("wandb", url=self.tracker.url)
        recipe = self.config.recipe
        self.progress = Progress(self.cell.name, self.step, recipe.steps, recipe.batch_size, trainer.progress)

    def _track(self) -> Tracker:
        """The W&B run, where and as what configuration and environment say."""
        logger, study = self.config.logger, self.cell.config.get("study")
        try:
            ask = wanted(logger, study)
        except ConfigError as error:
            log.warning("W&B is off (%s); training goes on", error)
            return Tracker()
        return Tracker.open(
            ask.mode,
            self.cell,
            self.folder,
            project=ask.project,
            entity=ask.entity,
            study=study,
            base_url=logger.base_url,
            further_tags=ask.tags,
            group=ask.group,
        )

    def set_aside(self, sentence: str) -> None:
        """Warn that a checkpoint was set aside, and why; "" if none was."""
        if self.writer and sentence:
            log.warning(sentence)
            self.event("set_aside", attempt=self.writer.attempt, reason=sentence)

    def call(self, step: int) -> None:
        """Remember the optimizer step that was reached, and show it."""
        self.step = step
        if self.progress:
            self.progress.at(step)

    def epoch(self, epoch: int, step: int, metrics: dict[str, float]) -> None:
        """Report the metrics at the end of an epoch (1, 2, ...)."""
        if self.writer:
            self.writer.epoch(epoch, step, metrics)
        self.tracker.log(epoch, step, metrics)
        if self.progress:
            self.progress.epoch(epoch, step, metrics)

    def event(self, kind: str, **content: Any) -> None:
        """Keep a fact about the run, such as its layer responses, in the record and in W&B."""
        if self.writer:
            self.writer.event(kind, step=self.step, **content)
        self.tracker.event(kind, step=self.step, **content)

    def learning_rates(self, steps: int, warm_up_ends: int | None) -> None:
        """The rates of the steps that were made, and a warning where a whole run's were not those of its recipe."""
        recipe = self.config.recipe
        said = departure(recipe, self.config.layers, warm_up_ends) if steps == recipe.steps else ""
        self.event("learning_rates", ranges=used(recipe, steps, warm_up_ends), departure=said)
        if said and self.writer:
            log.warning("%s: %s; see recipe.warm_up_limit", self.cell.name, said)

    def benchmark(self, module: Benchmark) -> None:
        """What was measured, as the only epoch of the run, and what goes with it."""
        if self.writer:
            self.writer.epoch(1, module.step, module.metrics)
        self.tracker.log(1, module.step, module.metrics)
        self.step = module.step
        self.event("benchmark", **module.about)
        self.end("finished")

    def end(self, status: Literal["finished", "diverged", "failed"] | None, **content: Any) -> None:
        """The end of the attempt; None if it was interrupted, and the cell goes on another time."""
        if self.progress:
            self.progress.close()
        if self.writer and status:
            self.writer.finish(status, self.step, **content)
        self.tracker.finish(status or "killed", {key: content[key] for key in content if key != "traceback"})
