"""The door: train one cell, a grid of cells, or a study. `python run.py --help` says what can be chosen."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads of one process starve another's
# Ctrl-C before training, which has its own way to stop (interruption.py), also within the imports below: there an
# exception can be swallowed, and nothing that would have to be put away has been begun.
signal.signal(signal.SIGINT, lambda *_: os._exit(130))
os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to `main`, which says them in one sentence

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ablations.sweep.accepted import check_options
from ablations.sweep.compose import check_choices, check_launcher, register_studies
from ablations.sweep.hydra_side import typed_sweep
from ablations.sweep.keys import CONF
from ablations.sweep.overrides import parse_overrides
from lightning_module.support.errors import ConfigError, tell


@contextmanager
def one_sentence() -> Iterator[None]:
    """Bad input ends the program with one sentence and exit code 2, a second Ctrl-C in training with 130."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        sys.exit(tell(error))


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def door(_: DictConfig) -> None:
    """One cell: without -m there is no sweeper."""
    from ablations.sweep.here import run_sweep

    with one_sentence():
        run_sweep(typed_sweep(tuple(HydraConfig.get().overrides.task)))


def check(arguments: Sequence[str]) -> None:
    """Names and values of every cell, before Hydra sees them: its own errors are longer and come one by one."""
    multirun = any(text in ("-m", "--multirun") for text in arguments)
    overrides = [text for text in arguments if not text.startswith("-")]
    for override in parse_overrides(overrides):
        if override.is_sweep_override() and not multirun:
            raise ConfigError(f"{override.input_line} lists several values; add -m to train them all")
    check_choices(overrides)
    check_launcher(overrides)
    typed_sweep(tuple(text for text in overrides if not text.startswith("hydra")))
    GlobalHydra.instance().clear()


def main() -> None:
    """Check the command line, then let Hydra run it."""
    register_studies()
    arguments = sys.argv[1:]
    several = any(text.startswith(("ablation=", "hydra/launcher=", "hydra.launcher.")) for text in arguments)
    flags = {text for text in arguments if text.startswith("-")}
    if several and not flags:
        sys.argv.insert(1, "-m")
    with one_sentence():
        check_options(sys.argv[1:])
        if flags <= {"-m", "--multirun"}:  # others, such as --cfg, only show something
            check(sys.argv[1:])
        door()


if __name__ == "__main__":
    main()
