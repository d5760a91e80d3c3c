"""How much to cut for a budget, by what is counted and by what is measured."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.budget import MOST, Budget, fit_budgets
from benchmarks.measure.shipped import file_of
from compress.checkpoint import Checkpoint
from compress.cost import network_census
from compress.errors import GateError
from compress.smaller import cut


def _cut(whole: Checkpoint, tried: list[float] | None = None) -> object:
    def at(ratio: float) -> Checkpoint:
        if tried is not None:
            tried.append(ratio)
        return cut(whole, ratio, "edgepress prune")

    return at


def _macs(checkpoint: Checkpoint) -> int:
    return network_census(checkpoint.network, checkpoint.card.preprocessing.shape).macs


def _size(checkpoint: Checkpoint, folder: Path) -> int:
    return file_of(checkpoint, folder, "weighed").stat().st_size


@pytest.fixture(scope="module")
def whole_bytes(teacher: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Of the teacher's file."""
    return _size(teacher, tmp_path_factory.mktemp("whole"))


def test_several_budgets_are_all_kept(teacher: Checkpoint, whole_bytes: int, tmp_path: Path) -> None:
    said: list[str] = []
    size, macs = whole_bytes, _macs(teacher)
    budgets = [Budget("bytes", size / 2), Budget("macs", macs / 4)]
    ratio = fit_budgets(_cut(teacher), teacher, budgets, said.append)  # type: ignore[arg-type]
    small = cut(teacher, ratio, "edgepress prune")
    assert _macs(small) <= macs / 4
    assert _size(small, tmp_path) <= size / 2
    assert any("bytes as .onnx" in line for line in said)
    assert any("MACs" in line for line in said)


def test_what_is_measured_comes_close_to_its_bound_in_few_tries(
    teacher: Checkpoint, whole_bytes: int, tmp_path: Path
) -> None:
    said: list[str] = []
    limit = whole_bytes / 2
    ratio = fit_budgets(_cut(teacher), teacher, [Budget("bytes", limit)], said.append)  # type: ignore[arg-type]
    size = _size(cut(teacher, ratio, "edgepress prune"), tmp_path)
    assert 0.6 * limit < size <= limit, "layers of 8 to 32 channels lose several at a time"
    assert len(said) <= 5


def test_a_bound_just_below_what_there_is_takes_the_least_cut_there_is(teacher: Checkpoint) -> None:
    """Most ratios that are tried are too small for widths in steps of several channels, and cut nothing."""
    macs = _macs(teacher)
    said: list[str] = []
    ratio = fit_budgets(_cut(teacher), teacher, [Budget("macs", macs - 1)], said.append)  # type: ignore[arg-type]
    left = _macs(cut(teacher, ratio, "edgepress prune"))
    assert 0.5 * macs < left < 0.7 * macs
    assert (
        said[-1] == f"{left / macs:.0%} of that is used, for widths go in steps; smaller ones (--round 1) come nearer"
    )


def test_a_network_that_fits_is_left_as_it_is(teacher: Checkpoint) -> None:
    tried: list[float] = []
    assert fit_budgets(_cut(teacher, tried), teacher, [Budget("macs", 1e12)]) == 0  # type: ignore[arg-type]
    assert tried == []


def test_a_network_is_not_faster_than_itself(teacher: Checkpoint) -> None:
    with pytest.raises(
        GateError,
        match=r"at least 1,000 times the speed .* cannot be met: the closest is .* times the speed .*; nothing",
    ):
        fit_budgets(_cut(teacher), teacher, [Budget("speedup", 1_000)])  # type: ignore[arg-type]


def test_time_that_is_there_in_plenty_asks_for_no_cut(teacher: Checkpoint) -> None:
    assert fit_budgets(_cut(teacher), teacher, [Budget("latency", 1_000.0)]) == 0  # type: ignore[arg-type]


def test_a_budget_is_a_number_above_zero() -> None:
    for limit in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="give a number above 0"):
            Budget("macs", limit)
    assert 0 < MOST < 1
