"""Signals to a run: it is killed and can be resumed; it has never failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from small import ROOT, SMALL

from lightning_module.cell import record
from lightning_module.training import checkpoint

LONG = [*(text for text in SMALL if not text.startswith("recipe.steps=")), "recipe.steps=1000"]
LONG += ["trainer.checkpoint_every=1000"]  # and at the end of every epoch


@pytest.mark.parametrize(
    ("sent", "code"),
    [((signal.SIGTERM, signal.SIGINT), 130), ((signal.SIGHUP,), 129)],
)
def test_a_run_that_is_told_to_stop_is_killed_and_has_a_checkpoint(tmp_path, sent, code):
    """The second signal comes while the first is obeyed: at a call that takes a while."""
    (tmp_path / "sitecustomize.py").write_text(
        "import time\n"
        "import lightning_module.training.classifier as c\n"
        "step = c.Classifier.training_step\n"
        "def slow(self, *given):\n"
        "    if self.step > 20:\n"
        "        open('in a step', 'w').close()\n"
        "        time.sleep(2)\n"
        "    return step(self, *given)\n"
        "c.Classifier.training_step = slow\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *LONG],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGHUP, signal.SIG_DFL
        ),  # which nohup, above the tests, ignores
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "in a step").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for number in sent:
        process.send_signal(number)
        time.sleep(0.1)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == code
    (after,) = record.read_all(tmp_path / "runs").values()
    assert (after.state, after.status) == ("killed", {})
    assert checkpoint.load(after.folder)["step"] >= after.last["step"]


@pytest.mark.parametrize(("before", "after"), [("SIG_DFL", "129"), ("SIG_IGN", "0")])
def test_hangup_is_ignored_below_nohup_alone(before, after):
    code = (
        "import os, signal\n"
        f"signal.signal(signal.SIGHUP, signal.{before})\n"
        "from lightning_module.training.interruption import Interruption\n"
        "told = Interruption()\n"
        "told.install()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print(told.exit_code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == after
