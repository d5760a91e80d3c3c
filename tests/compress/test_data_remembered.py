"""Image folders are found again by their name, on this machine only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from compress.checkpoint import Checkpoint
from compress.data import load
from compress.data.remembered import recall, remember
from compress.opening import training_data


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def test_a_folder_that_was_opened_is_found_by_its_name(tmp_path: Path, teacher: Checkpoint) -> None:
    photos = tmp_path / "photos"
    for number in range(8):
        path = photos / ("ant", "bee")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    assert recall("photos") is None
    load(str(photos))
    assert recall("photos") == photos
    step = {"data": {"name": "photos"}}
    trained = replace(teacher.card, lineage=({"data": {"name": "digits"}}, step, {"command": "edgepress prune"}))
    assert training_data(trained) == str(photos)
    photos.rename(tmp_path / "moved")
    assert recall("photos") is None
    assert training_data(trained) is None


def test_data_sets_known_by_name_are_found_where_they_are(teacher: Checkpoint) -> None:
    assert training_data(replace(teacher.card, lineage=({"data": {"name": "digits"}},))) == "digits"
    assert training_data(replace(teacher.card, lineage=({"data": {"name": "cifar10"}},))) is None
    assert training_data(replace(teacher.card, lineage=())) is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"photos": 3}', "[" * 10_000])
def test_a_damaged_note_is_as_good_as_none(root: Path, tmp_path: Path, content: str) -> None:
    root.mkdir()
    (root / ".folders.json").write_text(content)
    assert recall("photos") is None
    remember("photos", tmp_path)
    assert recall("photos") == tmp_path


def test_where_nothing_can_be_noted_nothing_is(root: Path, tmp_path: Path) -> None:
    root.write_text("a file where the folder should be")
    remember("photos", tmp_path)
    assert recall("photos") is None
