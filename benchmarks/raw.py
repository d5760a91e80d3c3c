"""What was read of one file, before anything is derived from it: every time and every decision."""

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


@dataclass(frozen=True)
class Raw:
    """The raw samples of a file.

    Attributes:
        latency: In turn with all others.
        cpu_counts: Whether its CPU time says what a run costs: one thread does all the work, and the clock is fine.
        decisions: (N,) the class that it gives each image of the test split; None where it decides something else.
        labels: (N,) what is right; None likewise.
        images: How many one call of `latency` is of.
        again: Of the same file in other sessions, in the same rounds; None but for the baseline or a file alone.
        batches: Number of images of a call to the latency of such calls, where they were asked for too.
        prepared: Of calls that begin with pixels; None where they were not asked for.
        start: In fresh processes; None likewise.
        sustained: While it ran on and on; None likewise.
    """

    latency: Latency
    cpu_counts: bool
    decisions: Counts | None = None
    labels: Counts | None = None
    images: int = 1
    again: Latency | None = None
    batches: Mapping[int, Latency] = field(default_factory=dict)
    prepared: Latency | None = None
    start: Start | None = None
    sustained: Sustained | None = None

    def __post_init__(self) -> None:
        shapes = [None if one is None else one.shape for one in (self.decisions, self.labels)]
        if shapes[0] != shapes[1] or (shapes[0] is not None and (len(shapes[0]) != 1 or shapes[0][0] == 0)):
            raise ValueError(f"decisions: got shapes {shapes}; give one decision and one label for each image")

    @property
    def answered(self) -> tuple[Counts, Counts] | None:
        """Decisions and labels, where it decides images."""
        return None if self.decisions is None or self.labels is None else (self.decisions, self.labels)


def smallest(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers from 0 on in the smallest type that holds them all."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))
