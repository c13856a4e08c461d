"""The command line: what a newcomer types, and what they get for a slip."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_server import server
from small import ISSUE, ROOT, SMALL

from ablations.sweep.compose import compose, make_cell
from lightning_module import train
from lightning_module.cell import record
from lightning_module.training.interruption import Interruption

BAD = {
    "model.depth=57": r"model.depth=57 is not 6n\+2 .* 56 and 62",
    "model.depth=twenty": "model.depth=twenty is not a whole number",
    "model.depth=44 model.block=bottleneck": "model.depth=44 is not 9n.2",
    "model.shortcut=D": "model.shortcut=D .*A, B, C, none",
    "model.block=basik": "model.block=basik .*did you mean basic",
    "data=cifar11": "data=cifar11 is not known.*did you mean cifar10",
    "recipe=quik": "recipe=quik is not known.*did you mean quick",
    "logger=wandbb": "logger=wandbb is not known.*did you mean wandb",
    "model.dpth=20": "model.dpth is not a key.*did you mean model.depth",
    "optimizer=adam": "optimizer is not a key",
    "hydra/launcher=slum": "hydra/launcher=slum is not known.*slurm",
    "ablation=dpth": "dpth.*did you mean depth",
    "recipe.batch_size=0": "recipe.batch_size=0 is not allowed.*1",
    "recipe.batch_size=-64": "recipe.batch_size=-64 is not allowed",
    "recipe.batch_size=65 trainer.devices=2": "recipe.batch_size=65 cannot be shared out.*64 and 66",
    "model.depth=20,56": "model.depth=20,56 lists several values; add -m",
    "+model.new=1": "adds or deletes a key",
    "seed=-1": "seed=-1 is not allowed",
    "data=cifar10 data.download=false": "cifar-10-python.tar.gz",
    "data=cifar10 data.root=/etc/passwd": "data.root=/etc/passwd is a file",
    "runs=/proc/nowhere": "runs=/proc/nowhere is not a folder one can write to",
}


def refused(done, said):
    """One sentence and exit code 2."""
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert re.search(said, lines[0]), lines[0]


@pytest.mark.parametrize("overrides", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(door, tmp_path, overrides):
    refused(door(*overrides.split()), BAD[overrides])
    assert not list(tmp_path.glob("runs/*/record.jsonl")), "nothing may have been started"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("runs=file", "runs=file is not a folder one can write to"),
        ("runs=locked", "runs=locked is not a folder one can write to .Permission denied"),
        ("data=cifar10 data.root=locked", "data.root=locked cannot be read .Permission denied"),
        ("data=cifar10 data.root=locked/data", "data.root=locked/data cannot be read .Permission denied"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_sentence(door, tmp_path, overrides, said):
    (tmp_path / "file").write_text("")
    (tmp_path / "locked").mkdir(mode=0)
    refused(door(*overrides.split()), said)


def test_one_bad_cell_stops_a_grid_before_any_work(door, tmp_path):
    done = door("-m", "model.depth=8,57", *SMALL[1:])
    assert done.returncode == 2
    assert "model.depth=57" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_grid_trains_once_and_says_so_the_second_time(door, tmp_path):
    first = door("-m", "model.depth=8,14", *SMALL[1:])
    assert first.returncode == 0, first.stderr
    assert "2 cells, 0 finished before, 2 to train" in first.stdout
    started = time.monotonic()
    second = door("-m", "model.depth=8,14", *SMALL[1:])
    assert "2 cells, 2 finished before, 0 to train" in second.stdout
    assert time.monotonic() - started < 15
    assert first.stdout.split("cell ")[1] == second.stdout.split("cell ")[1]
    report = subprocess.run(
        [sys.executable, "-m", "reports"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert report.returncode == 0, report.stderr
    pages = list((tmp_path / "results").glob("*/report.md"))
    assert len(pages) == 1
    assert "2 of 2 cells finished" in pages[0].read_text()


def test_a_cell_that_fails_or_diverges_does_not_stop_the_others(door, tmp_path):
    (tmp_path / "block").mkdir()
    done = door("-m", "recipe.learning_rate=1e30,0.01", *SMALL)
    assert done.returncode == 0
    assert "diverged" in done.stdout
    assert "finished" in done.stdout


def test_a_failed_cell_ends_with_exit_code_1_and_is_tried_again(door, tmp_path):
    first = door(*SMALL)
    folder = next(path.parent for path in tmp_path.glob("runs/*/record.jsonl"))
    lines = (folder / "record.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "record.jsonl").write_bytes(b"".join(lines[:3]))
    (folder / "last.ckpt").chmod(0)
    second = door(*SMALL)
    assert first.returncode == 0
    assert second.returncode == 1
    assert re.search("Permission denied.*last.ckpt", second.stdout)
    (folder / "last.ckpt").unlink()
    third = door(*SMALL)
    assert third.returncode == 0
    assert "retry" in third.stdout


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The runs folder of ISSUE, whole, and of its seed 1, interrupted in mid-run."""
    runs = tmp_path_factory.mktemp("undisturbed")
    for seed in (0, 1):
        texts = (*ISSUE, f"seed={seed}", f"runs={runs}")
        train.run(make_cell(compose(texts), texts), Stop() if seed else Interruption())
    return runs


class Stop(Interruption):
    """Asked to stop from the start."""

    def __bool__(self):
        return True


def put_the_checkpoint_of_seed_1(folder, other):
    shutil.copy(other / "last.ckpt", folder / "last.ckpt")
    keep_lines(folder, 2)


def keep_lines(folder, count):
    rows = (folder / "record.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "record.jsonl").write_bytes(b"".join(rows[:count]))


def flip_a_bit_of_the_checkpoint(folder, _):
    keep_lines(folder, 3)
    data = bytearray((folder / "last.ckpt").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "last.ckpt").write_bytes(data)


@pytest.mark.parametrize(
    ("jobs", "damage", "said"),
    [
        ((), put_the_checkpoint_of_seed_1, "is of cell "),
        ((), flip_a_bit_of_the_checkpoint, "is damaged"),
        (("-m", "hydra.launcher.jobs=2"), lambda folder, _: keep_lines(folder, 3), "does not fit the record"),
    ],
)
def test_what_lies_in_place_of_a_checkpoint_never_becomes_a_result(
    door, tmp_path, undisturbed, jobs, damage, said
):
    shutil.copytree(undisturbed, tmp_path / "runs")
    found = [record.read(path.parent) for path in (tmp_path / "runs").glob("*/record.jsonl")]
    folders = {one.cell["config"]["seed"]: one.folder for one in found}
    truth = record.read(folders[0]).epochs
    damage(folders[0], folders[1])
    done = door(*jobs, *ISSUE)
    assert done.returncode == 0, done.stdout + done.stderr
    errors = [[epoch["test/error"] for epoch in epochs] for epochs in (record.read(folders[0]).epochs, truth)]
    assert errors[0] == errors[1]
    assert f"{truth[-1]['test/error']:.2f} %" in done.stdout
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "set-aside-1.ckpt" in line]
    assert line.startswith(f"warning: {folders[0] / 'last.ckpt'} {said}")
    assert (folders[0] / "set-aside-1.ckpt").exists()


def test_of_five_that_are_started_together_one_trains(tmp_path):
    command = ("run.py", *ISSUE, "trainer.progress=false")
    every = [server(heeds=True).start(*command, cwd=tmp_path) for _ in range(5)]
    said = [process.communicate(timeout=400) for process in every]
    assert [process.returncode for process in every] == [0] * 5, said
    (path,) = tmp_path.glob("runs/*/record.jsonl")
    found = record.read(path.parent)
    assert (found.state, len(found.attempts)) == ("finished", 1)
    for out, _ in said:
        result = f"finished  {found.last['test/error']:.2f} %"
        assert result in out or re.search(r"(?s)another process.*seed 0 +running ", out), out


@pytest.mark.parametrize(("devices", "steps"), [(1, 300), (2, 300)])
def test_two_processes_that_start_the_same_cell_share_the_work(tmp_path, devices, steps):
    texts = [*SMALL, f"recipe.steps={steps}", "trainer=cpu", f"trainer.devices={devices}"]
    both = [server(heeds=True).start("run.py", *texts, cwd=tmp_path) for _ in range(2)]
    said = [process.communicate(timeout=400) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert not any("Traceback" in text for pair in said for text in pair), said
    (left,) = [text for text, _ in said if "another process" in text]
    assert re.search(r"ResNet-8 seed 0 +running ", left), left


def cut_a_line_in_the_middle(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:10] + b"\n", *lines[3:]]))


def name_another_cell(path):
    path.write_text(path.read_text().replace(path.parent.name, "0123456789ab", 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [(cut_a_line_in_the_middle, "damaged in line 3"), (name_another_cell, "the record of cell 0123456789ab")],
)
def test_what_is_damaged_for_one_command_is_damaged_for_all(door, tmp_path, damage, said):
    """Although its last line says that it finished."""

    def module(*arguments):
        done = server(heeds=True).run("-m", *arguments, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    assert door(*SMALL).returncode == 0
    (path,) = tmp_path.glob("runs/*/record.jsonl")
    damage(path)
    whole = path.read_bytes()
    for command in (("ablations", "plan", *SMALL), ("ablations", "why", path.parent.name), ("reports",)):
        assert said in module(*command)
    again = door(*SMALL)
    assert again.returncode == 1
    assert re.search(r"0 finished before, 0 to train\n.*" + said, again.stdout)
    assert [cell["state"] for cell in json.loads(module("ablations", "plan", "--json", *SMALL))["cells"]] == [
        "damaged"
    ]
    module("reports")
    (report,) = tmp_path.glob("results/*/report.md")
    assert said in report.read_text()
    assert path.read_bytes() == whole


def test_what_hydra_users_expect(door):
    shown = door("--cfg", "job", "model.depth=56")
    assert shown.returncode == 0
    assert "depth: 56" in shown.stdout
    study = door("--cfg", "job", "ablation=depth", "hydra/launcher=slurm")
    assert study.returncode == 0, study.stderr
    assert "study: depth" in study.stdout
    helped = door("--help")
    assert "model" in helped.stdout
    assert "plain_cifar" in helped.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc to know how far the start is")
@pytest.mark.parametrize("library", ["_yaml", "libtorch_cpu"])
def test_ctrl_c_while_it_starts_is_quiet(tmp_path, library):
    """While Hydra is imported, and while torch is: before the first step in any case."""
    command = [sys.executable, str(ROOT / "run.py"), *SMALL]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    maps, deadline = Path(f"/proc/{process.pid}/maps"), time.monotonic() + 120
    while library not in maps.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120)[1] == ""
    assert process.returncode == 130
    assert not list(tmp_path.glob("runs/*/record.jsonl"))


def test_ctrl_c_ends_it_although_a_library_swallows_every_exception(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import contextlib, os, signal, sys, time\n"
        "class Swallows:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'omegaconf':\n"
        "            with contextlib.suppress(BaseException):\n"
        "                os.kill(os.getpid(), signal.SIGINT)\n"
        "                time.sleep(1)\n"
        "sys.meta_path.insert(0, Swallows())\n"
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *SMALL],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path, sent):
    command = ("run.py", *SMALL, "recipe.steps=1000")
    process = server(heeds=True).start(*command, cwd=tmp_path)
    deadline = time.monotonic() + 180
    while not any('"epoch"' in p.read_text() for p in tmp_path.glob("runs/*/record.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, sent)
    said = process.communicate(timeout=180)[0]
    assert process.returncode == 128 + sent
    assert "the same command goes on from there" in said
    again = server(heeds=True).run(*command, cwd=tmp_path)
    assert again.returncode == 0
    assert "resume" in again.stdout
