"""The batch script of a job array: its parameters are submitit's, what it runs is ours."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import submitit

from lightning_module.support.disk import ROOT
from lightning_module.support.errors import ConfigError, spelled
from lightning_module.support.mps import DEVICES as MPS_DEVICES
from lightning_module.support.text import counted
from slurm import cluster, undecided
from slurm.options import Options
from slurm.resources import Resources
from slurm.verdict import FAILED

SUBMISSION = "submission.sh"
"""The batch script, in the folder of its array."""

ELEMENTS = "elements"
"""The file of an array with a line for each element: what it trains."""

COMMENT = (
    '{{ scontrol update "jobid=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID" '
    '"comment=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {})"; }} > /dev/null 2>&1 &'
)
"""The elements of an array have one comment until they run; nothing waits for a controller that is silent."""

BEFORE = r"""
# The user's lines and the ranks run in a shell of their own. Whatever those lines do to it (options, traps, functions,
# PATH), this one learns how it ended, and sees to what becomes of the job. A signal to the batch script must not end
# the job: it is passed on to the ranks.
trap '[ -z "$inner" ] || kill -USR2 "$inner" 2>/dev/null' TERM USR1 USR2
# If a rank dies the others would wait for it. Since 22.05 srun does not inherit --cpus-per-task.
export SLURM_KILL_BAD_EXIT=1 SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
# A job that comes back goes on with the log that it has.
export SLURM_OPEN_MODE=append
residual_srun="$(type -P srun)"
(
trap 'exit 138' TERM USR1 USR2  # 128 + USR1, as if it had ended the set-up
residual_options="$(set +o; shopt -p)"
"""

RANKS = r"""
{ set +xv; } 2>/dev/null
eval "$residual_options"
# srun in the background, because bash runs a trap only between commands; USR2 because srun takes TERM for itself.
trap '[ -z "$srun_pid" ] || kill -USR2 "$srun_pid" 2>/dev/null' TERM USR1 USR2
srun() {
  "$residual_srun" "$@" &
  srun_pid=$!
  until wait "$srun_pid"; srun_code=$?; ! kill -0 "$srun_pid" 2>/dev/null; do :; done
}
"""

IGNORE_SIGNALS = "trap '' TERM INT USR1 USR2"
"""When a job asks for a requeue SLURM signals it, and what it calls would end before it has done its work."""

OUTER = rf"""
) &
inner=$!
# A signal ends `wait` early; what has ended before the first one still has its code.
until wait "$inner"; code=$?; ! kill -0 "$inner" 2>/dev/null; do :; done
{IGNORE_SIGNALS}
"""

UNDECIDED = r"""
case "$code" in 0) exit 0 ;; {failed}) exit 1 ;; esac
[ "$code" -lt 128 ] || exit 1
# Python, or the program, is not there any more. Plain shell says so, and stops the sweep if that is the rule.
cd {arrays} || exit 1
echo "$ended" > {array}/{file}"$SLURM_ARRAY_TASK_ID"
set -- {submission}.*/{file}*
if [ $# -ge {most} ]; then
  why="Python could not start in {jobs}, so those that had not started were cancelled"
  names=
  for array in {submission}.*; do
    printf '{{"why": "%s"}}
' "$why" > "$array/stopped.json"
    names="$names,$array"
  done
  scancel --state=PENDING --name="${{names#,}}"
fi
exit 1
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
            except cluster.FullError:
                pass  # it will be offered in smaller parts
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


def check_setup(lines: Sequence[str]) -> None:
    """ConfigError for lines of `setup` that bash cannot read: an open quote would swallow the lines that follow."""
    if not shutil.which("bash"):
        return
    # Without a locale that is not installed here, and start-up files: what bash says of them is not about the lines.
    plain = {name: value for name, value in os.environ.items() if name != "BASH_ENV"} | {"LC_ALL": "C"}
    done = subprocess.run(
        ["bash", "-n"],
        input="\n".join(lines),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=plain,
    )
    said = done.stderr.strip().splitlines()
    if done.returncode or said:
        raise ConfigError(
            f"hydra.launcher.setup={spelled(list(lines))} is no shell script "
            f"({(said or ['bash refuses it'])[0].removeprefix('bash: ')}); each entry is a line of bash"
        )


def executor(
    folder: Path, needs: Resources, options: Options, throttle: int, code: Path, elements: Sequence[str]
) -> Executor:
    """What submits one array. folder: of the array, whose name is the job's. code: the program that it runs.

    elements: what each of them trains, to be shown by squeue as their comment.
    """
    known, asked = commit(), asdict(needs)
    own_comment = "comment" in options.more_sbatch
    shared = asked.pop("cells") > 1
    host = shlex.quote(sys.executable)
    mps = f"{host} {shlex.quote(str(code / 'lightning_module' / 'support' / 'mps.py'))}"
    python = options.python or host
    start = shlex.quote(str(code / "slurm" / "start.py"))
    after = f"-u {start} after {shlex.quote(str(folder))}"
    setup = [
        # Of an earlier start.
        *(f"rm -f {shlex.quote(str(folder / file))}$SLURM_ARRAY_TASK_ID" for file in undecided.FILES),
        *([] if own_comment or len(elements) == 1 else [COMMENT.format(shlex.quote(str(folder / ELEMENTS)))]),
        *BEFORE.strip().splitlines(),
        # Several cells on one device: if one of them fails the others go on.
        *(["export SLURM_KILL_BAD_EXIT=0"] if shared else []),
        *([f"export RESIDUAL_COMMIT={known}"] if known else []),
        # What setup exports reaches the ranks, also where the site says SBATCH_EXPORT=NONE, or the node's profile more.
        "export SLURM_EXPORT_ENV=ALL SRUN_EXPORT_ENV=ALL",
        # Of the shell that submitted; one that was left there from something else would make the ranks wait in vain.
        "unset MASTER_ADDR",
        *options.setup,
        *RANKS.splitlines(),
        *([f'{host} -c "" 2>/dev/null && eval "$({mps} start "$CUDA_VISIBLE_DEVICES")"'] if shared else []),
    ]
    # Only the container may have Python; what starts it may be known to the inner shell alone.
    here = f'{host} -c "" 2>/dev/null'
    contained = [f'{here} && exit "$srun_code"', f'exec {python} {after} "$srun_code"']
    teardown = [
        IGNORE_SIGNALS,
        *([f'[ -z "${MPS_DEVICES}" ] || {mps} quit'] if shared else []),
        *(contained if options.python else ['exit "$srun_code"']),
        *OUTER.strip().splitlines(),
        "ended=$code",
        *([f"if {here}; then"] if options.python else []),
        f'{host} {after} "$code"; code=$?',
        *(["fi"] if options.python else []),
        *UNDECIDED.format(
            failed=FAILED,
            arrays=shlex.quote(str(folder.parent)),
            array=shlex.quote(folder.name),
            submission=shlex.quote(folder.name.rpartition(".")[0]),
            file=undecided.NO_START,
            most=options.stop_after,
            jobs=counted(options.stop_after, "job"),
        )
        .strip()
        .splitlines(),
    ]
    wanted = {
        **asked,
        "job_name": folder.name,
        "account": options.account,
        "qos": options.qos,
        "comment": elements[0] if len(elements) == 1 else f"{elements[0]} ... {elements[-1]}",
        "array_parallelism": throttle,
        "signal_delay_s": options.signal_seconds,
        "stderr_to_stdout": True,
        "setup": setup,
        "teardown": teardown,
        "additional_parameters": {"chdir": str(code), "requeue": True, **options.more_sbatch},
    }
    made = Executor(folder, python=python)
    made.update_parameters(**{key: value for key, value in wanted.items() if value is not None})
    # What is None is left to SLURM; submitit's own wckey is "submitit", which a strict site refuses.
    made.parameters |= {"map_count": len(elements), "wckey": options.wckey}
    return made
