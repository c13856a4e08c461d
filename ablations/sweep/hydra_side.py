"""What Hydra calls: the sweeper turns `-m` into cells and hands all of them to a launcher at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from ablations.sweep.request import Request


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
        from ablations.sweep.request import request

        asked, launcher = request(arguments), cast(Any, self.launcher)
        launcher.request = asked
        return launcher.launch(list(asked.overrides), initial_job_idx=0)


class LocalLauncher(Launcher):
    """Cells run on this machine. Everything is checked before the first one starts; finished ones are left out."""

    __module__ = "hydra_plugins.residual_ablations"  # where Hydra looks for it

    request: Request | None = None

    def __init__(self, jobs: int = 1) -> None:
        self.jobs = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing to prepare: cells are composed by ablations.sweep.plan."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells with these overrides; SystemExit 1 at the end if one of them failed."""
        from ablations.sweep.here import run_sweep
        from ablations.sweep.plan import sweep
        from ablations.sweep.request import Request
        from lightning_module.support.errors import ConfigError

        lists = tuple(tuple(overrides) for overrides in job_overrides)
        asked = self.request or Request(
            lists, tuple(dict.fromkeys(text for texts in lists for text in texts))
        )
        if not isinstance(self.jobs, int) or self.jobs < 1:
            raise ConfigError(f"hydra.launcher.jobs={self.jobs} is not allowed; a whole number, at least 1")
        records = run_sweep(sweep(asked, ["python", *sys.argv]), self.jobs)
        return [
            JobReturn(
                overrides=list(texts), _return_value=record.last.get("test/error"), status=JobStatus.COMPLETED
            )
            for texts, record in zip(lists, records, strict=False)
        ]
