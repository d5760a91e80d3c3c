"""The ratio of two things timed in turn, worked by hand, and what its bootstrap interval covers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measure.rounds import Samples, ratio_over_rounds


def _samples(*rounds: list[float]) -> Samples:
    return Samples(np.asarray(rounds, dtype=np.float64))


@pytest.mark.parametrize("times", [np.zeros(3), np.zeros((0, 3)), np.zeros((2, 0))])
def test_samples_refuse_other_shapes(times: np.ndarray) -> None:
    with pytest.raises(ValueError, match="rounds, calls"):
        Samples(times)


def test_ratio_of_constant_samples_is_exact() -> None:
    found = ratio_over_rounds(_samples(*[[6.0, 6.0]] * 5), _samples(*[[2.0]] * 5))
    assert (found.value, found.low, found.high) == (3.0, 3.0, 3.0)
    assert not found.low <= 1 <= found.high


def test_ratio_is_the_ratio_of_the_medians_of_all_calls() -> None:
    slow, fast = _samples([8.0, 9.0], [2.0, 4.0]), _samples([1.0, 2.0], [3.0, 100.0])
    assert ratio_over_rounds(slow, fast).value == pytest.approx(6.0 / 2.5)


def test_ratio_draws_the_same_rounds_for_both() -> None:
    drift = np.linspace(1, 50, 40)[:, None] * np.ones((1, 3))
    found = ratio_over_rounds(Samples(2 * drift), Samples(drift))
    assert (found.low, found.high) == pytest.approx((2.0, 2.0))


def test_ratio_needs_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="same measurement"):
        ratio_over_rounds(_samples([1.0], [1.0]), _samples([1.0]))


def _noisy(generator: np.random.Generator, scale: float) -> Samples:
    rounds = generator.lognormal(0, 0.2, size=(30, 1))
    return Samples(scale * rounds * generator.lognormal(0, 0.05, size=(30, 4)))


def test_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    found = [ratio_over_rounds(_noisy(generator, 3.0), _noisy(generator, 1.0), resamples=300) for _ in range(200)]
    covered = sum(one.low <= 3.0 <= one.high for one in found)
    assert 180 <= covered <= 200
    assert np.mean([one.high - one.low for one in found]) < 0.8


def test_interval_of_equal_contenders_is_unsure() -> None:
    generator = np.random.default_rng(0)
    alike = ratio_over_rounds(_noisy(generator, 1.0), _noisy(generator, 1.0))
    assert alike.low <= 1 <= alike.high


def test_equal_arguments_give_an_equal_interval() -> None:
    generator = np.random.default_rng(1)
    slow, fast = _noisy(generator, 2.0), _noisy(generator, 1.0)
    assert ratio_over_rounds(slow, fast) == ratio_over_rounds(slow, fast)
    assert ratio_over_rounds(slow, fast, seed=1) != ratio_over_rounds(slow, fast)
    wide, narrow = ratio_over_rounds(slow, fast), ratio_over_rounds(slow, fast, level=0.5)
    assert narrow.high - narrow.low < wide.high - wide.low


def test_many_samples_are_resampled_in_pieces() -> None:
    times = np.random.default_rng(2).lognormal(size=(40, 400))
    found = ratio_over_rounds(Samples(2 * times), Samples(times))
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
