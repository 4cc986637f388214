"""A workload: how many images to ingest, and the throughput of a core and a node."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bootstrap.errors import CloudError

#: Images a second of one core, as measured: `BENCHMARKS.md`, Pomona with ONNX Runtime in float32.
IMAGES_PER_CORE_SECOND = 101.9
#: Cores of an executor, as the step asks for them.
EXECUTOR_CORES = 2
_MOST = 1_000_000


@dataclass(frozen=True)
class Workload:
    """What is to be taken in.

    Parameters
    ----------
    images : int
        Those that are there already.
    images_per_day : int
        Those that arrive.
    rate : float
        Images a second of one core.
    components : int
        Columns of the vectors that a refit publishes.
    image_kb : float or None
        Mean size of an image in kB; None: images are not counted.
    """

    images: int
    images_per_day: int
    rate: float = IMAGES_PER_CORE_SECOND
    components: int = 50
    image_kb: float | None = None

    def __post_init__(self) -> None:
        for name, value, least in (
            ("rate", self.rate, 0.001),
            ("components", self.components, 1),
            ("kB an image", self.image_kb, 0.001),
        ):
            if value is not None and not least <= value <= _MOST:
                raise CloudError(f"{name} is {value}: it must be {least:g} to {_MOST:,}")


def vcpu_count(instance_type: str) -> int:
    """Virtual cores of an EC2 type, by its name: ``xlarge`` has 4, ``2xlarge`` 8, ``large`` 2.

    Raises
    ------
    CloudError
        For a size that does not say, such as ``metal``.
    """
    size = instance_type.partition(".")[2]
    if size == "large":
        return 2
    found = re.fullmatch(r"(\d*)xlarge", size)
    if not found:
        raise CloudError(
            f"{instance_type}: its name does not say how many cores it has; "
            "`pomona cloud estimate --cores` takes the number"
        )
    return 4 * int(found[1] or 1)


def executor_count(nodes: int, cores: int) -> int:
    """Executors that ingest: as many as fit, less one node's, which driver and refits have."""
    a_node = max(1, cores // EXECUTOR_CORES)
    return max(1, a_node * (nodes - 1))
