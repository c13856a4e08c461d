"""The commands of SLURM: the state of any number of jobs in two calls, submission, and who retries."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lightning_module.support.errors import ConfigError

T = TypeVar("T")

WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
WORKING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})


@dataclass(frozen=True)
class Job:
    """One element of a job array. id: as SLURM's commands take it. name: of its array. index: in it."""

    id: str
    name: str
    index: int
    state: str
    node: str = ""
    reason: str = ""

    @property
    def active(self) -> bool:
        """Whether it waits or runs, so that its end is still to come."""
        return self.state in WAITING or self.state in WORKING


PATIENCE = 120.0
"""Seconds for which a job asks again a controller that does not answer: restarts and failovers take as long."""

LONGEST_NAMES = 100_000
"""Bytes of one argument, of which Linux takes 128 KiB."""

NOT_HERE = "is not here: run this on a login node of the cluster, or leave out hydra/launcher=slurm"


READ_BY_SLURM = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "SINFO_", "SCONTROL_", "SCANCEL_")
"""How the names of variables begin that SLURM's commands obey."""

KEPT = ("SLURM_CONF", "SLURM_JWT")
"""Those of them that only tell how to reach the controller."""


class SlurmError(Exception):
    """A command of SLURM failed; the text is one sentence."""


class NoProgramError(SlurmError):
    """The machine lacks a program of SLURM."""


class RefusedError(SlurmError, ConfigError):
    """SLURM would not take a job: bad input, or SLURM does not answer."""


def user() -> str:
    """Whose jobs these are, for --user; by number, because LOGNAME may be that of another user."""
    return str(os.getuid())


def environment() -> dict[str, str]:
    """For every command of SLURM: without variables that change what it does or prints.

    They come from the shell (SQUEUE_FORMAT, SBATCH_TIMELIMIT) or from a job that this process may itself run in.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or not name.startswith(READ_BY_SLURM)
    }


def flags(options: Mapping[str, Any]) -> list[str]:
    """{"job_name": "x", "hold": True, "qos": None} -> ["--job-name=x", "--hold"]."""
    return [
        f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}")
        for key, value in options.items()
        if value is not None
    ]


def sbatch(*arguments: str) -> str:
    """Submit a job -> its id."""
    return call("sbatch", "--parsable", *arguments).partition(";")[0].strip()


def test_only(*arguments: str) -> None:
    """SlurmError with SLURM's own words if it would not take a job."""
    call("sbatch", "--test-only", *arguments)


def call(*command: str) -> str:
    """Standard output of a SLURM command; SlurmError if it fails."""
    try:
        done = subprocess.run(
            command,
            env=environment(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=120,
        )
    except FileNotFoundError:
        raise NoProgramError(f"{command[0]} {NOT_HERE}") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} did not answer within two minutes; try again later") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise SlurmError(f"{command[0]}: {lines[-1]}")
    return done.stdout


def persist(*command: str, wanted: Callable[[], bool] = lambda: True) -> str:
    """`call`, again and again while it fails and is still wanted, for about PATIENCE seconds."""
    return patiently(lambda: call(*command), wanted)


def patiently(work: Callable[[], T], wanted: Callable[[], bool] = lambda: True) -> T:
    """What some work with SLURM comes to: tried again while SLURM fails, as in `persist`."""
    pause, end = 1.0, time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except NoProgramError:
            raise
        except SlurmError:
            if time.monotonic() + pause > end:
                raise
            time.sleep(pause)
            pause = min(2 * pause, 15.0)
            if not wanted():
                raise


def rows(text: str, columns: int) -> list[list[str]]:
    """Lines of so many columns, as `-o %a|%b` prints them."""
    lines = (line.split("|") for line in text.splitlines())
    return [[part.strip() for part in line] for line in lines if len(line) == columns]


def parse_squeue(text: str) -> list[Job]:
    """Jobs from `squeue -r -o %F|%K|%j|%T|%N|%r`; the index of a job outside of arrays is N/A."""
    return [
        Job(f"{job}_{index}", name, int(index), state, node, reason)
        if index.isdigit()
        else Job(job, name, 0, state, node, reason)
        for job, index, name, state, node, reason in rows(text, 6)
    ]


def parse_sacct(text: str) -> list[Job]:
    """Jobs from `sacct -X -P -n -o JobID,JobName,State,NodeList`.

    Pending elements of an array are one row, such as 12_[3-5%2]; squeue has them.
    """
    jobs = []
    for job, name, state, node in rows(text, 4):
        match = re.fullmatch(r"\d+(?:_(\d+))?", job)
        if match and state:
            where = "" if node == "None assigned" else node
            # "CANCELLED by 1000"
            jobs.append(Job(job, name, int(match[1] or 0), state.split()[0], where))
    return jobs


def merge(queue: Iterable[Job], accounting: Iterable[Job]) -> dict[tuple[str, int], Job]:
    """(array name, index) -> job.

    squeue is right about what is queued or runs: sacct calls a job that is being requeued failed for a moment,
    and one whose end it missed running for ever.
    """
    ended = (job for job in accounting if not job.active)
    # The controllers of one round of a settled sweep have one name, and its active one counts.
    listed = sorted(queue, key=lambda job: job.active)
    return {(job.name, job.index): job for jobs in (ended, listed) for job in jobs}


def jobs(names: Sequence[str]) -> dict[tuple[str, int], Job]:
    """The jobs of these arrays by (name, index), in two calls.

    Finished jobs come from sacct; without accounting from squeue, which keeps them for some minutes
    (MinJobAge). What is known of older ones stands in the records.
    """
    if not names:
        return {}
    known, listed = set(names), f"--name={','.join(names)}"
    wanted = [f"--user={user()}", *([listed] if len(listed) < LONGEST_NAMES else [])]
    queue = call("squeue", "-h", "-r", "-t", "all", *wanted, "-o", "%F|%K|%j|%T|%N|%r")
    merged = merge(parse_squeue(queue), parse_sacct(_accounting(wanted)))
    return {place: job for place, job in merged.items() if place[0] in known}


def _accounting(wanted: Sequence[str]) -> str:
    """What sacct says of the last 30 days; "" where accounting is off, and where it fails twice, which is told."""
    columns = "JobID,JobName%200,State,NodeList%200"
    command = ("sacct", "-X", "-P", "-n", *wanted, "-S", "now-30days", "-o", columns)
    for last in (False, True):
        try:
            return call(*command)
        except NoProgramError:
            break
        except SlurmError as error:
            if "storage is disabled" in str(error):
                break
            if last:
                print(f"{error}; how jobs ended long ago is not known now", file=sys.stderr)
            else:
                time.sleep(1)
    return ""


def hostnames(nodes: str) -> list[str]:
    """The nodes of a list such as node[1-3], in order; asks no controller."""
    return call("scontrol", "show", "hostnames", nodes).split()


def job_now(job: str) -> dict[str, str]:
    """What `scontrol show job` says of one job, asked from inside it; {} if SLURM does not know it or is silent."""
    try:
        text = persist("scontrol", "-o", "show", "job", job)
    except SlurmError:
        return {}
    return dict(re.findall(r"(\w+)=(\S*)", text.splitlines()[0])) if text.strip() else {}
