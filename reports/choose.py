"""Which sweeps and studies are reported: what a name means, and what `--all` holds."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ablations.study import Study
from ablations.sweep import manifest as manifests
from ablations.sweep import studies
from ablations.sweep.manifest import Manifest
from lightning_module.support.command_line import RUNS, command, in_hydra
from lightning_module.support.errors import ConfigError, tell
from lightning_module.support.text import aligned, visible
from reports import sources
from reports.numbers.deviations import departed, lost_study
from reports.sources._sweeps import Declared


@dataclass(frozen=True)
class Asked:
    """A sweep that somebody asked for, by its manifest in a runs folder or by what its runs on W&B carry.

    time: when, in seconds since 1970. read: its manifest; ConfigError if there is none that is whole.
    """

    name: str
    time: float
    read: Callable[[], Manifest]


def asked_for(runs: Path, source: str, declared: Iterable[Declared]) -> list[Asked]:
    """The sweeps of a runs folder, and what runs of a source carry of others, the one asked for last first."""
    here = [
        Asked(path.stem, manifests.time_of(path) / 1e9, partial(manifests.read, path))
        for path in manifests.newest_first(runs)
    ]
    known = {sweep.name for sweep in here}
    there = [Asked(d.name, d.time, partial(d.manifest, source)) for d in declared if d.name not in known]
    return sorted([*here, *there], key=lambda sweep: -sweep.time)


def readable(asked: Iterable[Asked]) -> tuple[list[Manifest], list[ConfigError]]:
    """Their manifests in the same order; and what is wrong with those that cannot be read."""
    whole, damaged = [], []
    for sweep in asked:
        try:
            whole.append(sweep.read())
        except ConfigError as error:
            damaged.append(error)
    return whole, damaged


def sweeps_in(runs: Path) -> list[Manifest]:
    """The sweeps of a runs folder whose manifests are whole."""
    return readable(asked_for(runs, "records", ()))[0]


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


def no_sweep(runs: Path, source: str) -> str:
    """What to say where nobody asked for anything."""
    where = [] if runs == RUNS else [_override(runs)]
    place = f"{runs} holds no" if source == "records" else f"neither {runs} nor {source} holds a"
    other = source.removeprefix("wandb:")
    pushed = f"; or bring there what was trained elsewhere:  {command('sync', other)}" * (other != source)
    return (
        f"{place} sweep; start one, such as:  {command('run', '-m', 'model.depth=20,56,110', *where)}{pushed}"
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


def manifest(name: str | None, runs: Path, source: str) -> tuple[Manifest, str]:
    """The manifest that a name means, and what to say about the choice ("" if there was none).

    No name: the sweep asked for last. A sweep's name: that one. A study's name: its newest sweep, or, if none
    was ever started, the cells that the study declares. Sweeps are those of the runs folder, and those that runs
    of the source carry.
    """
    for path in manifests.newest_first(runs):  # what lies here is not asked for elsewhere
        if path.stem == name:
            return manifests.read(path), ""
    asked = asked_for(runs, source, sources.declared(source, runs))
    if name is None:
        if not asked:
            raise ConfigError(no_sweep(runs, source))
        newest = asked[0].read()
        others, words = len(asked) - 1, ["--list", *(["--source", source] if source != "records" else [])]
        hint = f" ({others} older: {command('report', *words, runs=runs)})" if others else ""
        return newest, f"Newest sweep: {newest.name}{hint}"
    for sweep in asked:
        if sweep.name == name:
            return sweep.read(), ""
    whole, damaged = readable(asked)
    for error in damaged:  # which of them is the newest of a study is not known for certain
        tell(error)
    for found in whole:
        if found.study == name:
            return found, f"Newest sweep of study {name}: {found.name}"
    if name in studies.names():
        return _declared(name), f"Study {name}: no sweep of it was started yet"
    known = [sweep.name for sweep in whole] + [sweep.study for sweep in whole if sweep.study]
    known = list(dict.fromkeys([*known, *studies.names()]))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    nearest = f"; did you mean {close[0]}?" if close else ""
    shown = ", ".join(known[:20]) or "none yet"
    place = runs if source == "records" else f"{runs} or {source}"
    raise ConfigError(
        f"{name.strip() or repr(name)} is neither a sweep in {place} nor a study; there are: {shown}{nearest}"
    )


def by_study(asked: Iterable[Manifest]) -> list[Manifest]:
    """Sweeps by study, and of a study what is nearest to its own protocol first."""
    return sorted(
        asked, key=lambda m: (m.study or m.name, bool(departed(m)), bool(m.narrowed), -len(m.cells))
    )


def study(manifest: Manifest) -> Study | None:
    """The study of a sweep; None for none, or for one that is not to be found any more, which is said.

    Among the studies in use, or else where the sweep had it.
    """
    name = manifest.study
    if name is None:
        return None
    if name in (studies.OWN if manifest.studies else studies.names()):
        return studies.load(name)
    found = studies.load_from(manifest.studies, name) if manifest.studies else None
    if found is None:
        print(visible(lost_study(manifest)))
    return found


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
