"""Bad data: each mistake ends in a DataError that names the place and the way out, before training starts."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from compress.data import DATASETS, DataOptions, load
from compress.data.folder import scan
from compress.data.found import Listing
from compress.data.split import StreamSplit
from compress.errors import DataError
from compress.preprocessing import Preprocessing

LIMITS = pytest.mark.parametrize("memory_limit_bytes", [2**30, 0], ids=["memory", "stream"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "fruit"
    for part in ("train", "test"):
        for name in ("apple", "pear"):
            (root / part / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (40, 40), (number * 9, 9, 9)).save(root / part / name / f"{number}.jpg")
    return root


def fails(name_or_path: object, *mentions: object, **options: Any) -> None:
    """`load` raises a DataError whose message holds every one of `mentions`."""
    with pytest.raises(DataError) as caught:
        load(str(name_or_path), DataOptions(**options))
    for mention in mentions:
        assert str(mention) in str(caught.value)


@pytest.mark.parametrize("name", ["fashion-mnits", "mnist", "digit", ""])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    fails(name, repr(name), *DATASETS, "train/<class>/*")


def test_an_unknown_name_suggests_the_nearest() -> None:
    fails("fashion-mnits", "Did you mean 'fashion-mnist'?")


def test_a_path_must_exist_and_be_a_folder(tmp_path: Path) -> None:
    fails(tmp_path / "nothing", tmp_path / "nothing", "does not exist")
    fails("./nothing", "does not exist")
    (tmp_path / "file.zip").write_bytes(b"PK")
    fails(tmp_path / "file.zip", tmp_path / "file.zip", "is a file", "train/<class>/*")


def test_a_folder_needs_train_and_test_or_val(folder: Path) -> None:
    (folder / "test").rename(folder / "testing")
    fails(folder, folder, "no test/ or val/")
    (folder / "testing").rename(folder / "val")
    (folder / "train").rename(folder / "training")
    fails(folder, folder, "no train/")


def test_a_folder_one_too_high_or_with_other_parts_says_what_is_in_it(folder: Path, tmp_path: Path) -> None:
    fails(tmp_path, "1 class folders", f"did you mean {folder}?")
    (folder / "test").rename(folder / "testing")
    (folder / "train").rename(folder / "training")
    fails(folder, folder / "testing", "the folder testing/apple", "directly", "train/<class>/*")
    fails(folder / "training" / "apple", "0 class folders", "<class>/* alone")


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_class_folder_is_named(folder: Path, part: str) -> None:
    for image in (folder / part / "pear").iterdir():
        image.unlink()
    (folder / part / "pear" / ".hidden.png").touch()
    (folder / part / "pear" / "notes.txt").touch()
    fails(folder, folder / part / "pear", "no image", ".png")


def test_classes_that_differ_are_named(folder: Path) -> None:
    (folder / "test" / "pear").rename(folder / "test" / "quince")
    fails(folder, folder / "test", "has no 'pear'", "'quince' is not in train/")


def test_one_class_is_too_few(folder: Path) -> None:
    for part in ("train", "test"):
        (folder / part / "pear").rename(folder / f"{part}-pear")
    fails(folder, folder / "train", "1 class folders", "at least 2")


@LIMITS
@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 hardly a jpeg"])
def test_a_corrupt_image_is_named_before_training(folder: Path, content: bytes, memory_limit_bytes: int) -> None:
    path = folder / "train" / "pear" / "2.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(path))):
        load(str(folder), memory_limit_bytes=memory_limit_bytes)


def test_an_image_cut_short_is_named_before_training_from_memory(folder: Path) -> None:
    path = folder / "test" / "pear" / "2.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    fails(folder, path, "truncated")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_cut_short_is_named_when_a_stream_meets_it(folder: Path, workers: int) -> None:
    path = folder / "train" / "pear" / "2.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    train = scan(folder).train
    assert isinstance(train, Listing)
    see = Preprocessing((16, 16), 3, mean=(0.5,) * 3, std=(0.5,) * 3)
    split = StreamSplit(train, see, workers=workers)
    with pytest.raises(DataError) as caught:
        list(split.batches(3, order=0, view=0))
    assert str(caught.value).startswith(f"{path}: cannot be read as an image")


@LIMITS
@pytest.mark.parametrize("side", [13300, 90000])
@pytest.mark.filterwarnings("default")
def test_an_image_that_would_fill_the_memory_is_refused(folder: Path, side: int, memory_limit_bytes: int) -> None:
    path = folder / "train" / "apple" / "bomb.ppm"
    path.write_bytes(f"P6 {side} {side} 255\n".encode())
    with pytest.raises(DataError, match=f"{re.escape(str(path))}.*decompression bomb"):
        load(str(folder), memory_limit_bytes=memory_limit_bytes)


def test_a_program_that_is_called_like_an_image_is_not_run(folder: Path) -> None:
    path = folder / "train" / "apple" / "page.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    fails(folder, path, "cannot be read as an image")


def test_images_have_one_channel_or_three() -> None:
    see = Preprocessing((8, 8), 4, mean=(0.0,) * 4, std=(1.0,) * 4)
    with pytest.raises(DataError, match="1 or 3 channels; the network sees 4"):
        load("digits", see=see)


def test_sixteen_bits_are_refused_and_not_clipped(folder: Path) -> None:
    path = folder / "train" / "apple" / "deep.png"
    Image.new("I;16", (8, 8), 40000).save(path)
    fails(folder, path, "I;16", "8 bits")


def test_a_folder_that_is_called_like_an_image_is_named(folder: Path) -> None:
    (folder / "train" / "apple" / "green.png").mkdir()
    fails(folder, folder / "train" / "apple" / "green.png", "not an image file")


def test_a_class_whose_name_is_not_utf_8_is_named(folder: Path) -> None:
    for part in ("train", "test"):
        (folder / part / "apple").rename(os.fsdecode(os.fsencode(folder / part) + b"/\xffapple"))
    fails(folder, folder / "train", r"b'\xffapple'", "UTF-8", "rename")


def test_a_class_of_one_image_cannot_be_split_by_itself(folder: Path) -> None:
    for number in range(3):
        (folder / "train" / "pear" / f"{number}.jpg").unlink()
    fails(folder / "train", folder / "train" / "pear", "one image", "train/ and test/")


def test_a_link_to_nowhere_is_named(folder: Path) -> None:
    (folder / "train" / "apple" / "gone.png").symlink_to(folder / "nowhere.png")
    fails(folder, folder / "train" / "apple" / "gone.png")


def test_a_fraction_that_empties_a_class_names_it_and_one_that_works(folder: Path) -> None:
    fails(folder, "0.2", "'apple'", "0.25", fraction=0.2)
    assert len(load(str(folder), DataOptions(fraction=0.25)).train) == 2


def test_the_fraction_that_works_is_that_of_the_smallest_class(folder: Path) -> None:
    (folder / "train" / "pear" / "0.jpg").unlink()
    fails(folder, "0.334", fraction=0.2)
    assert len(load(str(folder), DataOptions(fraction=0.334)).train) == 2


def test_a_class_of_one_image_has_none_to_hold_out(folder: Path) -> None:
    for number in range(3):
        (folder / "train" / "pear" / f"{number}.jpg").unlink()
    fails(folder, "validation", "'pear'", "one training image", val_fraction=0.5)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("fraction", 0.0),
        ("fraction", -0.5),
        ("fraction", 1.01),
        ("fraction", float("nan")),
        ("val_fraction", 1.0),
        ("val_fraction", -0.1),
        ("val_fraction", float("nan")),
        ("size", (0, 32)),
        ("size", (32, -32)),
        ("size", (5000, 32)),
        ("channels", 2),
        ("channels", 0),
        ("channels", 4),
    ],
)
def test_an_option_out_of_range_says_what_came_and_what_is_allowed(option: str, value: object) -> None:
    with pytest.raises(DataError) as caught:
        DataOptions(**{option: value})  # type: ignore[arg-type]
    came = "x".join(map(str, value)) if isinstance(value, tuple) else value
    assert f"got {came}" in str(caught.value)


def test_an_unknown_augmentation_suggests_the_nearest() -> None:
    with pytest.raises(DataError, match="Did you mean 'flip'"):
        DataOptions(augment=("flop",))


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_a_std_is_finite_and_above_0(std: float) -> None:
    fails("digits", "std", f"got ({std},)", std=(std,))


@pytest.mark.parametrize("option", ["mean", "std"])
def test_mean_and_std_need_one_value_a_channel(option: str) -> None:
    fails("digits", option, "got 3 values for 1 channels", **{option: (0.5, 0.5, 0.5)})


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data root, and downloads that go to a port where nothing listens."""
    from torchvision.datasets import CIFAR10, FashionMNIST

    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("name", "files"), [("fashion-mnist", "FashionMNIST/raw"), ("cifar10", "cifar-10-batches-py")])
def test_without_a_network_a_named_set_says_where_it_looked(offline: Path, name: str, files: str) -> None:
    fails(name, repr(name), "download", offline / name, offline / files, "EDGEPRESS_DATA", "train/<class>/*")


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10"])
def test_torchvisions_files_that_are_damaged_are_named(offline: Path, name: str) -> None:
    for file in DATASETS[name].files:
        (offline / file).parent.mkdir(parents=True, exist_ok=True)
        (offline / file).write_bytes(b"\0\0\x08\x03\0\0")
    fails(name, DATASETS[name].home, "damaged", "remove it")


def test_a_data_root_that_cannot_be_written_is_named(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (offline / "file").touch()
    monkeypatch.setenv("EDGEPRESS_DATA", str(offline / "file"))
    fails("cifar10", offline / "file", "download")
