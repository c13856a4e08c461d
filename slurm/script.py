"""The batch script of a job array: its parameters are submitit's, what it runs is ours."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import submitit

from lightning_module.support.disk import ROOT
from lightning_module.support.mps import DEVICES as MPS_DEVICES
from slurm import cluster
from slurm.options import Options
from slurm.resources import Resources

SUBMISSION = "submission.sh"
"""The batch script, in the folder of its array."""

TRAP = r"""
# srun in the background, because bash runs a trap only between commands. A signal to the batch script must
# not end the job: it is passed on to the ranks, as a signal that srun does not take for itself.
trap '[ -z "$srun_pid" ] || kill -USR2 "$srun_pid" 2>/dev/null' TERM USR1 USR2
srun() {
  "$(type -P srun)" "$@" &
  srun_pid=$!
  while kill -0 "$srun_pid" 2>/dev/null; do wait "$srun_pid"; srun_code=$?; done
}
# If a rank dies the others would wait for it. Since 22.05 srun does not inherit --cpus-per-task.
export SLURM_KILL_BAD_EXIT=1 SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
# A job that comes back goes on with the log that it has.
export SLURM_OPEN_MODE=append
"""


class Executor(submitit.SlurmExecutor):
    """submitit's parameters, batch script and submission; instead of a pickle it runs a cell of the array."""

    @property
    def command(self) -> str:
        """The shell command that each task of the job runs: one rank, or one of several cells."""
        start = Path(self.parameters["additional_parameters"]["chdir"]) / "slurm" / "start.py"
        return f"{self.python} -u {shlex.quote(str(start))} run {shlex.quote(str(self.folder))}"

    def test(self) -> None:
        """Ask SLURM whether it would take the batch script; RefusedError if not."""
        with tempfile.NamedTemporaryFile("w", suffix=".sh", encoding="utf-8") as script:
            script.write(self._make_submission_file_text(self.command, ""))
            script.flush()
            try:
                cluster.test_only(script.name)
            except cluster.SlurmError as error:
                raise cluster.RefusedError(
                    f"SLURM would refuse the job ({error}); see the keys of hydra.launcher"
                ) from None

    def submit_array(self) -> str:  # type: ignore[override]
        """Submit the whole array -> its job id."""
        path = Path(self.folder) / SUBMISSION
        path.write_text(self._make_submission_file_text(self.command, ""), encoding="utf-8")
        return cluster.sbatch(str(path))


def commit() -> str:
    """The commit of the checkout, with "-dirty" if files differ; "" without git, or where it is installed.

    In a job, which runs a snapshot, that of the checkout that it was made from.
    """
    if not (ROOT / ".git").exists():
        return os.environ.get("RESIDUAL_COMMIT", "")
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    done = (
        subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        if shutil.which("git")
        else None
    )
    return done.stdout.strip() if done and not done.returncode else ""


def outside(options: Options, arguments: str) -> list[str]:
    """Lines that end a batch script with Python: outside of a container, where SLURM's commands are, if it can."""
    host = shlex.quote(sys.executable)
    last = f"exec {options.python or host} {arguments}"
    return [f'{host} -c "" 2>/dev/null && exec {host} {arguments}', last] if options.python else [last]


def executor(
    folder: Path, needs: Resources, options: Options, throttle: int, code: Path, elements: int
) -> Executor:
    """What submits one array. folder: of the array, whose name is the job's. code: the program that it runs."""
    known, asked = commit(), asdict(needs)
    shared = asked.pop("cells") > 1
    host = shlex.quote(sys.executable)
    mps = f"{host} {shlex.quote(str(code / 'lightning_module' / 'support' / 'mps.py'))}"
    setup = [
        *TRAP.strip().splitlines(),
        # Several cells on one device: if one of them fails the others go on.
        *(["export SLURM_KILL_BAD_EXIT=0"] if shared else []),
        *([f"export RESIDUAL_COMMIT={known}"] if known else []),
        *options.setup,
        *([f'{host} -c "" 2>/dev/null && eval "$({mps} start "$CUDA_VISIBLE_DEVICES")"'] if shared else []),
    ]
    python = options.python or host
    start = shlex.quote(str(code / "slurm" / "start.py"))
    after = f'-u {start} after {shlex.quote(str(folder))} "$srun_code"'
    wanted = {
        **asked,
        "job_name": folder.name,
        "account": options.account,
        "qos": options.qos,
        "array_parallelism": throttle,
        "signal_delay_s": options.signal_seconds,
        "stderr_to_stdout": True,
        "setup": setup,
        "teardown": [
            # When it asks for a requeue SLURM signals it, and what it calls would end before it has done its work.
            "trap '' TERM INT USR1 USR2",
            *([f'[ -z "${MPS_DEVICES}" ] || {mps} quit'] if shared else []),
            *outside(options, after),
        ],
        "additional_parameters": {"chdir": str(code), "requeue": True, **options.more_sbatch},
    }
    made = Executor(folder, python=python)
    made.update_parameters(**{key: value for key, value in wanted.items() if value is not None})
    # What is None is left to SLURM; submitit's own wckey is "submitit", which a strict site refuses.
    made.parameters |= {"map_count": elements, "wckey": options.wckey}
    return made
