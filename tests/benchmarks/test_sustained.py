"""Long runs by a clock of our own: their pace, what comes too late, and what is made of it; and one that is real."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_benchmark_compare import QUICK, _checkpoint, _run
from test_conditions import findings, shown

from benchmarks.bench import compare
from benchmarks.document import number, record
from benchmarks.endurance import sustained_records
from benchmarks.measure.latency import MIN_WARMUP_CALLS, Clocks
from benchmarks.measure.sustained import KEPT, PARTS, Sustained, sustain
from compress.evidence import Record
from exports import noise, ship

ROOT = Path(__file__).parents[2]
MS = 1_000_000
SECOND = 1 / 60  # in minutes


class Wall:
    """A clock that moves only while something runs or waits."""

    def __init__(self) -> None:
        self.now = 0
        self.slept_ms: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept_ms.append(1e3 * seconds)
        self.now += max(1, round(1e9 * seconds))

    def call(self, *took_ms: float, then_ms: float = 10.0) -> Callable[[], None]:
        """A call that takes these times one after the other, once it is warm, and then always the same."""
        times: Iterator[float] = chain(repeat(then_ms, MIN_WARMUP_CALLS), took_ms, repeat(then_ms))

        def call() -> None:
            self.now += round(next(times) * MS)

        return call

    def run(self, call: Callable[[], None], **asked: Any) -> Sustained:
        return sustain(call, warmup_ms=0, clocks=Clocks(wall=lambda: self.now, sleep=self.sleep), **asked)


def numbers(run: Sustained) -> dict[str, Record]:
    """The records of a run, by their quantity."""
    return {one.quantity: one for one in sustained_records(run)}


def test_calls_follow_each_other_until_the_time_is_over() -> None:
    wall = Wall()
    run = wall.run(wall.call(then_ms=10.0), minutes=SECOND)
    assert (run.count, wall.slept_ms) == (100, [])
    assert run.starts_ns.tolist() == [10 * MS * at for at in range(100)]
    assert set(run.took_ns) == {10 * MS}
    assert (run.fps, run.dropped, run.late) == (0, 0, 0)
    assert "deadline_misses" not in numbers(run)


def test_of_many_calls_some_are_kept_and_the_longest_is_seen() -> None:
    wall, short_ms = Wall(), 0.002
    slow = 70_001
    run = wall.run(wall.call(*repeat(short_ms, slow), 5.0, then_ms=short_ms), minutes=SECOND)
    assert run.count == pytest.approx(1000 / short_ms, rel=0.01)
    assert len(run.took_ns) == -(-run.count // 5) <= KEPT
    assert run.took_ns.max() == 2000
    assert numbers(run)["longest_stall"].value == 5.0
    assert run.stalls_ns.argmax() == slow * short_ms // (1000 / PARTS)


def test_frames_are_given_by_the_clock() -> None:
    wall = Wall()
    run = wall.run(wall.call(then_ms=4.0), minutes=SECOND, fps=50)
    assert run.starts_ns.tolist() == [20 * MS * at for at in range(50)]
    assert run.frames.tolist() == list(range(50))
    assert wall.slept_ms == pytest.approx([16.0] * 49)
    found = numbers(run)
    assert (found["deadline_misses"].value, found["deadline_misses"].n) == (0, 50)
    assert found["longest_stall"].value == 0.0


def test_late_frames_are_counted_and_not_queued() -> None:
    wall = Wall()
    run = wall.run(wall.call(4.0, 25.0, 90.0, 4.0, then_ms=4.0), minutes=SECOND, fps=50)
    # frame 1 begins at 20 and ends at 45: late; 2 begins at 45 and ends at 135: late; the newest is then 6, of 120;
    # 3 to 5 are dropped, and 6 ends at 139, in time
    assert run.frames.tolist()[:6] == [0, 1, 2, 6, 7, 8]
    assert run.starts_ns.tolist()[:5] == [at * MS for at in (0, 20, 45, 135, 140)]
    assert (run.count, run.dropped, run.late) == (50, 3, 2)
    found = numbers(run)
    assert (found["deadline_misses"].value, found["frames_dropped"].value) == (5, 3)
    share = found["deadline_miss_share"]
    assert (share.value, share.n) == (0.1, 50)
    assert (share.low, share.high) == pytest.approx((0.0435, 0.2136), abs=1e-4)
    assert found["longest_stall"].value == 70.0


def test_a_network_that_is_too_slow_misses_every_frame() -> None:
    wall = Wall()
    run = wall.run(wall.call(then_ms=50.0), minutes=SECOND, fps=50)
    found = numbers(run)
    assert found["deadline_misses"].value == run.count == 50
    assert found["deadline_miss_share"].high == 1.0
    assert len(run.frames) == 20


def test_drift_is_the_last_fifth_over_the_first() -> None:
    wall = Wall()
    steady, hot = [10.0, 10.2] * 10, [12.0, 12.2] * 10
    took = [*steady, *steady * 3, *hot]
    run = wall.run(wall.call(*took), minutes=SECOND * (sum(took) - 1) / 1000)
    found = numbers(run)["drift"]
    assert run.count == 100
    assert (found.value, found.n) == (pytest.approx(12.1 / 10.1), 10)
    assert found.low <= found.value <= found.high  # type: ignore[operator]


def test_a_run_that_is_too_short_for_a_drift_says_so() -> None:
    wall = Wall()
    found = numbers(wall.run(wall.call(), minutes=SECOND / 20))["drift"]
    assert (found.value, found.reason) == (None, "5 calls are too few to see one; run longer")


def test_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="give more than 0"):
        sustain(lambda: None, minutes=0)


@pytest.mark.parametrize(("starts", "took", "frames"), [([], [], []), ([1], [1, 2], []), ([1], [1], [0])])
def test_calls_of_other_shapes_are_refused(starts: list[int], took: list[int], frames: list[int]) -> None:
    arrays = (np.array(one, dtype=np.int64) for one in (starts, took))
    with pytest.raises(ValueError, match="give start and duration of each"):
        Sustained(*arrays, np.zeros(PARTS, dtype=np.int64), 1, 0.0, np.array(frames, dtype=np.int64))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sustained") / "student.onnx"
    one = _checkpoint("cnn-s", tuple("abc"))
    ship(one, path, [noise(one.card)])
    return path


@pytest.mark.parametrize("fps", [0.0, 100.0])
def test_real_files_run_on_and_on_and_their_numbers_follow_from_the_samples(student: Path, fps: float) -> None:
    said: list[str] = []
    asked = replace(QUICK, minutes=SECOND / 2, fps=fps)
    found = compare([student, student], baseline=0, protocol=asked, say=said.append)
    assert sum(text.startswith("student.onnx: ") for text in said) > 10
    for file in found.document["files"]:
        median, late, stall = (number(file, name) for name in ("sustained_latency", "sustained_p99", "longest_stall"))
        between_ms = 1000 / fps if fps else 0.0
        assert 0 < median <= late <= stall + between_ms  # type: ignore[operator]
        assert record(file, "drift")["n"] == 10  # type: ignore[index]
        assert number(file, "deadline_misses") is None or record(file, "deadline_misses")["n"] == 50  # type: ignore[index]
    verified = findings(found)
    assert not [one for one in verified if one.found == "FAILED"]
    assert sum("long run: sustained_latency" in one.sentence for one in verified) == 2
    text = shown(found.document)
    assert ("at 100 frames a second" in text) == ("of 50" in text) == bool(fps)
    record(found.document["files"][0], "drift")["value"] *= 1.001  # type: ignore[index]
    assert any("drift: value is" in one.sentence for one in findings(found) if one.found == "FAILED")


def test_the_command_keeps_the_samples_of_a_long_run(student: Path, tmp_path: Path) -> None:
    words = ("--sessions", 2, "--rounds", 10, "--minutes", 0.01, "--fps", 50, "-o", tmp_path / "b.json")
    done = _run(student, *words)
    assert done.exit_code == 0, done.output
    assert all(part in done.output for part in ("drift", "stall ms", "of 30"))
    protocol = json.loads((tmp_path / "b.json").read_text("utf-8"))["protocol"]
    assert (protocol["minutes"], protocol["fps"]) == (0.01, 50)
    with np.load(tmp_path / "b.samples.npz") as kept:
        assert len(kept["0/sustained/took_ns"]) == len(kept["0/sustained/frames"]) <= 30


def test_a_long_run_that_is_interrupted_leaves_nothing(student: Path, tmp_path: Path) -> None:
    words = ["benchmark", str(student), "--sessions", "2", "--rounds", "10", "--minutes", "10", "--json"]
    code = (
        "import sys; import benchmarks.timing as timing; sustain = timing.sustain\n"
        "def told(*given, **asked):\n"
        "    print('running', file=sys.stderr, flush=True)\n"
        "    return sustain(*given, **asked)\n"
        "timing.sustain = told\nfrom cli.main import app; app()"
    )

    def hear() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    run = subprocess.Popen(
        [sys.executable, "-c", code, *words, "-o", "b.json"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "EDGEPRESS_DEBUG": ""},
        stdout=-1,
        stderr=-1,
        text=True,
        preexec_fn=hear,
    )
    assert run.stderr is not None
    assert run.stderr.readline() == "running\n"
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate(timeout=60)
    assert (run.returncode, stdout, stderr.strip()) == (130, "", "interrupted")
    assert list(tmp_path.iterdir()) == []
