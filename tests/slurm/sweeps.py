"""A sweep on the test cluster, and what can happen to its jobs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cluster import Cluster, until
from command_server import server
from small import ROOT

from lightning_module.cell import record
from lightning_module.training import checkpoint
from slurm import __main__ as commands
from slurm import status, store

TINY = (
    *("model.depth=8", "data=digits", "recipe=quick", "recipe.steps=80", "recipe.drops=[60]"),
    *("trainer=cpu", "trainer.checkpoint_every=20", "logger=none"),
)
"""Real training, a few seconds of it."""

Trouble = Callable[["Sweep", status.SubmittedCell], None]


def run(*arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """A command of the program, as a user types it."""
    return server().run(*arguments, cwd=ROOT, timeout=seconds)


def metrics(found: record.Record) -> list[str]:
    """The epochs of a record without what depends on the machine; as text, where nan equals nan."""
    own = ("seconds", "images_per_second", "peak_memory")
    return [
        json.dumps({key: value for key, value in epoch.items() if key not in own}) for epoch in found.epochs
    ]


def epochs_written(found: record.Record) -> list[int]:
    """Every epoch in the file of a record, those of superseded attempts too."""
    lines = map(json.loads, (found.folder / record.FILE).read_text().splitlines())
    return [line["epoch"] for line in lines if line["event"] == "epoch"]


def edit(runs: Path, old: str, new: str) -> None:
    """Change the classifier in the snapshot that the jobs run, before they import it."""
    (path,) = runs.glob("slurm/code/*/lightning_module/training/classifier.py")
    text = path.read_text()
    assert text.count(old) == 1
    path.with_suffix(".new").write_text(text.replace(old, new))
    path.with_suffix(".new").replace(path)  # whole, because jobs are importing it


@contextlib.contextmanager
def bug(runs: Path, seed: int) -> Iterator[None]:
    """A program that divides by zero after the first epoch of one seed."""
    line = "        self.on_epoch(epoch, self.step, metrics)\n"
    wrong = f"{line}        1 / (self.config.seed - {seed})\n"
    edit(runs, line, wrong)
    try:
        yield
    finally:
        edit(runs, wrong, line)


class Sweep:
    """Cells in a runs folder on a cluster; troubles strike each when it trains."""

    def __init__(self, cluster: Cluster, runs: Path) -> None:
        self.cluster, self.runs = cluster, runs
        self.left_at: dict[int, int] = {}
        """seed -> step of the checkpoint with which a cell waits for its second start."""

    def command(self, *overrides: str) -> list[str]:
        """Arguments that submit cells, each alone on a node by its CPUs."""
        launcher = ("hydra/launcher=slurm", "hydra.launcher.mem=2G", "hydra.launcher.time=15")
        return ["run.py", "-m", *TINY, *launcher, f"runs={self.runs}", *overrides]

    def hold(self, *seeds: int) -> None:
        """Let cells pause in their second epoch until their trouble comes, however late that is on a busy machine."""
        for seed in seeds:
            self._held(seed).touch()
        line = "        self.on_call()\n"
        wait = f"while self.step > 30 and __import__('os').path.exists(f'{self._held()}{{self.config.seed}}')"
        edit(self.runs, line, f"        {wait}:\n            time.sleep(0.05)\n{line}")

    def _held(self, seed: int | str = "") -> Path:
        return self.runs / f"held-{seed}"

    def rows(self) -> dict[int, status.SubmittedCell]:
        """seed -> what `status` knows of it."""
        return {int(row.name.split()[-1]): row for row in status.survey(self.runs)}

    def starts(self, row: status.SubmittedCell) -> int:
        """How often a job began this cell."""
        return sum(line["event"] == "start" for line in store.history(self.runs / row.identity))

    def actions(self, row: status.SubmittedCell) -> list[str]:
        """What was decided whenever its tasks had ended."""
        history = store.history(self.runs / row.identity)
        return [line["action"] for line in history if line["event"] == "end"]

    def until_done(self, troubles: Mapping[int, Trouble], seconds: float) -> dict[int, status.SubmittedCell]:
        """Follow all cells until nothing is queued or running; each trouble strikes once."""
        left, end = dict(troubles), time.monotonic() + seconds
        while True:
            self.cluster.hurry()
            rows = self.rows()
            for seed, row in rows.items():
                if row.state == "queued" and len(row.record.attempts) == 1:
                    found = checkpoint.load(row.record.folder)
                    self.left_at[seed] = found["step"] if found else 0
            for seed in [seed for seed in left if seed in rows and ready(left[seed], rows[seed])]:
                trouble = left.pop(seed)
                trouble(self, rows[seed])
                if trouble is not cancel_while_it_hangs:
                    # Not before the signal is there: the cell could end in between.
                    threading.Timer(4, self._held(seed).unlink, [True]).start()
            if not any(row.state in status.OPEN for row in rows.values()):
                assert not left, f"seeds {list(left)} ended before their trouble came"
                return rows
            assert time.monotonic() < end, "not done in time\n" + status.table(list(rows.values()), self.runs)
            time.sleep(1)

    def processes(self, row: status.SubmittedCell, rank: int) -> list[int]:
        """Process ids of one rank of a running cell."""
        assert row.job
        job, index = row.job.id.split("_")
        wanted = {f"SLURM_ARRAY_JOB_ID={job}", f"SLURM_ARRAY_TASK_ID={index}", f"SLURM_PROCID={rank}"}
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted <= set((folder / "environ").read_bytes().decode(errors="replace").split("\0")):
                    found.append(int(folder.name))
        return found

    def ranks(self, row: status.SubmittedCell) -> list[int]:
        """Process ids of both ranks, once Python runs; without the batch script and srun, which pass for rank 0."""
        found = []
        for process in self.processes(row, 0) + self.processes(row, 1):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
                if b"python" in command[0] and b"run" in command:
                    found.append(process)
        return found


def ready(trouble: Trouble, row: status.SubmittedCell) -> bool:
    """Whether a cell is where this trouble should meet it: by default within training, after an epoch."""
    if trouble is signal_at_start:
        return row.job is not None and row.job.state == "RUNNING"
    if trouble is signal_after_the_end:
        return row.record.state in record.FINAL
    if trouble is cancel:
        return row.state == "running"
    return row.state == "running" and len(row.record.epochs) > 0


def job_of(row: status.SubmittedCell) -> str:
    """The job of a cell that has one."""
    assert row.job
    return row.job.id


def preempt_by_term(sweep: Sweep, row: status.SubmittedCell) -> None:
    """A job of a better partition wants the node: SIGTERM, and SIGKILL after the grace time."""
    assert row.job
    node = f"--nodelist={row.job.node}"
    options = ("--partition=high", "--exclusive", "--mem=100M", "--output=/dev/null", node)
    sweep.cluster.run("sbatch", *options, "--wrap", "true")


def usr2(sweep: Sweep, row: status.SubmittedCell) -> None:
    """The warning signal, to the ranks."""
    sweep.cluster.send("USR2", job_of(row))


def usr2_to_batch(sweep: Sweep, row: status.SubmittedCell) -> None:
    """The warning signal, to the batch script alone; when nothing is pending, see Cluster.send."""
    sweep.cluster.run("scancel", "--signal=USR2", "--batch", job_of(row))


def usr1_with_a_slow_rank(sweep: Sweep, row: status.SubmittedCell) -> None:
    """The other warning signal, while one rank lags behind."""
    slow = sweep.processes(row, 1)
    for process in slow:
        os.kill(process, signal.SIGSTOP)
    sweep.cluster.send("USR1", job_of(row))

    def go_on() -> None:
        for process in slow:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    threading.Timer(3, go_on).start()


def signal_at_start(sweep: Sweep, row: status.SubmittedCell) -> None:
    """While Python imports; sooner there is no step, and SLURM drops the signal and reports success."""
    until("both ranks", lambda: len(sweep.ranks(row)) == 2, 60)
    usr2(sweep, row)


def signal_after_the_end(sweep: Sweep, row: status.SubmittedCell) -> None:
    """When the record is final and the process not gone yet."""
    if row.job and row.job.active:
        with contextlib.suppress(subprocess.CalledProcessError):  # gone in between
            usr2(sweep, row)


def requeue(sweep: Sweep, row: status.SubmittedCell) -> None:
    """By hand."""
    sweep.cluster.run("scontrol", "requeue", job_of(row))


def time_limit(sweep: Sweep, row: status.SubmittedCell) -> None:
    """Less time is left than the warning is to come before the end; once it has come there is enough again.

    SLURM looks at time limits twice a minute, so the ranks hold their breath until the warning has come.
    """
    ranks = sweep.ranks(row)
    for process in ranks:
        os.kill(process, signal.SIGSTOP)
    elapsed = sweep.cluster.run("squeue", "-h", f"--jobs={job_of(row)}", "-o", "%M")
    ran = [int(part) for part in elapsed.split(":")]  # 3:02, or 1:00:00
    limit = f"TimeLimit={2 + ran[-2]}"
    sweep.cluster.run("scontrol", "update", f"jobid={job_of(row)}", limit)

    def enough() -> None:
        with contextlib.suppress(TimeoutError):
            until("the warning", lambda: any(map(is_warned, ranks)), 90)
        # Now, because on a busy machine leaving takes longer than what is left.
        sweep.cluster.succeeds("scontrol", "update", f"jobid={job_of(row)}", "TimeLimit=15")
        for process in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    threading.Thread(target=enough, daemon=True).start()


def is_warned(process: int) -> bool:
    """Whether USR2 waits for a process that was stopped, or came with a SIGCONT that woke it."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return True
    waiting = re.search(r"^ShdPnd:\s*(\w+)", text, re.MULTILINE)
    stopped = re.search(r"^State:\s*T", text, re.MULTILINE)
    return not stopped or (waiting is not None and bool(int(waiting[1], 16) >> (signal.SIGUSR2 - 1) & 1))


def cancel(sweep: Sweep, row: status.SubmittedCell) -> None:
    """For good."""
    sweep.cluster.run("scancel", job_of(row))


def cancel_while_it_hangs(sweep: Sweep, row: status.SubmittedCell) -> None:
    """For good, by SLURM's own command; the ranks do not leave, so that SLURM kills them and the batch script."""
    cancel(sweep, row)


def cancel_by_command(sweep: Sweep, row: status.SubmittedCell) -> None:
    """For good, by our own command, which must remember it: SLURM forgets."""
    commands.main(["cancel", row.name, "--runs", str(sweep.runs)])


def rank_dies(sweep: Sweep, row: status.SubmittedCell) -> None:
    """Rank 1 is killed, as for want of memory."""
    for process in sweep.processes(row, 1):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def node_crashes(sweep: Sweep, row: status.SubmittedCell) -> None:
    """Power off; it is back half a minute later."""
    assert row.job
    node = row.job.node
    sweep.cluster.crash_node(node)
    threading.Timer(30, sweep.cluster.start_node, [node]).start()


def slurmd_dies(sweep: Sweep, row: status.SubmittedCell) -> None:
    """The node's daemon alone: its ranks wake up again when SLURM has long started the job elsewhere."""
    assert row.job
    node = row.job.node
    ranks = sweep.processes(row, 0) + sweep.processes(row, 1)
    for process in ranks:
        os.kill(process, signal.SIGSTOP)
    sweep.cluster.kill_slurmd(node)

    def wake_up() -> None:
        history = sweep.runs / row.identity
        with contextlib.suppress(TimeoutError):
            until("second start", lambda: store.owner(history) == store.Attempt(job_of(row), 1), 400)
        time.sleep(3)
        for process in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        time.sleep(10)
        sweep.cluster.start_node(node)

    threading.Thread(target=wake_up, daemon=True).start()


@contextlib.contextmanager
def counted_calls(folder: Path) -> Iterator[Path]:
    """A file that gets the name of every SLURM command that is called, by way of PATH."""
    log = folder / "calls"
    log.touch()
    for name in ("squeue", "sacct", "scontrol", "sinfo", "sbatch", "scancel"):
        real = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (folder / name).write_text(f'#!/bin/sh\necho {name} >> {log}\nexec {real} "$@"\n')
        (folder / name).chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}:{before}"
    try:
        yield log
    finally:
        os.environ["PATH"] = before


def submit(arguments: list[str]) -> int:
    """Run a command that submits; how many cells it says it has submitted."""
    done = run(*arguments)
    return submitted(done.stdout or done.stderr)


def submitted(output: str) -> int:
    """How many cells the launcher says it has submitted."""
    match = re.search(r"(\d+) submitted", output)
    assert match, output
    return int(match[1])
