"""The Hydra launcher `slurm`; what it does is in submit. Every command loads this file, so it imports little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from ablations.sweep.plan import Sweep


class SlurmLauncher(Launcher):
    """Everything is checked before the first sbatch; cells that are done, queued or running are left out."""

    __module__ = "hydra_plugins.residual_ablations"  # where Hydra looks for it

    asked: Sweep
    """What to run; set by the sweeper."""

    def __init__(self, **parameters: Any) -> None:
        self.parameters = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in parameters.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing to prepare: cells are composed by ablations.sweep.plan."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the cells; with wait=true, SystemExit 1 if one of them failed. Nobody reads what Hydra gets back."""
        from lightning_module.support.errors import ConfigError
        from slurm.cluster import SlurmError
        from slurm.options import parse_options
        from slurm.submit import submit_sweep

        options = parse_options(self.parameters)
        try:
            submit_sweep(self.asked, options)
        except SlurmError as error:
            raise ConfigError(str(error)) from error
        return []
