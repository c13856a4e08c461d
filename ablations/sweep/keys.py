"""What can be typed before the `=`: the keys and groups of conf/, and which of them somebody meant."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from ablations.sweep import studies
from lightning_module.support.disk import ROOT

CONF = ROOT / "conf"

ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(("arch", "architecture", "net", "network", "backbone"), "model"),
    **dict.fromkeys(("layers", "num_layers", "n_layers", "model_depth"), "model.depth"),
    **dict.fromkeys(("channels", "filters", "num_filters", "base_width"), "model.width"),
    **dict.fromkeys(("cardinality", "num_groups"), "model.groups"),
    "width_per_group": "model.group_width",
    **dict.fromkeys(("widen_factor", "width_factor", "wide"), "model.widen"),
    **dict.fromkeys(("reduction", "se_ratio", "rd_ratio"), "model.squeeze_ratio"),
    **dict.fromkeys(("drop_path", "drop_path_rate", "survival"), "model.stochastic_depth"),
    **dict.fromkeys(("growth_rate", "k"), "model.growth"),
    **dict.fromkeys(("skip", "skip_connection", "shortcut_option"), "model.shortcut"),
    **dict.fromkeys(("init", "weight_init"), "model.initialization"),
    **dict.fromkeys(("zero_init_residual", "zero_gamma"), "model.zero_init_last_bn"),
    **dict.fromkeys(("eps", "bn_eps"), "model.bn_epsilon"),
    **dict.fromkeys(("dataset", "data_set"), "data"),
    **dict.fromkeys(("data_dir", "data_path", "data_root", "dataset_path", "path"), "data.root"),
    **dict.fromkeys(("data.dir", "data.folder", "data.file", "data.path"), "data.root"),
    **dict.fromkeys(("num_workers", "n_workers", "data_workers"), "data.workers"),
    **dict.fromkeys(("lr", "base_lr", "init_lr", "max_lr", "eta"), "recipe.learning_rate"),
    **dict.fromkeys(
        ("batch", "bs", "batchsize", "train_batch_size", "global_batch_size"), "recipe.batch_size"
    ),
    **dict.fromkeys(("epochs", "epoch", "num_epochs", "max_epochs", "n_epochs"), "recipe.steps"),
    **dict.fromkeys(("max_steps", "num_steps", "iterations", "iters", "max_iter"), "recipe.steps"),
    **dict.fromkeys(
        ("milestones", "lr_drops", "lr_steps", "schedule", "scheduler", "lr_schedule"), "recipe.drops"
    ),
    **dict.fromkeys(("gamma", "lr_decay", "lr_gamma", "decay"), "recipe.drop_factor"),
    **dict.fromkeys(("wd", "l2", "weightdecay"), "recipe.weight_decay"),
    **dict.fromkeys(("mom", "beta"), "recipe.momentum"),
    **dict.fromkeys(("warmup", "warmup_epochs"), "recipe.warm_up"),
    **dict.fromkeys(("optimizer", "optim", "opt", "hparams"), "recipe"),
    **dict.fromkeys(("gpus", "gpu", "num_gpus", "n_gpus", "ngpu", "num_devices"), "trainer.devices"),
    **dict.fromkeys(("num_nodes", "n_nodes"), "trainer.nodes"),
    **dict.fromkeys(("device", "cuda", "use_cuda"), "trainer.accelerator"),
    **dict.fromkeys(("amp", "fp16", "bf16", "half", "mixed_precision", "dtype"), "trainer.precision"),
    **dict.fromkeys(("num_threads", "n_threads"), "trainer.threads"),
    **dict.fromkeys(("random_seed", "manual_seed", "seeds"), "seed"),
    **dict.fromkeys(
        ("out", "output", "output_dir", "out_dir", "save_dir", "log_dir", "logdir", "run", "runs_dir", "dir"),
        "runs",
    ),
    **dict.fromkeys(("wandb", "log", "logging"), "logger"),
    **dict.fromkeys(("experiment", "exp", "sweep"), "ablation"),
    **dict.fromkeys(("n_jobs", "num_jobs", "parallel"), "hydra.launcher.jobs"),
    "warmup_steps": "recipe.warm_up_steps",
    **dict.fromkeys(("launcher", "slurm"), "hydra/launcher"),
    "benchmark": "mode",
}
"""What a key, or the last part of it, is called elsewhere -> what it is called here."""


def groups() -> dict[str, list[str]]:
    """Configuration group -> its choices: the YAML files of conf/, and the studies."""
    return _groups(studies.names())


@functools.cache
def _groups(ablations: tuple[str, ...]) -> dict[str, list[str]]:
    choices: dict[str, list[str]] = {}
    for path in sorted(CONF.rglob("*/*.yaml")):
        choices.setdefault(path.parent.relative_to(CONF).as_posix(), []).append(path.stem)
    choices["ablation"] = sorted({*choices["ablation"], *ablations})
    return choices


@functools.cache
def default_choices() -> dict[str, str]:
    """Group -> what is chosen of it if nobody says anything, of those that have keys."""
    entries = [entry for entry in _file("config")["defaults"] if isinstance(entry, dict)]
    chosen = {group: choice for entry in entries for group, choice in entry.items()}
    return {group: choice for group, choice in chosen.items() if "/" not in group and group != "ablation"}


@functools.cache
def keys_of(choice: str) -> dict[str, Any]:
    """Key -> value of a file of conf/ ("data/cifar10") and of those that it is made from."""
    content, group = _file(choice), choice.rpartition("/")[0]
    keys: dict[str, Any] = {}
    for base in content.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            keys |= keys_of(f"{group}/{base}")
    return keys | content


@functools.cache
def is_plain(choice: str) -> bool:
    """Whether a file of conf/ holds no more than the values of its group, after those of other plain files."""
    path = CONF / f"{choice}.yaml"
    if not path.exists() or "@package" in path.read_text(encoding="utf-8"):
        return False
    content, group = _file(choice), choice.rpartition("/")[0]
    *bases, last = content.pop("defaults", ["_self_"])
    return (
        last == "_self_"
        and not any(isinstance(value, dict) for value in content.values())
        and all(isinstance(base, str) and is_plain(f"{group}/{base}") for base in bases)
    )


def _file(name: str) -> dict[str, Any]:
    content: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))  # type: ignore[assignment]
    return content


@functools.cache
def keys() -> dict[str, Any]:
    """Every key that some choice of groups has, dotted -> a value, the usual one if it has one; the launchers' last."""
    known = {key: value for key, value in keys_of("config").items() if key != "hydra"}
    for group in (*default_choices(), "hydra/launcher"):
        for choice in (*_files(group), default_choices().get(group, "local")):
            pairs = keys_of(f"{group}/{choice}").items()
            known |= {f"{group.replace('/', '.')}.{key}": value for key, value in pairs if key != "_target_"}
    return known


def having(key: str) -> list[str]:
    """The choices of a key's group that have it: "data.root" -> ["akamaster", "cifar10", …]."""
    group, _, name = key.partition(".")
    return [choice for choice in _files(group) if name in keys_of(f"{group}/{choice}")]


def _files(group: str) -> list[str]:
    return sorted(path.stem for path in CONF.joinpath(group).glob("*.yaml"))


def meant(key: str) -> str | None:
    """The key or group that was probably meant: by the name of its last part at any level, by what it is called
    elsewhere, or by spelling; None if nothing is near, or nothing but the section it stands in. Of data.name nobody
    means to say more than `data` does.
    """
    names = [*keys(), *default_choices(), "ablation", "hydra/launcher"]
    names.remove("data.name")
    last = {name.rpartition(".")[2]: name for name in reversed(names)}
    word = key.casefold().replace("-", "_")
    part = word.rpartition(".")[2]
    for found in (last.get(part), ELSEWHERE.get(word), ELSEWHERE.get(part)):
        if found and found != key:
            return None if key.startswith(f"{found}.") else found
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.75)
    if not close and "." not in key:
        close = [last[name] for name in difflib.get_close_matches(part, last, n=1, cutoff=0.75)]
    # A section that is right says nothing about the key in it
    alike = close and difflib.SequenceMatcher(None, part, close[0].rpartition(".")[2]).ratio() >= 0.6
    return close[0] if alike else None
