"""What was read of one file, before anything is derived from it: every time, and what it said of every image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.latency import Latency
from benchmarks.measure.start import Start
from benchmarks.measure.sustained import Sustained

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]
Steps = NDArray[np.uint16]
STEPS = 65_535  # of a share, which is kept to its nearest one: 8 millionths


@dataclass(frozen=True)
class Decided:
    """What a file said of images that each show a class.

    Attributes:
        decisions: (N,) the class that it gives each image.
        labels: (N,) what is right.
        confidences: (N,) the probability that it gives that class, see `in_steps`.
    """

    decisions: Counts
    labels: Counts
    confidences: Steps

    def __post_init__(self) -> None:
        shapes = [one.shape for one in (self.decisions, self.labels, self.confidences)]
        if len(set(shapes)) != 1 or len(shapes[0]) != 1 or shapes[0][0] == 0:
            raise ValueError(
                f"decisions: got shapes {shapes}; give a decision, a label and a confidence for each image"
            )


@dataclass(frozen=True)
class Segmented:
    """What a file said of images whose pixels each show a class.

    Attributes:
        pixels: (N, 3, C), see `compress.segmentation.pixel_counts`.
        alike: (N, 2) how many pixels it decides as the baseline does, and all of them; None where it is held against
            nothing, or the masks of both are of different sizes.
    """

    pixels: Counts
    alike: Counts | None = None

    def __post_init__(self) -> None:
        count = len(self.pixels)
        if self.pixels.ndim != 3 or self.pixels.shape[1] != 3 or not self.pixels[:, 1].any():
            raise ValueError(f"pixels: got shape {self.pixels.shape}; give (N, 3, C) counts, not all of them void")
        if self.alike is not None and self.alike.shape != (count, 2):
            raise ValueError(f"pixels decided alike: got shape {self.alike.shape}; give {(count, 2)}")


@dataclass(frozen=True)
class Retrieved:
    """How well a file finds images of the same class.

    Attributes:
        scores: The name of a metric, see `compress.metrics.retrieval_scores`, to (N,) what each query has of it.
    """

    scores: Mapping[str, Steps]

    def __post_init__(self) -> None:
        shapes = {one.shape for one in self.scores.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1 or not all(map(len, self.scores.values())):
            raise ValueError(f"retrieval: got shapes {shapes}; give a share for each query")


Said = Decided | Segmented | Retrieved


@dataclass(frozen=True)
class Raw:
    """The raw samples of a file.

    Attributes:
        latency: In turn with all others.
        cpu_counts: Whether its CPU time says what a run costs: one thread does all the work, and the clock is fine.
        said: Of the test split; None where it was not asked.
        images: How many one call of `latency` is of.
        again: Of the same file in other sessions, in the same rounds; None but for the baseline or a file alone.
        batches: Number of images of a call to the latency of such calls, where they were asked for too.
        prepared: Of calls that begin with pixels; None where they were not asked for.
        start: In fresh processes; None likewise.
        sustained: While it ran on and on; None likewise.
    """

    latency: Latency
    cpu_counts: bool
    said: Said | None = None
    images: int = 1
    again: Latency | None = None
    batches: Mapping[int, Latency] = field(default_factory=dict)
    prepared: Latency | None = None
    start: Start | None = None
    sustained: Sustained | None = None

    @property
    def decided(self) -> Decided | None:
        """What it said, where it decides images."""
        return self.said if isinstance(self.said, Decided) else None


def in_steps(shares: NDArray[Any]) -> Steps:
    """Shares in [0, 1] as whole numbers of 1/65,535, which take a quarter of the room."""
    steps: Steps = np.rint(np.clip(shares, 0, 1) * STEPS).astype(np.uint16)
    return steps


def in_shares(steps: Steps) -> Shares:
    """What `in_steps` was given, to 8 millionths."""
    return steps.astype(np.float64) / STEPS


def smallest(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers from 0 on in the smallest type that holds them all."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))
