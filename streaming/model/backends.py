"""The supported combinations of engine, device and precision, with their tolerances against Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Backend(NamedTuple):
    """One way to run the network.

    Attributes
    ----------
    engine, device, precision : str
        The words of `--engine`, `--device` and `--precision`.
    """

    engine: str
    device: str
    precision: str


@dataclass(frozen=True)
class Tolerance:
    """How far features may be from those of Keras in float32, whose greatest values are about 6.

    Attributes
    ----------
    max_difference : float, optional
        Greatest absolute difference of any feature of any image.
    min_cosine : float, optional
        Least cosine similarity of an image's vector with Keras's.
    max_accuracy_loss : float, optional
        Greatest loss of the share of images whose nearest neighbour has their label.
    """

    max_difference: float | None = None
    min_cosine: float | None = None
    max_accuracy_loss: float | None = None


#: Ways of one precision share a model id, so all of float32 have one bound: their rows may meet in one table.
#: The first way of a device and a precision is the default.
TOLERANCES: Mapping[Backend, Tolerance] = {
    Backend("onnxruntime", "cpu", "float32"): Tolerance(max_difference=1e-4),
    Backend("onnxruntime", "cuda", "float32"): Tolerance(max_difference=1e-4),
    Backend("openvino", "cpu", "float32"): Tolerance(max_difference=1e-4),
    Backend("openvino", "cpu", "bfloat16"): Tolerance(min_cosine=0.999, max_accuracy_loss=0.01),
    Backend("tensorflow", "cpu", "float32"): Tolerance(max_difference=1e-4),
}

ENGINES = tuple(dict.fromkeys(way.engine for way in TOLERANCES))
DEVICES = tuple(dict.fromkeys(way.device for way in TOLERANCES))
#: The first is that of a new lake.
PRECISIONS = tuple(dict.fromkeys(way.precision for way in TOLERANCES))


def supported_backends(
    engine: str | None, device: str | None, precision: str | None
) -> list[Backend]:
    """The ways that have these words; None leaves one open."""
    asked = (engine, device, precision)
    return [
        way
        for way in TOLERANCES
        if all(word in (None, given) for word, given in zip(asked, way, strict=True))
    ]
