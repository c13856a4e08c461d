"""What a cell asks of PyTorch and Lightning in the process that trains it: threads, precision, silence."""

from __future__ import annotations

import logging
import os
import warnings

import torch

from lightning_module.cell.config import Config
from lightning_module.support.mps import memory_share
from lightning_module.training.device_memory import reset_peak_memory

MULTIPLY_ADDS_PER_THREAD = 5e7
"""Work per layer and batch that is worth a CPU thread."""


def on_gpu(config: Config) -> bool:
    """Whether the cell trains on a GPU here."""
    return config.trainer.accelerator != "cpu" and torch.cuda.is_available()


def cpu_threads(config: Config, multiply_adds: int) -> int:
    """Threads for one process on the CPU: as many as have work, since idle ones cost more than they bring.

    A function of the cell and its cores alone, because sums in another order differ in the last bit. The cores
    are those that OMP_NUM_THREADS says this process has (the scheduler's word), or else its share of the machine's;
    what is no number above 0 says nothing, as for OpenMP.
    """
    if config.trainer.threads:
        return config.trainer.threads
    per_layer = multiply_adds * config.recipe.batch_size / config.trainer.processes / config.layers
    there, told = len(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    cores = min(int(told), there) if told.isdecimal() and int(told) else there // config.trainer.devices
    return max(1, min(cores, int(per_layer / MULTIPLY_ADDS_PER_THREAD)))


def set_up_torch(config: Config, multiply_adds: int) -> None:
    """Threads, precision, and quiet libraries, for the cell that this process trains next."""
    from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

    # Lightning makes an exception of SIGTERM, and so a failure of the cell; Interruption owns the signals.
    _SignalConnector.register_signal_handlers = lambda self: None  # type: ignore[method-assign]
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\..*")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(cpu_threads(config, multiply_adds))
    fast = config.trainer.precision == "tf32"
    torch.set_float32_matmul_precision("high" if fast else "highest")
    torch.backends.cudnn.allow_tf32 = fast
    # Shapes stay the same in training; see Classifier for testing. The fastest kernels are found by timing.
    torch.backends.cudnn.benchmark = not config.trainer.deterministic
    torch.backends.cudnn.deterministic = config.trainer.deterministic
    if on_gpu(config) and memory_share() < 1:
        torch.cuda.set_per_process_memory_fraction(memory_share(), int(os.environ.get("LOCAL_RANK", 0)))
    reset_peak_memory(on_gpu(config))
