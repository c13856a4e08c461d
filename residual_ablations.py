"""The command `residual-ablations` of an installation: a word for what is to be done, then that command's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from lightning_module.support.command_line import COMMANDS, CONSOLE, command
from lightning_module.support.errors import ConfigError, nearest
from lightning_module.support.program import program

USAGE = f"""{CONSOLE} COMMAND ...

  run      train a cell, a grid or a study       {CONSOLE} run -m model.depth=20,56,110
  list     every study                           {CONSOLE} list
  plan     what a study or a grid would take     {CONSOLE} plan depth seed=0
  why      what differs between two cells        {CONSOLE} why "model.depth=56 seed=1"
  settle   which cells settle a study's claims: the next round, or --simulate what it would cost
  units    what a basic unit and a bottleneck cost
  status   cells on a cluster; also logs, cancel, retry
  report   what came out; also audit, sync       {CONSOLE} report depth

{CONSOLE} COMMAND --help says more. Records go to runs/, reports to results/, both in the current folder."""


def main() -> None:
    """Give the rest of the command line to the module whose command it is."""
    name, words = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    with program():
        if name in ("-h", "--help"):
            print(USAGE)
        elif name in COMMANDS:
            sys.exit(_do(name, words))
        else:
            raise ConfigError(f"{name} is not a command; {nearest(name, COMMANDS)}")


def _do(name: str, words: Sequence[str]) -> int | None:
    if name == "run":
        sys.argv[1:] = words  # Hydra reads them there
        os.environ["RESIDUAL_ABLATIONS"] = command("run")  # for the page of --help
        from run import main as train

        return train()  # type: ignore[func-returns-value]
    _, _, room, *own = COMMANDS[name]
    main: Callable[[Sequence[str]], int | None]
    if room == "ablations":
        from ablations.__main__ import main
    elif room == "slurm":
        from slurm.__main__ import main
    else:
        from reports.__main__ import main
    return main([*own, *words])


if __name__ == "__main__":
    main()
