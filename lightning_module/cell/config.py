"""Configuration: plain resolved data -> typed, frozen, checked dataclasses.

The keys are those of `conf/`; a key, type or value that does not fit is a ConfigError of one sentence.
Needs no torch.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from lightning_module.data.config import AnyData, DataConfig, ImageNetConfig
from lightning_module.networks.config import NetworkConfig
from lightning_module.support.check import between, positive
from lightning_module.support.errors import ConfigError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class RecipeConfig:
    """How it is learned; see conf/recipe/."""

    batch_size: int
    steps: int
    learning_rate: float
    drops: tuple[int, ...]
    drop_factor: float
    momentum: float
    nesterov: bool
    weight_decay: float
    weight_decay_on: Literal["all", "weights"]
    classifier_weight_decay: float | None
    warm_up: Literal["none", "steps", "train_error"]
    warm_up_learning_rate: float
    warm_up_steps: int
    warm_up_error: float
    warm_up_from_depth: int

    def __post_init__(self) -> None:
        positive(self, "recipe", "batch_size", "steps")
        positive(self, "recipe", "learning_rate", "warm_up_learning_rate", "weight_decay", minimum=0)
        positive(self, "recipe", "warm_up_steps", "warm_up_from_depth", minimum=0)
        between(self, "recipe", "momentum", "drop_factor", minimum=0, maximum=1)
        between(self, "recipe", "warm_up_error", minimum=0, maximum=100)
        if self.nesterov and not self.momentum:
            raise ValueError("recipe.nesterov=true needs a recipe.momentum above 0, such as 0.9")
        if list(self.drops) != sorted(set(self.drops)) or min(self.drops, default=1) < 1:
            raise ValueError(
                f"recipe.drops={list(self.drops)} is not allowed; the steps must increase, the first at least 1"
            )
        if self.classifier_weight_decay is not None:
            positive(self, "recipe", "classifier_weight_decay", minimum=0)


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how fast; see conf/trainer/."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: int
    nodes: int
    precision: Literal["32", "tf32", "bf16"]
    sync_batch_norm: bool
    steps_per_call: int
    checkpoint_every: int
    evaluation_batch_size: int
    channels_last: bool
    compile: bool
    cuda_graph: bool
    activation_checkpoint: int | None
    threads: int
    progress: bool

    def __post_init__(self) -> None:
        positive(
            self, "trainer", "devices", "nodes", "steps_per_call", "checkpoint_every", "evaluation_batch_size"
        )
        positive(self, "trainer", "threads", minimum=0)
        if self.activation_checkpoint is not None:
            positive(self, "trainer", "activation_checkpoint", minimum=0)

    @property
    def processes(self) -> int:
        """Ranks that train one cell together."""
        return self.devices * self.nodes


@dataclass(frozen=True)
class LoggerConfig:
    """Where metrics go besides the record; see conf/logger/."""

    mode: Literal["offline", "online", "none"]
    project: str = "residual-ablations"
    entity: str | None = None
    base_url: str | None = None


@dataclass(frozen=True)
class Config:
    """One cell with everything that is needed to train it."""

    model: NetworkConfig
    data: AnyData
    recipe: RecipeConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    seed: int
    runs: str
    mode: Literal["train", "benchmark"] = "train"

    def __post_init__(self) -> None:
        positive(self, "", "seed", minimum=0)
        batch, processes = self.recipe.batch_size, self.trainer.processes
        if batch % processes:
            lower = batch - batch % processes
            choices = [str(size) for size in (lower, lower + processes) if size]
            raise ValueError(
                f"recipe.batch_size={batch} cannot be shared out over trainer.devices x trainer.nodes = {processes} "
                f"processes; the nearest valid sizes are {' and '.join(choices)}"
            )


def _fit(value: Any, kind: Any, key: str) -> Any:
    """The value as this type, or ConfigError."""
    origin = get_origin(kind)
    if origin is Literal:
        choices = get_args(kind)
        text = str(value) if all(isinstance(choice, str) for choice in choices) else value
        if text not in choices:
            raise ConfigError(f"{key}={value} is not known; {nearest(value, choices)}")
        return text
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in get_args(kind):
            return None
        return _fit(value, next(arm for arm in get_args(kind) if arm is not type(None)), key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{key}={value} is not a list, such as [32000,48000]")
        return tuple(_fit(item, get_args(kind)[0], key) for item in value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number and math.isfinite(value):
        return float(value)
    if kind is int and number and float(value).is_integer():
        return int(value)
    if kind in (str, bool) and isinstance(value, kind):
        return value
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
    raise ConfigError(f"{key}={value} is not {names[kind]}")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """Field -> type; asking Python takes longer than all the rest of a cell's plan."""
    return typing.get_type_hints(kind)


def read_section(kind: type[T], values: Mapping[str, Any], prefix: str) -> T:
    """A frozen dataclass from a mapping with exactly its keys."""
    found = _read_section(kind, json.dumps(values), prefix)  # type: ignore[arg-type]  # a class can be hashed
    return cast(T, found)


@functools.lru_cache(maxsize=16384)
def _read_section(kind: Any, text: str, prefix: str) -> Any:
    # By its text, because the cells of a sweep differ in one section and share the others.
    values = json.loads(text)
    hints = _hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            raise ConfigError(f"{prefix}.{key} is not a key; {nearest(key, known)}")
    try:
        return kind(**{key: _fit(value, hints[key], f"{prefix}.{key}") for key, value in values.items()})
    except TypeError:
        missing = [name for name in known if name not in values]
        raise ConfigError(f"{prefix} lacks {', '.join(missing)}") from None
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _read_data(values: Mapping[str, Any]) -> AnyData:
    """Image folders have keys of their own."""
    kinds: dict[str, type[AnyData]] = {
        name: kind for kind in (DataConfig, ImageNetConfig) for name in get_args(_hints(kind)["name"])
    }
    if values.get("name") not in kinds:
        raise ConfigError(
            f"data.name={values.get('name')} is not known; {nearest(values.get('name'), kinds)}"
        )
    return read_section(kinds[values["name"]], values, "data")


def parse_config(config: Mapping[str, Any]) -> Config:
    """The typed configuration of a resolved mapping; ConfigError says what does not fit."""
    try:
        return Config(
            model=read_section(NetworkConfig, config["model"], "model"),
            data=_read_data(config["data"]),
            recipe=read_section(RecipeConfig, config["recipe"], "recipe"),
            trainer=read_section(TrainerConfig, config["trainer"], "trainer"),
            logger=read_section(LoggerConfig, config["logger"], "logger"),
            seed=_fit(config["seed"], int, "seed"),
            runs=_fit(config["runs"], str, "runs"),
            mode=_fit(config.get("mode", "train"), Literal["train", "benchmark"], "mode"),
        )
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error).removeprefix(".")) from None
