"""The commands of SLURM: how they are called, what they refuse, and who retries."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from lightning_module.support.errors import ConfigError

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds for which a job asks again a controller that does not answer: restarts and failovers take as long."""

NOT_HERE = "is not here: run this on a login node of the cluster, or leave out hydra/launcher=slurm"


READ_BY_SLURM = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "SINFO_", "SCONTROL_", "SCANCEL_")
"""How the names of variables begin that SLURM's commands obey."""

KEPT = ("SLURM_CONF", "SLURM_JWT")
"""Those of them that only tell how to reach the controller."""


SUBMIT_LIMIT = re.compile(r"\b(?:(?:Assoc|QOS)\w*Submit\w*Limit|MaxSubmitJobsPerAccount)\b")
"""SLURM's names of the limits of jobs that wait and run, such as AssocMaxSubmitJobLimit; a QOS has an odd one."""


class SlurmError(Exception):
    """A command of SLURM failed; the text is one sentence."""


class NoProgramError(SlurmError):
    """The machine lacks a program of SLURM."""


class FullError(SlurmError):
    """SLURM takes no more jobs of this user now; the text is its name of the limit."""


class RefusedError(SlurmError, ConfigError):
    """SLURM would not take a job: bad input, or SLURM does not answer."""


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
        if limit := SUBMIT_LIMIT.search(done.stderr):
            raise FullError(limit[0])
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


def hostnames(nodes: str) -> list[str]:
    """The nodes of a list such as node[1-3], in order."""
    from submitit.slurm.slurm import SlurmParseException, _parse_node_list

    try:
        return list(_parse_node_list(nodes))
    except SlurmParseException:
        raise SlurmError(f"{nodes} is not a list of nodes such as node7 or node[1-3,5]") from None


def job_now(job: str) -> dict[str, str]:
    """What `scontrol show job` says of one job, asked from inside it; {} if SLURM does not know it or is silent."""
    try:
        text = persist("scontrol", "-o", "show", "job", job)
    except SlurmError:
        return {}
    return dict(re.findall(r"(\w+)=(\S*)", text.splitlines()[0])) if text.strip() else {}
