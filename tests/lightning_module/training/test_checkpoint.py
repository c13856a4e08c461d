"""Checkpoints that are saved while training goes on."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

from lightning_module.training import checkpoint


def state() -> dict[str, object]:
    return {
        **dict.fromkeys(("step", "attempt", "epochs"), 1),
        "warm_up_ends": None,
        "seconds": 1.0,
        "sums": torch.zeros(3),
        "window": torch.zeros(()),
        "network": OrderedDict(weight=torch.ones(1000)),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(1000)}}, "param_groups": [{"params": [0]}]},
    }


def test_what_is_saved_is_the_state_of_that_moment(tmp_path):
    saver, now = checkpoint.Saver(), state()
    for number in range(20):
        now["network"]["weight"].fill_(number)
        now["optimizer"]["state"][0]["momentum_buffer"].fill_(number)
        saver.save(tmp_path, "a" * 12, 1, 1, now)
        now["network"]["weight"].fill_(-1)
        now["optimizer"]["state"][0]["momentum_buffer"].fill_(-1)
        saver.wait()
        found = checkpoint.load(tmp_path)
        assert found["network"]["weight"].tolist() == [number] * 1000
        assert found["optimizer"]["state"][0]["momentum_buffer"].tolist() == [number] * 1000
    saver.close()


def test_the_device_is_read_before_training_goes_on(tmp_path):
    """By a device that cannot be read: the one who asks is told so, and not the thread that writes."""
    saver = checkpoint.Saver()
    with pytest.raises(NotImplementedError, match="no data"):
        saver.save(tmp_path, "a" * 12, 1, 1, {**state(), "sums": torch.zeros(3, device="meta")})
    saver.close()


@pytest.mark.parametrize("then", ["save", "wait"])
def test_what_saving_ran_into_is_raised_by_what_comes_next(tmp_path, then):
    saver = checkpoint.Saver()
    saver.save(tmp_path / "absent", "a" * 12, 1, 1, state())
    with pytest.raises(FileNotFoundError):
        saver.wait() if then == "wait" else saver.save(tmp_path, "a" * 12, 1, 1, state())
    saver.close()
