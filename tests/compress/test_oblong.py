"""Images that are not square go through training and distillation, whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from watch import finished

from compress.checkpoint import load
from compress.data import DataOptions
from compress.data import load as load_data
from compress.jobs import Auxiliary, Distillation, Job, distil, train
from compress.named import Named
from compress.opening import new_network
from compress.phase import Fit, Phase
from compress.recipes import read_method
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run
from compress.training.journal import Journal

MakeFit = Callable[..., Fit]


@pytest.mark.parametrize("size", [(24, 40), (40, 24)])
def test_oblong_images_train_and_distil(size: tuple[int, int], make_fit: MakeFit, tmp_path: Path) -> None:
    data = load_data("digits", DataOptions(size=size, fraction=0.1))
    assert next(data.train.batches(2)).image.shape == (2, 1, *size)
    run = Run(CLASSIFICATION)
    teacher = new_network(Named("cnn-a", options={"width": 8}), data, seed=1)
    job = Job("edgepress train", run, Journal(tmp_path / "teacher.safetensors"))
    finished(train(teacher, [Phase("task", CLASSIFICATION.terms, make_fit(6))], data, job))
    student = new_network(Named("cnn-s", options={"width": 4}), data, seed=2)
    what = Distillation(student, load(tmp_path / "teacher.safetensors"), data, Auxiliary(None, make_fit(1), 0.5))
    method = read_method("indistill", {"a": "0"})
    job = Job("edgepress distill", run, Journal(tmp_path / "student.safetensors"))
    finished(distil(method, make_fit(8), what, job))
    made = load(tmp_path / "student.safetensors")
    assert made.card.architecture.size == made.card.preprocessing.size == size
    learnt = load(tmp_path / "teacher.safetensors").card.lineage[-1]["metrics"]["top1"]
    assert learnt == pytest.approx(CLASSIFICATION.evaluate(teacher.network, data)["top1"], abs=1e-6)
    assert learnt > 0.3
