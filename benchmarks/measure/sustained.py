"""What a file takes while it runs on and on: back to back, or frame by frame as a camera gives them.

Each file runs in its own turn and for the whole time, not in slices beside others: heat, clock and caches then are
those of the one file that a device runs, which is what drift is about. What runs later finds the machine as warm as the
files before it left it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.latency import REAL, Call, Clock, Clocks, no_garbage_collection, warm_up

Whole = NDArray[np.int64]

KEPT = 100_000
PARTS = 100
NS_A_MINUTE = 60e9


@dataclass(frozen=True)
class Sustained:
    """The calls of a long run.

    Attributes:
        starts_ns: (calls,), since the run began; of calls without frames at most some 100,000, at even distances.
        took_ns: (calls,), of the same calls.
        stalls_ns: (100,), the longest time from one answer to the next within each hundredth of the run, of all calls.
        count: How many frames came, or calls were made.
        fps: Frames a second; 0 for calls back to back.
        frames: (calls,), the number of the frame of each call, from 0; empty for calls back to back.
    """

    starts_ns: Whole
    took_ns: Whole
    stalls_ns: Whole
    count: int
    fps: float = 0.0
    frames: Whole = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __post_init__(self) -> None:
        frames = self.starts_ns.shape if self.fps else (0,)
        if self.took_ns.shape != self.starts_ns.shape or self.took_ns.size == 0 or self.frames.shape != frames:
            shapes = [one.shape for one in (self.starts_ns, self.took_ns, self.frames)]
            raise ValueError(
                f"calls: got shapes {shapes}; give start and duration of each, and its frame where some came"
            )

    @property
    def dropped(self) -> int:
        """How many frames were not looked at, because a newer one had come before the network was free."""
        return self.count - len(self.frames) if self.fps else 0

    @property
    def late(self) -> int:
        """How many frames were looked at, and not answered by the time that the next one was due."""
        ends = self.starts_ns + self.took_ns
        return int((ends > (self.frames + 1) * (1e9 / self.fps)).sum()) if self.fps else 0


class _Log:
    """What is kept of a run while it lasts.

    Args:
        length_ns: Of the run.
        begins_ns: When it began, by its clock.
        tell: Is told each hundredth of the run that begins.
    """

    def __init__(self, length_ns: float, begins_ns: int, tell: Callable[[int], None]) -> None:
        self._part_ns, self._tell, self._part, self._last = length_ns / PARTS, tell, -1, begins_ns
        self.begins_ns = begins_ns
        self.starts, self.took, self.frames = array("q"), array("q"), array("q")
        self.stalls = [0] * PARTS

    def answered(self, end: int) -> None:
        """Note that an answer came."""
        part = min(PARTS - 1, int((end - self.begins_ns) / self._part_ns))
        self.stalls[part] = max(self.stalls[part], end - self._last)
        self._last = end
        if part != self._part:
            self._part = part
            self._tell(part)

    def keep(self, start: int, end: int) -> None:
        """Keep the times of a call."""
        self.starts.append(start - self.begins_ns)
        self.took.append(end - start)

    def whole(self, count: int, fps: float) -> Sustained:
        """All of it."""
        starts, took, frames = (np.array(one, dtype=np.int64) for one in (self.starts, self.took, self.frames))
        return Sustained(starts, took, np.array(self.stalls, dtype=np.int64), count, fps, frames)


def sustain(
    call: Call,
    *,
    minutes: float,
    fps: float = 0.0,
    warmup_ms: float = 50.0,
    clocks: Clocks = REAL,
    tell: Callable[[int], None] = lambda _part: None,
) -> Sustained:
    """The calls of a run of so many minutes.

    With `fps` frames are due by the clock. The network sleeps until the next one is; if several came while it was busy
    it takes the newest, and those before it are dropped, as by a camera that keeps one frame. Without, each call
    begins when the last has ended.

    Args:
        call: Does one run.
        minutes: How long; at least one call is made.
        fps: Frames a second; 0 for calls back to back.
        warmup_ms: How long it runs before.
        clocks: What time is read from, and what waits.
        tell: Is told each hundredth of the run that begins.

    Raises:
        ValueError: There is no time.
    """
    if minutes <= 0:
        raise ValueError(f"minutes: got {minutes}; give more than 0")
    length_ns = minutes * NS_A_MINUTE
    with no_garbage_collection():
        shortest = max(1, warm_up(call, warmup_ms, clocks.wall))
        log = _Log(length_ns, clocks.wall(), tell)
        if fps:
            count = _paced(call, log, fps, length_ns, clocks=clocks)
        else:
            count = _back_to_back(call, log, length_ns, ceil(length_ns / shortest / KEPT), clock=clocks.wall)
    return log.whole(count, fps)


def _back_to_back(call: Call, log: _Log, length_ns: float, stride: int, *, clock: Clock) -> int:
    began, count = log.begins_ns, 0
    while True:
        start = clock()
        call()
        end = clock()
        log.answered(end)
        if count % stride == 0:
            log.keep(start, end)
        count += 1
        if end - began >= length_ns:
            return count


def _paced(call: Call, log: _Log, fps: float, length_ns: float, *, clocks: Clocks) -> int:
    clock = clocks.wall
    period_ns, count = 1e9 / fps, max(1, round(length_ns * fps / 1e9))
    began, frame = log.begins_ns, 0
    while frame < count:
        while (early_ns := began + frame * period_ns - clock()) > 0:
            clocks.sleep(early_ns / 1e9)
        start = clock()
        call()
        end = clock()
        log.answered(end)
        log.keep(start, end)
        log.frames.append(frame)
        frame = max(frame + 1, int((end - began) / period_ns))
    return count
