"""Bad input, said in one sentence; and the one way to warn."""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from lightning_module.support.text import visible

log = logging.getLogger("residual_ablations")
"""`log.warning` reaches the user of every program of ours: see program.py."""


class ConfigError(ValueError):
    """Bad input. Its text is one sentence: key, value, what is allowed, the nearest valid choice."""


def spelled(value: Any) -> str:
    """A value as YAML and the command line spell it: true, null, [1,2]."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(spelled, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{spelled(item)}" for key, item in value.items()) + "}"
    return str(value)


ELSEWHERE: Mapping[str, str | None] = {
    **dict.fromkeys(("cuda", "nvidia", "rocm"), "gpu"),
    **dict.fromkeys(("bfloat16", "bf16-mixed", "bf16-true"), "bf16"),
    **dict.fromkeys(("fp32", "float32", "float", "single", "full", "32-true"), "32"),
    **dict.fromkeys(("fp16", "float16", "half", "16-mixed", "16-true", "mps", "tpu", "xpu"), None),
    **dict.fromkeys(("off", "no", "false", "null", "disable", "disabled"), "none"),
    **dict.fromkeys(("ilsvrc", "ilsvrc2012", "imagenet1k", "imagenet-1k"), "imagenet"),
    **dict.fromkeys(("he", "he_normal", "kaiming", "kaiming_normal", "msra"), "he_fan_out"),
    **dict.fromkeys(("xavier", "xavier_uniform", "glorot"), "glorot_uniform"),
    **dict.fromkeys(("preact", "pre_activation", "preactivation", "v2"), "full_preactivation"),
    **dict.fromkeys(("projection", "conv", "1x1"), "B"),
    **dict.fromkeys(("zero_padding", "padding", "pad"), "A"),
    **dict.fromkeys(("npz", "numpy", "array", "medmnist"), "arrays"),
    **dict.fromkeys(("imagefolder", "image_folder", "folders"), "folder"),
    "gpu": "auto",
    "online": "wandb",
    "fast": "quick",
    "mnist": "digits",
}
"""What a value is called elsewhere -> what it is called here; None: it is not here, however near another is spelled."""


def closest(value: object, allowed: Iterable[object]) -> str | None:
    """The one that was probably meant: by meaning, by number, or by spelling without regard to case; else None."""
    word, names = spelled(value), [spelled(item) for item in allowed]
    folded = {name.casefold(): name for name in reversed(names)}
    if word.casefold() in folded:
        return folded[word.casefold()]
    if word.casefold() in ELSEWHERE:
        meant: str | None = word.casefold()
        while meant and meant not in names:
            meant = ELSEWHERE.get(meant)
        if meant or ELSEWHERE[word.casefold()] is None:
            return meant
    if (number := _number(word)) is not None:  # is no slip of the pen for a name
        numbers = {name: other for name in names if (other := _number(name)) is not None}
        every = len(numbers) == len(names)
        return min(numbers, key=lambda name: abs(numbers[name] - number)) if names and every else None
    close = difflib.get_close_matches(word.casefold(), folded, n=1)
    return folded[close[0]] if close else None


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def nearest(value: object, allowed: Iterable[object]) -> str:
    """The tail of an error sentence: what is allowed and, when one is close, which was probably meant."""
    names = [spelled(item) for item in allowed]
    if not names:
        return "there is none"
    meant = closest(value, names)
    return f"allowed are {', '.join(names)}" + (f"; did you mean {meant}?" if meant else "")


def one_line(error: BaseException) -> str:
    """The text of an error on one line, every character of it visible; its kind if it has none."""
    return visible(" ".join(str(error).split())) or type(error).__name__


def tell(error: Exception) -> int:
    """Say an error in one line on stderr; the exit code that belongs to it."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    return 2
