"""Which execution providers really work here. ONNX Runtime lists CUDA wherever its GPU build is installed, so: probe."""

import ctypes
import logging
from functools import cache

import onnxruntime as ort

log = logging.getLogger("infercast.runtime")
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


@cache
def cuda_devices() -> int:
    """Return how many CUDA devices the driver of this machine really has; 0 where there is no driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


@cache
def providers(accelerator: str) -> tuple[str, ...]:
    """Return the providers to ask for on an accelerator, best first; CPU stands behind every other.

    Says in one line when an accelerator other than `cpu` was asked for and is not there.
    """
    if accelerator == "cpu":
        return (CPU,)
    if CUDA in ort.get_available_providers() and cuda_devices() > 0:
        return (CUDA, CPU)
    log.info("no CUDA device here: %s runs on the CPU", accelerator)
    return (CPU,)
