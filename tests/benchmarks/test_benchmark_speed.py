"""The two speed benchmarks, run short: their documents, and the batch that stands for a whole epoch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.speed import distillation, startup
from benchmarks.speed.distillation import FixedSplit
from compress.data import Batch
from compress.errors import DataError, OutputError


def _split(images: int) -> FixedSplit:
    return FixedSplit(Batch(torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]), torch.arange(4)), images)


@pytest.mark.parametrize(("images", "sizes"), [(8, [4, 4]), (10, [4, 4, 2]), (9, [4, 4])])
def test_fixed_split_has_the_steps_of_the_real_one(images: int, sizes: list[int]) -> None:
    split = _split(images)
    assert [len(batch.target) for batch in split.batches(4, order=3, view=3)] == sizes
    assert len(split) == len(split.targets) == images
    assert split.targets[4:8].tolist() == [0, 1, 2, 0]


def test_distillation_document() -> None:
    result = distillation.compare("digits", fraction=0.2, rounds=3)
    assert result["schema"] == "edgepress-speed-distillation/1"
    assert (result["data"], result["batch_size"], result["augment"]) == ("digits", 128, ["flip", "crop"])
    times = result["ratio"]
    assert times["low"] <= times["high"]
    assert times["value"] == pytest.approx(result["fixed_images_per_s"] / result["augmented_images_per_s"])
    assert result["met"] is (times["value"] <= result["goal"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_distillation_needs_a_batch_of_images() -> None:
    with pytest.raises(DataError, match="at least one batch"):
        distillation.compare("digits", fraction=0.05, rounds=2)


def test_startup_document(tmp_path: Path) -> None:
    target = tmp_path / "startup.json"
    startup.main(target, rounds=2)
    result = json.loads(target.read_text(encoding="utf-8"))
    assert result["schema"] == "edgepress-speed-startup/1"
    assert result["help_ms"]["median"] > result["empty_ms"]["median"]
    more = result["more_s"]
    assert more["low"] <= more["median"] <= more["high"]
    assert result["met"] is (more["median"] <= result["goal_s"])


@pytest.mark.parametrize("main", [startup.main, lambda json: distillation.main("digits", json)])
def test_an_existing_result_is_kept(tmp_path: Path, main) -> None:
    target = tmp_path / "result.json"
    target.write_text("kept", encoding="utf-8")
    with pytest.raises(OutputError, match="--force"):
        main(target)
    assert target.read_text(encoding="utf-8") == "kept"
