"""What files take, over several sessions of each that run in turn on one machine: wall time and thread CPU time.

One session is not enough: where its buffers happen to lie makes it up to a few percent faster or slower than the next
session of the same file, for its whole life.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_CALLS = 400
MIN_WARMUP_CALLS = 5
LEAD_IN_CALLS, LEAD_IN_MS = 10, 15.0  # by then the caches hold what one session can keep there, as in a loop of its own

Call = Callable[[], object]
Clock = Callable[[], int]


@dataclass(frozen=True)
class Clocks:
    """What time is read from, in nanoseconds: the wall's, and that of the CPU time of the calling thread; and waits."""

    wall: Clock = time.perf_counter_ns
    cpu: Clock = time.thread_time_ns
    sleep: Callable[[float], None] = time.sleep

    def cpu_step_ns(self) -> int:
        """The least step that the CPU clock was seen to make, in 20 steps; it may be a whole tick of the system."""
        return min(_step(self.cpu) for _ in range(20))


REAL = Clocks()


@dataclass(frozen=True)
class Latency:
    """What one file took, call by call.

    Attributes:
        wall_ms: (sessions, rounds, calls), milliseconds, in the order in which they were measured.
        cpu_ms: (sessions, rounds), milliseconds of CPU time of one call, the mean over a turn.
    """

    wall_ms: NDArray[np.float64]
    cpu_ms: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.wall_ms.ndim != 3 or self.wall_ms.size == 0 or self.cpu_ms.shape != self.wall_ms.shape[:2]:
            raise ValueError(
                f"times: got shapes {self.wall_ms.shape} and {self.cpu_ms.shape}; give (sessions, rounds, calls) and "
                "(sessions, rounds), each at least 1"
            )

    @property
    def wall_medians_ms(self) -> NDArray[np.float64]:
        """(sessions,), the median over all calls of each session."""
        return np.median(self.wall_ms.reshape(len(self.wall_ms), -1), axis=1)

    @property
    def cpu_medians_ms(self) -> NDArray[np.float64]:
        """(sessions,), the median over the turns of each session."""
        return np.median(self.cpu_ms, axis=1)

    @property
    def median_ms(self) -> float:
        """The geometric mean of the sessions' medians, so that a ratio of files is the ratio of these."""
        return float(np.exp(np.log(self.wall_medians_ms).mean()))

    @property
    def cpu_median_ms(self) -> float:
        """The same of the CPU time."""
        return float(np.exp(np.log(self.cpu_medians_ms).mean()))

    def percentile_ms(self, percent: float) -> float:
        """What so many of all calls did not exceed."""
        return float(np.percentile(self.wall_ms, percent))


def measure(
    files: Mapping[str, Sequence[Call]],
    *,
    rounds: int = 30,
    turn_ms: float = 5.0,
    warmup_ms: float = 50.0,
    clocks: Clocks = REAL,
) -> dict[str, Latency]:
    """Name to its latency: every round times every session of every file, and the order is rotated from round to round.

    The sessions of different files alternate. A file's calls a turn are chosen from the fastest call of its warm-up,
    which no other process can have interrupted, so that they fill about `turn_ms`, between 1 and 400 calls; a slow file
    and a fast one get about the same time. Each turn starts with calls that are not counted, since the turns of other
    sessions took this one's weights out of the caches: as many as take about 15 ms, between 1 and 10. The garbage
    collector rests meanwhile.

    Args:
        files: Name to the sessions of a file, each a function that does one run.
        rounds: How often each session has its turn.
        turn_ms: The length of one turn, in milliseconds.
        warmup_ms: How long each session runs before the first round, in milliseconds; at least 5 calls.
        clocks: What time is read from.

    Raises:
        ValueError: There is no file, a file without a session, or no round.
    """
    if not files or not all(files.values()):
        raise ValueError(
            f"files: got {[*map(len, files.values())]} sessions; give at least one file, each at least one"
        )
    if rounds < 1:
        raise ValueError(f"rounds: got {rounds}; at least 1 is needed")
    order = _alternating(files)
    wall: dict[tuple[str, int], list[list[int]]] = {key: [] for key in order}
    cpu: dict[tuple[str, int], list[float]] = {key: [] for key in order}
    with no_garbage_collection():
        fastest_ms = {name: _fastest_ms(runs, warmup_ms, clocks.wall) for name, runs in files.items()}
        for turn in range(rounds):
            first = turn % len(order)
            for name, session in order[first:] + order[:first]:
                lead_in = _calls(LEAD_IN_MS, fastest_ms[name], LEAD_IN_CALLS)
                calls = _calls(turn_ms, fastest_ms[name], MAX_CALLS)
                times, spent = _turn(files[name][session], lead_in, calls, clocks)
                wall[name, session].append(times)
                cpu[name, session].append(spent)
    return {
        name: Latency(
            np.asarray([wall[name, session] for session in range(len(runs))], dtype=np.float64) / 1e6,
            np.asarray([cpu[name, session] for session in range(len(runs))], dtype=np.float64) / 1e6,
        )
        for name, runs in files.items()
    }


def warm_up(run: Call, warmup_ms: float, clock: Clock) -> int:
    """The shortest call in ns, of so many milliseconds of calls; at least 5 of them."""
    end = clock() + warmup_ms * 1e6
    shortest, calls = 0, 0
    while calls < MIN_WARMUP_CALLS or clock() < end:
        start = clock()
        run()
        took = clock() - start
        shortest = min(shortest, took) if calls else took
        calls += 1
    return shortest


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A `with` in which the garbage collector rests."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _alternating(files: Mapping[str, Sequence[Call]]) -> list[tuple[str, int]]:
    """Every session as (name, number): the first of each file, the second of each file, and so on."""
    most = max(map(len, files.values()))
    return [(name, number) for number in range(most) for name, runs in files.items() if number < len(runs)]


def _turn(run: Call, lead_in: int, calls: int, clocks: Clocks) -> tuple[list[int], float]:
    """The wall time of each call in ns, and the CPU time of one, on average."""
    clock = clocks.wall
    for _ in range(lead_in):
        run()
    times = []
    began = clocks.cpu()
    for _ in range(calls):
        start = clock()
        run()
        times.append(clock() - start)
    return times, (clocks.cpu() - began) / calls


def _fastest_ms(runs: Sequence[Call], warmup_ms: float, clock: Clock) -> float:
    return max(min(warm_up(run, warmup_ms, clock) for run in runs) / 1e6, 1e-6)


def _calls(fill_ms: float, call_ms: float, most: int) -> int:
    return int(np.clip(round(fill_ms / call_ms), 1, most))


def _step(clock: Clock) -> int:
    start = now = clock()
    while now == start:
        now = clock()
    return now - start
