"""The folder of a study: what it keeps of another one, and what it forgets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.studies.folder import DOCUMENT, FIGURES, Plan, open_folder
from benchmarks.studies.grid import TRIALS, Trial, log_of, output_of
from benchmarks.studies.table import SCHEMA
from compress.errors import OutputError


def _plan(*names: str) -> Plan:
    trials = [Trial(name, ("distill", "t.safetensors"), "cnn-s", "pkt", "", 1.0, 0, 1) for name in names]
    return Plan(trials, {"teacher": {"weights": "a1"}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a study with one run and one picture, beside which someone put a file of theirs."""
    (tmp_path / TRIALS).mkdir()
    (tmp_path / FIGURES).mkdir()
    document = {"schema": SCHEMA, "teacher": {"weights": "a1"}, "grid": _plan("old").commands}
    (tmp_path / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")
    for path in (output_of(tmp_path, "old"), tmp_path / FIGURES / "methods.png", tmp_path / "mine.txt"):
        path.write_text("there")
    return tmp_path


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_study_that_grows_keeps_what_is_there(folder: Path) -> None:
    open_folder(folder, _plan("old", "new"))
    assert _files(folder) == ["methods.png", "mine.txt", "old.safetensors", "study.json"]


def test_a_run_without_a_result_may_be_left_out(folder: Path) -> None:
    document = json.loads((folder / DOCUMENT).read_text("utf-8"))
    document["grid"] |= _plan("failed").commands
    (folder / DOCUMENT).write_text(json.dumps(document), encoding="utf-8")
    log_of(folder, "failed").write_text("why")
    open_folder(folder, _plan("old"))
    assert _files(folder) == ["methods.png", "mine.txt", "old.safetensors", "study.json"]


def test_another_study_is_refused_and_forgotten_by_force(folder: Path) -> None:
    with pytest.raises(OutputError, match="runs that this one lacks: old"):
        open_folder(folder, _plan("new"))
    open_folder(folder, _plan("new"), force=True)
    assert _files(folder) == ["mine.txt"]
