"""Data sets by name and by path: what they hold, what the options change, and how they are told apart."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets import CIFAR10

from compress.data import DATASETS, DataOptions, Split, data_root, load, status
from compress.preprocessing import Scale


def images(split: Split) -> Tensor:
    return torch.cat([batch.image for batch in split.batches(256)])


def counts(split: Split) -> list[int]:
    return torch.bincount(split.targets).tolist()


def rows(split: Split) -> Counter[bytes]:
    return Counter(image.numpy().tobytes() for image in images(split))


def paint(path: Path, colour: tuple[int, ...] | int, *, mode: str = "RGB", size: tuple[int, int] = (12, 8)) -> None:
    """One image of a single colour; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "fruit"
    for part, count in (("train", 6), ("val", 2), ("test", 3)):
        for name, colour in (("apple", (200, 0, 0)), ("pear", (0, 200, 0))):
            for number in range(count):
                paint(root / part / name / f"{number}.png", tuple(min(255, value + number) for value in colour))
    return root


def test_digits_are_all_there_in_their_fixed_split() -> None:
    data = load("digits")
    assert (data.see.channels, data.see.size, data.classes) == (1, (32, 32), tuple("0123456789"))
    assert counts(data.test) == [44, 46, 44, 46, 45, 46, 45, 45, 44, 45]
    together = [train + test for train, test in zip(counts(data.train), counts(data.test), strict=True)]
    assert together == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert sum(together) == 1797
    assert data.val is None
    assert (len(data.train), len(data.test)) == (DATASETS["digits"].train, DATASETS["digits"].test) == (1347, 450)


def test_digits_at_their_own_size_have_mean_0_and_std_1() -> None:
    data = load("digits", DataOptions(size=(8, 8)))
    train = Scale(data.see.mean, data.see.std)(images(data.train))
    assert train.shape == (1347, 1, 8, 8)
    assert train.mean().item() == pytest.approx(0, abs=2e-3)
    assert train.std().item() == pytest.approx(1, abs=2e-3)


def test_digits_are_in_the_package_before_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    (tmp_path / "digits").mkdir()
    assert len(load("digits").test) == 450


def test_digits_can_be_told_apart_by_their_nearest_neighbour() -> None:
    data = load("digits", DataOptions(size=(8, 8)))
    train, test = (images(split).flatten(1).float() for split in (data.train, data.test))
    nearest = data.train.targets[torch.cdist(test, train).argmin(dim=1)]
    assert (nearest == data.test.targets).float().mean() > 0.97


def test_size_channels_mean_and_std_override() -> None:
    see = load("digits", DataOptions(size=(20, 28), channels=3, mean=(0.0, 0.5, 0.0), std=(1.0, 1.0, 0.5))).see
    assert (see.size, see.channels, see.mean, see.std) == ((20, 28), 3, (0.0, 0.5, 0.0), (1.0, 1.0, 0.5))
    data = load("digits", DataOptions(size=(20, 28), channels=3))
    image = images(data.test)[0]
    assert image.shape == (3, 20, 28)
    assert torch.equal(image, image[:1].expand(3, -1, -1))
    assert data.see.mean == (0.3057,) * 3


def test_rgb_to_grey_goes_by_luminance(folder: Path) -> None:
    data = load(str(folder), DataOptions(channels=1))
    apple, *_, pear = images(data.test).float()
    assert apple.mean().item() == pytest.approx(0.299 * 200, abs=1)
    assert pear.mean().item() == pytest.approx(0.587 * 202 + (1 - 0.587) * 2, abs=1)
    assert data.see.mean == (pytest.approx(0.459, abs=1e-3),)
    assert len(data.see.std) == 1


def test_a_fraction_keeps_its_share_of_every_class() -> None:
    full = load("digits", DataOptions(size=(8, 8)))
    some = load("digits", DataOptions(size=(8, 8), fraction=0.25))
    assert counts(some.train) == [count // 4 for count in counts(full.train)]
    assert counts(some.test) == counts(full.test)
    assert rows(some.train) <= rows(full.train)


def test_a_smaller_fraction_keeps_some_of_what_a_larger_one_keeps() -> None:
    small, large = (load("digits", DataOptions(size=(8, 8), fraction=fraction)) for fraction in (0.1, 0.3))
    assert rows(small.train) < rows(large.train)


def test_the_seed_chooses_the_fraction() -> None:
    one, again, other = (load("digits", DataOptions(size=(8, 8), fraction=0.1, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(images(one.train), images(again.train))
    assert rows(one.train) != rows(other.train)
    assert one.fingerprint == again.fingerprint != other.fingerprint


def test_a_validation_split_is_held_out_of_train_and_not_augmented() -> None:
    full = load("digits", DataOptions(size=(8, 8)))
    data = load("digits", DataOptions(size=(8, 8), val_fraction=0.2))
    assert data.val is not None
    assert data.val.fixed
    assert not data.train.fixed
    assert counts(data.val) == [count // 5 for count in counts(full.train)]
    assert rows(data.train) + rows(data.val) == rows(full.train)
    assert rows(data.test) == rows(full.test)


def test_validation_is_held_out_of_the_fraction_that_is_kept() -> None:
    full = load("digits", DataOptions(size=(8, 8)))
    kept = load("digits", DataOptions(size=(8, 8), fraction=0.5))
    both = load("digits", DataOptions(size=(8, 8), val_fraction=0.2, fraction=0.5))
    assert both.val is not None
    assert rows(both.train) + rows(both.val) == rows(kept.train)
    assert counts(kept.train) == [count // 2 for count in counts(full.train)]
    assert counts(both.val) == [count // 5 for count in counts(kept.train)]


def test_a_folder_has_the_classes_of_its_sub_folders(folder: Path) -> None:
    data = load(str(folder))
    assert (data.name, data.classes, data.see.shape) == ("fruit", ("apple", "pear"), (3, 64, 64))
    assert data.val is not None
    assert [counts(split) for split in (data.train, data.val, data.test)] == [[6, 6], [2, 2], [3, 3]]
    red, *_, green = images(data.test)
    assert torch.equal(red, torch.tensor([200, 0, 0])[:, None, None].expand(3, 64, 64))
    assert torch.equal(green, torch.tensor([2, 202, 2])[:, None, None].expand(3, 64, 64))


def test_a_held_out_split_replaces_the_val_folder(folder: Path) -> None:
    data = load(str(folder), DataOptions(val_fraction=0.5))
    assert data.val is not None
    assert counts(data.val) == [3, 3]
    assert counts(data.train) == [3, 3]


def test_val_is_the_test_split_of_a_folder_without_test(folder: Path) -> None:
    (folder / "test").rename(folder / ".test")
    data = load(str(folder))
    assert data.val is None
    assert counts(data.test) == [2, 2]


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    root = tmp_path / "coins"
    for name, count in (("euro", 20), ("yen", 7)):
        for number in range(count):
            paint(root / name / f"{number}.png", (number, len(name), 9))
    return root


def test_a_folder_of_classes_gets_a_test_split_that_only_its_names_decide(flat: Path) -> None:
    data = load(str(flat))
    assert (data.classes, data.val, counts(data.train), counts(data.test)) == (("euro", "yen"), None, [16, 6], [4, 1])
    assert sum((rows(data.train) + rows(data.test)).values()) == 27
    other = load(str(flat), DataOptions(seed=5, fraction=0.5))
    assert rows(other.test) == rows(data.test)
    streamed = load(str(flat), memory_limit_bytes=0)
    assert torch.equal(images(streamed.test), images(data.test))
    paint(flat / "yen" / "7.png", (7, 3, 9))
    grown = load(str(flat))
    assert rows(data.test) - rows(grown.test) == Counter()
    assert grown.fingerprint != data.fingerprint


def test_a_folder_says_what_was_decided_about_it(flat: Path, folder: Path) -> None:
    share, size = load(str(flat)).notes
    assert "20% of each class are the test split" in share
    assert "--seed" in share
    assert size == "coins: images of a folder are prepared at 64x64; --size changes it"
    assert load(str(folder), DataOptions(size=(64, 64))).notes == ()
    assert load(str(folder), see=load("digits").see).notes == ()
    assert load("digits").notes == ()


def test_class_names_are_kept_as_they_are(flat: Path) -> None:
    (flat / "yen").rename(flat / "\x1b[2Jyen")
    assert load(str(flat)).classes == ("\x1b[2Jyen", "euro")


def test_stray_files_are_skipped_and_counted(flat: Path) -> None:
    before = load(str(flat))
    for file in ("README.txt", "euro/Thumbs.db", "yen/.DS_Store", "yen/notes.md"):
        (flat / file).write_bytes(b"none")
    (flat / "yen" / "old").mkdir()
    data = load(str(flat))
    (new,) = set(data.notes) - set(before.notes)
    assert new.endswith(
        "skipped 4 that are no images by their names: README.txt, euro/Thumbs.db, yen/notes.md and 1 more"
    )
    assert data.fingerprint == before.fingerprint


def test_a_held_out_split_has_one_image_of_a_small_class(folder: Path) -> None:
    data = load(str(folder), DataOptions(val_fraction=0.01))
    assert data.val is not None
    assert counts(data.val) == [1, 1]


@pytest.mark.parametrize("memory_limit_bytes", [2**30, 0])
def test_images_of_many_kinds_are_read(tmp_path: Path, memory_limit_bytes: int) -> None:
    for name in ("left", "right"):
        paint(tmp_path / "train" / name / "0.png", (10, 20, 30))
    shades: list[tuple[str, str, tuple[int, ...] | int]] = [
        ("0-grey.png", "L", 100),
        ("1-binary.png", "1", 1),
        ("2-palette.gif", "P", 0),
        ("3-alpha.png", "RGBA", (50, 100, 150, 128)),
        ("4-grey-alpha.png", "LA", (60, 128)),
        ("5-photo.jpg", "RGB", (90, 90, 90)),
        ("6-photo.JPEG", "L", 40),
        ("7.bmp", "RGB", (1, 2, 3)),
        ("8.webp", "RGB", (80, 80, 80)),
        ("9-print.jpg", "CMYK", (0, 0, 0, 55)),
    ]
    for file, mode, colour in shades:
        paint(tmp_path / "test" / "left" / file, colour, mode=mode)
    (tmp_path / "test" / "left" / ".DS_Store").write_bytes(b"\0")
    paint(tmp_path / "test" / "right" / "0.png", 5, mode="L")
    data = load(str(tmp_path), DataOptions(size=(8, 8)), memory_limit_bytes=memory_limit_bytes)
    colours = images(data.test).float().mean((2, 3)).round()
    expected = [100, 255, 0, None, 60, 90, 40, None, 80, 200, 5]
    for colour, value in zip(colours, expected, strict=True):
        if value is not None:
            assert (colour - value).abs().max() <= 2
    assert colours[3].tolist() == [50, 100, 150]
    assert colours[7].tolist() == [1, 2, 3]


def test_evaluation_takes_the_middle_and_training_stands_upright(tmp_path: Path) -> None:
    wide = np.zeros((10, 30), dtype=np.uint8)
    wide[:, 10:20] = 255
    turned = Image.fromarray(np.repeat(np.arange(10, dtype=np.uint8)[:, None] * 20, 10, axis=1))
    exif = Image.Exif()
    exif[0x0112] = 6
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(wide).save(tmp_path / part / name / "wide.png")
            turned.save(tmp_path / part / name / "turned.png", exif=exif)
    data = load(str(tmp_path), DataOptions(size=(10, 10), channels=1))
    upright, middle = images(data.test)[:2]
    assert (middle == 255).all()
    assert torch.equal(upright[0], (torch.arange(9, -1, -1) * 20).expand(10, 10))


@pytest.mark.parametrize(
    ("mode", "file"),
    [
        ("L", "0.png"),
        ("RGB", "0.jpg"),
        ("RGBA", "0.png"),
        ("LA", "0.png"),
        ("P", "0.png"),
        ("CMYK", "0.jpg"),
        ("1", "0.tif"),
        ("RGB", "0.webp"),
    ],
)
@pytest.mark.parametrize("resize", ["crop", "stretch"])
def test_a_photo_is_seen_as_pillow_shows_it(
    tmp_path: Path, mode: str, file: str, resize: Literal["crop", "stretch"]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (50, 31, 3), dtype=np.uint8)
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(noise).convert(mode).save(tmp_path / part / name / file, exif=exif)
    for channels, crop in ((3, 1.0), (1, 0.8)):
        data = load(str(tmp_path), DataOptions((24, 40), channels, resize=resize, crop=crop))
        with Image.open(tmp_path / "test" / "a" / file) as opened:
            photo = ImageOps.exif_transpose(opened).convert("RGB").convert("RGB" if channels == 3 else "L")
        width, height = (50, 30) if resize == "crop" else (50, 31)
        width, height = round(width * crop), round(height * crop)
        left, top = round((50 - width) / 2), round((31 - height) / 2)
        seen = photo.resize((40, 24), Image.Resampling.BILINEAR, (left, top, left + width, top + height))
        expected = np.asarray(seen).reshape(24, 40, channels).transpose(2, 0, 1)
        assert np.array_equal(images(data.test)[0].numpy(), expected)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    paint(tmp_path / "a" / "0.png", (50, 100, 150, 0), mode="RGBA")
    paint(tmp_path / "a" / "1.png", (60, 0), mode="LA")
    palette = Image.new("P", (12, 8), 1)
    palette.putpalette([0, 0, 0, 9, 99, 199])
    palette.save(tmp_path / "a" / "2.png", transparency=bytes([255, 0]))
    paint(tmp_path / "b" / "0.png", 0, mode="L")
    paint(tmp_path / "b" / "1.png", 0, mode="L")
    data = load(str(tmp_path), DataOptions(size=(8, 8)))
    colours = {tuple(image[:, 0, 0].tolist()) for split in (data.train, data.test) for image in images(split)}
    assert colours == {(50, 100, 150), (60, 60, 60), (9, 99, 199), (0, 0, 0)}


def test_a_very_long_image_costs_no_more_than_its_middle(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            paint(tmp_path / part / name / "line.png", 9, mode="L", size=(30000, 1))
    data = load(str(tmp_path), DataOptions(size=(256, 256)))
    assert images(data.test).shape == (2, 3, 256, 256)


def test_fashion_mnist_is_read_from_torchvisions_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fashion_mnist(tmp_path)
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    data = load("fashion-mnist")
    assert (data.see.shape, len(data.classes), data.train.fixed) == ((1, 32, 32), 10, True)
    assert (len(data.train), len(data.test)) == (40, 20)
    image = images(data.train)[7, 0]
    assert (image[2:30, 2:30] == 7).all()
    assert image.sum() == 7 * 28 * 28
    unpadded = load("fashion-mnist", DataOptions(size=(28, 28)))
    assert images(unpadded.test).shape == (20, 1, 28, 28)
    assert next(row for row in status() if row.name == "fashion-mnist").path == tmp_path / "FashionMNIST" / "raw"


def write_fashion_mnist(root: Path) -> None:
    """Tiny files of torchvision's layout: image n is all n, of class n modulo 10."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 20)):
        pixels = np.repeat(np.arange(count, dtype=np.uint8), 28 * 28)
        header = b"".join(value.to_bytes(4, "big") for value in (0x803, count, 28, 28))
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = b"".join(value.to_bytes(4, "big") for value in (0x801, count))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def test_cifar10_is_read_from_torchvisions_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    data = load("cifar10")
    assert (len(data.train), len(data.test), data.see.shape) == (50, 10, (3, 32, 32))
    assert data.classes[:2] == ("airplane", "automobile")
    assert counts(data.train) == [5] * 10
    assert images(data.test)[4].float().mean((1, 2)).tolist() == [4, 104, 204]


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny batches of torchvision's layout: image n of each has the colour (n, n + 100, n + 200) and the class n."""
    folder = root / CIFAR10.base_folder
    folder.mkdir()
    colours = np.arange(10)[:, None] + np.array([0, 100, 200])
    batch = {"data": np.repeat(colours, 1024, axis=1).astype(np.uint8), "labels": list(range(10))}
    sums = {}
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
        meta = {"label_names": ["airplane", "automobile", *"cdefghij"]}
        (folder / name).write_bytes(pickle.dumps(meta if name == "batches.meta" else batch))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in sums if name.startswith("data")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})


def test_a_named_set_prefers_an_image_folder_of_its_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fashion_mnist(tmp_path)
    folder.rename(tmp_path / "fashion-mnist")
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    data = load("fashion-mnist")
    assert (data.name, data.classes, data.see.shape) == ("fashion-mnist", ("apple", "pear"), (1, 32, 32))


def test_the_fingerprint_follows_images_labels_and_preprocessing(folder: Path) -> None:
    base = load(str(folder)).fingerprint
    assert base == load(str(folder), DataOptions(seed=3)).fingerprint
    assert len({base, *(load(str(folder), options).fingerprint for options in OTHERWISE)}) == 1 + len(OTHERWISE)
    paint(folder / "train" / "pear" / "0.png", (1, 2, 3))
    assert load(str(folder)).fingerprint != base


OTHERWISE = [
    DataOptions(size=(24, 40)),
    DataOptions(size=(40, 24)),
    DataOptions(size=(24, 40), resize="stretch"),
    DataOptions(augment=()),
    DataOptions(mean=(0.5,) * 3),
    DataOptions(fraction=0.5),
]


def test_a_streamed_fingerprint_does_not_depend_on_where_the_folder_lies(folder: Path, tmp_path: Path) -> None:
    base = load(str(folder), memory_limit_bytes=0).fingerprint
    moved = folder.rename(tmp_path / "moved")
    assert load(str(moved), memory_limit_bytes=0).fingerprint == base
    paint(moved / "test" / "pear" / "more.png", (0, 0, 0))
    assert load(str(moved), memory_limit_bytes=0).fingerprint != base


def test_the_data_root_is_the_environments_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("EDGEPRESS_DATA")
    assert data_root() == Path.home() / ".cache" / "edgepress" / "data"


def test_status_says_what_is_there_and_where_it_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    by_name = {row.name: row for row in status()}
    assert list(by_name) == list(DATASETS)
    assert by_name["digits"].path is not None
    assert by_name["cifar10"].path is None
    assert by_name["cifar10"].looked == (tmp_path / "cifar10", tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar10").mkdir()
    assert next(row for row in status() if row.name == "cifar10").path == tmp_path / "cifar10"


def test_status_does_without_torch() -> None:
    code = "import sys; from compress.data import status; status(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
