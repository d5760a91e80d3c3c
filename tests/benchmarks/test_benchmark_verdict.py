"""Intervals over sessions worked by hand and against many draws, and the words that are made of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.verdict import Ratio, interval_text, judge, ratio, student_quantile, times

SESSIONS, SPREAD = 8, 0.02


def test_ratio_by_hand() -> None:
    found = ratio(np.asarray([2.0, 8.0]), np.asarray([1.0, 1.0, 1.0]))
    half = 12.706 * np.log(2)
    assert found.value == pytest.approx(4.0)
    assert (found.low, found.high) == pytest.approx((4 / np.exp(half), 4 * np.exp(half)), rel=1e-2)
    assert found.least == pytest.approx(np.exp((12.706 + 3.078) * np.log(2)) - 1, rel=1e-2)


def test_ratio_of_sessions_that_are_all_alike_is_exact() -> None:
    found = ratio(np.full(3, 6.0), np.full(2, 2.0))
    assert (found.value, found.low, found.high, found.least) == pytest.approx((3.0, 3.0, 3.0, 0.0))


@pytest.mark.parametrize(("other", "own"), [(1, 3), (3, 1), (0, 0)])
def test_ratio_needs_two_sessions_of_each(other: int, own: int) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        ratio(np.ones(other), np.ones(own))


@pytest.mark.parametrize(
    ("share", "freedom", "value"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 14, 2.1448), (0.9, 14, 1.3450), (0.025, 5, -2.5706), (0.5, 3, 0)],
)
def test_quantiles_are_those_of_the_tables(share: float, freedom: float, value: float) -> None:
    assert student_quantile(share, freedom) == pytest.approx(value, abs=2e-3)


def _draws(true: float, count: int) -> list[Ratio]:
    """Ratios of files whose sessions differ by 2 % for their whole life, and whose calls do not."""
    generator = np.random.default_rng(5)
    logs = generator.normal(0, SPREAD, size=(count, 2, SESSIONS)) + np.log([[[true], [1.0]]])
    return [ratio(*np.exp(pair)) for pair in logs]


def test_a_file_is_called_faster_than_itself_about_as_rarely_as_the_level_says() -> None:
    false = sum(not one.spans_one for one in _draws(1.0, 400))
    assert 8 <= false <= 30


def test_nine_of_ten_see_the_least_difference() -> None:
    least = float(np.median([one.least for one in _draws(1.0, 200)]))
    assert 0.02 < least < 0.05
    seen = sum(one.low > 1 for one in _draws(1 + least, 200))
    assert 165 <= seen <= 195


def _around(value: float, share: float = 0.05, least: float = 0.02) -> Ratio:
    return Ratio(value, value / (1 + share), value * (1 + share), least)


@pytest.mark.parametrize(
    ("wall", "cpu", "kind", "words"),
    [
        (Ratio(14.9, 14.1, 15.6, 0.02), _around(14.6), "faster", "faster, 14.9x [14.1, 15.6]"),
        (Ratio(0.5, 0.4, 0.625, 0.02), _around(0.49), "slower", "slower, 2x [1.6, 2.5]"),
        (Ratio(0.98, 0.97, 0.99, 0.01), _around(0.97, 0.01), "slower", "slower, 1.02x [1.01, 1.031]"),
        (_around(1.01), _around(0.99, least=0.033), "same", "no detectable difference; would have seen 3.3 %"),
        (_around(1.0, least=2.4), _around(1.0), "same", "no detectable difference; would have seen 3.4x"),
        (_around(3.0, 0.01), _around(2.3), "unsure", "unsure: wall time says 3x faster, CPU time says 2.3x faster; "),
        (_around(66.7), _around(2.3), "unsure", "unsure: wall time says 66.7x faster, CPU time says 2.3x faster; "),
        (_around(3.0, 0.9), _around(2.3), "faster", "faster, 3x [1.58, 5.7]"),
        (_around(3.0, 0.001), _around(2.9, 0.001), "faster", "faster, 3x [3, 3]"),
        (
            _around(1.1, 0.01),
            _around(0.9),
            "unsure",
            "unsure: wall time says 1.1x faster, CPU time says 1.11x slower",
        ),
        (
            Ratio(1.02, 0.97, 1.07, 0.1),
            Ratio(1.03, 1.02, 1.04, 0.02),
            "unsure",
            "unsure: wall time cannot tell [0.97, 1.07], CPU time says 1.03x faster; measure longer",
        ),
    ],
)
def test_words_for_what_two_clocks_say(wall: Ratio, cpu: Ratio, kind: str, words: str) -> None:
    verdict = judge({"wall time": wall, "CPU time": cpu})
    assert verdict.kind == kind
    assert verdict.words.startswith(words)


def test_one_clock_alone_is_enough_where_there_is_no_other() -> None:
    assert judge({"wall time": _around(2.0)}).words == "faster, 2x [1.9, 2.1]"
    assert judge({"wall time": _around(1.0)}).kind == "same"


@pytest.mark.parametrize(("value", "text"), [(2, "2x"), (0.992, "1.008x"), (0.5, "2x"), (65.05, "65x"), (1, "1x")])
def test_times_are_never_below_one(value: float, text: str) -> None:
    assert times(value) == text


def test_an_interval_below_one_is_turned_over() -> None:
    assert interval_text(0.25, 0.5) == "[2, 4]"
    assert interval_text(0.9, 1.2) == "[0.9, 1.2]"
