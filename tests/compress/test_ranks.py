"""Two processes train one network, agree on what they report, and end together when one of them meets NaN."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plans import make_student

from compress.data import DataOptions, Dataset, load
from compress.stages import Staged
from compress.tasks import CLASSIFICATION, RETRIEVAL, features

TESTS = Path(__file__).parents[1]
HANGING_S = 240  # only guards against waiting for ever


@dataclass(frozen=True)
class Ranks:
    """What the two processes found, and the network that they trained."""

    found: list[dict[str, Any]]
    student: Staged


@pytest.fixture(scope="module")
def odd_digits() -> Dataset:
    """What rank.py trains on: 140 images, and a validation split of 85."""
    return load("digits", DataOptions(size=(24, 24), fraction=0.17, val_fraction=0.4, augment=("crop",)))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    paths = os.pathsep.join(map(str, (TESTS.parent, TESTS, TESTS / "compress")))
    processes = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "compress" / "rank.py"), str(folder)],
            env=os.environ | where | {"PYTHONPATH": paths, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        said = [process.communicate(timeout=HANGING_S)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    student = make_student()
    student.model.load_state_dict(torch.load(folder / "student.pt", weights_only=True))
    student.model.eval()
    return Ranks([json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)], student)


@pytest.mark.parametrize("keep", ["best score", "best loss"])
def test_both_report_and_keep_the_same(ranks: Ranks, keep: str) -> None:
    first, second = (found[keep] for found in ranks.found)
    assert first == second
    assert first["kept"][1]
    assert not first["kept"][0]


def test_both_have_one_average_one_rate_and_one_count_of_cpu_seconds(ranks: Ranks) -> None:
    first, second = (found["averaged"] for found in ranks.found)
    assert first == second
    assert first["learnt"]
    assert len(set(first["latest"])) == 3
    assert all(seconds > 0 for seconds in first["cpu_s"])


def test_a_reported_loss_is_the_mean_over_the_images_of_both(ranks: Ranks, odd_digits: Dataset) -> None:
    (losses, *_), count = ranks.found[0]["best score"]["losses"], len(odd_digits.train)
    assert (count % 2, count // 2 % 16) == (0, 6)  # so that none is left out, and the last batch is smaller
    assert losses["index"] == pytest.approx((count - 1) / 2)


def test_the_score_of_the_kept_epoch_is_that_over_all_images(ranks: Ranks, odd_digits: Dataset) -> None:
    assert odd_digits.val is not None
    whole = CLASSIFICATION.evaluate(ranks.student, replace(odd_digits, test=odd_digits.val))["top1"]
    assert max(ranks.found[0]["best score"]["scores"]) == pytest.approx(whole, abs=1e-6)


def test_each_evaluates_its_share_of_an_odd_split_and_every_image_counts_once(
    ranks: Ranks, odd_digits: Dataset
) -> None:
    assert odd_digits.val is not None
    count = len(odd_digits.val)
    assert count % 2 == 1
    first, second = (found["evaluated"] for found in ranks.found)
    assert {first.pop("seen"), second.pop("seen")} == {count // 2, count // 2 + 1}
    assert first == second
    assert first["in order"]
    odd = replace(odd_digits, test=odd_digits.val)
    whole = CLASSIFICATION.evaluate(ranks.student, odd)["top1"]
    assert first["counts"] == [round(whole * count), count]
    assert first["top1"] == pytest.approx(whole)
    assert first["retrieval"] == pytest.approx(RETRIEVAL.evaluate(ranks.student, odd), abs=1e-3)
    feature, _ = features(ranks.student, odd_digits.val, "embedding")
    assert first["feature"] == pytest.approx(float(feature.square().sum()), rel=1e-4)


def test_both_end_when_one_meets_nan(ranks: Ranks) -> None:
    for found in ranks.found:
        assert "phase 'p', epoch 1: the loss is not finite" in found["diverged"]["said"]
