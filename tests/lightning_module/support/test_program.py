"""What is shown, and where it cannot be: neither may touch what is done."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small import ROOT, SMALL
from synthetic import sweep

from lightning_module.cell import record

RUN = f"{sys.executable} {ROOT}/run.py {' '.join(SMALL)}".replace("[", r"\[").replace("]", r"\]")
POSIX = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def shell(script: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def states(runs: Path) -> list[str]:
    return [found.state for found in record.read_all(runs).values()]


def test_a_reader_that_leaves_does_not_touch_the_run(tmp_path):
    done = shell(f"{RUN} trainer.progress=true 2>&1 | head -1", tmp_path)
    assert states(tmp_path / "runs") == ["finished"]
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (141, 1, "")


FULL = "error: standard output cannot be written (No space left on device)\n"


@pytest.mark.parametrize(
    ("module", "to", "code", "said"),
    [
        ("reports --list", "| true", 141, ""),
        ("ablations plan model.depth=8", "| true", 141, ""),
        ("slurm status", "| true", 141, ""),
        ("reports --list", ">/dev/full", 1, FULL),
        ("reports --list", ">&-", 0, ""),
        ("reports --list", ">&- 2>&- <&-", 0, ""),
        ("reports --list", ">/dev/full 2>/dev/full", 1, ""),
    ],
)
def test_output_that_cannot_be_written_is_an_exit_code(tmp_path, module, to, code, said):
    sweep(tmp_path / "runs", depths=[20], shortcuts=["A"], seeds=[0])
    done = shell(f"( sleep 0.2; exec {sys.executable} -m {module} ) {to}", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def program(body: str, **kwargs: object) -> subprocess.Popen[str]:
    code = f"import sys\nfrom lightning_module.support.program import *\nwith program():\n    {body}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, **kwargs)  # type: ignore


def test_a_terminal_that_is_gone_is_no_error():
    ours, theirs = pty.openpty()
    process = program(
        "input()\n    print('x' * 9)\n    open('/dev/stdin')", stdin=-1, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.close(ours)
    process.communicate("\n", timeout=60)
    assert process.returncode == 1


def test_a_slow_reader_of_a_pipe_that_does_not_block_gets_everything():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    process = program("print('x' * 1_000_000)", stdout=writing)
    os.close(writing)
    with open(reading) as file:
        assert len(file.read()) == 1_000_001
    assert process.wait() == 0


def test_a_closed_output_is_not_given_to_the_next_file(tmp_path):
    done = shell(
        f"{sys.executable} -c 'from lightning_module.support.program import program\n"
        'with program(): file = open("record", "w"); import os; os.system("echo x")\' >&-',
        tmp_path,
    )
    assert (done.returncode, done.stderr, (tmp_path / "record").read_text()) == (0, "", "")


def heed_ctrl_c() -> None:
    """In a child before exec: a shell without job control lets what it starts in the background ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("room", ["ablations", "reports", "slurm"])
def test_ctrl_c_within_the_imports_has_no_traceback(room):
    """-X importtime tells of each, so that it can be sent at the first of our own."""
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", room, "--help"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    ) as process:
        lines = iter(process.stderr.readline, "")
        next(line for line in lines if "lightning_module" in line)
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in "".join(lines)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


def test_ctrl_c_has_no_traceback():
    process = program("raise KeyboardInterrupt", stderr=subprocess.PIPE)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 130


def test_a_locale_without_our_letters_changes_nothing_but_them(tmp_path):
    """A POSIX locale; and what W&B was asked for and cannot be is said, once."""
    no_key = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "WANDB_API_KEY": ""}
    done = shell(f"{RUN.replace('logger=none', 'logger=wandb')} \"runs='é'\"", tmp_path, **POSIX, **no_key)
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("warning: W&B is not reachable (")
    assert "; ResNet-8 seed 0 is logged offline: push it later with" in warning
    assert "python -m reports sync " in warning
    assert states(tmp_path / "é") == ["finished"]
    report = shell(f"{sys.executable} -m reports --runs é --out ü", tmp_path, **POSIX)
    assert (report.returncode, report.stderr) == (0, "")
    assert "1 of 1 cells finished" in next((tmp_path / "ü").glob("*/report.md")).read_text("utf-8")


@pytest.mark.parametrize("locale", [{}, POSIX])
def test_an_argument_that_is_no_text_is_one_sentence(tmp_path, locale):
    done = shell(f"{sys.executable} -m reports --list --runs $'a\\xff'", tmp_path, **locale)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: a\\xff is not text in UTF-8; type it, or name the file, in UTF-8\n"


def test_a_warning_stands_above_the_bar():
    body = "from tqdm import tqdm; bar = tqdm(total=2); log.warning('two\\nlines'); bar.update()"
    process = program(body, stderr=subprocess.PIPE)
    assert "\nwarning: two lines\n" in process.communicate(timeout=60)[1]
