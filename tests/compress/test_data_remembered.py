"""Image folders are found again by their fingerprint, on this machine only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from compress.checkpoint import Checkpoint
from compress.data import DataOptions, load
from compress.data.remembered import recall, remember
from compress.opening import training_data


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def _photos(folder: Path, *, shade: int = 0) -> Path:
    for number in range(8):
        path = folder / ("ant", "bee")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(path)
    return folder


def test_a_folder_that_was_opened_is_found_by_its_fingerprint(tmp_path: Path, teacher: Checkpoint) -> None:
    photos = _photos(tmp_path / "photos")
    data = load(str(photos), DataOptions(augment=()))
    step = {"data": {"name": "photos", "fingerprint": data.fingerprint}}
    trained = replace(teacher.card, lineage=({"data": {"name": "digits"}}, step, {"command": "edgepress prune"}))
    assert training_data(trained) == str(photos)
    photos.rename(tmp_path / "moved")
    assert training_data(trained) is None


def test_two_folders_of_one_name_are_not_taken_for_each_other(tmp_path: Path, teacher: Checkpoint) -> None:
    """Nor is one whose fingerprint is not known taken for the one that is."""
    cards = []
    for shade in (0, 200):
        data = load(str(_photos(tmp_path / str(shade) / "photos", shade=shade)))
        step = {"data": {"name": data.name, "fingerprint": data.fingerprint}}
        cards.append(replace(teacher.card, lineage=(step,)))
    assert [training_data(card) for card in cards] == [str(tmp_path / shade / "photos") for shade in ("0", "200")]
    for data in ({"name": "photos", "fingerprint": "0" * 16}, {"name": "photos"}, {"name": "photos", "fingerprint": 3}):
        assert training_data(replace(teacher.card, lineage=({"data": data},))) is None


def test_a_folder_with_the_name_of_a_data_set_is_the_folder(tmp_path: Path, teacher: Checkpoint) -> None:
    folder = _photos(tmp_path / "digits")
    data = load(str(folder))
    step = {"data": {"name": "digits", "fingerprint": data.fingerprint}}
    assert training_data(replace(teacher.card, lineage=(step,))) == str(folder)


def test_data_sets_known_by_name_are_found_where_they_are(teacher: Checkpoint) -> None:
    assert training_data(replace(teacher.card, lineage=({"data": {"name": "digits"}},))) == "digits"
    assert training_data(replace(teacher.card, lineage=({"data": {"name": "cifar10"}},))) is None
    assert training_data(replace(teacher.card, lineage=())) is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"0f": 3}', "[" * 10_000])
def test_a_damaged_note_is_as_good_as_none(root: Path, tmp_path: Path, content: str) -> None:
    root.mkdir()
    (root / ".folders.json").write_text(content)
    assert recall("0f") is None
    remember("0f", tmp_path)
    assert recall("0f") == tmp_path


def test_where_nothing_can_be_noted_nothing_is(root: Path, tmp_path: Path) -> None:
    root.write_text("a file where the folder should be")
    remember("0f", tmp_path)
    assert recall("0f") is None
