"""The studies: every module of `ablations` that defines STUDY, found by listing. Needs no Hydra: reports use it too."""

from __future__ import annotations

import functools
import importlib
import re
import traceback
from pathlib import Path

from ablations.study import Study
from lightning_module.support.errors import ConfigError, nearest

FOLDER = Path(__file__).resolve().parent.parent


@functools.cache
def names() -> tuple[str, ...]:
    """Names of the studies: files that begin a line with STUDY, read without running them."""
    return tuple(
        path.stem
        for path in sorted(FOLDER.glob("[!_]*.py"))
        if re.search(r"^STUDY\b.*=", path.read_text(encoding="utf-8"), re.MULTILINE)
    )


@functools.cache
def load(name: str) -> Study:
    """The study of this name; ConfigError if there is none, or for a mistake in its file, which it names."""
    if name not in names():
        raise ConfigError(f"ablation={name} is not known; {nearest(name, names())}")
    try:
        study = importlib.import_module(f"ablations.{name}").STUDY
    except ConfigError as error:
        raise ConfigError(f"ablations/{name}.py: {error}") from error
    except Exception as error:  # a study is somebody's program: whatever is wrong with it is bad input
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename.endswith(f"/{name}.py")
        ]
        line = getattr(error, "lineno", None) or (lines or [None])[-1]
        where = f"ablations/{name}.py" + (f", line {line}" if line else "")
        raise ConfigError(f"{where}: {type(error).__name__}: {error}") from error
    if not isinstance(study, Study):
        raise ConfigError(f"ablations/{name}.py: STUDY is not a Study")
    return study
