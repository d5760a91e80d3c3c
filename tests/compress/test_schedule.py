"""Schedules: the factor of the learning rate at every step, worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from compress.errors import PlanError
from compress.schedule import SCHEDULES, Schedule


def _factors(schedule: Schedule, share: float = 0.0) -> list[float]:
    return [schedule.factor(epoch, share) for epoch in range(len(schedule))]


@pytest.mark.parametrize(
    ("epochs", "early", "late"), [(70, 60, 10), (7, 6, 1), (14, 12, 2), (100, 86, 14), (2, 1, 1), (3, 2, 1), (1, 1, 0)]
)
def test_step_ends_with_a_seventh_at_a_tenth(epochs: int, early: int, late: int) -> None:
    assert _factors(Schedule("step", epochs)) == [1.0] * early + [0.1] * late


def test_cosine_falls_from_one_and_stays_above_zero() -> None:
    factors = _factors(Schedule("cosine", 10))
    assert factors[0] == 1
    assert factors[5] == pytest.approx(0.5)
    assert factors[2] == pytest.approx((1 + math.cos(math.pi / 5)) / 2)
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] > 0


def test_constant_is_one() -> None:
    assert _factors(Schedule("constant", 3)) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["step", "cosine", "constant"])
def test_without_a_warm_up_they_change_between_epochs_only(name: str) -> None:
    schedule = Schedule(name, 9)
    assert _factors(schedule, 0.999) == _factors(schedule)
    assert not schedule.by_step


def test_one_cycle_rises_for_thirty_percent_of_the_way_and_falls_to_nearly_nothing() -> None:
    cycle = Schedule("one-cycle", 10)
    assert cycle.by_step
    assert cycle.factor(0) == pytest.approx(1 / 25)
    assert cycle.factor(1, 0.5) == pytest.approx((1 / 25 + 1) / 2)  # halfway up
    assert cycle.factor(1) == pytest.approx(1 / 25 + 24 / 25 * (1 - math.cos(math.pi / 3)) / 2)
    assert cycle.factor(3) == 1
    assert cycle.factor(6, 0.5) == pytest.approx((1 + 4e-6) / 2)  # halfway down
    assert cycle.factor(9, 0.999999) == pytest.approx(4e-6, rel=1e-3)


def test_one_cycle_has_one_peak_and_no_jump() -> None:
    cycle = Schedule("one-cycle", 3)
    factors = [cycle.factor(step // 100, step % 100 / 100) for step in range(300)]
    peak = factors.index(max(factors))
    assert peak == 90
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert max(abs(a - b) for a, b in pairwise(factors)) < 0.02


def test_a_warm_up_rises_in_a_straight_line_by_the_step_and_the_whole_curve_follows() -> None:
    warm = Schedule("cosine", 6, warm_up=2)
    assert [warm.factor(*step) for step in ((0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5))] == pytest.approx(
        [0.01, 0.2575, 0.505, 0.7525]
    )
    assert _factors(warm)[2:] == _factors(Schedule("cosine", 4))
    assert warm.factor(2, 0.9) == 1
    assert _factors(Schedule("step", 10, warm_up=3))[3:] == _factors(Schedule("step", 7))
    assert _factors(Schedule("constant", 3, warm_up=1), 0.5) == pytest.approx([0.505, 1, 1])


@pytest.mark.parametrize("schedule", [Schedule("one-cycle", 9), Schedule("step", 9, 2), Schedule("cosine", 9)])
def test_windows_are_parts_of_the_course(schedule: Schedule) -> None:
    parts = [schedule.window(0, 1), schedule.window(1, 6), schedule.window(6, 9)]
    assert [len(part) for part in parts] == [1, 5, 3]
    assert [factor for part in parts for factor in _factors(part, 0.5)] == _factors(schedule, 0.5)
    assert schedule.window(1, 6).window(2, 4) == schedule.window(3, 5)
    assert schedule.window(0, 9) == schedule


def test_over_other_epochs_the_course_begins_anew() -> None:
    assert Schedule("cosine", 9, 2).window(3, 5).over(4) == Schedule("cosine", 4, 2)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2, 9])
def test_every_schedule_has_a_factor_for_each_epoch(name: str, epochs: int) -> None:
    schedule = Schedule(name, epochs)
    assert len(schedule) == epochs
    assert all(0 < factor <= 1 for factor in (*_factors(schedule), *_factors(schedule, 0.99)))


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(PlanError, match=r"unknown schedule 'onecycle'\. Did you mean 'one-cycle'"):
        Schedule("onecycle", 5)
    with pytest.raises(PlanError, match="a warm-up of 5 epochs in a course of 5; it may take 0 or more, and fewer"):
        Schedule("cosine", 5, 5)
    with pytest.raises(PlanError, match="a warm-up of -1 epochs"):
        Schedule("cosine", 5, -1)
    with pytest.raises(PlanError, match="schedule one-cycle: rises by itself; leave out the warm-up of 2 epochs"):
        Schedule("one-cycle", 5, 2)
    with pytest.raises(PlanError, match="a warm-up of 3 epochs in a course of 2"):
        Schedule("cosine", 9, 3).over(2)
    for start, stop in ((0, 0), (3, 2), (0, 6), (-1, 2)):
        with pytest.raises(ValueError, match="at least 1 must be left"):
            Schedule("cosine", 5).window(start, stop)
    with pytest.raises(ValueError, match="0 epochs"):
        replace(Schedule("cosine", 5), epochs=0)
