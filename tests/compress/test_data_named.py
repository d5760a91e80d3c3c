"""Data sets by name that are folders of this machine: imagenette, imagewoof, cub200, and parts of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from compress.data import DATASETS, DataOptions, load, status
from compress.errors import DataError

WNIDS = {"n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root."""
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    return tmp_path


def paint(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (shade, 0, 0)).save(path)


def write_wnids(folder: Path) -> None:
    """Four training and two validation images of each class in folders called by numbers of WordNet."""
    for part, count in (("train", 4), ("val", 2)):
        for label, wnid in enumerate(WNIDS):
            for number in range(count):
                paint(folder / part / wnid / f"{number}.png", 50 * label + number)


def write_cub(folder: Path) -> list[str]:
    """Four images of each of three birds; every other one trains, and the lists are not sorted by class."""
    birds = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "010.Red_winged_Blackbird"]
    rows = [
        (number * 3 + label + 1, label, f"{birds[label]}/{number}.jpg") for number in range(4) for label in range(3)
    ]
    for _, label, file in rows:
        paint(folder / "images" / file, 80 * label)
    (folder / "images.txt").write_text("".join(f"{key} {file}\n" for key, _, file in rows))
    (folder / "train_test_split.txt").write_text("".join(f"{key} {int(file[-5]) % 2}\n" for key, _, file in rows))
    (folder / "image_class_labels.txt").write_text("".join(f"{key} {label + 1}\n" for key, label, _ in rows))
    (folder / "classes.txt").write_text("".join(f"{label + 1} {bird}\n" for label, bird in enumerate(birds)))
    return birds


@pytest.mark.parametrize("name", ["imagenette", "imagewoof"])
def test_classes_of_wordnet_are_called_by_their_names(root: Path, name: str) -> None:
    write_wnids(root / name)
    lines = [f"{wnid}\t{word}\ttrain=4\tval=2" for wnid, word in WNIDS.items()]
    (root / name / "classes.txt").write_text("\n".join(reversed(lines)) + "\n")
    data = load(name)
    assert (data.name, data.classes, data.see.shape) == (name, tuple(WNIDS.values()), (3, 64, 64))
    assert (len(data.train), data.val, len(data.test), data.masks) == (12, None, 6, False)
    assert data.test.targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.notes == ()


def test_names_that_two_classes_share_are_told_apart(root: Path) -> None:
    write_wnids(root / "birds")
    (root / "birds" / "classes.txt").write_text("".join(f"{wnid}\tcrane\n" for wnid in WNIDS))
    assert load(str(root / "birds")).classes == tuple(f"crane ({wnid})" for wnid in WNIDS)


def test_a_list_that_leaves_out_a_class_is_a_stray(root: Path) -> None:
    write_wnids(root / "imagewoof2-160")
    (root / "imagewoof2-160" / "classes.txt").write_text("n01440764\ttench\n")
    data = load("imagewoof")
    assert data.classes == tuple(WNIDS)
    assert data.notes[0].endswith("skipped 1 that are no images by their names: classes.txt")
    assert next(row.path for row in status() if row.name == "imagewoof") == root / "imagewoof2-160"


@pytest.mark.parametrize("name", ["imagenette", "imagewoof", "cub200", "camvid"])
def test_a_folder_that_is_missing_says_where_it_was_looked_for(root: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        load(name)
    for mention in (repr(name), root / name, DATASETS[name].get, "EDGEPRESS_DATA", *DATASETS[name].folders):
        assert str(mention) in str(caught.value)
    row = next(row for row in status() if row.name == name)
    assert (row.path, row.downloads, row.looked[0]) == (None, False, root / name)


def test_cub_is_read_as_it_is_published(root: Path) -> None:
    write_cub(root / "CUB_200_2011")
    data = load("cub200", DataOptions(augment=()))
    assert data.classes == ("Black footed Albatross", "Laysan Albatross", "Red winged Blackbird")
    assert data.see.shape == (3, 48, 48)
    assert data.train.targets.tolist() == data.test.targets.tolist() == [0, 1, 2, 0, 1, 2]
    images = torch.cat([batch.image for batch in data.train.batches(4)])
    assert images[:, 0, 0, 0].sub(torch.tensor([0, 80, 160] * 2)).abs().max() <= 2
    assert load(str(root / "CUB_200_2011")).classes == data.classes


@pytest.mark.parametrize("memory_limit_bytes", [2**30, 0])
def test_the_first_classes_alone(root: Path, memory_limit_bytes: int) -> None:
    write_cub(root / "cub200")
    (root / "cub200" / "classes.txt").unlink()
    data = load("cub200:2", memory_limit_bytes=memory_limit_bytes)
    assert (data.name, data.classes) == ("cub200:2", ("Black footed Albatross", "Laysan Albatross"))
    assert data.train.targets.tolist() == data.test.targets.tolist() == [0, 1, 0, 1]
    assert data.fingerprint != load("cub200", memory_limit_bytes=memory_limit_bytes).fingerprint
    assert len(load("digits:3", DataOptions(size=(8, 8))).classes) == 3


@pytest.mark.parametrize("count", ["", "1", "11", "-2", "two"])
def test_a_number_of_classes_that_there_are_not_is_refused(count: str) -> None:
    with pytest.raises(DataError, match=r"got '.*' classes; give a number from 2 to 10"):
        load(f"digits:{count}")


@pytest.mark.parametrize(
    ("file", "text", "mention"),
    [
        ("train_test_split.txt", "1 1\n", "lists 1 images, not the 12"),
        ("image_class_labels.txt", "1\n", "line '1'"),
        ("images.txt", "".join(f"{key} gone.jpg\n" for key in range(1, 13)), "missing"),
        ("train_test_split.txt", "".join(f"{key} 1\n" for key in range(1, 13)), "without a test image"),
        ("image_class_labels.txt", "".join(f"{key} 1\n" for key in range(1, 13)), "at least 2"),
    ],
)
def test_damaged_lists_of_cub_are_named(root: Path, file: str, text: str, mention: str) -> None:
    write_cub(root / "cub200")
    (root / "cub200" / file).write_text(text)
    with pytest.raises(DataError, match=f"cub200.*{re.escape(mention)}"):
        load("cub200")
