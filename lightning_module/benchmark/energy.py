"""Energy that GPUs have used, from NVIDIA's management library, where it is."""

from __future__ import annotations

import ctypes

import torch


def joules(device: torch.device) -> float | None:
    """Energy the GPU has used since its driver was loaded; None where nobody counts it."""
    if device.type != "cuda":
        return None
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    name = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
    failed = (
        library.nvmlInit_v2()
        or library.nvmlDeviceGetHandleByUUID(name, ctypes.byref(handle))
        or library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
    )
    return None if failed else millijoules.value / 1000
