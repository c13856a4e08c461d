"""The sweeps that runs on W&B say they belong to, with what each of them declared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ablations.sweep import manifest as manifests
from ablations.sweep.manifest import Manifest
from lightning_module.support.command_line import command
from lightning_module.support.errors import ConfigError
from lightning_module.tracking.sweeps import unpack

LATEST = 1e11
"""Seconds since 1970 that are no time of a file: the year 5138."""


@dataclass(frozen=True)
class Declared:
    """A sweep as runs on W&B know it.

    time: when it was last declared, in seconds since 1970. cells: how many it has. packed: manifests, newest first.
    """

    name: str
    time: float
    cells: int
    packed: tuple[str, ...]

    def holds(self, manifest: Manifest) -> bool:
        """Whether any of its runs carries this manifest."""
        return any(found == manifest for found in self._unpacked())

    def manifest(self, source: str) -> Manifest:
        """What it declared, the newest that is whole; ConfigError if none is."""
        why = f"none of its runs there carries the list of its {self.cells:,} cells"
        for found in self._unpacked():
            if isinstance(found, Manifest):
                return found
            why = f"what it declared cannot be read: {found}"
        raise ConfigError(
            f"sweep {self.name} of {source} cannot be reported ({why}); push it again from where it was started:  "
            f"{command('sync', source.partition(':')[2] or 'ENTITY/PROJECT')}"
        )

    def _unpacked(self) -> Iterator[Manifest | ValueError]:
        for text in self.packed:
            try:
                found = manifests.parse(unpack(text))
                right = found.name == self.name and manifests.NAME.fullmatch(self.name)
                yield found if right else ValueError("it has another name there")
            except ValueError as error:
                yield error


def declared(carried: Iterable[Mapping[str, Any]]) -> tuple[Declared, ...]:
    """The sweeps in the `sweeps` of runs' configurations, newest first. What is not of our form is passed over."""
    found: dict[str, list[tuple[float, int, str]]] = {}
    for sweeps in carried:
        for name, about in sweeps.items():
            if isinstance(about, Mapping):
                time, cells, packed = (about.get(key) for key in ("declared", "cells", "manifest"))
                if isinstance(time, int | float) and abs(time) < LATEST and isinstance(cells, int):
                    text = packed if isinstance(packed, str) else ""
                    found.setdefault(name, []).append((float(time), cells, text))
    known = []
    for name, copies in found.items():
        copies.sort(key=lambda copy: -copy[0])
        texts = dict.fromkeys(text for _, _, text in copies if text)
        known.append(Declared(name, copies[0][0], copies[0][1], tuple(texts)))
    return tuple(sorted(known, key=lambda sweep: (-sweep.time, sweep.name)))
