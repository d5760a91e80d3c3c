"""The runs of a study: which there are, how they are called, and what is typed for each."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.studies.grid import Grid, Made, read_epochs, read_way, trials
from compress.errors import PlanError


def _grid(*methods: str, epochs: str = "10") -> Grid:
    ways = tuple(map(read_way, methods))
    return Grid(
        Path("out/study"),
        "nets/teacher.safetensors",
        "digits",
        students=("cnn-s",),
        ways=ways,
        fractions=(0.1, 1.0),
        seeds=(0, 1),
        epochs=read_epochs(epochs, ways),
        baseline=ways[0].label,
        options=("--lr", "0.01"),
        auxiliary=Made(lambda _student, _depth, _ratio: ("cnn-a", "--width", "16"), 5, ("--lr", "0.01")),
    )


def test_a_run_is_a_command_that_can_be_pasted() -> None:
    first = trials(_grid("no_teacher", "okd:tau=2"))[1]
    assert first.name == "cnn-s-okd+tau=2-f0.1-e10-s0"
    assert first.command == (
        "edgepress distill teacher.safetensors --student cnn-s --method okd --set tau=2 --data digits --fraction 0.1 "
        "--epochs 10 --seed 0 --lr 0.01 -o cnn-s-okd+tau=2-f0.1-e10-s0.safetensors"
    )
    assert first.words[1] == "nets/teacher.safetensors"


def test_seeds_are_outermost_and_names_differ() -> None:
    found = trials(replace(_grid("no_teacher", "pkt"), depths=(2, 3)))
    assert [trial.seed for trial in found] == [0] * 8 + [1] * 8
    assert len({trial.name for trial in found}) == 16
    assert "--fraction" not in found[-1].words


def test_the_baseline_is_run_with_the_epochs_of_the_others_too() -> None:
    grid = replace(_grid("no_teacher", "pkt", "okd", epochs="10,pkt=60,okd=60"), fractions=(1.0,), seeds=(0,))
    found = [(trial.method, trial.epochs, trial.control) for trial in trials(grid)]
    assert found == [("no_teacher", 10, ""), ("pkt", 60, ""), ("okd", 60, ""), ("no_teacher", 60, "pkt, okd")]


def test_one_auxiliary_is_made_for_all_that_need_the_same() -> None:
    grid = replace(_grid("no_teacher", "indistill", "indistill:last=okd"), fractions=(1.0,), seeds=(4,))
    _, labels, teacher, first, second = trials(grid)
    assert labels.step
    assert teacher.step
    assert teacher.needs == (labels.name,)
    assert first.needs == second.needs == (labels.name, teacher.name)
    assert f"--auxiliary {teacher.name}.safetensors" in first.command
    assert f"out/study/trials/{teacher.name}.safetensors" in first.words
    assert shlex.split(labels.command)[3:7] == ["--student", "cnn-a", "--width", "16"]
    assert labels.words[-2:] == ("--lr", "0.01")


def test_each_ratio_has_its_auxiliary_and_methods_without_one_no_ratio() -> None:
    grid = replace(_grid("no_teacher", "indistill"), fractions=(1.0,), seeds=(0,), ratios=(0.5, 0.75))
    found = [(trial.method, trial.ratio) for trial in trials(grid) if not trial.step]
    assert found == [("no_teacher", None), ("indistill", 0.5), ("indistill", 0.75)]
    assert len({trial.needs for trial in trials(grid) if trial.method == "indistill"}) == 2


def test_a_finished_auxiliary_serves_all() -> None:
    grid = replace(_grid("no_teacher", "indistill"), fractions=(1.0,), seeds=(0,), auxiliary="aux.safetensors")
    assert [trial.step for trial in trials(grid)] == [False, False]
    assert "--auxiliary aux.safetensors" in trials(grid)[1].command


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "at least 1"),
        ("10,pkt", "at least 1"),
        ("10,okd=3", "unknown method 'okd'"),
        ("pkt=3", "says nothing of no_teacher"),
        ("3,4", "given twice"),
    ],
)
def test_epochs_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read_epochs(text, [read_way("no_teacher"), read_way("pkt")])


@pytest.mark.parametrize(
    ("text", "message"),
    [("pkd", "Did you mean 'pkt'"), ("pkt:beta", "knob=value"), ("pkt:gamma=1", "unknown knob 'gamma'")],
)
def test_methods_that_there_are_not_are_refused(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        read_way(text)
