"""A study that stops when its claims are settled, really run through the command line."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

from command_server import server

from ablations.sweep.plan import sweep
from ablations.sweep.request import request

STUDY = (
    *("ablation=shortcut_options", "data=digits", "recipe=quick", "model.depth=20", "model.width=8"),
    *("recipe.steps=8", "recipe.drops=[]", "recipe.warm_up=none", "trainer=cpu", "trainer.threads=1"),
    *("trainer.progress=false", "logger=none"),
)
SETTLE = (*STUDY, "settle=true", "budget=1h")
ALL_CELLS = 18


def manifest(folder: Path) -> dict[str, Any]:
    """Of the one sweep there that was settled."""
    every = [json.loads(path.read_text()) for path in folder.glob("runs/sweeps/*.json")]
    (settled,) = [each for each in every if each["rounds"]]
    return settled  # type: ignore[no-any-return]


def asked(folder: Path, *words: str) -> dict[str, Any]:
    command = ("-m", "ablations", "settle", *words, *STUDY, "--budget", "1h", "--json")
    done = server(heeds=True).run(*command, cwd=folder, env={"PATH": "/usr/bin:/bin", "HOME": str(folder)})
    done.check_returncode()
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_it_settles_goes_on_after_an_interruption_and_leaves_the_rest_out(door, tmp_path):
    first = asked(tmp_path)
    assert first["number"] == 1 and not (tmp_path / "runs").exists()  # asking starts nothing
    process = server(heeds=True).start("run.py", *SETTLE, cwd=tmp_path)
    deadline = time.monotonic() + 180
    while len(list(tmp_path.glob("runs/*/record.jsonl"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=180)[0]
    assert process.returncode == 130, said
    assert said.startswith("Round 1: 2 of 3 claims open") and "the same command goes on from there" in said
    (begun,) = manifest(tmp_path)["rounds"]
    assert begun["cells"] == first["cells"] and len(begun["cells"]) == 9
    assert asked(tmp_path) == begun  # taken up again, not decided anew

    done = door(*SETTLE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Round 1:") and "Ended after" in done.stdout
    after = manifest(tmp_path)
    assert after["rounds"][0] == begun
    *rounds, last = after["rounds"]
    chosen = [name for each in rounds for name in each["cells"]]
    assert last["end"] and not last["cells"] and all(not each["end"] for each in rounds)
    assert len(set(chosen)) == len(chosen) <= len(after["cells"]) == ALL_CELLS
    assert {path.parent.name for path in tmp_path.glob("runs/*/record.jsonl")} == set(chosen)

    again = door(*SETTLE)
    assert again.returncode == 0 and "Round" not in again.stdout
    assert manifest(tmp_path)["rounds"] == after["rounds"]  # the same records, the same decision


def test_a_cell_that_fails_holds_up_its_claims_and_is_not_tried_again_within_a_call(door, tmp_path):
    cell = sweep(request(STUDY), []).cells[0]
    assert door(*cell.overrides).returncode == 0
    folder = tmp_path / "runs" / cell.identity
    lines = (folder / "record.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "record.jsonl").write_bytes(b"".join(lines[:2]))  # interrupted
    (folder / "last.ckpt").chmod(0)
    done = door(*SETTLE)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"held up; {cell.name} ended without a result" in done.stdout and done.stdout.count("Round") == 1
    assert "2 held up" in manifest(tmp_path)["rounds"][-1]["end"]
    again = asked(tmp_path)  # a new call tries it again
    assert again["number"] == 1 and cell.identity in again["cells"]
