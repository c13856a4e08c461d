"""From overrides to resolved configurations and checked cells; fast, because a sweep may have thousands.

Hydra composes the groups, once per choice of groups; values are set here, and every text is parsed once.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from ablations.sweep import studies
from lightning_module.cell import price
from lightning_module.cell.config import parse_config
from lightning_module.cell.identity import Cell
from lightning_module.networks.config import NetworkConfig
from lightning_module.support.disk import ROOT, DiskCache
from lightning_module.support.errors import ConfigError, nearest

CONF = ROOT / "conf"
CACHE = DiskCache("composed", CONF.rglob("*.yaml"))
"""Hydra takes a tenth of a second for each choice of groups."""


@functools.cache
def groups() -> dict[str, list[str]]:
    """Configuration group -> its choices: the YAML files of conf/, and the studies."""
    choices: dict[str, list[str]] = {}
    for path in sorted(CONF.rglob("*/*.yaml")):
        choices.setdefault(path.parent.relative_to(CONF).as_posix(), []).append(path.stem)
    choices["ablation"] = sorted({*choices["ablation"], *studies.names()})
    return choices


@functools.lru_cache(maxsize=65536)
def _parsed(text: str) -> Override:
    try:
        (override,) = OverridesParser.create().parse_overrides([text])
    except HydraException as error:
        said = " ".join(str(error).split("\n")[0].split())
        raise ConfigError(f"{said}; an override is written key=value") from error
    assert isinstance(override, Override)
    return override


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Hydra's own reading of `key=value`; ConfigError for what is not one."""
    return [_parsed(text) for text in overrides]


def values_of(override: Override) -> list[str]:
    """The values that an override lists, as one would type them; one if it is no sweep."""
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_string_iterator()]
    return [str(override.input_line).partition("=")[2]]


def expand(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """The product of the values listed: ["a=1,2", "b=3"] -> [("a=1", "b=3"), ("a=2", "b=3")]."""
    axes = [
        [f"{override.get_key_element()}={value}" for value in values_of(override)]
        if override.is_sweep_override()
        else [str(override.input_line)]
        for override in parse_overrides(overrides)
    ]
    return [tuple(combination) for combination in itertools.product(*axes)]


def plain_value(text: str) -> Any:
    """The value of an override `key=value` as plain data: a number, truth, None, a text or a list of these."""
    value = _parsed(text).value()
    return value if isinstance(value, int | float | bool | list | None) else str(value)


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of one cell as plain data; ConfigError names a group or key that is not there."""
    choices: list[str] = []
    values: list[str] = []
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if key.startswith("hydra"):
            continue
        if override.is_add() or override.is_delete() or override.is_force_add():
            raise ConfigError(
                f"{override.input_line} adds or deletes a key, but the keys are fixed; write key=value"
            )
        (choices if key in groups() else values).append(str(override.input_line))
    config = _copy(_composed(tuple(choices)))
    for text in values:
        _set(config, text)
    return config


def check_choices(overrides: Sequence[str]) -> None:
    """ConfigError for a group's choice, hydra's own groups included, that does not exist."""
    for override in parse_overrides(overrides):
        allowed = groups().get(override.key_or_group, [])
        for value in values_of(override) if allowed else []:
            if value not in allowed:
                raise ConfigError(f"{override.key_or_group}={value} is not known; {nearest(value, allowed)}")


def check_launcher(overrides: Sequence[str]) -> None:
    """ConfigError for a launcher whose code is not there, or for a parameter that is no key of its file in conf/.

    Hydra's own errors do not list what exists.
    """
    parsed = {override.key_or_group: override for override in parse_overrides(overrides)}
    chosen = parsed.get("hydra/launcher")
    launcher = values_of(chosen)[-1] if chosen else "local"
    files = {path.stem: OmegaConf.load(path) for path in sorted((CONF / "hydra/launcher").glob("*.yaml"))}
    if chosen:
        there = {f"{kind.__module__}.{kind.__name__}" for kind in Plugins.instance().discover(Launcher)}
        installed = [name for name, file in files.items() if OmegaConf.select(file, "_target_") in there]
        if launcher not in installed:
            raise ConfigError(
                f"hydra/launcher={launcher} needs the folder {launcher}/, which is not there; "
                f"{nearest(launcher, installed)}"
            )
    known = [str(key) for key in files[launcher] if key != "_target_"]
    for key in parsed:
        name = key.removeprefix("hydra.launcher.")
        if name != key and name.split(".")[0] not in known:
            raise ConfigError(
                f"{key} is not a parameter of hydra/launcher={launcher}; {nearest(name, known)}"
            )


def register_studies() -> None:
    """Make `ablation=NAME` known to Hydra, for --help, completion and composition."""
    for name in studies.names():
        ConfigStore.instance().store(group="ablation", name=name, node={"study": name}, package="_global_")


@functools.lru_cache(maxsize=256)
def _composed(choices: tuple[str, ...]) -> dict[str, Any]:
    check_choices(choices)
    if known := CACHE.get(json.dumps(choices)):
        return dict(known)
    if not GlobalHydra.instance().is_initialized():
        register_studies()
        initialize_config_dir(str(CONF), version_base="1.3")  # for good: it takes half a second
    config = hydra_compose("config", list(choices))
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    if "${" not in json.dumps(
        OmegaConf.to_container(config)
    ):  # what is interpolated may be another thing tomorrow
        CACHE.put(json.dumps(choices), plain)
    return plain


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose branches can be written to; leaves are shared, they are replaced and never changed."""
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in tree.items()}


def _set(config: dict[str, Any], text: str) -> None:
    whole = str(_parsed(text).key_or_group)
    branch, node, path = config, config, ""
    for part in whole.split("."):
        if not isinstance(node, dict) or not node:
            raise ConfigError(f"{whole} is not a key; {path[:-1]} is a value")
        if part not in node:
            raise ConfigError(f"{whole} is not a key; {nearest(path + part, [path + key for key in node])}")
        branch, node, path = node, node[part], f"{path}{part}."
    if isinstance(node, dict):
        raise ConfigError(f"{text} would replace a whole section; set {whole}.KEY")
    branch[part] = plain_value(text)


@functools.lru_cache(maxsize=16384)
def _network_name(model: NetworkConfig) -> str:
    return model.name


def make_cell(config: Mapping[str, Any], overrides: tuple[str, ...]) -> Cell:
    """The cell of a resolved configuration, checked, named and costed; ConfigError if it is not valid."""
    parsed = parse_config(config)
    cost = price.of(parsed)
    name = f"{_network_name(parsed.model)} seed {parsed.seed}"
    return Cell(config, overrides, name, cost.parameters, cost.multiply_adds)
