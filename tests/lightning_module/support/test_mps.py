"""NVIDIA's MPS is started for cells that share a GPU, by names that hold for all, and quit again."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest
from mps_stand_in import stand_in

from lightning_module.support import mps
from lightning_module.training.device_memory import device_memory

pytestmark = pytest.mark.skipif(
    not shutil.which("gcc"), reason="needs gcc, for a stand-in of NVIDIA's driver"
)


def use(patch, stand):
    for name, text in stand.environment.items():
        patch.setenv(name, text)


def test_it_is_started_and_quit_with_names_that_are_not_renumbered(tmp_path, monkeypatch):
    stand = stand_in(tmp_path / "bin")
    use(monkeypatch, stand)
    before = dict(os.environ)
    with contextlib.suppress(KeyboardInterrupt), mps.serve(["3", "GPU-abc"]) as gpus:
        assert gpus == ["GPU-3", "GPU-abc"]
        folder = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        assert stand.asked() == [["start", "GPU-3,GPU-abc", folder]]
        with mps.serve(["3"]) as inner:  # somebody serves already
            assert inner == ["3"]
        raise KeyboardInterrupt
    assert stand.asked()[1:] == [["quit", folder]]
    assert dict(os.environ) == before
    assert not Path(folder).exists()


@pytest.mark.parametrize("gpus", [["3"], ["7"]])
def test_what_does_not_work_is_said_and_left(tmp_path, monkeypatch, capsys, gpus):
    """A driver that lets no client in; a number that nvidia-smi does not have."""
    stand = stand_in(tmp_path / "bin", code=805)
    use(monkeypatch, stand)
    before = dict(os.environ)
    with mps.serve(gpus) as names:
        assert names == gpus
        assert dict(os.environ) == before
    assert [question[0] for question in stand.asked()] == (["start", "quit"] if gpus == ["3"] else ["quit"])
    assert capsys.readouterr().err.startswith(
        "warning: cells take turns on the GPU, because MPS does not work"
    )


def test_without_it_nothing_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with mps.serve(["3"]) as names:
        assert names == ["3"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("told", "share"), [(None, 1.0), ("1", 1.0), ("4", 0.9 / 4), ("many", 1.0)])
def test_memory_is_shared_out(monkeypatch, told, share):
    monkeypatch.delenv(mps.CELLS, raising=False)
    if told:
        monkeypatch.setenv(mps.CELLS, told)

    class Properties:
        total_memory = 80_000_000_000

    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: Properties)
    assert device_memory(None, gpu=True) == int(80_000_000_000 * share)
