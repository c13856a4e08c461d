"""The program as jobs run it: a copy in the runs folder, with the users' own networks and studies."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from ablations.sweep import studies
from lightning_module.cell.identity import Cell
from lightning_module.networks import families
from lightning_module.support import own_code
from lightning_module.support.disk import ROOT
from lightning_module.support.errors import ConfigError
from slurm import store

ROOMS = ("ablations", "conf", "lightning_module", "slurm")
"""What a job needs of the program."""


def find_networks(cells: Iterable[Cell]) -> None:
    """Make the networks in the places that cells name as `studies` importable, from whatever folder they are submitted.

    A job has a copy of them, and need not find the place itself.
    """
    for place in {str(cell.config.get("studies") or "") for cell in cells} - {""}:
        with contextlib.suppress(ConfigError):
            studies.importable(place)


def snapshot(runs: Path, cells: Iterable[Cell]) -> Path:
    """A copy of the program in RUNS/slurm/code, one for each content, which edits do not reach.

    It holds the source of the users' own networks that these cells train, of their functions that load data, and of the
    studies that they are of. A job that submits takes along what its own snapshot holds.
    """
    of_a_job = ROOT.parent == (runs / store.FOLDER / "code").resolve()
    rooms = [ROOT] if of_a_job else [ROOT / room for room in ROOMS]
    every = (path for room in rooms for path in sorted(room.rglob("*")))
    files = _read(
        {path.relative_to(ROOT).as_posix(): path for path in every if path.suffix in (".py", ".yaml")}
    )
    of_studies = {(str(cell.config.get("studies") or ""), str(cell.config.get("study"))) for cell in cells}
    for place, study in sorted(of_studies):
        if place and not of_a_job:
            files |= _own_study(place, study)
    for family in sorted({str(cell.config["model"].get("family", families.USUAL)) for cell in cells}):
        files |= _read(families.sources(family))
    for function in sorted({cell.config["data"].get("function") or "" for cell in cells} - {""}):
        files |= _read(own_code.sources(function.rpartition(".")[0]))
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + content)
    target = runs / store.FOLDER / "code" / digest.hexdigest()[:12]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent))
        temporary.chmod(0o755)
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(content)
        with contextlib.suppress(OSError):  # another client was faster
            temporary.rename(target)
    return target


def _read(files: Mapping[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files.items()}


def _own_study(place: str, study: str) -> dict[str, bytes]:
    """Name in a snapshot -> content, of what a study of the user's own is made of; a job finds it among ours.

    Nothing of a place that is gone, nor where none of its studies was asked for.
    """
    try:
        folder = studies.importable(place)
    except ConfigError:
        return {}
    path = folder / f"{study}.py"
    if not path.is_file():
        return {}
    own = f"ablations/{study}.py"
    if studies.is_folder(place):
        return {**_read(own_code.imported_files(path)), own: path.read_bytes()}
    # In its package it may import its neighbours by a dot, which it could not from among ours.
    code = f"import importlib\n\nSTUDY = importlib.import_module({f'{place}.{study}'!r}).STUDY\n"
    files = own_code.source_files(place.partition(".")[0], folder.parents[place.count(".")])
    return {**_read(files), own: code.encode()}
