"""A call that begins with pixels, not with what the network takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.latency import Call
from compress.preprocessing import Scale
from exports import Artefact


def from_pixels(artefact: Artefact, pixels: NDArray[np.uint8], scale: Scale | None) -> Call:
    """A call that scales uint8 pixels of the size that the file takes, puts them into its input and runs it.

    They are scaled by NumPy on one thread, as a program without torch would: times one factor and less one shift a
    channel, in one buffer. What brings an image to that size, or decodes it, is not in it.

    Args:
        artefact: The file.
        pixels: (B, C, H, W) uint8.
        scale: From these to what the file takes; None where it takes them as they are.
    """
    if scale is None:
        taken = artefact.bind(pixels.copy())

        def as_they_are() -> None:
            taken.feed(pixels)
            taken()

        return as_they_are
    bound, (factor, shift) = artefact.bind(scale.array(pixels)), scale.steps
    scaled = np.empty(pixels.shape, dtype=np.float32)

    def scaled_first() -> None:
        np.multiply(pixels, factor, out=scaled)
        np.subtract(scaled, shift, out=scaled)
        bound.feed(scaled)
        bound()

    return scaled_first
