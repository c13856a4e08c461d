"""The live table of a sweep: a line per cell, shown again and again in the same place of a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_module.cell.record import Record
from lightning_module.support.text import aligned, counted, visible_lines

ORDER = (
    *("running", "queued", "waiting", "unknown", "failed", "damaged", "killed", "cancelled", "planned"),
    *("diverged", "finished"),
)
"""States as the table shows them: what moves first, what is done last."""


@dataclass(frozen=True)
class CellStatus:
    """What is known of a cell now. job_id, node: where it runs on a cluster. log: its output, if it failed."""

    identity: str
    name: str
    state: str
    reason: str
    record: Record
    job_id: str = ""
    node: str = ""
    log: Path | None = None


def seconds_left(record: Record) -> float | None:
    """Seconds that the rest of a running cell takes at the pace of its epochs so far; None before the first."""
    seconds = sum(epoch["seconds"] for epoch in record.epochs)
    done = record.last.get("step", 0)
    if not seconds or not done:
        return None
    # What the epoch that is under way has taken already.
    attempt = record.attempts[-1] if record.attempts else {"time": time.time(), "step": 0}
    own = sum(epoch["seconds"] for epoch in record.epochs if epoch["step"] > attempt["step"])
    current = time.time() - float(attempt["time"]) - own
    rest = int(record.cell["config"]["recipe.steps"]) - done
    return float(max(0.0, rest * seconds / done - max(0.0, current)))


def table(cells: Sequence[CellStatus]) -> str:
    """A line per cell, one with the counts, what is damaged, and the traceback of the first failure.

    Columns without a value go.
    """
    cells = sorted(cells, key=lambda cell: (ORDER.index(cell.state) if cell.state in ORDER else 0, cell.name))
    lines = [("cell", "state", "epoch", "error", "left", "job", "node", ""), *map(_line, cells)]
    used = [column for column in zip(*lines, strict=True) if any(column[1:])]
    counts = Counter(cell.state for cell in cells)
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    text = [
        *aligned(list(zip(*used, strict=True))),
        "",
        f"{counted(len(cells), 'cell')}: {summary}",
    ]
    text += [f"{cell.name}: {cell.record.damage}" for cell in cells if cell.record.damage]
    for cell in [cell for cell in cells if cell.state == "failed"][:1]:
        where = f" (log: {cell.log})" if cell.log else ""
        reason = str(cell.record.status.get("traceback") or cell.reason)
        text += ["", f"First failure, {cell.name}{where}:"]
        text += ["    " + line for line in reason.strip().splitlines()]
    return visible_lines("\n".join(text))


def _line(cell: CellStatus) -> tuple[str, ...]:
    last = cell.record.last
    error = f"{last['test/error']:.2f} %" if "test/error" in last else ""
    left = _duration(seconds_left(cell.record)) if cell.state == "running" else ""
    progress = (str(last.get("epoch", "")), error, left)
    return (cell.name, cell.state, *progress, cell.job_id, cell.node, cell.reason[:100])


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes:02}"
    return f"{minutes} min" if minutes else "< 1 min"


class Live:
    """A text in a terminal that is replaced by the next one. terminal: whether standard output is one."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self._lines = 0

    def clear(self) -> None:
        """Take away what was shown, so that something else can stand there."""
        if self._lines:
            print(f"\x1b[{self._lines}A\x1b[J", end="", flush=True)
        self._lines = 0

    def show(self, text: str) -> None:
        """Replace what was shown before; what does not fit on the screen is left out."""
        size = shutil.get_terminal_size()
        lines = text.splitlines()
        if len(lines) > size.lines - 1:
            lines = [*lines[: size.lines - 2], f"... {len(lines) - size.lines + 2} more lines"]
        self.clear()
        print("\n".join(line[: size.columns] for line in lines), flush=True)
        self._lines = len(lines)
