"""What one task of a job takes from its environment."""

from __future__ import annotations

import os

import pytest

from lightning_module.support import mps
from slurm.job import environment


@pytest.mark.parametrize(("served", "devices"), [("GPU-abc", "GPU-abc"), ("", "3")])
def test_a_client_of_mps_names_its_device_as_the_server_does(monkeypatch, served, devices):
    """srun sets a number, which the server counts anew."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(mps.DEVICES, served)
    environment(None, shared=True)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == devices
