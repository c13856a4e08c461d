"""The batch script, as bash runs it: what lines of `setup` do to their shell, and what happens when Python is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from lightning_module.support.errors import ConfigError
from slurm import script
from slurm.options import Options
from slurm.resources import Resources

NEEDS = Resources(1, 1, None, 1, "1G", 10, None, None, None)
START = """
import os, signal, sys, time
if "after" in sys.argv:
    print("judged", sys.argv[-1])
    sys.exit(0 if sys.argv[-1] == "0" else 10)
if "WAITS" in os.environ:
    told = []
    signal.signal(signal.SIGUSR2, lambda *_: told.append(1))
    print("waits", flush=True)
    while not told:
        time.sleep(0.1)
    time.sleep(1)  # it saves
print("trained", os.environ.get("COLOUR"), os.environ.get("PATH"))
"""
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do [ "$1" = --output ] && shift; shift; done
exec "$@"
"""


@pytest.fixture
def array(tmp_path: Path) -> Path:
    """The folder of an array whose program tells that it ran."""
    (tmp_path / "code" / "slurm").mkdir(parents=True)
    (tmp_path / "code" / "slurm" / "start.py").write_text(START)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text(SRUN)
    (tmp_path / "bin" / "scancel").write_text('#!/bin/sh\necho "scancel $*"\n')
    for program in (tmp_path / "bin").iterdir():
        program.chmod(0o755)
    folder = tmp_path / "runs" / "slurm" / "sweep.stamp.0"
    folder.mkdir(parents=True)
    return folder


def start(
    array: Path, setup: tuple[str, ...], stop_after: int = 3, element: int = 0
) -> subprocess.Popen[str]:
    """Begin a job of the array."""
    root = array.parents[2]
    options = Options(setup=setup, stop_after=stop_after)
    made = script.executor(array, NEEDS, options, 1, root / "code", ["a", "b", "c", "d"])
    path = array / script.SUBMISSION
    path.write_text(made._make_submission_file_text(made.command, ""))
    environment = {
        **os.environ,
        "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
        "SLURM_ARRAY_TASK_ID": str(element),
        "SLURM_CPUS_PER_TASK": "1",
    }
    return subprocess.Popen(
        ["bash", str(path)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def job(array: Path, *setup: str, stop_after: int = 3, element: int = 0) -> tuple[int, list[str]]:
    """Run a job of the array -> (exit code, what it printed)."""
    process = start(array, setup, stop_after, element)
    said = process.communicate(timeout=60)[0]
    return process.returncode, said.splitlines()


@pytest.mark.parametrize(
    "setup",
    [
        ("set -euo pipefail",),
        ("set -eu", "shopt -s nullglob failglob", "set -f"),
        ("set -e", "trap 'true' EXIT TERM USR2"),
        ("srun() { echo not this one; }",),
        ("cd /",),
        ("set -o noclobber -o posix",),
    ],
)
def test_options_traps_and_functions_of_the_setup_end_with_it(array: Path, setup: tuple[str, ...]) -> None:
    code, said = job(array, *setup, "export COLOUR=red")
    assert (code, [line.split()[:2] for line in said]) == (0, [["trained", "red"], ["judged", "0"]])


def test_tracing_and_an_empty_path_end_with_the_setup_too(array: Path) -> None:
    code, said = job(array, "set -x", "export PATH= COLOUR=red")
    assert code == 0
    assert [line for line in said if line[0] not in "+"] == ["trained red ", "judged 0"]


def test_a_function_of_the_setup_reaches_the_lines_after_it_and_a_limit_the_ranks(array: Path) -> None:
    code, said = job(array, "paint() { export COLOUR=$1; }", "paint blue", "ulimit -n 200")
    assert (code, said[0].split()[:2]) == (0, ["trained", "blue"])


@pytest.mark.parametrize(
    ("setup", "ended"),
    [(("set -e", "false"), 1), (("set -u", 'echo "$NOT_THERE"'), 1), (("exit 3",), 3)],
)
def test_a_setup_that_fails_is_judged(array: Path, setup: tuple[str, ...], ended: int) -> None:
    code, said = job(array, *setup)
    assert (code, said[-1]) == (1, f"judged {ended}")
    assert not list(array.glob("no-start-*"))


def test_a_setup_that_ends_at_once_is_judged_by_its_code_on_a_busy_node(
    array: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASH_FUNC_kill%%", '() { sleep 0.5; builtin kill "$@"; }')
    assert job(array, "exit 3")[1] == ["judged 3"]
    (array.parents[2] / "bin" / "srun").write_text("#!/bin/sh\nexit 7\n")
    assert job(array)[1] == ["judged 7"]


def test_a_signal_during_the_setup_ends_it_as_a_signal(array: Path) -> None:
    process = start(array, ("echo ready", "sleep 1", "sleep 1"))
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0].split() == ["judged", "138"]


def test_a_signal_to_the_batch_script_reaches_ranks_below_any_options(array: Path) -> None:
    process = start(array, ("set -euo pipefail", "export WAITS=1 COLOUR=red PATH="))
    assert process.stdout
    assert process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0].splitlines() == ["trained red ", "judged 0"]


def test_without_the_program_shell_alone_stops_the_sweep(array: Path) -> None:
    (array.parents[2] / "code" / "slurm" / "start.py").unlink()
    other = array.with_name("sweep.stamp.1")
    other.mkdir()
    assert job(array, element=0)[0] == 1
    assert (array / "no-start-0").read_text() == "2\n"
    code, said = job(array, element=0, stop_after=2)
    assert not any("scancel" in line for line in said), "the same job again"
    code, said = job(array, element=3, stop_after=2)
    assert (code, said[-1]) == (1, "scancel --state=PENDING --name=sweep.stamp.0,sweep.stamp.1")
    why = json.loads((other / "stopped.json").read_text())["why"]
    assert why == "Python could not start in 2 jobs, so those that had not started were cancelled"


def test_a_start_that_can_decide_forgets_one_that_could_not(array: Path) -> None:
    for name in ("no-start-0", "no-space-0", "no-start-1"):
        (array / name).touch()
    assert job(array)[0] == 0
    assert [path.name for path in array.glob("no-*")] == ["no-start-1"]


@pytest.mark.parametrize(
    ("line", "word"),
    [('echo "open', "unexpected EOF"), ("}", "unexpected token"), ("cat <<END", "here-document")],
)
def test_what_bash_cannot_read_is_refused(line: str, word: str) -> None:
    with pytest.raises(ConfigError, match=rf"hydra.launcher.setup=.*{word}"):
        script.check_setup(["true", line])


def test_lines_that_bash_can_read_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")  # as ssh brings it from a laptop
    monkeypatch.setenv("BASH_ENV", "/no/such/file")
    script.check_setup(["module load cuda || true", "set -euo pipefail", "", "# a comment"])
