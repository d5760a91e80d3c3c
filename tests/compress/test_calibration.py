"""The expected calibration error: worked by hand, and held against a loop over the bins."""

from __future__ import annotations

import numpy as np
import pytest

from compress.calibration import BINS, binned, calibration_error


def test_one_image_in_each_bin() -> None:
    confidences = np.linspace(0.1, 0.8, BINS)
    right = np.arange(BINS) % 2 == 0
    error, low, high = calibration_error(confidences, right)
    assert error == pytest.approx(np.abs(right - confidences).mean())
    assert 0 <= low <= error <= high <= 1


def test_a_loop_over_the_bins_says_the_same() -> None:
    chance = np.random.default_rng(3)
    confidences = chance.random(1000)
    right = chance.random(1000) < confidences**2
    order, whole = np.argsort(confidences), 0.0
    for part in np.split(order, [-(-1000 * at // BINS) for at in range(1, BINS)]):
        whole += abs(float(confidences[part].mean()) - float(right[part].mean())) * len(part) / 1000
    assert calibration_error(confidences, right)[0] == pytest.approx(whole)


def test_a_calibrated_network_may_have_no_error_and_one_that_boasts_has_some() -> None:
    chance = np.random.default_rng(0)
    confidences = 0.5 + chance.random(4000) / 2
    found = calibration_error(confidences, chance.random(4000) < confidences)
    assert found[0] > 0
    assert found[1] == 0.0
    boasting = calibration_error(confidences, chance.random(4000) < confidences - 0.1)
    assert 0.05 < boasting[1] < 0.1 < boasting[2] < 0.15


def test_the_seed_decides_the_interval_and_not_the_error() -> None:
    chance = np.random.default_rng(1)
    confidences, right = chance.random(300), chance.random(300) < 0.5
    first, same, other = (calibration_error(confidences, right, seed=seed) for seed in (0, 0, 1))
    assert first == same
    assert first[0] == other[0]
    assert first[1:] != other[1:]


def test_the_bins_are_those_of_the_error() -> None:
    chance = np.random.default_rng(2)
    confidences, right = chance.random(1000), chance.random(1000) < 0.5
    found = binned(confidences, right)
    assert {count for _, _, count in found} == {66, 67}
    assert sum(hits for _, hits, _ in found) == right.sum()
    assert [sure for sure, _, _ in found] == sorted(sure for sure, _, _ in found)
    error = sum(abs(count * sure - hits) for sure, hits, count in found) / 1000
    assert error == pytest.approx(calibration_error(confidences, right)[0])
    assert len(binned(confidences[:4], right[:4])) == 4


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"give \(N,\) twice"):
        calibration_error(np.zeros(3), np.zeros(2, dtype=np.bool_))
    with pytest.raises(ValueError, match="N at least 1"):
        calibration_error(np.zeros(0), np.zeros(0, dtype=np.bool_))
