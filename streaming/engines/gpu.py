"""List the GPUs of this machine through NVIDIA's driver library; no Python package is needed."""

from __future__ import annotations

import ctypes

#: Memory of one image in the network: 12 MB on the CPU, and a workspace for cuDNN.
BYTES_PER_IMAGE = 24 * 2**20
#: Larger batches are not faster, and their images occupy memory of the worker (0.6 MB each).
MAX_BATCH_SIZE = 256
# Share of the free memory used for a batch; the rest is for the network and CUDA itself.
_MEMORY_SHARE = 0.5


def batch_size(free_bytes: int | None) -> int:
    """Return the number of images per inference call, for a GPU with this much free memory; None means unknown."""
    if free_bytes is None:
        return 16
    return max(1, min(MAX_BATCH_SIZE, int(free_bytes * _MEMORY_SHARE) // BYTES_PER_IMAGE))


def device_count() -> int:
    """Return the number of GPUs visible to this process, see ``CUDA_VISIBLE_DEVICES``."""
    driver = _driver()
    number = ctypes.c_int()
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(number)):
        return 0
    return number.value


def free_memory(gpu: int) -> int | None:
    """Return the free memory of a GPU in bytes, or None if the driver does not report it."""
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
        success = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)
    return free.value if success else None


def assigned_device() -> int:
    """Return the GPU index for the current Spark task: the one Spark assigned, otherwise round-robin by partition."""
    from pyspark import TaskContext

    context = TaskContext.get()
    if context is None:
        return 0
    resource = context.resources().get("gpu")
    if resource is not None:
        return int(resource.addresses[0])
    return context.partitionId() % max(1, device_count())


def _driver() -> ctypes.CDLL | None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return None if driver.cuInit(0) else driver
