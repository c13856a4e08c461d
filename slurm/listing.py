"""The state of any number of jobs, of all users, in two calls of SLURM."""

from __future__ import annotations

import os
import pwd
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from slurm import cluster
from slurm.cluster import NoProgramError, SlurmError, rows

WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
SUSPENDED = frozenset({"SUSPENDED", "STOPPED"})
WORKING = SUSPENDED | {"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING"}

LONGEST_NAMES = 100_000
"""Bytes of one argument, of which Linux takes 128 KiB."""


@dataclass(frozen=True)
class Job:
    """One element of a job array. id: as SLURM's commands take it. name: of its array. index: in it. user: whose."""

    id: str
    name: str
    index: int
    state: str
    node: str = ""
    reason: str = ""
    user: str = ""

    @property
    def active(self) -> bool:
        """Whether it waits or runs, so that its end is still to come."""
        return self.state in WAITING or self.state in WORKING


def user_name(number: int | None = None) -> str:
    """Name of this user, or of another; not from LOGNAME, which may be wrong."""
    number = os.getuid() if number is None else number
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def hides_others() -> bool:
    """Whether SLURM shows this user no jobs of other users."""
    private = re.search(
        r"^PrivateData\s*=.*\bjobs\b", cluster.call("scontrol", "show", "config"), re.MULTILINE
    )
    return bool(private) and os.getuid() != 0


def parse_squeue(text: str) -> list[Job]:
    """Jobs from `squeue -r -o %F|%K|%j|%T|%N|%r|%u`; the index of a job outside of arrays is N/A."""
    return [
        Job(f"{job}_{index}", name, int(index), state, node, reason, user)
        if index.isdigit()
        else Job(job, name, 0, state, node, reason, user)
        for job, index, name, state, node, reason, user in rows(text, 7)
    ]


def parse_sacct(text: str) -> list[Job]:
    """Jobs from `sacct -X -P -n -o JobID,JobName,State,NodeList,User`.

    Pending elements of an array are one row, such as 12_[3-5%2]; squeue has them.
    """
    jobs = []
    for job, name, state, node, user in rows(text, 5):
        match = re.fullmatch(r"\d+(?:_(\d+))?", job)
        if match and state:
            where = "" if node == "None assigned" else node
            # "CANCELLED by 1000"
            jobs.append(Job(job, name, int(match[1] or 0), state.split()[0], where, user=user))
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
    """The jobs of these arrays by (name, index), whoever submitted them, in two calls.

    Finished jobs come from sacct; without accounting from squeue, which keeps them for some minutes
    (MinJobAge). What is known of older ones stands in the records.
    """
    known: dict[tuple[str, int], Job] = {}
    for part in _parts(names):
        named = f"--name={part}"
        queue = cluster.call("squeue", "-h", "-r", "-a", "-t", "all", named, "-o", "%F|%K|%j|%T|%N|%r|%u")
        known |= merge(parse_squeue(queue), parse_sacct(_accounting(named)))
    wanted = set(names)
    return {place: job for place, job in known.items() if place[0] in wanted}


def _parts(names: Sequence[str]) -> Iterator[str]:
    """The names, separated by commas, in arguments that are not too long."""
    part: list[str] = []
    length = 0
    for name in names:
        if part and length + len(name) >= LONGEST_NAMES:
            yield ",".join(part)
            part, length = [], 0
        part.append(name)
        length += len(name) + 1
    if part:
        yield ",".join(part)


def _accounting(named: str) -> str:
    """What sacct says of the last 30 days; "" where accounting is off, and where it fails twice, which is told."""
    columns = "JobID,JobName%200,State,NodeList%200,User%100"
    command = ("sacct", "-X", "-P", "-n", "--allusers", named, "-S", "now-30days", "-o", columns)
    for last in (False, True):
        try:
            return cluster.call(*command)
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
