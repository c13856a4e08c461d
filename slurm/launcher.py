"""The Hydra launcher `slurm`; what it does is in submit. Every command loads this file, so it imports little."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hydra.core.utils import JobReturn

from ablations.sweep.hydra_side import SweepLauncher


class SlurmLauncher(SweepLauncher):
    """Everything is checked before the first sbatch; cells that are done, queued or running are left out."""

    __module__ = "hydra_plugins.residual_ablations"  # where Hydra looks for it

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the cells; with wait=true, SystemExit 1 if one of them failed. Nobody reads what Hydra gets back."""
        from lightning_module.support.errors import ConfigError
        from slurm.cluster import SlurmError
        from slurm.options import parse_options
        from slurm.rounds import submit_rounds
        from slurm.shell import with_shell
        from slurm.submit import check_folder, submit_sweep

        try:
            options, said = with_shell(parse_options(self.parameters), os.environ)
            check_folder(self.asked.runs)
            print("".join(f"{line}\n" for line in said), end="", flush=True)
            (submit_rounds if self.asked.settle else submit_sweep)(self.asked, options)
        except SlurmError as error:
            raise ConfigError(str(error)) from error
        return []
