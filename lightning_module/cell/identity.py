"""A cell: one training run, named by everything that can change its result and by nothing else.

The identity is a hash of the *resolved* configuration, never of a difference from defaults: a changed
default is a different run. Paths, devices, workers, logger and launcher are not part of it, so the same
cell run on a laptop and on a cluster, or asked for by two studies, is one run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_module.support.disk import write_json
from lightning_module.support.errors import ConfigError

SCHEMA = 1
"""Version of the identity. Raise it when the meaning of an unchanged configuration changes."""

RESULT_KEYS = ("model", "data", "recipe", "seed", "trainer.precision")
"""What can change a result. Everything else in a configuration says where and how fast, not what."""

PATHS = ("data.root", "data.function")
"""Where data are: these may tell the cells of a study apart, though no identity has them."""

NOT_RESULT_KEYS = frozenset({*PATHS, "data.download", "data.workers"})
"""Exceptions below RESULT_KEYS."""

CONTENT = "data.content"
"""The checksum of a user's own data, which stands for their path."""
OF_CONTENT = ("data.classes", "data.shape", "data.train_images")
"""Keys that say of it what it holds."""


NEUTRAL: Mapping[str, Any] = {
    "recipe.warm_up_limit": None,
    "recipe.bn_statistics": "running",
    "trainer.deterministic": False,
    "model.family": "resnet",
    "model.widen": 1,
    "model.groups": 1,
    "model.group_width": None,
    "model.squeeze_ratio": None,
    "model.residual_dropout": 0,
    "model.stochastic_depth": 0,
    "model.stem_bias": False,
}
"""Keys that were added later, with the value at which all is as before: there they are left out, and records keep
their names. These values are never changed, whatever the defaults in conf/ become. Those of `model` are of the family
`resnet`; another family has all of its keys in its identities."""

USUAL_LAYERS = 20
"""Taken for the weight layers of a network that does not say how many it has, where time and threads are planned."""

NOT_SPEED_KEYS = frozenset({"progress", "checkpoint_every", "evaluation_batch_size"})
"""Choices of the trainer without effect on a benchmark."""


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> {"model.depth": 20, ...}, keys sorted; empty mappings vanish."""
    return dict(sorted(_leaves(tree, prefix)))


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):  # a Mapping is slow to tell, and a sweep has many cells
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"model.depth": 20} -> {"model": {"depth": 20}}: what `flatten` made flat."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, leaf = key.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return tree


def plain(value: Any) -> Any:
    """One spelling per value: 1.0 and 1 are the same number, tuples and lists the same sequence."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def canonical(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that can change the result, flat and in canonical form.

    Batch normalisation that is not synchronised sees the images of one device only, so then (and only
    then) the number of devices is part of what is trained: `trainer.batch_norm_devices`. What a benchmark
    (`mode=benchmark`) finds depends on every choice of the trainer.
    """
    kept: dict[str, Any] = {}
    for part in RESULT_KEYS:  # only these branches: a sweep may have ten thousand cells
        node: Any = config
        for step in part.split("."):
            node = node.get(step, {}) if isinstance(node, Mapping) else {}
        kept.update(_leaves(node, part + ".") if isinstance(node, Mapping) else [(part, node)])
    kept = {key: plain(kept[key]) for key in sorted(kept.keys() - NOT_RESULT_KEYS)}
    if "trainer.precision" in kept:  # a word, though Hydra reads 32 as a number
        kept["trainer.precision"] = str(kept["trainer.precision"])
    trainer = config.get("trainer", {})
    devices = int(trainer.get("devices", 1)) * int(trainer.get("nodes", 1))
    if devices > 1 and not trainer.get("sync_batch_norm", True):
        kept["trainer.batch_norm_devices"] = devices
    if config.get("mode", "train") != "train":
        # Another kind of run, whose result is speed: there everything that makes it fast counts.
        kept |= {f"trainer.{key}": plain(trainer[key]) for key in trainer.keys() - NOT_SPEED_KEYS}
        kept = dict(sorted({**kept, "mode": config["mode"]}.items()))
    neutral = _neutral(kept)
    return {key: value for key, value in kept.items() if key not in neutral or value != neutral[key]}


def _neutral(flat: Mapping[str, Any]) -> dict[str, Any]:
    """NEUTRAL, as far as this flat configuration's family has its keys."""
    of_resnet = flat.get("model.family", NEUTRAL["model.family"]) == NEUTRAL["model.family"]
    return {key: value for key, value in NEUTRAL.items() if of_resnet or not key.startswith("model.")}


def whole(canonical_config: Mapping[str, Any]) -> dict[str, Any]:
    """A canonical configuration with the neutral values that it leaves out, for whoever compares levels of a key."""
    return {**_neutral(canonical_config), **canonical_config}


def identity(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that name the run of this resolved configuration."""
    return digest(canonical(config))


def digest(canonical_config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of a canonical configuration."""
    text = json.dumps([SCHEMA, canonical_config], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys in which two canonical configurations differ -> (value in a, value in b); absent is None."""
    return {key: (a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)}


@dataclass(frozen=True)
class Cell:
    """One training run that somebody asked for.

    config: the whole resolved configuration, as nested plain data.
    overrides: what was typed to get it, for the command that runs it again.
    name: for people, such as "ResNet-110 B seed 3".
    parameters, multiply_adds: of the network; multiply-adds of one forward pass of one image.
    """

    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    name: str
    parameters: int
    multiply_adds: int

    @cached_property
    def canonical(self) -> dict[str, Any]:
        """What can change the result, flat: see `canonical`. Not to be changed."""
        return canonical(self.config)

    @cached_property
    def identity(self) -> str:
        """Name of the run folder, of the W&B run and of the job."""
        return digest(self.canonical)

    @property
    def run_folder(self) -> Path:
        """Where its record, its checkpoint and its logs lie; of a cell that is to be trained."""
        return Path(self.config["runs"]).absolute() / self.identity

    def to_json(self) -> dict[str, Any]:
        """The cell as a line of a sweep manifest or of a record."""
        return {
            "identity": self.identity,
            "name": self.name,
            "overrides": list(self.overrides),
            "config": self.canonical,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Cell:
        """The cell of such a line, whose configuration is no more than what can change the result."""
        sizes = line["parameters"], line["multiply_adds"]
        return cls(nested(line["config"]), tuple(line["overrides"]), line["name"], *sizes)

    def write(self, path: Path) -> None:
        """Keep the whole cell in a file, for another process that is to train it."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Cell:
        """The cell that `write` kept; ConfigError for a file that holds none."""
        try:
            data = json.loads(path.read_bytes())
            cell = cls(**{**data, "overrides": tuple(data["overrides"])})
            _ = cell.identity  # which needs all of its configuration
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ConfigError(f"{path} does not hold a cell; run the sweep's command again") from error
        return cell
