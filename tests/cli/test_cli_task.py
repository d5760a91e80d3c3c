"""--task: what the data are for where it is not given; what does not suit them is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from boxes import boxes
from typer.testing import Result

from cli.parse import read_task, task_for
from compress import load, load_data
from compress.tasks import CLASSIFICATION, SEGMENTATION

Run = Callable[[str, Path], Result]

FEW = "--data digits --size 24 --fraction 0.1 --batch-size 32 --epochs 1"


def test_data_decide_what_they_are_for() -> None:
    assert task_for(load_data("digits")) is CLASSIFICATION
    assert task_for(boxes()) is SEGMENTATION
    assert read_task(None) is None


def test_a_network_is_trained_for_what_the_data_are_for(succeeds: Run, tmp_path: Path) -> None:
    succeeds(f"train cnn-s --width 4 {FEW} -o net.safetensors", tmp_path)
    assert load(tmp_path / "net.safetensors").card.task == "classification"


@pytest.mark.parametrize(
    ("line", "mentions"),
    [
        (
            "train cnn-s --task segmentation",
            "'segmentation' does not suit data set 'digits', which has one class an ima",
        ),
        ("train cnn-s --task retrieval", "task 'retrieval' has no loss of its own; take the task classification"),
        ("train cnn-s --task classify", "unknown task 'classify'. Did you mean 'classification'?"),
    ],
)
def test_a_task_that_does_not_suit_is_refused(
    tmp_path: Path, refused: Callable[..., str], line: str, mentions: str
) -> None:
    refused(f"{line} {FEW} -o net.safetensors", tmp_path, mentions)
