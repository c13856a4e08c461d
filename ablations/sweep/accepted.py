"""What of a command line has an effect: whatever else was typed is refused, in one sentence, before any work."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Iterator, Sequence

from hydra._internal.utils import get_args_parser

from ablations.sweep.check_study import override
from ablations.sweep.compose import check_choices, check_launcher, compose_keys
from ablations.sweep.keys import meant
from ablations.sweep.overrides import parse_overrides
from ablations.sweep.plan import Sweep, sweep
from ablations.sweep.request import last_of_each_key, request
from lightning_module.cell.config import Config, idle, parse_config
from lightning_module.support.command_line import refuse
from lightning_module.support.errors import ConfigError, spelled

HYDRA_KEYS = re.compile(r"hydra/launcher|hydra\.launcher\..+")
"""Those of Hydra's own keys that mean something here. Its folders, logs and names do not: records have
their own, and no job changes its folder."""

NOT_READ = {"config_path": "--config-path", "config_name": "--config-name", "config_dir": "--config-dir"}
COMMANDS = ("run", "multirun", "cfg", "info", "shell_completion")
"""Options of Hydra of which it takes one at a time."""


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """A command line as Hydra reads it; ConfigError for an option that has no effect here."""
    parser = get_args_parser()
    parser.error = functools.partial(refuse, parser)  # type: ignore[method-assign]
    given = parser.parse_args(list(arguments))
    for name, option in NOT_READ.items():
        if (value := getattr(given, name)) is not None:
            raise ConfigError(
                f"{option} {value} is not read: what can be chosen are the files of conf/, and a new one there is a "
                "new choice"
            )
    if given.experimental_rerun is not None:
        raise ConfigError(
            f"--experimental-rerun {given.experimental_rerun} is not read: the same command goes on where it ended"
        )
    for option, value in (("--resolve", given.resolve), ("--package", given.package)):
        if value and not given.cfg:
            raise ConfigError(f"{option} has no effect without --cfg, such as --cfg job {option}")
    asked = [f"--{name.replace('_', '-')}" for name in COMMANDS if getattr(given, name)]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)} cannot be asked for at once; leave out one of them")
    return given


def check_hydra(overrides: Sequence[str]) -> None:
    """ConfigError for a key of Hydra's own that has no effect, or a choice or a parameter that does not exist."""
    for typed in parse_overrides(overrides):
        key, text = typed.key_or_group, str(typed.input_line)
        if key.startswith("hydra") and not HYDRA_KEYS.fullmatch(key):
            near = meant(key) or ""
            raise ConfigError(
                f"{text} has no effect: of Hydra's own keys only hydra/launcher and hydra.launcher.KEY "
                "have one here; "
                + (f"did you mean {near}?" if "launcher" in near else "where records go is runs=FOLDER")
            )
        if key.startswith("hydra") and typed.is_sweep_override():
            raise ConfigError(
                f"{text} lists several values, but one launcher runs all cells; give it one value"
            )
    check_choices(overrides)
    check_launcher(overrides)


def asked_for(overrides: Sequence[str], command: Sequence[str]) -> Sweep:
    """The sweep that overrides ask for, if all of them have an effect; what an override replaces is said on stderr."""
    asked = sweep(request(overrides), command)
    _check_effect(asked)
    counted = last_of_each_key(overrides)
    for text in overrides:
        if text not in counted:
            key = text.partition("=")[0]
            later = next(other for other in counted if other.partition("=")[0] == key)
            print(f"note: {text} does not count: {later} comes later", file=sys.stderr)
    return asked


def _check_effect(sweep: Sweep) -> None:
    """ConfigError for a typed value that changes nothing, and for a schedule that is not the one that is trained.

    A value may be idle in some of the cells that have it, as long as it is not in all of them.
    """
    configs = [parse_config(cell.config) for cell in sweep.cells]
    for cell, config in zip(sweep.cells, configs, strict=True):
        for sentence in _unreached(cell.overrides, config):
            raise ConfigError(sentence)
    lacking: dict[str, list[dict[str, str]]] = {}
    for cell, config in zip(sweep.cells, configs, strict=True):
        for text in cell.overrides:
            lacking.setdefault(text, []).append(idle(config))
    keys = set()
    for typed in parse_overrides(sweep.manifest.overrides):
        key = typed.key_or_group
        if key == "study":
            raise ConfigError(
                f"{typed.input_line} is not how a study is chosen; write ablation={spelled(typed.value()) or 'NAME'}"
            )
        if sweep.settle and key == "mode" and configs[0].mode != "train":
            raise ConfigError(
                f"{typed.input_line} measures speed, and settle=true needs runs that are trained; leave out one of them"
            )
        keys.add(key)
    for text, lacks in lacking.items():
        key = text.partition("=")[0]
        if key in keys and all(key in each for each in lacks):
            raise ConfigError(f"{text} has no effect; it needs {lacks[0][key]}")


def _unreached(overrides: Sequence[str], config: Config) -> Iterator[str]:
    """Sentences about changes of the learning rate that would come after the last step of a cell."""
    recipe = config.recipe
    if config.mode != "train":
        return  # how fast a step is, at whatever rate
    late = [drop for drop in recipe.drops if drop >= recipe.steps]
    if late:
        yield (
            f"{override('recipe.drops', recipe.drops)} is not reached: training ends after "
            f"recipe.steps={recipe.steps}; write {_scaled(overrides, recipe.steps)}, or recipe.drops=[] for a rate "
            "that never drops"
        )
    for key, last in (("warm_up_steps", recipe.warm_up_steps), ("warm_up_limit", recipe.warm_up_limit or 0)):
        if last >= recipe.steps and f"recipe.{key}" not in idle(config):
            yield (
                f"recipe.{key}={last} does not end the warm-up before recipe.steps={recipe.steps}; "
                "write fewer, or recipe.warm_up=none"
            )


def _scaled(overrides: Sequence[str], steps: int) -> str:
    """The drops of the recipe itself, at the same part of so many steps."""
    own = ("recipe.steps", "recipe.drops")
    usual = compose_keys([text for text in overrides if text.partition("=")[0] not in own])["recipe"]
    drops = [round(drop * steps / usual["steps"]) for drop in usual["drops"]]
    return override("recipe.drops", sorted({drop for drop in drops if 0 < drop < steps}))
