"""List the GPUs of this machine through NVIDIA's driver library; no Python package is needed."""

from __future__ import annotations

import ctypes

#: Memory that one image takes in the network. On the processor it is 12 MB; cuDNN wants some to work in.
BYTES_PER_IMAGE = 24 * 2**20
#: Beyond this a call is no faster, and its images wait in the worker's memory (0.6 MB each).
MAX_BATCH_SIZE = 256
#: Share of the free memory that a call may plan with; the rest is for the network and CUDA itself.
_SHARE = 0.5


def batch_size(free: int | None) -> int:
    """Images to hand to a GPU at once.

    Parameters
    ----------
    free : int or None
        Its free memory in bytes; None where it cannot be asked, which counts as little.
    """
    if free is None:
        return 16
    return max(1, min(MAX_BATCH_SIZE, int(free * _SHARE) // BYTES_PER_IMAGE))


def device_count() -> int:
    """Number of GPUs that this process sees; `CUDA_VISIBLE_DEVICES` hides others."""
    driver = _driver()
    number = ctypes.c_int()
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(number)):
        return 0
    return number.value


def free_memory(gpu: int) -> int | None:
    """Free memory of a GPU in bytes; None where the driver does not tell."""
    driver = _driver()
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver is None or driver.cuDeviceGet(ctypes.byref(device), gpu):
        return None
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    try:
        if driver.cuCtxPushCurrent_v2(context):
            return None
        told = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)
    return free.value if told else None


def assigned_device() -> int:
    """The GPU of the Spark task that runs here: the one Spark gave it, or else one for each share in turn."""
    from pyspark import TaskContext

    context = TaskContext.get()
    if context is None:
        return 0
    given = context.resources().get("gpu")
    if given is not None:
        return int(given.addresses[0])
    return context.partitionId() % max(1, device_count())


def _driver() -> ctypes.CDLL | None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return None if driver.cuInit(0) else driver
