"""A workload: how many images to ingest, and the throughput of a core and a node."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bootstrap.errors import CloudError

#: Measured images per second and core with ONNX Runtime in float32, see `BENCHMARKS.md`.
IMAGES_PER_CORE_SECOND = 74.7
#: Cores of an executor, as configured in the EMR step.
EXECUTOR_CORES = 2
_MAX_VALUE = 1_000_000


@dataclass(frozen=True)
class Workload:
    """Images to ingest.

    Parameters
    ----------
    images : int
        Existing images.
    images_per_day : int
        New images per day.
    rate : float
        Images per second and core.
    components : int
        Columns of the reduced vectors of a refit.
    image_kb : float or None
        Mean image size in kB; None: exclude the images from the storage.
    """

    images: int
    images_per_day: int
    rate: float = IMAGES_PER_CORE_SECOND
    components: int = 50
    image_kb: float | None = None

    def __post_init__(self) -> None:
        for name, value, minimum in (
            ("rate", self.rate, 0.001),
            ("components", self.components, 1),
            ("image_kb", self.image_kb, 0.001),
        ):
            if value is not None and not minimum <= value <= _MAX_VALUE:
                raise CloudError(f"{name} is {value}: it must be {minimum:g} to {_MAX_VALUE:,}")


def vcpu_count(instance_type: str) -> int:
    """Return the vCPUs of an EC2 instance type, from its name: ``large`` 2, ``xlarge`` 4, ``2xlarge`` 8.

    Raises
    ------
    CloudError
        If the size does not determine the number, such as ``metal``.
    """
    size = instance_type.partition(".")[2]
    if size == "large":
        return 2
    match = re.fullmatch(r"(\d*)xlarge", size)
    if not match:
        raise CloudError(
            f"{instance_type}: the number of cores cannot be derived from the name; "
            "give it with `pomona cloud estimate --cores`"
        )
    return 4 * int(match[1] or 1)


def executor_count(nodes: int, cores: int, reserved: int = 1) -> int:
    """Return the number of executors for ingestion: on all nodes but the reserved ones, for drivers and refits."""
    per_node = max(1, cores // EXECUTOR_CORES)
    return max(1, per_node * (nodes - reserved))
