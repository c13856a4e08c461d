"""The studies: every file of `ablations` that defines STUDY, and those of a place of one's own, found by listing.

A place is a folder, or a package by its import path. Needs no Hydra: reports use it too.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
import runpy
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

from ablations.study import Study
from lightning_module.support import own_code
from lightning_module.support.errors import ConfigError, nearest

FOLDER = Path(__file__).resolve().parent.parent


class File(NamedTuple):
    """Of a study. module: the name that it runs under, by which it imports what lies beside it in a package."""

    path: Path
    module: str


OWN: dict[str, File] = {}
"""Name -> file of the studies of the place that this process uses."""


def use(place: str) -> None:
    """Make the studies of a place known to this process, instead of those of another one.

    ConfigError if it is none, or holds none, or one that has the name of one of ours.
    """
    found = _of_place(place)
    if not found:
        raise ConfigError(f"studies={place} holds no study: no file there has a line that begins with STUDY")
    if taken := sorted({"none", *_ours()} & found.keys()):
        raise ConfigError(
            f"studies={place} holds a study {taken[0]}, which is the name of one of ours; rename its file"
        )
    OWN.clear()
    OWN.update(found)
    names.cache_clear()
    load.cache_clear()


def importable(place: str) -> Path:
    """The folder of a place, whose modules can be imported from here on, here and in what is started from here."""
    folder = _folder(place)
    if is_folder(place) and str(folder) not in sys.path:
        sys.path.append(str(folder))
        paths = filter(None, [os.environ.get("PYTHONPATH"), str(folder)])
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    return folder


def is_folder(place: str) -> bool:
    """Whether a place is a folder, and no package."""
    return Path(place).is_dir()


def absolute(place: str) -> str:
    """The place as it can be found from any folder."""
    return os.path.abspath(place) if is_folder(place) else place


def _folder(place: str) -> Path:
    if not place.strip():
        raise ConfigError("studies= names no folder; studies=. is the current one")
    if is_folder(place):
        return Path(os.path.abspath(place))
    if Path(place).is_file():
        raise ConfigError(f"studies={place} is a file; name its folder: studies={Path(place).parent}")
    own_code.look_here()
    try:
        spec = importlib.util.find_spec(place) if place.replace(".", "").isidentifier() else None
    except ModuleNotFoundError:
        spec = None
    except Exception as error:  # somebody's program: whatever is wrong with it is bad input
        raise ConfigError(f"studies={place} cannot be imported: {type(error).__name__}: {error}") from error
    if not spec or not spec.submodule_search_locations:
        raise ConfigError(f"studies={place} is neither a folder nor a package that can be imported from here")
    return Path(next(iter(spec.submodule_search_locations)))


def _of_place(place: str) -> dict[str, File]:
    package = "" if is_folder(place) else f"{place}."
    return _listed(importable(place), package)


def _listed(folder: Path, package: str) -> dict[str, File]:
    """Name -> file of the studies of a folder: files that begin a line with STUDY, read without running them."""
    return {
        path.stem: File(path, f"{package}{path.stem}")
        for path in sorted(folder.glob("[!_]*.py"))
        if path.is_file()
        and re.search(r"^STUDY\b.*=", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    }


@functools.cache
def names() -> tuple[str, ...]:
    """Names of the studies, one's own last."""
    return (*_ours(), *OWN)


def _ours() -> dict[str, File]:
    return _listed(FOLDER, "ablations.")


@functools.cache
def load(name: str) -> Study:
    """The study of this name; ConfigError if there is none, or for a mistake in its file, which it names."""
    if name not in names():
        raise ConfigError(f"ablation={name} is not known; {nearest(name, names())}")
    return _read(_file(name))


def _file(name: str) -> File:
    return OWN.get(name) or File(FOLDER / f"{name}.py", f"ablations.{name}")


def load_from(place: str, name: str) -> Study | None:
    """The study of this name in a place, which need not be in use; None if there is none any more."""
    try:
        file = _of_place(place).get(name)  # no other file: a manifest may be somebody else's
    except ConfigError:
        return None
    return _read(file) if file else None


def shown(name: str) -> str:
    """The file of a study as sentences about it name it."""
    return _shown(_file(name).path)


def _shown(path: Path) -> str:
    return f"ablations/{path.name}" if path.parent == FOLDER else str(path)


def _read(file: File) -> Study:
    path, where = file.path, _shown(file.path)
    try:
        # One's own is run, not imported: whatever its name is, it hides no module and no module hides it.
        study = (
            importlib.import_module(file.module).STUDY
            if path.parent == FOLDER
            else runpy.run_path(str(path), run_name=file.module)["STUDY"]
        )
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:  # somebody's program: whatever is wrong with it is bad input
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename.endswith(f"/{path.name}")
        ]
        line = getattr(error, "lineno", None) or (lines or [None])[-1]
        raise ConfigError(
            f"{where}{f', line {line}' if line else ''}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(study, Study):
        raise ConfigError(f"{where}: STUDY is not a Study")
    return study
