"""A study is gathered from real checkpoints, and its table can be made from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.bench import Protocol, compare
from benchmarks.pages.terminal import save
from benchmarks.studies import gather
from benchmarks.studies.table import aggregate, markdown
from compress.checkpoint import load
from compress.data import Dataset
from compress.errors import DataError
from compress.jobs import Job, lesson, train
from compress.opening import Named, new_network
from compress.recipes import read_method
from compress.tasks import CLASSIFICATION, RETRIEVAL, Task
from compress.training.engine import Run
from compress.training.journal import Journal


@pytest.fixture(scope="module")
def runs(digits: Dataset, make_fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a teacher, a student of each task and a benchmark of the student."""
    folder = tmp_path_factory.mktemp("runs")

    def made(name: str, method: str, task: Task, seed: int) -> None:
        new = new_network(Named("cnn-s", options={"width": 4}), digits, seed=seed)
        guide = load(folder / "teacher.safetensors").network if method != "no_teacher" else None
        job = Job(f"edgepress {name}", Run(task, seed), Journal(folder / f"{name}.safetensors"))
        phases = read_method(method).phases(lesson(new, digits, job, teacher=guide), make_fit(2))
        for _ in train(new, phases, digits, job, teacher=guide):
            pass

    made("teacher", "no_teacher", CLASSIFICATION, 0)
    made("pkt", "pkt", RETRIEVAL, 1)
    quick = Protocol(sessions=2, rounds=10, turn_ms=1, warmup_ms=5)
    save(compare(folder / "pkt.safetensors", folder / "teacher.safetensors", protocol=quick), folder / "bench.json")
    return folder


def test_study_holds_measured_and_recorded_scores(runs: Path, tmp_path: Path, digits: Dataset) -> None:
    teacher = runs / "teacher.safetensors"
    output = tmp_path / "study.json"
    gather.main("digits", teacher, [f"pkt={runs / 'pkt.safetensors'}"], runs / "bench.json", output)
    document = json.loads(output.read_text())
    lines = {(line.task, line.method): line.scores for line in aggregate(document["rows"])}
    measured = RETRIEVAL.evaluate(load(teacher).network, digits)
    assert set(lines) == {("classification", "teacher"), ("retrieval", "teacher"), ("retrieval", "pkt")}
    assert lines["classification", "teacher"]["top1"].mean == pytest.approx(document["teacher"]["top1"])
    assert measured.keys() <= document["rows"][1].keys()
    assert lines["retrieval", "pkt"]["map_e_exact"].mean == pytest.approx(
        load(runs / "pkt.safetensors").card.lineage[-1]["metrics"]["map_e_exact"], abs=1e-6
    )
    assert "edgepress pkt" in markdown(document)


def test_study_refuses_a_run_without_a_method(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="METHOD=PATH"):
        gather.main("digits", runs / "teacher.safetensors", ["pkt"], runs / "bench.json", tmp_path / "study.json")
    assert not (tmp_path / "study.json").exists()
