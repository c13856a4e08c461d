"""Modules of a user's own: found by their import path, and the files that are their source."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterable
from pathlib import Path

from lightning_module.support.errors import ConfigError


def look_here() -> None:
    """Have modules of the current folder found too, after all others."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def load(path: str, typed: str) -> types.ModuleType | None:
    """The module of this import path, looked for in the current folder too; None if there is none.

    Raises ConfigError for one that cannot be imported. typed: what the user wrote, such as "model.family=my_nets".
    """
    look_here()
    try:
        return importlib.import_module(path)
    except (Exception, SystemExit) as error:  # somebody's program: whatever is wrong with it is bad input
        absent = isinstance(error, ModuleNotFoundError) and f"{path}.".startswith(f"{error.name}.")
        if absent or not path.replace(".", "").isidentifier():
            return None
        raise ConfigError(f"{typed} cannot be imported: {type(error).__name__}: {error}") from error


def sources(path: str) -> dict[str, Path]:
    """Name below the folder that it is imported from -> file, of the source of a module.

    It is that of the package which the module lies in, all of it; of a module that lies in none, its file and whatever
    this imports from beside it.
    """
    load(path, path)
    top = path.partition(".")[0]
    file = getattr(sys.modules[top], "__file__", None)
    places = [Path(place).parent for place in getattr(sys.modules[top], "__path__", ())]
    folder = places[0] if places else Path(file or "").parent
    return source_files(top, folder)


def source_files(top: str, folder: Path) -> dict[str, Path]:
    """Name below the folder -> file, of the source of a module or a package there and of those beside it that it
    imports."""
    return _below(folder, _sources(top, folder, {}))


def imported_files(path: Path) -> dict[str, Path]:
    """Name below its folder -> file, of what a file imports from beside it, without the file itself."""
    found: dict[Path, None] = {}
    for name in _imported(path):
        _sources(name, path.parent, found)
    return _below(path.parent, found)


def _below(folder: Path, files: Iterable[Path]) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(files)}


def _sources(name: str, folder: Path, found: dict[Path, None]) -> dict[Path, None]:
    files = _files(name, folder)
    installed = folder.name in ("site-packages", "dist-packages")
    for path in files:
        if path not in found:
            found[path] = None
            for other in [] if installed else _imported(path):
                _sources(other, folder, found)
    return found


def _files(name: str, folder: Path) -> list[Path]:
    """The files of a module that Python finds in this folder; none of one that it finds elsewhere, such as `random`."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    places = [*(spec.submodule_search_locations or ()), spec.origin or ""] if spec else []

    def is_it(path: Path) -> bool:
        return path.exists() and any(os.path.exists(place) and path.samefile(place) for place in places)

    if is_it(alone := folder / f"{name}.py"):
        return [alone]
    return sorted((folder / name).rglob("*.py")) if is_it(folder / name) else []


def _imported(path: Path) -> list[str]:
    """The top names that a file imports, wherever in it."""
    import ast  # of which only users of their own code have need

    named = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            named.append(node.module or "")
    return sorted({name.partition(".")[0] for name in named})
