"""The door: train one cell, a grid of cells, or a study. `python run.py --help` says what can be chosen."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads of one process starve another's
# Asked to stop before training, which has its own way to (interruption.py), also within the imports below: there an
# exception can be swallowed, and nothing that would have to be put away has been begun.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if _number != signal.SIGHUP or signal.getsignal(_number) != signal.SIG_IGN:  # ignored: by nohup
        signal.signal(_number, lambda number, _: os._exit(128 + number))
os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to `main`, which says them in one sentence

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ablations.sweep.accepted import check_hydra, read_options
from ablations.sweep.compose import register_studies, use_studies
from ablations.sweep.hydra_side import as_typed, for_hydra, typed_sweep
from ablations.sweep.keys import CONF, default_choices, keys, meant
from ablations.sweep.launcher_words import quoted
from ablations.sweep.overrides import parse_overrides
from lightning_module.processes import leave_foreign_ranks
from lightning_module.support.check import one_of
from lightning_module.support.command_line import command
from lightning_module.support.errors import ConfigError, nearest, tell
from lightning_module.support.program import program


@contextmanager
def one_sentence() -> Iterator[None]:
    """Bad input ends the program with one sentence and exit code 2."""
    try:
        yield
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        sys.exit(tell(error))


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def door(_: DictConfig) -> None:
    """One cell: without -m there is no sweeper."""
    from ablations.sweep.settle import run_here

    with one_sentence():
        run_here(typed_sweep(as_typed(HydraConfig.get().overrides.task)))


MULTIRUN = ("-m", "--multirun")
WITH_VALUE = (
    *("-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name"),
    *("-cd", "--config-dir", "--experimental-rerun"),
)


def in_order(arguments: Sequence[str]) -> list[str]:
    """-m, the overrides and the other options, wherever they stood; hydra.mode=MULTIRUN is -m.

    argparse, by which Hydra reads them, takes overrides in one place only.
    """
    overrides: list[str] = []
    options: list[str] = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        is_value = before in WITH_VALUE or (before in ("-i", "--info") and "=" not in word)
        (options if word.startswith("-") or is_value else overrides).append(word)
    for word in options:
        option, _, value = word.partition("=")
        key = option.lstrip("-")
        found = key if key in keys() else meant(key)
        if found and option.startswith("-") and option not in get_args_parser()._option_string_actions:
            raise ConfigError(
                f"{word} begins with a dash, but overrides do not; write {found}={value or 'VALUE'}"
            )
    modes = [word.removeprefix("hydra.mode=") for word in overrides if word.startswith("hydra.mode=")]
    for mode in modes:
        one_of("hydra.mode", mode, ("RUN", "MULTIRUN"))
    several = "MULTIRUN" in modes or any(word in MULTIRUN for word in options)
    if several and ("RUN" in modes or {"-r", "--run"} & set(options)):
        raise ConfigError("-m trains several cells, --run and hydra.mode=RUN one; leave out one of them")
    rest = [word for word in options if word not in MULTIRUN]
    typed = [word for word in overrides if not word.startswith("hydra.mode=")]
    if not options:
        several |= any(word.startswith(("ablation=", "hydra/launcher=", "hydra.launcher.")) for word in typed)
    if several and any(word.partition("=")[0] in ("-c", "--cfg") for word in rest):
        raise ConfigError(
            "--cfg shows one cell and takes no -m; "
            f"the cells of a grid are shown by: {command('plan', *(typed or ['seed=0']))}"
        )
    return ["-m"] * several + typed + rest


def check_shown(options: argparse.Namespace) -> None:
    """ConfigError for a shell or a section that does not exist: Hydra's own is a traceback, or has exit code 1."""
    shells = r"(install|uninstall)=(bash|fish|zsh)"
    asked = " ".join(options.overrides)
    if options.shell_completion and "COMP_LINE" not in os.environ and not re.fullmatch(shells, asked):
        raise ConfigError(
            "--shell-completion needs install=SHELL or uninstall=SHELL; SHELL is bash, fish or zsh"
        )
    package, of_hydra = options.package or "_global_", (options.package or "").partition(".")[0] == "hydra"
    sections = [
        *(default_choices() if options.cfg != "hydra" else ()),
        *(["hydra"] if options.cfg != "job" else ()),
    ]
    known = package in {*sections, *keys()} and options.cfg != "hydra"
    if package != "_global_" and not (options.cfg != "job" if of_hydra else known):
        raise ConfigError(f"--package={package} is not known; {nearest(package, sections)}")


def check(overrides: Sequence[str], multirun: bool) -> None:
    """Names and values of every cell, before Hydra sees them: its own errors are longer and come one by one."""
    check_hydra(overrides)
    for override in parse_overrides(overrides):
        key, text = override.key_or_group, str(override.input_line)
        if override.is_sweep_override() and not multirun:
            listed = shlex.quote(f"{key}=[{text.partition('=')[2]}]")
            a_list = f" write {listed} for a list, or" if isinstance(keys().get(key), list) else ""
            raise ConfigError(f"{text} lists several values;{a_list} add -m to train them all")
    typed_sweep(tuple(text for text in overrides if not text.startswith("hydra")))
    GlobalHydra.instance().clear()


def main() -> None:
    """Check the command line, then let Hydra run it."""
    with one_sentence():
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise ConfigError(
                "torchrun would start this program several times, which starts its processes itself: "
                "use python run.py ... trainer.devices=N"
            )
        leave_foreign_ranks()
        sys.argv[1:] = map(quoted, in_order(sys.argv[1:]))
        options = read_options(sys.argv[1:])
        use_studies(options.overrides)
        register_studies()
        check_shown(options)
        if not options.shell_completion:
            check(options.overrides, options.multirun)
            sys.argv[1:] = for_hydra(sys.argv[1:], options.overrides, shown=bool(options.cfg))
        door()


if __name__ == "__main__":
    with program():
        main()
