"""The Hydra sweeper: turns `-m` into cells and hands all of them to the launcher at once."""

from __future__ import annotations

from typing import Any, cast

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class StudySweeper(Sweeper):
    """A study's cells when `ablation=NAME` is given, else the product of the values listed."""

    __module__ = "hydra_plugins.residual_ablations"  # where Hydra looks for it

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """The launcher that the command line names."""
        OmegaConf.set_readonly(config, True)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Launch what the command line asks for."""
        from ablations.plan import request

        asked, launcher = request(arguments), cast(Any, self.launcher)
        launcher.request = asked
        return launcher.launch(list(asked.overrides), initial_job_idx=0)
