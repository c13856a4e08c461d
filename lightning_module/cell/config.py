"""Configuration: plain resolved data -> typed, frozen, checked dataclasses.

The keys are those of `conf/`; a key, type or value that does not fit is a ConfigError of one sentence.
Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lightning_module.cell.identity import USUAL_LAYERS
from lightning_module.data.config import AnyData, ArraysConfig, DataConfig, ImageNetConfig
from lightning_module.networks import families
from lightning_module.support.check import at_least, between, field_types, fit, one_of, read_section
from lightning_module.support.errors import ConfigError, spelled

Mode = Literal["train", "benchmark"]
"""What is done with a cell: see conf/config.yaml."""


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
    warm_up_limit: int | None = None
    bn_statistics: Literal["running", "precise"] = "running"

    def __post_init__(self) -> None:
        at_least(self, "recipe", "batch_size", "steps", "warm_up_limit")
        at_least(self, "recipe", "learning_rate", "warm_up_learning_rate", minimum=0)
        at_least(self, "recipe", "weight_decay", "classifier_weight_decay", minimum=0)
        at_least(self, "recipe", "warm_up_steps", "warm_up_from_depth", minimum=0)
        between(self, "recipe", "momentum", "drop_factor", minimum=0, maximum=1)
        between(self, "recipe", "warm_up_error", minimum=0, maximum=100)
        if self.nesterov and not self.momentum:
            raise ConfigError("recipe.nesterov=true needs a recipe.momentum above 0, such as 0.9")
        if list(self.drops) != sorted(set(self.drops)) or min(self.drops, default=1) < 1:
            raise ConfigError(
                f"recipe.drops={spelled(self.drops)} is not allowed; the steps must increase, the first at least 1"
            )


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how fast; see conf/trainer/."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: int
    nodes: int
    precision: Literal["32", "tf32", "bf16"]
    sync_batch_norm: bool
    steps_per_call: int
    checkpoint_every: int | None
    evaluation_batch_size: int
    channels_last: bool
    compile: bool
    cuda_graph: bool
    activation_checkpoint: int | None
    threads: int
    progress: bool
    deterministic: bool = False

    def __post_init__(self) -> None:
        at_least(
            self, "trainer", "devices", "nodes", "steps_per_call", "checkpoint_every", "evaluation_batch_size"
        )
        at_least(self, "trainer", "threads", "activation_checkpoint", minimum=0)

    @property
    def processes(self) -> int:
        """Ranks that train one cell together."""
        return self.devices * self.nodes


NO_NAME = "/\\#?%:"
"""Characters that W&B has in no name of a project, a user or a team."""
LONGEST_PROJECT = 128


def check_place(project_key: str, project: str | None, entity_key: str, entity: str | None) -> None:
    """ConfigError for names that W&B does not allow; the keys: where they were given."""
    for key, name, whose in (
        (project_key, project or "", "a project"),
        (entity_key, entity or "", "a user or team"),
    ):
        if wrong := [character for character in name if character in NO_NAME]:
            raise ConfigError(
                f"{key}={name} has a {wrong[0]}, which W&B does not allow in the name of {whose}; "
                f"nor does it {' '.join(character for character in NO_NAME if character != wrong[0])}"
            )
    if project and len(project) > LONGEST_PROJECT:
        raise ConfigError(
            f"{project_key}={project[:20]}… has {len(project)} characters; W&B allows {LONGEST_PROJECT}"
        )


@dataclass(frozen=True)
class LoggerConfig:
    """Where metrics go besides the record; see conf/logger/."""

    mode: Literal["offline", "online", "none"]
    project: str | None = None
    entity: str | None = None
    base_url: str | None = None

    def __post_init__(self) -> None:
        check_place("logger.project", self.project, "logger.entity", self.entity)
        if self.base_url is not None and not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"logger.base_url={self.base_url} is not an address, such as https://api.wandb.ai"
            )


@dataclass(frozen=True)
class Config:
    """One cell with everything that is needed to train it."""

    model: families.Model
    data: AnyData
    recipe: RecipeConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    seed: int
    runs: str
    mode: Mode = "train"

    @property
    def layers(self) -> int:
        """Weight layers of the network, as it says or as is usual."""
        return int(getattr(self.model, "weighted_layers", USUAL_LAYERS))

    def __post_init__(self) -> None:
        at_least(self, "", "seed", minimum=0)
        batch, processes = self.recipe.batch_size, self.trainer.processes
        if batch % processes:
            lower = batch - batch % processes
            choices = [str(size) for size in (lower, lower + processes) if size]
            raise ConfigError(
                f"recipe.batch_size={batch} cannot be shared out over trainer.devices x trainer.nodes = {processes} "
                f"processes; the nearest valid sizes are {' and '.join(choices)}"
            )
        if self.data.train_images is not None:
            check_batch(batch, self.data.train_images, self.data.name)
        height, width = self.data.image_size
        if self.mode == "benchmark" and height != width:
            raise ConfigError(
                f"mode=benchmark is of square images; those of data.root are {height} x {width}"
            )


def check_batch(batch: int, images: int, data: str) -> None:
    """ConfigError for a batch in which an image would come twice."""
    if batch > images:
        raise ConfigError(
            f"recipe.batch_size={batch} is more than data={data} has to train on; the largest valid size is {images}"
        )


def idle(config: Config) -> dict[str, str]:
    """Key that changes nothing in this cell, given the others -> what it needs for that."""
    recipe, data, logs = config.recipe, config.data, config.logger.mode != "none"
    warms_up = recipe.warm_up != "none"
    deep = config.layers >= recipe.warm_up_from_depth
    deeper = f"recipe.warm_up_from_depth={config.layers} or less"
    needs = [
        ("warm_up", deep or not warms_up, deeper),
        ("warm_up_learning_rate", warms_up, "recipe.warm_up=steps or train_error"),
        ("warm_up_learning_rate", deep, deeper),
        ("warm_up_from_depth", warms_up, "recipe.warm_up=steps or train_error"),
        ("warm_up_steps", recipe.warm_up == "steps", "recipe.warm_up=steps"),
        ("warm_up_steps", deep, deeper),
        ("warm_up_error", recipe.warm_up == "train_error", "recipe.warm_up=train_error"),
        ("warm_up_error", deep, deeper),
        ("warm_up_limit", recipe.warm_up == "train_error", "recipe.warm_up=train_error"),
        ("warm_up_limit", deep, deeper),
        ("drop_factor", bool(recipe.drops), "recipe.drops, such as recipe.drops=[32000,48000]"),
    ]
    needs = [(f"recipe.{key}", there, what) for key, there, what in needs]
    together = config.trainer.sync_batch_norm or config.trainer.processes > 1
    needs += [
        ("trainer.sync_batch_norm", together, "several processes, such as trainer.devices=2"),
        ("trainer.cuda_graph", config.trainer.accelerator != "cpu", "trainer.accelerator=gpu or auto"),
        ("logger.project", logs, "logger=wandb or wandb_offline"),
        ("logger.entity", logs, "logger=wandb or wandb_offline"),
        ("logger.base_url", config.logger.mode == "online", "logger=wandb"),
    ]
    if isinstance(data, ImageNetConfig):
        needs += [
            ("data.short_side", data.crop == "scale", "data.crop=scale"),
            ("data.area", data.crop == "area", "data.crop=area"),
            ("data.aspect", data.crop == "area", "data.crop=area"),
            ("data.test_scales", "multi_scale" in data.final_tests, "data.final_tests=[multi_scale]"),
        ]
    return {key: what for key, there, what in reversed(needs) if not there}


def _read_data(values: Mapping[str, Any]) -> AnyData:
    """Each kind of data has keys of its own."""
    kinds: dict[str, type[AnyData]] = {
        name: kind
        for kind in (DataConfig, ArraysConfig, ImageNetConfig)
        for name in get_args(field_types(kind)["name"])
    }
    one_of("data.name", values.get("name"), kinds)
    return read_section(kinds[values["name"]], values, "data")


def parse_config(config: Mapping[str, Any]) -> Config:
    """The typed configuration of a resolved mapping; ConfigError says what does not fit."""
    return Config(
        model=families.read(config["model"]),
        data=_read_data(config["data"]),
        recipe=read_section(RecipeConfig, config["recipe"], "recipe"),
        trainer=read_section(TrainerConfig, config["trainer"], "trainer"),
        logger=read_section(LoggerConfig, config["logger"], "logger"),
        seed=fit(config["seed"], int, "seed"),
        runs=fit(config["runs"], str, "runs"),
        mode=fit(config.get("mode", "train"), Mode, "mode"),
    )
