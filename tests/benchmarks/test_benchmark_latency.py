"""Turns of several sessions by a clock of our own: their order, their length, and what is made of the times."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat

import numpy as np
import pytest

from benchmarks.measure.latency import LEAD_IN_CALLS, MAX_CALLS, MIN_WARMUP_CALLS, Clocks, Latency, measure

MS = 1_000_000


class FakeTime:
    """A wall and a CPU clock that move only while something runs."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0
        self.clocks = Clocks(lambda: self.wall, lambda: self.cpu)

    def run(self, wall_ms: Iterable[float], cpu_ms: float = 1.0) -> Callable[[], None]:
        """A run whose calls take `wall_ms`, one after another."""
        times: Iterator[float] = iter(wall_ms)

        def run() -> None:
            self.wall += round(next(times) * MS)
            self.cpu += round(cpu_ms * MS)

        return run


def _latency(*sessions: list[list[float]]) -> Latency:
    times = np.asarray(sessions, dtype=np.float64)
    return Latency(times, times.mean(2))


def test_median_and_percentiles_by_hand() -> None:
    taken = _latency([[1.0, 3.0], [2.0, 2.0]], [[8.0, 8.0], [7.0, 9.0]])
    assert taken.median_ms == pytest.approx(4.0)
    assert [taken.percentile_ms(percent) for percent in (95, 20)] == pytest.approx([8.65, 2.0])


def test_cpu_time_is_the_median_of_the_turns_of_each_session() -> None:
    taken = Latency(np.ones((2, 3, 1)), np.asarray([[1.0, 1.0, 50.0], [4.0, 9.0, 4.0]]))
    assert taken.cpu_medians_ms.tolist() == [1.0, 4.0]
    assert taken.cpu_median_ms == pytest.approx(2.0)


@pytest.mark.parametrize(("wall", "cpu"), [((3, 2), (3,)), ((0, 3, 2), (0, 3)), ((2, 3, 4), (2, 2))])
def test_latency_refuses_other_shapes(wall: tuple[int, ...], cpu: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sessions, rounds, calls"):
        Latency(np.zeros(wall), np.zeros(cpu))


def test_every_round_runs_every_session_in_rotated_order() -> None:
    seen: list[str] = []
    files = {name: [lambda at=f"{name}{number}": seen.append(at) for number in range(2)] for name in "ab"}
    taken = measure({**files, "c": [lambda: seen.append("c0")]}, rounds=3, turn_ms=0, warmup_ms=0)
    calls = LEAD_IN_CALLS + 1
    turns = [seen[at : at + calls] for at in range(5 * MIN_WARMUP_CALLS, len(seen), calls)]
    assert all(len({*turn}) == 1 for turn in turns)
    assert " ".join(turn[0] for turn in turns) == "a0 b0 c0 a1 b1 b0 c0 a1 b1 a0 c0 a1 b1 a0 b0"
    assert {name: one.wall_ms.shape for name, one in taken.items()} == {"a": (2, 3, 1), "b": (2, 3, 1), "c": (1, 3, 1)}


def test_times_and_cpu_times_are_those_of_the_counted_calls() -> None:
    time = FakeTime()
    lead_in = [100.0] * LEAD_IN_CALLS
    calls = chain(repeat(1.0, MIN_WARMUP_CALLS), lead_in, [1.0, 5.0], lead_in, [2.0, 2.0])
    taken = measure({"a": [time.run(calls, 0.5)]}, rounds=2, turn_ms=2, warmup_ms=0, clocks=time.clocks)["a"]
    assert taken.wall_ms.tolist() == [[[1.0, 5.0], [2.0, 2.0]]]
    assert taken.cpu_ms.tolist() == [[0.5, 0.5]]


def test_calls_a_turn_follow_the_speed_within_bounds() -> None:
    time = FakeTime()
    files = {name: [time.run(repeat(wall))] for name, wall in (("slow", 30.0), ("fast", 0.5), ("faster", 1e-3))}
    taken = measure(files, rounds=1, turn_ms=5, warmup_ms=20, clocks=time.clocks)
    assert [taken[name].wall_ms.shape[2] for name in files] == [1, 10, MAX_CALLS]


@pytest.mark.parametrize(("call_ms", "lead_in"), [(0.02, LEAD_IN_CALLS), (5.0, 3), (30.0, 1)])
def test_the_lead_in_of_a_slow_file_is_short(call_ms: float, lead_in: int) -> None:
    time = FakeTime()
    measure({"a": [time.run(repeat(call_ms))]}, rounds=1, turn_ms=0, warmup_ms=0, clocks=time.clocks)
    assert time.wall == round(call_ms * MS) * (MIN_WARMUP_CALLS + lead_in + 1)


def test_a_warm_up_that_is_interrupted_does_not_shorten_the_turns() -> None:
    time = FakeTime()
    interrupted = [time.run(chain(repeat(27.0, 4), repeat(0.02))), time.run(chain(repeat(27.0, 50), repeat(0.02)))]
    taken = measure({"a": interrupted}, rounds=2, turn_ms=5, warmup_ms=50, clocks=time.clocks)["a"]
    assert taken.wall_ms.shape == (2, 2, 250)


def test_the_step_of_the_cpu_clock() -> None:
    ticks = iter(range(10_000))
    assert Clocks(cpu=lambda: next(ticks) // 10 * 15 * MS).cpu_step_ns() == 15 * MS
    assert Clocks().cpu_step_ns() > 0


def test_garbage_collection_is_back_on_after_an_error() -> None:
    def broken() -> None:
        assert not gc.isenabled()
        raise RuntimeError("broken file")

    with pytest.raises(RuntimeError, match="broken file"):
        measure({"broken": [broken]}, rounds=2)
    assert gc.isenabled()


@pytest.mark.parametrize(("files", "rounds"), [({}, 5), ({"a": []}, 5), ({"a": [int]}, 0)])
def test_measure_refuses_nothing_to_measure(files: dict[str, list[type]], rounds: int) -> None:
    with pytest.raises(ValueError, match="got"):
        measure(files, rounds=rounds)
