"""A student that is the teacher with fewer channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from compress.checkpoint import load

Run = Callable[[str, Path], Result]
FEW = "--data digits --fraction 0.05 --batch-size 32"


@pytest.fixture(scope="module")
def folder(succeeds: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whole.safetensors, a trained network of two blocks."""
    folder = tmp_path_factory.mktemp("pruned")
    succeeds(f"train cnn-s --width 4 --depth 2 --epochs 1 {FEW} -o whole.safetensors", folder)
    return folder


@pytest.mark.parametrize(("method", "phases"), [("indistill", 2), ("okd", 1)])
def test_the_teacher_teaches_what_was_cut_out_of_it(folder: Path, succeeds: Run, method: str, phases: int) -> None:
    line = f"distill whole.safetensors --student pruned:0.5 --method {method} --epochs 2 {FEW} -o {method}.safetensors"
    succeeds(line, folder)
    card = load(folder / f"{method}.safetensors").card
    assert card.cuts
    assert card.lineage[1]["ratio"] == 0.5
    assert card.lineage[2]["refitted_layers"] == 4
    assert len(card.lineage[3]["phases"]) == phases


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ("pruned:75", "--student pruned:75: give the share of the channels to cut, above 0 and below 1: pruned:0.75"),
        ("pruned:half", "--student pruned:half: give the share"),
        ("prunned:0.5", "--student prunned:0.5: unknown network 'prunned:0.5'. Did you mean 'pruned:0.5'?"),
        ("pruned", "--student pruned: unknown network 'pruned'. Give pruned:RATIO, such as pruned:0.5"),
        ("pruned0.75", "--student pruned0.75: unknown network 'pruned0.75'. Did you mean 'pruned:0.75'?"),
        ("Prune:0.5", "Did you mean 'pruned:0.5'?"),
        ("pruned.py:build", "pruned.py does not exist"),
        ("pruned:0.5 --width 4", "--width: the student is the teacher with fewer channels; leave it out"),
        ("pruned:0.5 --ratio 0.4", "--ratio: the channels that were not cut say what to learn, without an auxiliary"),
    ],
)
def test_what_no_pruned_student_has_is_refused(folder: Path, edgepress: Run, student: str, said: str) -> None:
    result = edgepress(f"distill whole.safetensors --student {student} {FEW} -o none.safetensors", folder)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert not (folder / "none.safetensors").exists()


def test_a_cut_teacher_is_no_network_to_train(folder: Path, edgepress: Run) -> None:
    result = edgepress(f"train pruned:0.5 {FEW} -o none.safetensors", folder)
    assert (result.exit_code, "pruned:0.5: the teacher with fewer channels is only for --student" in result.stderr) == (
        2,
        True,
    )
