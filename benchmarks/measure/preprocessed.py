"""A call that begins with pixels, not with what the network takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from benchmarks.measure.latency import Call
from compress.preprocessing import Scale
from exports import Artefact


def from_pixels(artefact: Artefact, pixels: Tensor, scale: Callable[[Tensor], Tensor]) -> Call:
    """A call that scales uint8 pixels of the size that the file takes, puts them into its input and runs it.

    They are scaled by NumPy on one thread, as a program without torch would: times one factor and less one shift a
    channel, in one buffer. What brings an image to that size, or decodes it, is not in it.

    Args:
        artefact: The file.
        pixels: (B, C, H, W) uint8.
        scale: From these to what the file takes: a `Scale`, or what leaves them as they are.
    """
    given, bound = pixels.numpy(), artefact.bind(scale(pixels).clone())
    if not isinstance(scale, Scale):

        def as_they_are() -> None:
            bound.feed(given)
            bound()

        return as_they_are
    mean, std = (np.array(one, dtype=np.float32).reshape(-1, 1, 1) for one in (scale.mean, scale.std))
    factor, shift = 1 / (255 * std), mean / std
    scaled = np.empty(given.shape, dtype=np.float32)

    def scaled_first() -> None:
        np.multiply(given, factor, out=scaled)
        np.subtract(scaled, shift, out=scaled)
        bound.feed(scaled)
        bound()

    return scaled_first
