"""The baseline against itself in the rounds of a benchmark, and the verdicts that do not stand out from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_benchmark_compare import QUICK, _checkpoint
from test_conditions import findings, shown

from benchmarks.bench import compare
from benchmarks.claims import check
from benchmarks.derive import derive, noise
from benchmarks.measure.latency import Latency
from benchmarks.noise import Floor, weigh
from benchmarks.raw import Raw
from benchmarks.verdict import Ratio, judge
from compress.evidence import Record
from exports import noise as images
from exports import ship

WALL = "wall time"


def floor(low: float, high: float) -> Floor:
    """A baseline that seems so far from itself."""
    return Floor(Ratio((low * high) ** 0.5, low, high, 0.02), 4, 0.1)


QUIET, RESTLESS = floor(0.99, 1.01), floor(1.04, 1.1)


@pytest.mark.parametrize(
    ("found", "seen", "kind"),
    [
        (Ratio(1.0, 0.98, 1.02, 0.04), QUIET, "same"),
        (Ratio(1.0, 0.8, 1.2, 0.24), QUIET, "same"),
        (Ratio(1.0, 0.8, 1.2, 0.26), QUIET, "noisy"),
        (Ratio(1.0, 0.8, 1.2, 0.26), None, "noisy"),
        (Ratio(1.05, 1.02, 1.08, 0.05), QUIET, "faster"),
        (Ratio(1.05, 1.02, 1.08, 0.05), RESTLESS, "noisy"),
        (Ratio(0.95, 0.93, 0.97, 0.05), RESTLESS, "noisy"),
        (Ratio(1.2, 1.15, 1.25, 0.07), RESTLESS, "faster"),
        (Ratio(14.9, 8.0, 20.0, 0.9), RESTLESS, "faster"),
        (Ratio(0.5, 0.4, 0.6, 0.9), QUIET, "slower"),
        (Ratio(1.05, 1.02, 1.08, 0.05), floor(0.9, 1.2), "faster"),
    ],
)
def test_only_what_stands_out_is_judged(found: Ratio, seen: Floor | None, kind: str) -> None:
    ratios = {WALL: found}
    verdict = weigh(judge(ratios), ratios, seen, found.value)
    assert verdict.kind == kind
    assert verdict.words.startswith("too noisy to judge: ") == (kind == "noisy")
    assert verdict.words.endswith("keep to one core (--pin)") == (kind == "noisy")


@pytest.mark.parametrize(("fastest", "kind"), [(12.1, "faster"), (11.9, "noisy"), (18.7, "faster"), (18.8, "noisy")])
def test_what_the_fastest_calls_say_otherwise_is_not_judged(fastest: float, kind: str) -> None:
    """A file whose calls are held up, and the other's are not."""
    ratios = {WALL: Ratio(15.0, 14.0, 16.0, 0.1)}
    verdict = weigh(judge(ratios), ratios, QUIET, fastest)
    assert verdict.kind == kind
    assert (f"the medians say 15x, the fastest fifth of the calls {fastest:.3g}x" in verdict.words) == (kind == "noisy")


def test_a_noisy_verdict_says_what_would_not_be_seen_or_what_was_found_of_nothing() -> None:
    blind, restless = {WALL: Ratio(1.0, 0.7, 1.4, 0.6)}, {WALL: Ratio(1.05, 1.02, 1.08, 0.05)}
    assert "less than 60 % would not be seen" in weigh(judge(blind), blind, QUIET, 1.0).words
    said = weigh(judge(restless), restless, RESTLESS, 1.05).words
    assert "1.05x faster was found, but the baseline seems 1.07x away from itself" in said


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (floor(0.98, 1.01), "0.9949x [0.98, 1.01]; would have seen 2 %"),
        (floor(0.98, 0.99), "1.015x [1.01, 1.02]; would have seen 2 %"),
    ],
)
def test_the_floor_is_a_line(seen: Floor, said: str) -> None:
    assert seen.line == f"one file against itself {said}"


def times(*medians: float) -> Latency:
    """A session of one call for each."""
    wall = np.array(medians).reshape(-1, 1, 1)
    return Latency(wall, wall[:, :, 0])


def test_the_floor_is_that_of_the_baseline_and_not_of_the_file() -> None:
    restless = Raw(times(1.0, 1.001, 0.999, 1.0), False, again=times(1.1, 1.101))
    file = Raw(times(1.05, 1.051, 1.049, 1.05), False)
    seen = noise(restless)
    assert seen is not None
    assert (seen.ratio.value, seen.sessions) == (pytest.approx(1.1, abs=1e-3), 2)
    assert derive(file, restless, ()).verdict.kind == "noisy"  # type: ignore[union-attr]
    assert derive(file, replace(restless, again=None), ()).verdict.kind == "slower"  # type: ignore[union-attr]
    assert noise(file) is None


@pytest.mark.parametrize(
    ("kind", "bound", "held"),
    [("faster", 1.01, "met"), ("noisy", 1.01, "not shown"), ("noisy", 0.9, "met"), ("noisy", 2, "broken")],
)
def test_a_file_is_not_shown_to_be_faster_by_a_noisy_benchmark(kind: str, bound: float, held: str) -> None:
    speedup = Record("speedup", 1.05, 1.02, 1.08, n=8, unit="x").to_dict()
    files = [
        {"name": "a", "records": []},
        {"name": "b", "records": [speedup], "verdict": {"kind": kind, "words": ""}},
    ]
    (found,) = check({"files": files, "baseline": 0}, {"min-speedup": bound})
    assert found.held == held
    assert ("too noisy to judge" in found.sentence) == (held == "not shown")


@pytest.mark.parametrize("count", [1, 2])
def test_the_baseline_is_held_against_itself_with_half_as_many_sessions_more(tmp_path: Path, count: int) -> None:
    student = _checkpoint("cnn-s", tuple("abc"))
    ship(student, tmp_path / "student.onnx", [images(student.card)])
    files = [tmp_path / "student.onnx"] * count
    found = compare(files, baseline=None if count == 1 else 0, protocol=replace(QUICK, sessions=6))
    again = [one.raw.again for one in found.measured.values()]
    assert again[0] is not None
    assert again[0].wall_ms.shape[:2] == (3, 10)
    assert again[1:] == [None] * (count - 1)
    itself, least = map(Record.from_dict, found.document["noise"]["records"])
    assert (itself.quantity, itself.n, least.quantity) == ("aa_ratio", 3, "least_speedup")
    assert itself.low < itself.value < itself.high  # type: ignore[operator]
    assert least.value > 1  # type: ignore[operator]
    assert f"noise floor: {found.document['noise']['words']}" in shown(found.document)
    said = findings(found)
    assert not [one for one in said if one.found == "FAILED"]
    assert any(one.sentence.startswith("noise: one file against itself ") for one in said)
    found.document["noise"] = None
    assert any(one.sentence.startswith("noise: says None") for one in findings(found) if one.found == "FAILED")
