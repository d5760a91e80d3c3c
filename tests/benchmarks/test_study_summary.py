"""Means, spreads and paired differences of a study, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.studies.summary import cells, paired
from compress.evidence import Record


def _row(method: str, seed: int, top1: float | None, *, epochs: int = 10, control: str = "") -> dict[str, Any]:
    place = {"student": "cnn-s", "depth": None, "fraction": 0.1, "ratio": None, "method": method, "seed": seed}
    place |= {"task": "", "epochs": epochs, "control": control, "reason": "" if top1 else "it broke"}
    known = [Record("top1", top1), Record("cpu_s", 10.0 + seed)] if top1 else [Record("score", None, reason="it broke")]
    return {**place, "records": [one.to_dict() for one in known]}


def test_a_paired_difference_by_hand() -> None:
    """Differences 1, 2 and 3: mean 2, standard deviation 1, and t = 4.303 with two degrees of freedom."""
    found = paired({0: 11.0, 1: 22.0, 2: 33.0, 9: 0.0}, {0: 10.0, 1: 20.0, 2: 30.0})
    assert (found["mean"], found["sd"], found["n"]) == pytest.approx((2.0, 1.0, 3))
    assert found["high"] - 2 == pytest.approx(4.3027 / math.sqrt(3), rel=1e-3)
    assert 2 - found["low"] == pytest.approx(found["high"] - 2)


def test_one_seed_has_no_interval_and_none_no_difference() -> None:
    one = paired({0: 0.5}, {0: 0.25})
    assert (one["mean"], one["low"], one["sd"], one["n"]) == (0.25, None, None, 1)
    assert paired({0: 0.5}, {1: 0.5})["mean"] is None


def test_cells_by_hand() -> None:
    rows = [_row("base", 0, 0.5), _row("pkt", 0, 0.6), _row("base", 1, 0.7), _row("pkt", 1, 0.9), _row("pkt", 2, None)]
    base, pkt = cells(rows, "base")
    assert base["scores"]["top1"] == pytest.approx(
        {"mean": 0.6, "sd": 0.1 * math.sqrt(2), "least": 0.5, "most": 0.7, "n": 2}
    )
    assert base["differences"] == {}
    assert pkt["differences"]["top1"]["mean"] == pytest.approx(0.15)
    assert (pkt["seeds"], pkt["failed"], pkt["cpu_s"]) == ([0, 1], [2], 10.5)
    assert list(pkt["scores"]) == ["top1"]


def test_a_control_is_what_a_method_of_other_epochs_is_held_against() -> None:
    rows = [_row("base", 0, 0.5), _row("pkt", 0, 0.8, epochs=60), _row("base", 0, 0.7, epochs=60, control="pkt")]
    base, pkt, control = cells(rows, "base")
    assert pkt["differences"]["top1"]["mean"] == pytest.approx(0.3)
    assert pkt["differences_equal_epochs"]["top1"]["mean"] == pytest.approx(0.1)
    assert control["differences"]["top1"]["mean"] == pytest.approx(0.2)
    assert base["differences_equal_epochs"] == control["differences_equal_epochs"] == {}


def test_a_run_that_failed_before_its_task_was_known_stands_with_its_other_seeds() -> None:
    rows = [_row("pkt", 0, None), {**_row("pkt", 1, 0.9), "task": "classification"}]
    (cell,) = cells(rows, "pkt")
    assert (cell["task"], cell["seeds"], cell["failed"]) == ("classification", [1], [0])
