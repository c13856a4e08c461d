"""The bar, on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from small import ROOT

STEPS = """
import time
from lightning_module.tracking.progress import Progress
bar = Progress("ResNet-110 seed 0", 0, 300, 64, True)
for step in range(1, 300):
    time.sleep(0.01)
    bar.at(step)
    if step == 100:
        bar.epoch(1, step, {"test/error": 80.0, "train/error": 81.0})
bar.close()
"""


def shown(columns: int) -> list[str]:
    """What the bar was, one state after the other."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", STEPS], cwd=ROOT, stderr=theirs)
    os.close(theirs)
    told = b""
    try:
        while part := os.read(ours, 4096):
            told += part
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return [line for line in re.split(r"[\r\n]+", told.decode()) if line.strip()]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_bar_has_time_left_error_and_speed(columns):
    lines = shown(columns)
    assert max(map(len, lines)) <= columns
    last = lines[-1]
    assert re.match(
        r"ResNet-110 seed 0: 00:0\d left \|.+\| 2\d\d/300, test error 80.00 %, [\d,]+ images/s$", last
    ), last
    assert all(re.match(r"ResNet-110 seed 0: [\d:?]+ left \|", line) for line in lines)


def test_on_a_narrow_terminal_the_time_left_is_still_there():
    assert "left" in shown(40)[-1]
