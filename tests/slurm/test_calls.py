"""Calls of SLURM's commands that fail for a moment, fail for good, come too late, or would be too long."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from small import ROOT

from ablations.sweep.compose import compose, make_cell
from lightning_module.cell.identity import Cell
from lightning_module.support.disk import write_json
from lightning_module.support.errors import ConfigError
from slurm import cluster, listing, status, store, undecided, waiting
from slurm.__main__ import main
from slurm.after import after
from slurm.feed import give
from slurm.options import Options
from slurm.resources import Limits
from slurm.site import Site
from slurm.submit import submit, waiting_line

Program = Callable[[str, str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a shell script of this name on PATH, with $n for the number of the call."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def write(name: str, script: str) -> None:
        calls = tmp_path / f"{name}.calls"
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$@" >> {calls}\nn=$(wc -l < {calls})\n{script}\n')
        (tmp_path / name).chmod(0o755)

    return write


def calls(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.calls").read_text().splitlines()


def test_a_job_asks_again_while_the_controller_is_silent(program: Program, tmp_path: Path) -> None:
    program("scontrol", '[ "$n" -gt 2 ] && echo "JobState=RUNNING Restarts=0" || exit 1')
    assert cluster.job_now("12_3") == {"JobState": "RUNNING", "Restarts": "0"}


def test_it_asks_no_more_than_it_is_wanted_to(program: Program, tmp_path: Path) -> None:
    program("scontrol", "exit 1")
    with pytest.raises(cluster.SlurmError):
        cluster.persist("scontrol", "requeue", "12_3", wanted=lambda: len(calls(tmp_path, "scontrol")) < 3)
    assert len(calls(tmp_path, "scontrol")) == 3
    with pytest.raises(cluster.NoProgramError):
        cluster.persist("no-such-program")


def test_what_slurm_would_not_take_is_tried_again_by_a_job_and_bad_input_is_not(
    program: Program, tmp_path: Path
) -> None:
    asked: list[Exception] = [cluster.RefusedError("no answer"), cluster.SlurmError("no answer")]

    def work() -> str:
        if asked:
            raise asked.pop()
        return "taken"

    assert cluster.patiently(work) == "taken"
    asked += [ConfigError("bad input")] * 2
    with pytest.raises(ConfigError, match="bad input"):
        cluster.patiently(work)
    assert len(asked) == 1


ROW = "12_3|a|COMPLETED|node1|me"


@pytest.mark.parametrize(
    ("script", "asked", "known", "told"),
    [
        (f"echo '{ROW}'", 1, True, False),
        (f"[ $n -gt 1 ] && echo '{ROW}' || exit 1", 2, True, False),
        ("echo 'sacct: error: Connection refused' >&2; exit 1", 2, False, True),
        ("echo 'Slurm accounting storage is disabled' >&2; exit 1", 1, False, False),
    ],
)
def test_accounting_that_fails_for_a_moment_is_not_accounting_that_is_off(
    program: Program,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    script: str,
    asked: int,
    known: bool,
    told: bool,
) -> None:
    program("squeue", "")
    program("sacct", script)
    assert (("a", 3) in listing.jobs(["a"])) == known
    assert len(calls(tmp_path, "sacct")) == asked
    assert ("Connection refused" in capsys.readouterr().err) == told


def test_many_names_are_asked_for_in_parts(program: Program, tmp_path: Path) -> None:
    program("squeue", 'echo "$n|0|sweep-3|RUNNING|n|None|me"; echo "2|0|other|RUNNING|n|None|me"')
    program("sacct", "")
    names = [f"sweep-{number}" for number in range(12000)]
    assert list(listing.jobs(names)) == [("sweep-3", 0)]
    parts = [call.split("--name=")[1].split()[0] for call in calls(tmp_path, "squeue")]
    assert len(parts) == 2
    assert all(len(part) < 128 * 1024 for part in parts)
    assert ",".join(parts).split(",") == names


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[int, list[str]]]:
    """Judges a job whose rank was interrupted -> (exit code, what was decided)."""
    cell: Cell = make_cell(compose(["seed=0"]), ("seed=0",))
    folder, run = tmp_path / "runs" / "slurm" / "sweep.0", tmp_path / "runs" / cell.identity
    folder.mkdir(parents=True)
    run.mkdir()
    names = ({"identity": cell.identity, "name": cell.name},)
    array = store.Array("sweep.0", "sweep", "sweep", 0.0, "code", names, asdict(Options()))
    store.write_array(folder, array, [cell])
    for key, value in {"ARRAY_JOB_ID": "12", "ARRAY_TASK_ID": "0", "JOB_NODELIST": "node1"}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    store.note(run, "start", store.Attempt.here(), step=0, nodes="node1")

    def judge() -> tuple[int, list[str]]:
        code = after(folder, 0, 0)
        return code, [line["action"] for line in store.history(run) if line["event"] == "end"]

    return judge


ASKED = 'case "$*" in *show*) echo JobState=RUNNING Restarts=0;; esac'
Judge = Callable[[], tuple[int, list[str]]]


def test_a_job_that_cannot_ask_is_not_completed(
    program: Program, ended: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("scontrol", "exit 1")
    monkeypatch.setattr(cluster, "PATIENCE", 0.0)
    assert ended() == (1, ["leave"])


def test_an_interrupted_job_is_queued_again(program: Program, ended: Judge, tmp_path: Path) -> None:
    program("scontrol", ASKED)
    assert ended() == (0, ["requeue"])
    assert calls(tmp_path, "scontrol")[-1] == "requeue 12_0"


def test_a_job_that_was_cancelled_before_it_could_ask_is_left(
    program: Program, ended: Judge, tmp_path: Path
) -> None:
    program("scontrol", ASKED)
    (run,) = tmp_path.glob("runs/*/jobs.jsonl")
    store.note(run.parent, "cancel", store.Attempt("12_0", 0), array="sweep.0")
    assert ended() == (0, ["leave"])
    assert not any("requeue" in call for call in calls(tmp_path, "scontrol"))


def test_a_job_that_is_cancelled_while_it_is_judged_is_not_brought_back(
    program: Program, ended: Judge, tmp_path: Path
) -> None:
    program("scontrol", 'echo "JobState=$([ $n = 1 ] && echo RUNNING || echo CANCELLED) Restarts=0"')
    assert ended()[0] == 0
    assert not any("requeue" in call for call in calls(tmp_path, "scontrol"))


def test_what_goes_wrong_with_cells_that_wait_is_no_doubt_about_this_job(
    program: Program, ended: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("scontrol", ASKED)
    (place,) = tmp_path.glob("runs/slurm/*/array.json")
    place.write_text(place.read_text().replace('"feed": false', '"feed": true'))
    (history,) = tmp_path.glob("runs/*/jobs.jsonl")
    (history.parent / "error-0.txt").write_text("Traceback:\nZeroDivisionError: division by zero\n")
    monkeypatch.setattr(waiting, "read_all", lambda runs: 1 / 0)
    assert ended() == (1, ["fail"])


def test_a_request_that_came_after_the_cancellation_does_not_revive_the_job(
    program: Program, ended: Judge, tmp_path: Path
) -> None:
    (run,) = tmp_path.glob("runs/*/jobs.jsonl")
    line = '{"event": "cancel", "job": "12_0", "restart": 0, "time": 0, "array": "sweep.0"}'
    program("scontrol", f"{ASKED}\ncase \"$*\" in requeue*) echo '{line}' >> {run};; esac")
    program("scancel", "")
    assert ended() == (0, ["requeue"])
    assert calls(tmp_path, "scancel") == ["12_0"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A runs folder on a disk of 2 MB."""
    folder = tmp_path / "runs"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("a disk can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_named_although_nothing_can_be_written(
    program: Program, small_disk: Path, ended: Judge, tmp_path: Path
) -> None:
    program("scontrol", ASKED)
    folder = small_disk / "slurm" / "sweep.0"
    (history,) = small_disk.glob("*/jobs.jsonl")
    kept = history.read_text()
    (small_disk / "checkpoint").touch()
    filled = subprocess.run(["cp", "/dev/zero", str(small_disk / "checkpoint")], capture_output=True)
    assert b"No space left" in filled.stderr
    assert after(folder, 0, 1) == 1
    assert not any("requeue" in call for call in calls(tmp_path, "scontrol"))
    said = undecided.why(small_disk, store.read_array(folder), 0)
    assert (
        said
        == f"no space left on {small_disk}; what was saved is whole: make room, then run the command again"
    )
    assert history.read_text().startswith(kept), "what was known is still known"


def test_a_line_that_was_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    attempt = store.Attempt("7_0", 0)
    store.note(tmp_path, "start", attempt)
    with (tmp_path / "jobs.jsonl").open("a") as file:
        file.write('{"event": "e')
    store.note(tmp_path, "end", attempt, action="done")
    assert [line["event"] for line in store.history(tmp_path)] == ["start", "end"]


def division_by_zero(folder: Path) -> Path:
    """The file in which a rank of the one cell has left its error."""
    (history,) = folder.glob("runs/*/jobs.jsonl")
    error = history.parent / "error-0.txt"
    error.write_text("Traceback:\nZeroDivisionError: division by zero\n")
    return error


def test_an_error_from_before_the_submission_says_nothing_of_it(
    program: Program, ended: Judge, tmp_path: Path
) -> None:
    program("scontrol", ASKED)
    error = division_by_zero(tmp_path)
    os.utime(error, (0, 0))
    assert ended() == (0, ["requeue"])


def test_a_failed_cell_is_tried_again_once_its_job_is_over(
    program: Program, ended: Judge, tmp_path: Path
) -> None:
    """By whoever requeues the job; stale errors do not count then."""
    program("scontrol", ASKED)
    error = division_by_zero(tmp_path)
    assert ended() == (1, ["fail"])
    assert not error.exists()
    assert not store.settled(store.of_job(store.history(error.parent), "12_0"))


NODE_FAULT = "Traceback:\nslurm.job.NodeFault: node1 has no GPU\n"
ON_NODE_1 = """case "$*" in
  *hostnames*) echo node1;;
  *show*) echo JobState=RUNNING Restarts=0 ExcNodeList=node2;;
esac
"""


@pytest.fixture
def faulty(ended: Judge, tmp_path: Path) -> Path:
    """The run folder of a cell that node1 could not train."""
    (run,) = tmp_path.glob("runs/*/jobs.jsonl")
    (run.parent / "error-0.txt").write_text(NODE_FAULT)
    (tmp_path / "runs" / "slurm" / "sweep.0" / "submission.sh").touch()
    return run.parent


@pytest.mark.parametrize(
    ("answer", "decided"),
    [
        ("true", (0, ["elsewhere"])),
        (
            "echo 'allocation failure: Requested node configuration is not available' >&2; exit 1",
            (1, ["fail"]),
        ),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", (0, ["elsewhere"])),
    ],
)
def test_slurm_is_asked_if_the_job_fits_on_another_node(
    program: Program, ended: Judge, faulty: Path, tmp_path: Path, answer: str, decided: tuple[int, list[str]]
) -> None:
    program("scontrol", ON_NODE_1)
    program("sbatch", answer)
    assert ended() == decided
    (asked,) = calls(tmp_path, "sbatch")
    assert asked.startswith("--test-only --exclude=node2,node1 ")
    excluded = ["update jobid=12_0 ExcNodeList=node2,node1"] * (decided[0] == 0)
    assert [call for call in calls(tmp_path, "scontrol") if call.startswith("update")] == excluded


def test_a_node_is_excluded_although_slurm_signals_the_job(
    program: Program, faulty: Path, tmp_path: Path
) -> None:
    # As SLURM does: after the request every process of the job gets SIGTERM.
    term = "(sleep 0.5; kill -s TERM -- -$(cat session)) >/dev/null 2>&1 &"
    slow = 'sleep 1; echo "$*" >> done'
    program("scontrol", f'{ON_NODE_1}\ncase "$*" in requeue*) {term} ;; update*) {slow} ;; esac')
    program("sbatch", "true")
    command = [
        sys.executable,
        str(ROOT / "slurm" / "start.py"),
        "after",
        str(faulty.parent / "slurm" / "sweep.0"),
        "1",
    ]
    shell = f"echo $$ > session; trap '' TERM INT USR1 USR2; exec {shlex.join(command)}"
    subprocess.run(["bash", "-c", shell], cwd=tmp_path, start_new_session=True, timeout=60, check=True)
    assert (tmp_path / "done").read_text() == "update jobid=12_0 ExcNodeList=node2,node1\n"
    assert sum(call.startswith("update") for call in calls(tmp_path, "scontrol")) == 1, "nothing cut it short"


LIMITED = r"""case "$*" in *--test-only*) exit;; esac
for script; do :; done
last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\).*/\1/p' "$script")
total=$(($(cat taken 2>/dev/null || echo 0) + last + 1))
[ $total -le PLACES ] && echo $total > taken && echo $n && exit
echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2
echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy' >&2
exit 1
"""
"""sbatch where a user may have so many jobs."""

SITE = Site({"p": Limits(None, 8, 64.0, 8)}, "p", largest_array=1000)


def seeds(number: int) -> list[Cell]:
    """Cells that ask for the same."""
    return [make_cell(compose([text]), (text,)) for text in (f"seed={seed}" for seed in range(number))]


@pytest.mark.parametrize(("places", "sizes"), [(12, [12]), (3, [3]), (7, [6, 1]), (11, [6, 3, 2]), (0, [])])
def test_an_array_shrinks_to_what_slurm_takes(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: int, sizes: list[int]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("squeue", "sacct"):
        program(name, "")
    program("sbatch", LIMITED.replace("PLACES", str(places)))
    runs, cells = tmp_path / "runs", seeds(12)
    outcome = submit(cells, runs, Options(), "sweep", SITE)
    assert [array.cells for array in outcome.arrays] == sizes
    assert (outcome.waiting, outcome.limit) == (
        12 - sum(sizes),
        "AssocMaxSubmitJobLimit" if sum(sizes) < 12 else "",
    )
    submitted = [cell["identity"] for array in store.arrays(runs) for cell in array.cells]
    queued = [cell.identity for one in waiting.read_all(runs) for cell in one.left]
    assert [*submitted, *queued] == [cell.identity for cell in cells if sizes]
    assert len(calls(tmp_path, "sbatch")) <= 1 + 6, "one check, and few tries"


FED = Options(feed=True)


@pytest.fixture
def waits(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs folder of a sweep of five cells of which one is submitted and four wait."""
    monkeypatch.chdir(tmp_path)
    for name in ("squeue", "sacct"):
        program(name, "")
    program("sbatch", LIMITED.replace("PLACES", "1"))
    submit(seeds(5), tmp_path / "runs", FED, "sweep", SITE)
    return tmp_path / "runs"


def test_a_job_that_ends_gives_its_place_to_what_waits(program: Program, waits: Path) -> None:
    program("sbatch", LIMITED.replace("PLACES", "3"))
    assert give(waits, "sweep", "1_0")
    assert [len(array.cells) for array in store.arrays(waits)] == [1, 1, 1], "one after the other"
    assert len({array.submission for array in store.arrays(waits)}) == 1, "stop_after counts over all of them"
    (one,) = waiting.read_all(waits)
    assert [cell.name for cell in one.left] == [cell.name for cell in seeds(5)[3:]]


def test_a_job_that_finds_no_place_waits_only_if_no_other_will_look(program: Program, waits: Path) -> None:
    (array,) = store.arrays(waits)
    assert not give(waits, "sweep", "1_0"), "the last one"
    program("squeue", f"echo '1|1|{array.name}|RUNNING|n|None|{listing.user_name()}'")
    assert give(waits, "sweep", "1_0"), "1_1 will look"
    assert not give(waits, "sweep", "1_1"), "1_0 has looked"
    program("squeue", f"echo '1|0|{array.name}|RUNNING|n|None|{listing.user_name()}'")
    assert not give(waits, "sweep", "1_1"), "1_0 is on its way out"
    other = replace(array, name="sweep.other.0", submission="sweep.other", user="ana")
    (waits / store.FOLDER / other.name).mkdir()
    store.write_array(waits / store.FOLDER / other.name, other, [])
    program("squeue", f"echo '2|0|{other.name}|RUNNING|n|None|{listing.user_name()}'")
    assert not give(waits, "sweep", "1_1"), "ana's jobs submit nothing of ours"


def test_what_waits_is_dropped_when_its_sweep_is_stopped(program: Program, waits: Path) -> None:
    (array,) = store.arrays(waits)
    (waits / store.FOLDER / array.name / "stopped.json").write_text(
        '{"why": "3 cells failed in the same way"}'
    )
    program("sbatch", LIMITED.replace("PLACES", "9"))
    rows = status.survey(waits)
    assert [row.state for row in rows] == ["cancelled"] * 5
    assert {row.reason for row in rows} == {"3 cells failed in the same way"}
    assert give(waits, "sweep", "1_0")
    assert len(store.arrays(waits)) == 1
    assert submit(seeds(5), waits, FED, "sweep", SITE).waiting == 0, "the command begins anew"
    assert not waiting.read_all(waits)


def test_a_job_submits_what_waits_only_if_that_was_asked_for_last(program: Program, waits: Path) -> None:
    (one,) = waiting.read_all(waits)
    waiting.write(waits, replace(one, about=replace(one.about, options=asdict(Options()))))
    program("sbatch", LIMITED.replace("PLACES", "3"))
    assert give(waits, "sweep", "1_0")
    assert len(store.arrays(waits)) == 1
    give(waits, "sweep")
    assert len(store.arrays(waits)) == 3, "a client that waits does"


def test_status_says_that_no_job_is_left_to_submit_what_waits(program: Program, waits: Path) -> None:
    (array,) = store.arrays(waits)
    last = seeds(5)[4].identity
    for user, by in (
        (listing.user_name(), "jobs of the sweep submit it at their end"),
        ("ana", "no job is left that could; the sweep's command submits it"),
    ):
        write_json(waits / store.FOLDER / array.name / "array.json", asdict(replace(array, user=user)))
        program("squeue", f"echo '1|0|{array.name}|RUNNING|n|None|{user}'")
        (row,) = status.survey(waits, [last])
        assert (row.state, row.reason) == ("waiting", f"for a place (AssocMaxSubmitJobLimit); {by}")


def test_what_waits_of_a_colleague_is_left_to_the_colleagues_jobs(program: Program, waits: Path) -> None:
    (one,), (array,) = waiting.read_all(waits), store.arrays(waits)
    waiting.write(waits, replace(one, about=replace(one.about, user="ana")))
    write_json(waits / store.FOLDER / array.name / "array.json", asdict(replace(array, user="ana")))
    program("squeue", f"echo '1|0|{array.name}|RUNNING|n|None|ana'")
    outcome = submit(seeds(5), waits, FED, "sweep", SITE)  # there is no place
    assert ": run the same again when some of your jobs have ended" in waiting_line(outcome, FED)
    assert [one.about.user for one in waiting.read_all(waits)] == ["ana"]
    program("sbatch", LIMITED.replace("PLACES", "2"))
    assert len(submit(seeds(5), waits, FED, "sweep", SITE).arrays) == 1
    assert [one.about.user for one in waiting.read_all(waits)] == [listing.user_name()]


def test_what_waits_is_retried_by_name_in_a_folder_that_was_moved(program: Program, waits: Path) -> None:
    program("sbatch", LIMITED.replace("PLACES", "9"))
    program("sinfo", "echo 'p*|infinite|8|64000|gpu:8'")
    program("scontrol", "echo 'MaxArraySize = 1001'")
    moved = waits.rename(waits.with_name("moved"))
    main(["retry", "--runs", str(moved)])
    first, second = store.arrays(moved)
    assert [cell["name"] for cell in second.cells] == [first.cells[0]["name"]], (
        "without a name what has ended"
    )
    main(["retry", seeds(5)[4].identity, "--runs", str(moved)])
    third = store.arrays(moved)[-1]
    assert [cell["identity"] for cell in third.cells] == [seeds(5)[4].identity]
    for array in (second, third):
        cell = Cell.read(moved / store.FOLDER / array.name / "cells" / "0.json")
        assert cell.config["runs"] == str(moved), "it trains there"
    assert len(waiting.read_all(moved)[0].left) == 3


def test_code_that_changed_is_not_retried(
    program: Program, waits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said where it is asked, not by the job."""
    (array,) = store.arrays(waits)
    path = waits / store.FOLDER / array.name / "cells" / "0.json"
    cell = Cell.read(path)
    model = {**cell.config["model"], "code": "1" * 12}
    replace(cell, config={**cell.config, "model": model}).write(path)
    with pytest.raises(SystemExit):
        main(["retry", "--runs", str(waits)])
    assert "the code of resnet changed since this cell was asked for" in capsys.readouterr().err
    assert store.arrays(waits) == [array]


@pytest.mark.parametrize(
    "limit",
    [
        *("AssocMaxSubmitJobLimit", "AssocGrpSubmitJobsLimit", "QOSMaxSubmitJobPerUserLimit"),
        *("QOSGrpSubmitJobsLimit", "MaxSubmitJobsPerAccount"),
    ],
)
def test_a_limit_of_submitted_jobs_has_many_names(program: Program, limit: str) -> None:
    """As SLURM 22.05 says them, for --test-only too."""
    program("sbatch", f"echo 'sbatch: error: {limit}\nallocation failure: Job violates ...' >&2; exit 1")
    with pytest.raises(cluster.FullError, match=f"^{limit}$"):
        cluster.test_only("x.sh")


def test_no_more_than_array_parallelism_run_at_once(program: Program, waits: Path) -> None:
    (one,) = waiting.read_all(waits)
    about = replace(one.about, options=asdict(replace(FED, array_parallelism=2)))
    waiting.write(waits, replace(one, about=about))
    program("sbatch", LIMITED.replace("PLACES", "9"))
    give(waits, "sweep", "1_0")
    assert sum(len(array.cells) for array in store.arrays(waits)) == 3


def test_status_without_a_controller_says_what_the_records_say(
    program: Program, waits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    main(["status", "--runs", str(waits)])
    shown = capsys.readouterr()
    assert shown.err == "squeue: slurm_load_jobs error: Unable to contact slurm controller; " + (
        "this is what the records say\n"
    )
    assert "1 unknown" in shown.out and "4 waiting" in shown.out
    assert "cancelled" not in shown.out
