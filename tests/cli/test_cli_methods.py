"""`edgepress methods`: what each method does and needs, and its knobs as `--set` takes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

from compress.recipes import RECIPES, read_method

Run = Callable[[str, Path], Result]


def test_every_method_is_listed_with_its_paper_its_needs_and_its_knobs(tmp_path: Path, succeeds: Run) -> None:
    lines = succeeds("methods", tmp_path).stdout.splitlines()
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == list(RECIPES)
    start = next(number for number, line in enumerate(lines) if line.startswith("stagewise: "))
    assert lines[start + 1 : start + 4] == [
        "  paper: Kulkarni et al., Data Efficient Stagewise Knowledge Distillation, 2019",
        "  needs: teacher, stages, equal shapes, labels",
        "  knobs: loss=mse follow=paper",
    ]


def test_the_knobs_that_are_listed_can_be_set(tmp_path: Path, succeeds: Run) -> None:
    listed = json.loads(succeeds("methods --json", tmp_path).stdout)["methods"]
    assert list(listed) == list(RECIPES)
    assert listed["indistill"]["needs"] == ["auxiliary", "stages"]
    for name, facts in listed.items():
        method = read_method(name, {knob: str(value) for knob, value in facts["knobs"].items()})
        assert {knob: getattr(value, "name", value) for knob, value in method.knobs.items()} == facts["knobs"]
