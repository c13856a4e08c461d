"""The policy: what to do with a cell when the tasks of its job have ended. Pure; `after` collects and acts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Action = Literal["done", "fail", "requeue", "elsewhere", "leave"]
"""done: the record is final. fail: the code or the configuration is at fault, so nothing tries it again by itself.
requeue: the job goes on from the checkpoint. elsewhere: the same, on other nodes. leave: not ours to decide."""

NODE_FAULT = "NodeFault"
"""The exception (slurm.job.NodeFault) that a rank raises when its node cannot train; known here by its name."""

HARDWARE = re.compile(
    r"uncorrectable ECC|hardware error|fallen off the bus|busy or unavailable|no CUDA-capable device"
    r"|Stale file handle|Input/output error|Transport endpoint is not connected",
    re.IGNORECASE,
)
"""What CUDA and the kernel say when a GPU, a disk or a mount of this node is broken."""

PEER = re.compile(
    r"closed by peer|reset by peer|DistBackendError|DistNetworkError|DistStoreError|NCCL|gloo|Broken pipe"
    r"|Connection refused|wait timeout|Socket Timeout",
    re.IGNORECASE,
)
"""What a rank says when another rank has gone: its own error is only the consequence."""
MEMORY = re.compile(
    r"OutOfMemoryError|out of memory|can't allocate memory|MemoryError|oom.kill", re.IGNORECASE
)
"""What PyTorch, Python and the kernel say when memory runs out."""
MEMORY_HINT = (
    "out of memory: raise hydra.launcher.mem (the machine's), or use trainer.activation_checkpoint or more "
    "trainer.devices (the GPU's)"
)
FULL = re.compile(r"No space left on device|Disk quota exceeded")
"""What the kernel says when a disk is full."""
SET_UP = "the set-up failed"
"""How the text begins that stands for the traceback of a job whose ranks never started."""
NOISE = re.compile(r"Exited with exit code|[Tt]erminat|CANCELLED AT|^slurm: ")
"""Lines of a log that only say that something has ended."""
UNREACHED = re.compile(
    rb"srun: error: .*(Unable to contact|Unable to confirm|Socket timed out|Communication connection failure"
    rb"|Invalid job credential|Node failure)"
)
"""What srun says when SLURM itself did not start the ranks: a controller that is silent, a node that is gone."""
LINES_TOLD = 15
"""Of the log of such a job."""
FAILED = 10
"""Exit code of `slurm.after` where a cell failed; another, such as Python's own 1, means that nothing was decided."""
TOLD_TO_STOP = (138, 140, 143)
"""Exit codes of what USR1, USR2 and TERM end before a rank can take them, as while `setup` runs."""
MAX_UNFIT_NODES = 2
"""On more nodes than this the same fault is the installation's (a driver, a mount), and the cell fails."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a cell when the tasks of its job have ended.

    state: of the record. errors: rank -> traceback. nodes: host name of each rank. mine: whether the run folder
    was free when this job came. job: what SLURM says of the job now. restart: how often the job had been requeued.
    history: lines about this job (store.of_job). saved: when the checkpoint was saved last, 0 if never. unfit: the node
    of each earlier start that a fault of the node ended. exit_code: of srun. oom: whether the log says SLURM killed
    it for its memory. started: whether a rank ran. log, log_file: the end of the log, and where it is. full: the folder
    of the runs if its disk is full, else "". late: whether a rank left within a call, before the time limit.
    """

    state: str
    errors: Mapping[int, str]
    nodes: Sequence[str]
    mine: bool
    job: Mapping[str, str]
    restart: int
    history: Sequence[Mapping[str, Any]]
    saved: float
    unfit: Sequence[str]
    exit_code: int
    oom: bool
    max_requeues: int
    started: bool = True
    log: bytes = b""
    log_file: Path | None = None
    full: str = ""
    late: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do and why, as a sentence. traceback, rank: of the error that decided. unfit: the node to avoid."""

    action: Action
    why: str
    traceback: str = ""
    rank: int = 0
    unfit: str = ""


def last_line(traceback: str) -> str:
    """The line of a traceback that names the error."""
    lines = [line for line in traceback.strip().splitlines() if line.strip()]
    for line in reversed(lines):
        # The line of the exception begins at the margin; notes and hints may follow it.
        if re.match(r"[A-Za-z_][\w.]*(Error|Exception|Fault|Interrupt|Exit)\b", line):
            return line
    return lines[-1] if lines else ""


def cause(errors: Mapping[int, str]) -> tuple[int, str] | None:
    """(rank, traceback) of the lowest rank whose error is not the consequence of another's; None if all are."""
    for rank, text in sorted(errors.items()):
        if not PEER.search(last_line(text)):
            return rank, text
    return None


def stalled(history: Sequence[Mapping[str, Any]], saved: float, exit_code: int = 0) -> int:
    """How many starts of a job in a row, this one included, ended without a checkpoint that they saved.

    One that SLURM ended, with its node, by a hard preemption or before there were ranks, says nothing of the cell.
    saved, exit_code: as in Evidence.
    """
    count, before = 0, math.inf
    for line in (*history, {"event": "end", "action": "requeue", "saved": saved, "code": exit_code}):
        now = line.get("saved", before)
        if now > before:
            count = 0
        elif line.get("action") == "requeue" and line.get("code") not in TOLD_TO_STOP:
            count += 1
        before = now
    return count


def no_space(runs: Path | str) -> str:
    """What is said of a full disk."""
    return f"no space left on {runs}; what was saved is whole: make room, then run the command again"


def set_up_failed(code: object, log: bytes, log_file: Path | None) -> str:
    """What is said of a job that ended before Python had started: the last line of its log, and where that is."""
    lines = [line for line in log.decode(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if not NOISE.search(line)] or lines
    last = re.sub(r"^\S*slurm_script: line \d+: ", "", told[-1].strip()) if told else "it said nothing"
    return f"{SET_UP} (code {code}): {last} (log: {log_file})"


def signature(traceback: str) -> tuple[object, ...]:
    """What two failures of one cause share: frames and kind of error, but not its words, which may name the cell."""
    if traceback.startswith(SET_UP):
        return (SET_UP,)
    frames = re.findall(r'File ".*?([^/"]+)", line (\d+), in (\S+)', traceback)
    return (*frames, last_line(traceback).split(":")[0])


def decide_job(seen: Evidence) -> Decision:
    """Decide by the first of these questions that has an answer: their order is the policy."""
    if seen.state in ("finished", "diverged"):
        return Decision("done", seen.state)
    if not seen.mine or seen.state == "running":
        return Decision("leave", "another job runs this cell")
    if seen.job.get("JobState") != "RUNNING" or int(seen.job.get("Restarts") or 0) != seen.restart:
        # Cancelled, timed out or already requeued: asking for a requeue would bring a cancelled job back.
        return Decision("leave", f"SLURM says that the job is {seen.job.get('JobState', 'unknown')}")
    first = cause(seen.errors)
    if seen.full:
        rank, text = first or (0, "")
        return Decision("fail", no_space(seen.full), text, rank)
    if first:
        rank, text = first
        why = last_line(text)
        if NODE_FAULT in why or HARDWARE.search(why):
            node = seen.nodes[rank]
            faults = [*seen.unfit, node]
            nodes = dict.fromkeys(faults)
            if len(nodes) > MAX_UNFIT_NODES:
                why = f"the same on {len(nodes)} nodes ({', '.join(nodes)}): {why}"
            elif faults.count(node) > seen.max_requeues:
                why = f"{faults.count(node)} times, and SLURM does not keep the job off {node}: {why}"
            else:
                if faults.count(node) > 1:
                    why = f"{why} (SLURM did not keep the job off {node})"
                return Decision("elsewhere", why, text, rank, node)
        elif MEMORY.search(why):
            why = MEMORY_HINT
        elif full := FULL.search(text):
            why = f"{full[0]}: {why}"
        return Decision("fail", why, text, rank)
    if seen.state == "damaged":
        return Decision("fail", "the record is damaged; nothing was changed")
    if seen.oom:
        return Decision("fail", MEMORY_HINT)
    # Neither a signal nor SLURM's own troubles say anything of the set-up.
    told_to_stop = 128 < seen.exit_code <= 192
    if not seen.started and not told_to_stop and not UNREACHED.search(seen.log):
        why = set_up_failed(seen.exit_code, seen.log, seen.log_file)
        lines = seen.log.decode(errors="replace").splitlines()
        return Decision("fail", why, "\n".join([SET_UP, *lines[-LINES_TOLD:]]))
    if (starts := stalled(seen.history, seen.saved, seen.exit_code)) > seen.max_requeues:
        why = f"no progress in {starts} start{'s' * (starts > 1)}; the last one ended with code {seen.exit_code}"
        return Decision("fail", why + (", often for want of memory" if seen.exit_code == 137 else ""))
    why = "a rank died" if seen.exit_code else "interrupted"
    if seen.late:
        why = "a call did not end before the time limit (raise hydra.launcher.signal_seconds)"
    return Decision("requeue", f"{why}; it goes on from its checkpoint")
