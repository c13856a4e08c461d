"""Source `wandb-offline`: the `.wandb` files in a runs folder, read without server or sync.

Each attempt of a cell is a file of its own; `read_files` makes one run of them. A file that is cut off (a killed run)
or damaged is read up to that point, and the run's reason says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablations.sweep.manifest import Manifest
from lightning_module.cell import record
from lightning_module.support.disk import read_file
from lightning_module.support.errors import ConfigError, one_line
from reports.sources import Frames
from reports.sources._cache import runs_in_folder
from reports.sources._frames import ParsedRun, frames
from reports.sources._wandb_records import Damage, records
from reports.sources._wandb_rows import Damaged, damaged_run, decoded, parsed_run

CACHE = ".wandb-offline.npz"


@dataclass
class Fragment:
    """What one `.wandb` file holds, an attempt, or several together; as far as they can be read.

    about: what names the run on W&B. rows: one mapping per logged row of metrics. damage: one sentence, "" for whole
    files; cut: the damaged ones just end, as after a kill.
    """

    about: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    damage: str = ""
    cut: bool = False


def read_files(paths: Iterable[Path]) -> Fragment:
    """What these files of one run hold together, oldest attempt first: later values win, rows follow each other.

    Each is read as far as it can be; never raises for what they hold.
    """
    fragment = Fragment()
    damages = []
    for path in paths:
        try:
            for item in records(read_file(path)):
                _apply(fragment, item)
        except Damage as damage:
            damages.append((f"{path.name} {damage}", damage.cut))
        except (OSError, ValueError, RecursionError) as error:
            damages.append((f"{path.name} cannot be read further ({one_line(error)})", False))
    fragment.damage = "; ".join(text for text, _ in damages)
    fragment.cut = bool(damages) and all(cut for _, cut in damages)
    return fragment


def _apply(fragment: Fragment, item: Any) -> None:
    """Add what one record says."""
    if item.HasField("history"):
        row = {entry.key or ".".join(entry.nested_key): _value(entry) for entry in item.history.item}
        fragment.rows.append(row)
        fragment.summary.update(row)
    elif item.HasField("summary"):
        _update(fragment.summary, item.summary)
    elif item.HasField("config"):
        _update(fragment.config, item.config, merge=True)
    elif item.HasField("run"):
        run = item.run
        names = ("run_id", "entity", "project", "display_name", "run_group", "job_type")
        fragment.about = {name: getattr(run, name) for name in names} | {"tags": list(run.tags)}
        _update(fragment.config, run.config)


def _value(item: Any) -> Any:
    """The value of an item: JSON, or one of the typed fields of wandb 0.31."""
    if item.value_json:
        return decoded(item.value_json)
    for kind in ("number", "integer", "text", "boolean"):
        if item.HasField(kind):
            return getattr(item, kind)
    return decoded(item.json) if item.HasField("json") else None


def _update(tree: dict[str, Any], change: Any, merge: bool = False) -> None:
    """Apply a configuration or summary record: updates and removals of (nested) keys.

    merge: a mapping is added to the one that is there, as wandb does within an attempt.
    """

    def place(item: Any) -> tuple[dict[str, Any], str]:
        *parents, leaf = tuple(item.nested_key) or (item.key,)
        branch = tree
        for parent in parents:
            if not isinstance(branch.get(parent), dict):
                branch[parent] = {}
            branch = branch[parent]
        return branch, leaf

    for item in change.update:
        branch, leaf = place(item)
        value, before = _value(item), branch.get(leaf)
        both = merge and isinstance(value, dict) and isinstance(before, dict)
        branch[leaf] = before | value if both else value
    for item in change.remove:
        branch, leaf = place(item)
        branch.pop(leaf, None)


def files(folder: Path) -> list[Path]:
    """The `.wandb` files of one run folder, oldest attempt first (online attempts leave them too)."""
    return sorted(
        folder.glob("wandb/*run-*/run-*.wandb"),
        key=lambda path: path.parent.name.split("run-", 1)[1],
    )


def _parse(folder: Path) -> ParsedRun:
    run = read_files(files(folder))
    ended = run.summary.get("status") in record.FINAL  # then a later attempt made good what was damaged
    counts = not ended and not (run.cut and run.config)
    return _run(folder.name, run, run.damage if counts else "")


def _run(identity: str, files: Fragment, damage: str) -> ParsedRun:
    """The run of these files; one without a word about whose it is lies in our runs folder, so it is ours."""
    if not files.config:
        return damaged_run(identity, Damaged(files.damage or "its files hold no configuration"))
    return parsed_run(identity, files.config, files.summary, files.rows, damage=damage, note=files.damage)


def load(where: str, manifest: Manifest | None) -> Frames:
    """Runs, histories and events of the `.wandb` files below a runs folder; ConfigError if it is none."""
    runs = runs_in_folder(where, manifest, CACHE, files, _parse)
    if not runs and manifest is None:
        raise ConfigError(
            f"runs={where} holds no W&B files (RUN/wandb/*/run-*.wandb); with logger=none a cell has none"
        )
    return _frames(where, runs)


def _frames(where: str, runs: dict[str, ParsedRun]) -> Frames:
    ours = {name: run for name, run in runs.items() if not run.foreign}
    return replace(frames(Path(where), ours), foreign=len(runs) - len(ours))


def load_newest(where: str, names: Iterable[str]) -> Frames:
    """What the newest file of each of these runs holds by itself; a run without files is not there."""
    runs = {}
    for name in sorted(names):
        if newest := files(Path(where) / name)[-1:]:
            last = read_files(newest)
            runs[name] = _run(name, last, last.damage)
    return _frames(where, runs)
