"""What Hydra calls: the sweeper turns `-m` into cells and hands all of them to a launcher at once."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from ablations.sweep.overrides import typed
from lightning_module.support.command_line import command

if TYPE_CHECKING:
    from ablations.sweep.plan import Sweep


@functools.lru_cache(maxsize=1)
def typed_sweep(overrides: tuple[str, ...]) -> Sweep:
    """The sweep that this program's command line asks for, hydra's own overrides left out.

    Kept, because it is asked for twice: by the door, which checks it before Hydra sees it, and when Hydra runs it.
    """
    from ablations.sweep.accepted import asked_for

    return asked_for(overrides, shlex.split(command("run", *sys.argv[1:])))


ADDED = "++"
"""What Hydra wants before a key that no file has. Nobody may type it: see overrides.py."""


def for_hydra(arguments: Sequence[str], overrides: Sequence[str], shown: bool) -> list[str]:
    """The arguments with the keys of a typed family as Hydra takes them; shown: it is to show the whole of the family,
    and not the section that its own file has."""
    if not any(text.startswith("model.family=") for text in overrides):
        return list(arguments)
    if not shown:
        return [ADDED + text if text.startswith("model.") else text for text in arguments]
    from ablations.sweep.compose import compose

    section = compose([text for text in overrides if not text.startswith("hydra")])["model"]
    file = compose([text for text in overrides if text.startswith("model=")])["model"]
    return [
        # All of the file's keys go, so that the family's stand in its own order. Hydra takes a null for absent, and
        # deletes nothing that is.
        *(text for key in file for text in (f"{ADDED}model.{key}=0", f"~model.{key}")),
        *(ADDED + typed(f"model.{key}", value) for key, value in section.items()),
        *(text for text in arguments if not text.startswith("model.")),
    ]


def as_typed(overrides: Sequence[str]) -> tuple[str, ...]:
    """Overrides as they were before `for_hydra`."""
    return tuple(text.removeprefix(ADDED) for text in overrides)


class StudySweeper(Sweeper):
    """A study's cells when `ablation=NAME` is given, else the product of the values listed."""

    __module__ = "hydra_plugins.residual_ablations"  # where Hydra looks for it

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher that the command line names."""
        OmegaConf.set_readonly(config, True)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Give the launcher the sweep that the command line asks for, and launch it."""
        asked, launcher = typed_sweep(as_typed(arguments)), cast(Any, self.launcher)
        launcher.asked = asked
        return launcher.launch([cell.overrides for cell in asked.cells], initial_job_idx=0)


class SweepLauncher(Launcher):
    """What runs a whole sweep at once. asked: the sweep; set by the sweeper. parameters: of `hydra.launcher`."""

    asked: Sweep

    def __init__(self, **parameters: Any) -> None:
        self.parameters: Any = OmegaConf.to_container(OmegaConf.create(parameters))

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing to prepare: cells are composed by ablations.sweep.plan."""


class LocalLauncher(SweepLauncher):
    """Cells run on this machine. Everything is checked before the first one starts; finished ones are left out."""

    __module__ = "hydra_plugins.residual_ablations"  # where Hydra looks for it

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells; SystemExit 1 at the end if one of them failed. Nobody reads what Hydra gets back."""
        from ablations.sweep.compose import check_jobs
        from ablations.sweep.settle import run_here

        check_jobs(self.parameters["jobs"])
        run_here(self.asked, self.parameters["jobs"])
        return []
