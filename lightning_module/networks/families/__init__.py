"""The families of networks: one file each, found by listing this folder; or a module of one's own, by its import path.

`model.family` names a file of this folder, or a module such as `my_lab.nets`. A family has one name:

    Config: a frozen dataclass
        Its fields are the keys below `model`, each with a default. A value is a bool, an int, a float, a str or a
        Literal, a tuple of one of these (`tuple[int, ...]`), or one of these or None. `__post_init__` may raise
        ValueError for values that do not go together: its text is what the user reads.
    Config.name: str
        for people, such as "ResNet-110"
    Config.build(self, classes: int, channels: int) -> nn.Module
        the network, newly initialised from torch's global random generator, which maps float[B, channels, H, W] to
        float[B, classes]
    Config.weighted_layers: int (optional)
        layers as papers count depth; a network that has others is not trained
    Config.watches(self, module: nn.Module) -> bool (optional)
        whether the response of a layer is measured after training; without it, those of 3x3 convolutions are

A network whose class is `networks.staged.Staged` can be trained with activation checkpointing, and is compiled unit by
unit. The families of this folder import torch in `build` alone, so that a plan does not.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import pkgutil
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, get_origin

from lightning_module.support import own_code
from lightning_module.support.check import NOUNS, field_types, fit, read_section
from lightning_module.support.errors import ConfigError, nearest

if TYPE_CHECKING:
    from torch import nn

ROOM = __name__.rpartition(".")[0]
"""Where networks of ours are defined."""
USUAL = "resnet"
OWN_KEYS = ("family", "code")
"""Keys below `model` that are of no family: which one it is, and the digest of its source."""


class Model(Protocol):
    """One network of some family: an instance of its Config."""

    @property
    def name(self) -> str:
        """For people."""

    def build(self, classes: int, channels: int) -> nn.Module:
        """The network, newly initialised."""

    def __hash__(self) -> int: ...


def names() -> list[str]:
    """The families of this folder, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@functools.cache
def load(family: str) -> type[Model]:
    """The Config of a family; ConfigError if there is none, or for what is wrong with it."""
    module = importlib.import_module(f"{__name__}.{family}") if family in names() else _own(family)
    kind: Any = getattr(module, "Config", None)
    if not getattr(getattr(kind, "__dataclass_params__", None), "frozen", False):
        raise ConfigError(f"model.family={family} has no Config, which is a frozen dataclass of its keys")
    for name in ("name", "build"):
        if not hasattr(kind, name):
            raise ConfigError(f"model.family={family}: its Config has no {name}")
    for field in dataclasses.fields(kind):
        if field.name in OWN_KEYS:
            raise ConfigError(f"model.family={family}: {field.name} is no key of a family; rename it")
        if field.default is dataclasses.MISSING:
            raise ConfigError(f"model.family={family}: its key {field.name} has no default")
        if not _is_readable(field_types(kind)[field.name]):
            raise ConfigError(
                f"model.family={family}: its key {field.name} is of type {field.type}; a key is a bool, int, float, "
                "str or Literal, a tuple[..., ...] of one, or one or None"
            )
    return typing.cast(type[Model], kind)


def read(values: Mapping[str, Any]) -> Model:
    """The network of the section `model`; ConfigError for what does not fit, and for code that has changed since."""
    keys = dict(values)
    family, known = fit(keys.pop("family", USUAL), str, "model.family"), keys.pop("code", "")
    kind = load(family)
    if known != code(family):
        raise ConfigError(
            f"the code of {family} changed since this cell was asked for, which is another one now; ask again"
        )
    try:
        model = read_section(kind, keys, "model")
        if known:
            _ = model.name  # theirs to compute, which may fail too
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # somebody's program: whatever is wrong with it is bad input
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ConfigError(f"model.family={family}: {said}") from error
    return model


def defaults(family: str) -> dict[str, Any]:
    """The section `model` of a family where nothing else is said."""
    kind: Any = load(family)
    found = {field.name: field.default for field in dataclasses.fields(kind)}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
    return {"family": family, **plain}


@functools.cache
def code(family: str) -> str:
    """Twelve hexadecimal digits of the source of a module of one's own, as it was imported; "" of a family of ours."""
    digest = hashlib.sha256()
    files = sources(family)
    for name, path in files.items():
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12] if files else ""


@functools.cache
def sources(family: str) -> dict[str, Path]:
    """Name below the folder that it is imported from -> file, of the source of a module of one's own; none of ours."""
    if family in names():
        return {}
    load(family)
    return own_code.sources(family)


def _own(path: str) -> types.ModuleType:
    """The module of this import path."""
    found = own_code.load(path, f"model.family={path}")
    if found is None:
        raise ConfigError(
            f"model.family={path} is neither a family nor a module that can be imported from here, such as "
            f"my_lab.nets; {nearest(path, names())}"
        )
    return found


def _is_readable(kind: Any) -> bool:
    """Whether a value of this type can be typed: see `check.fit`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        return len(arguments) == 2 and arguments[1] is ... and _is_readable(arguments[0])
    if origin in (types.UnionType, typing.Union):
        some = [each for each in arguments if each is not types.NoneType]
        return len(some) == 1 and _is_readable(some[0])
    return origin is Literal or kind in NOUNS
