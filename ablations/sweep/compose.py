"""From overrides to resolved configurations and checked cells; fast, because a sweep may have thousands.

The groups are read, or composed by Hydra, once per choice of them; values are set and interpolated here.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args, get_origin

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablations.sweep import studies
from ablations.sweep.keys import CONF, default_choices, groups, having, is_plain, keys, keys_of, meant
from ablations.sweep.overrides import parse, parse_overrides, plain_value, typed, values_of
from lightning_module.cell import price
from lightning_module.cell.config import Config, parse_config
from lightning_module.cell.identity import Cell
from lightning_module.data.config import OWN
from lightning_module.networks import families
from lightning_module.support.check import field_types, fit
from lightning_module.support.errors import ConfigError, closest, nearest, spelled


def compose(overrides: Sequence[str]) -> dict[str, Any]:
    """The resolved configuration of one cell as plain data; ConfigError names a group or key that is not there."""
    config = compose_keys(overrides)
    if config["data"]["name"] in OWN:
        from lightning_module.data import found  # and NumPy, of which other plans have no need

        config["data"] |= found.keys(config["data"])
    return config


def compose_keys(overrides: Sequence[str]) -> dict[str, Any]:
    """That of `compose` without what is found in a user's own data, which these overrides may not name."""
    choices: dict[str, str] = {}
    values: list[str] = []
    for override in parse_overrides(overrides):
        key, text = override.key_or_group, str(override.input_line)
        if key.startswith("hydra"):
            continue
        if key in groups():
            choices[key] = spelled(plain_value(text))
        else:
            values.append(text)
    tree, interpolated = _composed(tuple(f"{group}={choice}" for group, choice in choices.items()))
    config = _copy(tree)
    if any(text.startswith("model.family=") for text in values):
        _of_family(config, values, choices)
    for text in values:
        _set(config, text, choices)
    if code := families.code(config["model"].get("family", families.USUAL)):
        config["model"]["code"] = code
    if interpolated or any(map(_interpolates, values)):
        return _resolved(config, values)
    return config


def _interpolates(text: str) -> bool:
    return "$" in text and "${" in str(plain_value(text))


def check_choices(overrides: Sequence[str]) -> None:
    """ConfigError for a group's choice, hydra's own groups included, that does not exist."""
    for override in parse_overrides(overrides):
        key = override.key_or_group
        for value in values_of(override) if key in groups() else []:
            choice = spelled(plain_value(f"{key}={value}"))
            if choice not in groups()[key]:
                raise ConfigError(f"{key}={choice} is not known; {nearest(choice, groups()[key])}")


def check_launcher(overrides: Sequence[str]) -> None:
    """ConfigError for a launcher whose code is not there, or for a parameter that is no key of its file in conf/.

    Hydra's own errors do not list what exists.
    """
    parsed = {override.key_or_group: override for override in parse_overrides(overrides)}
    chosen = parsed.get("hydra/launcher")
    launcher = spelled(plain_value(str(chosen.input_line))) if chosen else "local"
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
    for key, override in parsed.items():
        name = key.removeprefix("hydra.launcher.")
        if name != key and name not in known:
            others = [other for other, file in files.items() if name in file]
            fits = f"it is one of hydra/launcher={' and '.join(others)}" if others else nearest(name, known)
            raise ConfigError(f"{key} is not a parameter of hydra/launcher={launcher}; {fits}")
        if name == "jobs" and not _interpolates(str(override.input_line)):
            check_jobs(plain_value(str(override.input_line)))


def check_jobs(jobs: object) -> None:
    """ConfigError for a number of cells at a time that is none."""
    if type(jobs) is not int or jobs < 1:
        raise ConfigError(f"hydra.launcher.jobs={spelled(jobs)} is not allowed; a whole number, at least 1")


def use_studies(overrides: Sequence[str]) -> None:
    """Make the place that `studies=` names known, before one of its studies or families is looked for."""
    place = next((plain_value(text) for text in reversed(overrides) if text.startswith("studies=")), None)
    if place is not None:
        studies.use(spelled(place))


def register_studies() -> None:
    """Make `ablation=NAME` known to Hydra, for --help, completion and composition."""
    for name in studies.names():
        ConfigStore.instance().store(group="ablation", name=name, node={"study": name}, package="_global_")


@functools.lru_cache(maxsize=256)
def _composed(choices: tuple[str, ...]) -> tuple[dict[str, Any], bool]:
    """The configuration of a choice of groups, and whether anything in it is interpolated."""
    check_choices(choices)
    plain = _read(choices)
    if plain is None:
        if not GlobalHydra.instance().is_initialized():
            register_studies()
            initialize_config_dir(str(CONF), version_base="1.3")  # for good: it takes half a second
        plain = cast(dict[str, Any], OmegaConf.to_container(hydra_compose("config", list(choices))))
    return plain, "${" in json.dumps(plain)


def _read(choices: Sequence[str]) -> dict[str, Any] | None:
    """The configuration as Hydra composes it of files that say no more than values and what they are made from.

    None if a file says more. Hydra takes a tenth of a second for each choice of groups, a study's plan has dozens.
    """
    chosen = {"ablation": "none"} | default_choices() | dict(text.split("=", 1) for text in choices)
    study = chosen.pop("ablation")
    of_files = [f"{group}/{choice}" for group, choice in chosen.items()]
    if study not in ("none", *studies.names()) or not all(map(is_plain, of_files)):
        return None
    sections = {group: dict(keys_of(f"{group}/{choice}")) for group, choice in chosen.items()}
    own = {key: value for key, value in keys_of("config").items() if key != "hydra"}
    return sections | {"study": None if study == "none" else study} | own


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose branches can be written to; leaves are shared, they are replaced and never changed."""
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in tree.items()}


def _of_family(config: dict[str, Any], values: Sequence[str], choices: Mapping[str, str]) -> None:
    """The section `model` of the family that is typed, with its defaults, unless the choice of `model` is of it."""
    *_, typed_last = (text for text in values if text.startswith("model.family="))
    family = fit(plain_value(typed_last), str, "model.family")
    of_choice = config["model"].get("family", families.USUAL)
    if family == of_choice:
        return
    if "model" in choices:
        raise ConfigError(
            f"model={choices['model']} is of the family {of_choice}, not {family}; leave out one of them"
        )
    config["model"] = families.defaults(family)


def _set(config: dict[str, Any], text: str, choices: Mapping[str, str]) -> None:
    key = str(parse(text).key_or_group)
    branch, node, path = config, config, ""
    for part in key.split("."):
        if not isinstance(node, dict) or not node:
            raise ConfigError(f"{key} is not a key; {path[:-1]} is a value")
        if part not in node:
            if (
                path == "model."
                and "model" not in choices
                and (family := node.get("family")) != families.USUAL
            ):
                beside = [path + name for name in node]
                raise ConfigError(f"{key} is not a key of the family {family}; {nearest(key, beside)}")
            raise ConfigError(_not_there(text, key, [path + name for name in node], choices))
        branch, node, path = node, node[part], f"{path}{part}."
    if isinstance(node, dict):
        raise ConfigError(f"{text} would replace a whole section; set {key}.KEY")
    value = plain_value(text)
    if value == "???":
        raise ConfigError(f"{text} is Hydra's mark of a value that is missing; give {key} one")
    if isinstance(value, str) and re.match(r"~(/|$)", value):
        home = shlex.quote(typed(key, os.path.expanduser(value)))
        raise ConfigError(f"{text} names a folder ~ here, as it is quoted; write {home} for your home")
    branch[part] = value


def _not_there(text: str, key: str, beside: Sequence[str], choices: Mapping[str, str]) -> str:
    """The sentence about a key that this choice of groups does not have."""
    group, _, name = key.partition(".")
    if key in keys() and group in default_choices():
        choice = f"{group}={choices.get(group, default_choices()[group])}"
        return f"{text} is not a key of {choice}, which has no {name}; {group} with it are {', '.join(having(key))}"
    found = meant(key)
    likely = f"; did you mean {found}{_likely_value(found, text.partition('=')[2])}?" if found else ""
    allowed = ["ablation" if name == "study" else name for name in beside]  # how a study is chosen
    return f"{key} is not a key; allowed are {', '.join(allowed)}{likely}"


def _likely_value(key: str, value: str) -> str:
    """What was probably meant by the value too, where the key has a list of them: "=A"; else nothing."""
    section, _, name = key.partition(".")
    kind = families.load(families.USUAL) if section == "model" else field_types(Config).get(section)
    hint = field_types(kind).get(name) if name and isinstance(kind, type) else None
    found = closest(value, groups().get(key, get_args(hint) if get_origin(hint) is Literal else []))
    return f"={found}" if found else ""


def _resolved(config: dict[str, Any], values: Sequence[str]) -> dict[str, Any]:
    """The configuration with `${…}` taken from itself, the environment and whatever else OmegaConf knows."""
    tree, typed_here = OmegaConf.create(config), ""
    try:
        for text in filter(_interpolates, values):
            key = str(parse(text).key_or_group)
            typed_here = f"{key}={spelled(plain_value(text))}"
            OmegaConf.select(tree, key)
        typed_here = ""
        return cast(dict[str, Any], OmegaConf.to_container(tree, resolve=True))
    except OmegaConfBaseException as error:
        said = str(error).splitlines()[0].rpartition("while resolving interpolation: ")[2].strip('"')
        missing = re.search(r"key '([\w.]+)'", said)
        found = meant(missing[1]) if missing else None
        near = f"; did you mean {found}?" if found and missing and found != missing[1] else ""
        raise ConfigError(f"{typed_here or error.full_key} cannot be resolved: {said}{near}") from error


def resolved_overrides(overrides: Sequence[str], config: Mapping[str, Any]) -> tuple[str, ...]:
    """The overrides with what `${…}` stands for in this configuration, so that they say the same anywhere."""
    return tuple(
        typed(key, functools.reduce(lambda node, part: node[part], key.split("."), config))
        if (key := str(parse(text).key_or_group)) not in groups() and _interpolates(text)
        else text
        for text in overrides
    )


@functools.lru_cache(maxsize=16384)
def _network_name(model: families.Model) -> str:
    return model.name


def make_cell(config: Mapping[str, Any], overrides: tuple[str, ...]) -> Cell:
    """The cell of a resolved configuration, checked, named and costed; ConfigError if it is not valid."""
    parsed = parse_config(config)
    cost = price.of(parsed)
    price.check_parts(parsed)
    name = f"{_network_name(parsed.model)} seed {parsed.seed}"
    return Cell(config, overrides, name, cost.parameters, cost.multiply_adds)
