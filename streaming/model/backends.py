"""The supported combinations of engine, device and precision, with their tolerances against Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Backend(NamedTuple):
    """One combination of engine, device and precision.

    Attributes
    ----------
    engine, device, precision : str
        Values of the options `--engine`, `--device` and `--precision`.
    """

    engine: str
    device: str
    precision: str


@dataclass(frozen=True)
class Tolerance:
    """Maximum deviation of features from those of Keras in float32, whose largest values are about 6.

    Attributes
    ----------
    max_difference : float, optional
        Maximum absolute difference of any feature of any image.
    min_cosine : float, optional
        Minimum cosine similarity between the two feature vectors of an image.
    max_accuracy_loss : float, optional
        Maximum decrease of the share of images whose nearest neighbor has the same label.
    """

    max_difference: float | None = None
    min_cosine: float | None = None
    max_accuracy_loss: float | None = None


#: The precision whose network is quantized at the export.
INT8 = "int8"

#: Backends of the same precision share a model ID, and their rows can be in one table, so all float32 backends have the
#: same tolerance. The first backend of a device and a precision is the default.
TOLERANCES: Mapping[Backend, Tolerance] = {
    Backend("onnxruntime", "cpu", "float32"): Tolerance(max_difference=1e-4),
    Backend("onnxruntime", "cuda", "float32"): Tolerance(max_difference=1e-4),
    Backend("openvino", "cpu", "float32"): Tolerance(max_difference=1e-4),
    Backend("openvino", "cpu", "bfloat16"): Tolerance(min_cosine=0.999, max_accuracy_loss=0.01),
    Backend("openvino", "cpu", INT8): Tolerance(min_cosine=0.98, max_accuracy_loss=0.005),
    Backend("tensorflow", "cpu", "float32"): Tolerance(max_difference=1e-4),
}

ENGINES = tuple(dict.fromkeys(backend.engine for backend in TOLERANCES))
DEVICES = tuple(dict.fromkeys(backend.device for backend in TOLERANCES))
#: A new lake uses the first one by default.
PRECISIONS = tuple(dict.fromkeys(backend.precision for backend in TOLERANCES))


def supported_backends(
    engine: str | None = None, device: str | None = None, precision: str | None = None
) -> list[Backend]:
    """Return the backends that match all given values, in order of preference."""
    return [
        backend
        for backend in TOLERANCES
        if engine in (None, backend.engine)
        and device in (None, backend.device)
        and precision in (None, backend.precision)
    ]
