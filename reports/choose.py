"""Which sweeps and studies are reported: what a name means, and what `--all` holds."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ablations.study import Study
from ablations.sweep import manifest as manifests
from ablations.sweep import studies
from ablations.sweep.manifest import Manifest
from lightning_module.support.command_line import RUNS, command, in_hydra
from lightning_module.support.errors import ConfigError, tell
from lightning_module.support.text import aligned
from reports.numbers.deviations import departed


def readable(runs: Path) -> tuple[list[Manifest], list[ConfigError]]:
    """The sweeps of a runs folder, newest first; and what is wrong with the manifests that cannot be read."""
    asked, damaged = [], []
    for path in manifests.newest_first(runs):
        try:
            asked.append(manifests.read(path))
        except ConfigError as error:
            damaged.append(error)
    return asked, damaged


def listing(asked: Sequence[Manifest]) -> list[str]:
    """One line per sweep."""
    return aligned(
        [
            [
                m.name,
                f"{len(m.cells):6,} cell{'s' * (len(m.cells) != 1)}",
                f"study {m.study}" if m.study else "",
            ]
            for m in asked
        ]
    )


def no_sweep(runs: Path) -> str:
    """What to say of a runs folder in which nobody asked for anything."""
    where = [] if runs == RUNS else [_override(runs)]
    return (
        f"{runs} holds no sweep; start one, such as:  {command('run', '-m', 'model.depth=20,56,110', *where)}"
    )


def _override(runs: Path) -> str:
    return f"runs={in_hydra(str(runs))}"


def from_here(folder: Path) -> Path:
    """A folder as it is typed where all of this lies elsewhere too: from the current folder, if it is below that."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_absolute() and folder.is_relative_to(here) else folder


def at(manifest: Manifest, runs: Path) -> Manifest:
    """The same with commands that run its cells in this folder.

    As they were typed if it is an absolute one: a report is the same wherever the records lie.
    """
    runs = from_here(runs)
    if runs == RUNS or runs.is_absolute():
        return manifest

    def there(words: Iterable[str]) -> list[str]:
        return [word for word in words if not word.startswith("runs=")] + [_override(runs)]

    try:
        rest = shlex.join(there(shlex.split(manifest.command)))
    except ValueError:  # no command of a shell: somebody wrote it by hand
        rest = manifest.command
    cells = tuple({**cell, "overrides": there(cell["overrides"])} for cell in manifest.cells)
    return replace(manifest, command=rest, cells=cells)


def manifest(name: str | None, runs: Path) -> tuple[Manifest, str]:
    """The manifest that a name means, and what to say about the choice ("" if there was none).

    No name: the sweep asked for last. A sweep's name: that one. A study's name: its newest sweep, or, if none
    was ever started, the cells that the study declares.
    """
    paths = manifests.newest_first(runs)
    if name is None:
        if not paths:
            raise ConfigError(no_sweep(runs))
        newest = manifests.read(paths[0])
        others = len(paths) - 1
        hint = f" ({others} older: {command('report', '--list', runs=runs)})" if others else ""
        return newest, f"Newest sweep: {newest.name}{hint}"
    for path in paths:
        if path.stem == name:
            return manifests.read(path), ""
    asked, damaged = readable(runs)
    for error in damaged:  # which of them is the newest of a study is not known for certain
        tell(error)
    for sweep in asked:
        if sweep.study == name:
            return sweep, f"Newest sweep of study {name}: {sweep.name}"
    if name in studies.names():
        return _declared(name), f"Study {name}: no sweep of it was started yet"
    known = [sweep.name for sweep in asked] + [sweep.study for sweep in asked if sweep.study]
    known = list(dict.fromkeys([*known, *studies.names()]))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    nearest = f"; did you mean {close[0]}?" if close else ""
    shown = ", ".join(known[:20]) or "none yet"
    raise ConfigError(
        f"{name.strip() or repr(name)} is neither a sweep in {runs} nor a study; there are: {shown}{nearest}"
    )


def by_study(asked: Iterable[Manifest]) -> list[Manifest]:
    """Sweeps by study, and of a study what is nearest to its own protocol first."""
    return sorted(
        asked, key=lambda m: (m.study or m.name, bool(departed(m)), bool(m.narrowed), -len(m.cells))
    )


def study(name: str | None) -> Study | None:
    """The study of this name; None for none, or for one that exists no more."""
    return studies.load(name) if name in studies.names() else None


def every_study() -> tuple[dict[str, Study], dict[str, ConfigError]]:
    """All studies by name; and of each whose file has a mistake, what it is."""
    known, broken = {}, {}
    for name in studies.names():
        try:
            known[name] = studies.load(name)
        except ConfigError as error:
            broken[name] = error
    return known, broken


def _declared(name: str) -> Manifest:
    """The cells that a study declares.

    Composing and costing them needs what training needs, Hydra and torch: ConfigError where that is missing.
    """
    studies.load(name)  # a mistake in its file is said everywhere
    try:
        from ablations.sweep.plan import study_manifest  # the one report that has no sweep to start from

        return study_manifest(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"study {name} was never started, and only where {error.name} is installed can its cells be listed; "
            f"report a sweep that was started ({command('report', '--list')}), or install the project"
        ) from error
