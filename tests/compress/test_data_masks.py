"""Folders of masks: layouts, every mistake by name, and masks that stay with their images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from compress.data import VOID, Batch, DataOptions, Dataset, Split, load
from compress.data import cache as kept_images
from compress.errors import DataError

SIZE = (60, 90)  # height and width of the files
LEGEND = "0\tground\n7 tree\n9\tvoid (ignore)\n"
LIMITS = pytest.mark.parametrize("memory_limit_bytes", [2**30, 0], ids=["memory", "stream"])


def write_pair(root: Path, part: str, name: str, values: np.ndarray, *, palette: bool = False) -> None:
    """A mask of the values and an image whose red is 20 times the value and whose green is 255 minus that."""
    for folder in ("images", "masks"):
        (root / folder / part).mkdir(parents=True, exist_ok=True)
    shade = (values * 20).astype(np.uint8)
    Image.fromarray(np.stack([shade, 255 - shade, shade // 2], axis=-1)).save(root / "images" / part / f"{name}.png")
    mask = Image.fromarray(values)
    if palette:
        mask = Image.frombytes("P", mask.size, values.tobytes())
        mask.putpalette([(37 * number) % 256 for number in range(3 * 10)])
    mask.save(root / "masks" / part / f"{name}.png")


def blocks(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(height, width) uint8: blocks of 10 pixels of the values 0, 7 and 9."""
    coarse = np.random.default_rng(seed).choice(np.array([0, 7, 9], np.uint8), (size[0] // 10, size[1] // 10))
    return coarse.repeat(10, axis=0).repeat(10, axis=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """5, 2 and 3 images with masks of three values, of which 9 is void."""
    root = tmp_path / "streets"
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        for number in range(count):
            write_pair(root, part, f"{number}", blocks(len(part) * 10 + number), palette=number % 2 == 1)
    (root / "classes.txt").write_text(LEGEND)
    return root


def whole(split: Split, **pass_: Any) -> Batch:
    """A pass in one batch."""
    return Batch(*(torch.cat(column) for column in zip(*split.batches(2, **pass_), strict=True)))


def fails(folder: Path, *mentions: object, **options: Any) -> None:
    """`load` raises a DataError whose message holds every one of `mentions`, from memory and streamed."""
    for limit in (2**30, 0):
        with pytest.raises(DataError) as caught:
            load(str(folder), DataOptions(**options), memory_limit_bytes=limit)
        for mention in mentions:
            assert str(mention) in str(caught.value)


def test_a_mask_folder_has_the_classes_of_its_list_without_void(folder: Path) -> None:
    data = load(str(folder), DataOptions(size=(30, 45), augment=()))
    assert data.masks
    assert data.classes == ("ground", "tree")
    assert data.val is not None
    assert [len(split) for split in (data.train, data.val, data.test)] == [5, 2, 3]
    batch = whole(data.test)
    assert (batch.image.shape, batch.target.shape, batch.target.dtype) == ((3, 3, 30, 45), (3, 30, 45), torch.int64)
    assert batch.target.unique().tolist() == [0, 1, VOID]
    assert torch.equal(batch.target, data.test.targets.long())
    assert data.notes == ()
    assert not load("digits").masks


@LIMITS
@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize(("size", "crop"), [((30, 45), 1.0), ((40, 24), 1.0), ((60, 90), 0.5), ((32, 48), 0.8)])
def test_a_mask_is_resized_as_its_image_by_the_nearest_pixel(
    folder: Path, memory_limit_bytes: int, resize: Literal["crop", "stretch"], size: tuple[int, int], crop: float
) -> None:
    options = DataOptions(size=size, resize=resize, crop=crop)
    data = load(str(folder), options, memory_limit_bytes=memory_limit_bytes)
    for name, mask in zip("012", whole(data.test).target, strict=True):
        values = np.asarray(Image.open(folder / "masks" / "test" / f"{name}.png"))
        height, width = data.see.box(values.shape)  # type: ignore[arg-type]
        top, left = round((SIZE[0] - height) / 2), round((SIZE[1] - width) / 2)
        rows, columns = (
            (start + (np.arange(count) + 0.5) * length / count).astype(int)
            for start, length, count in ((top, height, size[0]), (left, width, size[1]))
        )
        expected = np.select([values == 0, values == 7], [0, 1], VOID)[np.ix_(rows, columns)]
        assert (mask.numpy() == expected).mean() > 0.99  # a pixel between two may go either way


@pytest.mark.parametrize("augment", [(), ("flip",), ("crop",), ("flip", "crop")])
def test_images_still_agree_with_their_masks_after_augmentation(folder: Path, augment: tuple[str, ...]) -> None:
    data = load(str(folder), DataOptions(size=SIZE, augment=augment))
    batch = whole(data.train, order=1, view=1, seed=4)
    shades = batch.image[:, 0].long()
    assert torch.equal(batch.target == 0, (shades == 0) & (batch.image[:, 1] == 255))
    assert torch.equal(batch.target == 1, shades == 140)


@pytest.mark.parametrize("augment", [(), ("flip", "crop")])
def test_a_stream_gives_the_same_masks_as_memory(folder: Path, augment: tuple[str, ...]) -> None:
    options = DataOptions(size=(24, 40), augment=augment, fraction=0.8, val_fraction=0.25)
    held, streamed = load(str(folder), options), load(str(folder), options, memory_limit_bytes=0)
    assert held.classes == streamed.classes
    assert streamed.masks
    for one, other in ((held.train, streamed.train), (held.test, streamed.test)):
        assert torch.equal(one.targets, other.targets)
        for column, same in zip(whole(one, order=3, view=2), whole(other, order=3, view=2), strict=True):
            assert torch.equal(column, same)


def test_fractions_of_masks_are_of_all_images(folder: Path) -> None:
    data = load(str(folder), DataOptions(size=(24, 40), fraction=0.8, val_fraction=0.5))
    assert data.val is not None
    assert (len(data.train), len(data.val), len(data.test)) == (2, 2, 3)
    fails(folder, "the 5 training images", "0.2", fraction=0.1)
    fails(folder, "one training image", fraction=0.2, val_fraction=0.5)


def test_val_is_the_test_split_where_there_is_no_test(folder: Path) -> None:
    for kind in ("images", "masks"):
        (folder / kind / "test").rename(folder / kind / ".test")
    data = load(str(folder))
    assert (data.val, len(data.test)) == (None, 2)


def test_without_a_list_the_classes_are_the_values_that_are_found(folder: Path) -> None:
    (folder / "classes.txt").unlink()
    write_pair(folder, "test", "more", np.where(np.eye(20) > 0, 255, 7).astype(np.uint8))
    data = load(str(folder), DataOptions(size=(20, 20)))
    assert data.classes == ("0", "7", "9")
    assert data.notes == (f"{folder}: has no classes.txt, so the classes are the values that its masks hold: 0, 7, 9",)
    assert whole(data.test).target.unique().tolist() == [0, 1, 2, VOID]


def test_a_list_without_values_counts_from_0(folder: Path) -> None:
    names = [f"class {number}" for number in range(9)]
    (folder / "classes.txt").write_text("\n".join([*names, "Unlabelled"]) + "\n\n")
    data = load(str(folder), DataOptions(size=SIZE, augment=()))
    assert data.classes == tuple(names)
    assert whole(data.test).target.unique().tolist() == [0, 7, VOID]


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("0 a\nb\n", ("'b'", "every line", "none")),
        ("0 a\n0 b\n", ("0", "twice")),
        ("0 a\n7 a\n", ("'a'", "twice")),
        ("0 a\n256 b\n", ("256", "0 to 255")),
        ("0 a\n7 b\n255 c\n", ("255", "'c'", "always void")),
        ("0 a\n7 void\n9 ignored\n", ("1 classes", "at least 2")),
        ("", ("0 classes", "at least 2")),
        (b"\xff\xfe", ("UTF-8",)),
    ],
)
def test_a_list_that_is_none_is_refused(folder: Path, text: str | bytes, mentions: tuple[str, ...]) -> None:
    (folder / "classes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    fails(folder, folder / "classes.txt", *mentions)


def test_a_missing_mask_is_named(folder: Path) -> None:
    mask = folder / "masks" / "val" / "1.png"
    mask.rename(mask.with_suffix(".bmp"))
    fails(folder, folder / "images" / "val" / "1.png", mask, "there is masks/val/1.bmp", "PNG")
    mask.with_suffix(".bmp").unlink()
    fails(folder, folder / "images" / "val" / "1.png", "has no mask", mask)


def test_a_mask_of_another_size_is_named(folder: Path) -> None:
    mask = folder / "masks" / "train" / "2.png"
    Image.fromarray(blocks(0, (60, 80))).save(mask)
    fails(folder, mask, "80x60", "90x60")


def test_a_value_outside_the_classes_is_named(folder: Path) -> None:
    mask = folder / "masks" / "test" / "2.png"
    values = blocks(0)
    values[0, 0] = 8
    Image.fromarray(values).save(mask)
    fails(folder, mask, "the value 8", "allowed are 0, 7, 9, 255", "classes.txt")


@pytest.mark.parametrize(("mode", "mentions"), [("RGB", "RGB"), ("I;16", "I;16"), ("1", "1"), ("LA", "LA")])
def test_a_mask_of_other_pixels_is_named(folder: Path, mode: str, mentions: str) -> None:
    mask = folder / "masks" / "train" / "0.png"
    Image.new(mode, SIZE[::-1]).save(mask)
    fails(folder, mask, mentions, "8 bits")


def test_missing_splits_are_named(folder: Path) -> None:
    (folder / "masks" / "test").rename(folder / "masks" / "testing")
    fails(folder, folder / "masks" / "test", "missing", "images/test/")
    (folder / "images" / "test").rename(folder / "images" / "testing")
    (folder / "images" / "val").rename(folder / "images" / "validation")
    fails(folder, "no images/test/ or images/val/", "masks/<split>")
    (folder / "images" / "train").rename(folder / "images" / "training")
    fails(folder, "no images/train/")


def test_an_empty_split_is_named(folder: Path) -> None:
    for image in (folder / "images" / "test").iterdir():
        image.unlink()
    fails(folder, folder / "images" / "test", "holds no image")


def test_two_images_of_one_base_name_are_named(folder: Path) -> None:
    Image.new("RGB", SIZE[::-1]).save(folder / "images" / "train" / "0.jpg")
    fails(folder, "images/train/0.png", "images/train/0.jpg", "same base name")


def test_strays_are_skipped_and_counted(folder: Path) -> None:
    (folder / "images" / "train" / "notes.txt").touch()
    (folder / "masks" / "train" / "Thumbs.db").touch()
    (folder / "masks" / "val" / "9.png").write_bytes((folder / "masks" / "val" / "0.png").read_bytes())
    (note,) = load(str(folder), DataOptions(size=SIZE)).notes
    assert note.endswith(
        "skipped 3 that are no images, or masks of none: images/train/notes.txt, masks/train/Thumbs.db, masks/val/9.png"
    )


def test_a_turned_image_needs_a_mask_that_is_turned_alike(folder: Path) -> None:
    turn = Image.Exif()
    turn[0x0112] = 6
    options = DataOptions(size=SIZE[::-1], augment=())
    for kind in ("images", "masks"):
        path = folder / kind / "test" / "0.png"
        Image.open(path).save(path, exif=turn)
        if kind == "images":
            fails(folder, folder / "masks" / "test" / "0.png", "orientation is 1", "6", "upright")
    batch = whole(load(str(folder), options).test)
    assert torch.equal(batch.target[0] == 1, batch.image[0, 0] == 140)
    assert torch.equal(batch.target[0] == 0, batch.image[0, 1] == 255)
    upright = np.rot90(np.asarray(Image.open(folder / "masks" / "test" / "0.png")), -1)
    assert np.array_equal(batch.target[0] == 1, upright == 7)


def test_the_fingerprint_follows_masks_and_their_meaning(folder: Path) -> None:
    def prints() -> tuple[str, str]:
        options = DataOptions(size=SIZE)
        return load(str(folder), options).fingerprint, load(str(folder), options, memory_limit_bytes=0).fingerprint

    seen = [prints()]
    assert prints() == seen[0]
    (folder / "classes.txt").write_text("7\tground\n0 tree\n9\tvoid\n")
    seen.append(prints())
    (folder / "classes.txt").write_text(LEGEND)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(folder / "masks" / "train" / "0.png")
    seen.append(prints())
    assert len({held for held, _ in seen}) == len({streamed for _, streamed in seen}) == 3


def test_masks_are_kept_with_their_decoded_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path / "root"))
    monkeypatch.setattr(kept_images, "KEPT_FROM_BYTES", 1)

    def read() -> Dataset:
        return load(str(folder), DataOptions(size=(24, 40), augment=()))

    def decode_nothing(*_: object) -> None:
        raise AssertionError("decoded again")

    first = read()
    with monkeypatch.context() as patch:
        patch.setattr(kept_images, "read_listing", decode_nothing)
        second = read()
    assert first.fingerprint == second.fingerprint
    assert all(torch.equal(one, other) for one, other in zip(whole(first.train), whole(second.train), strict=True))
    (folder / "classes.txt").write_text("7\tground\n0 tree\n9\tvoid\n")
    assert torch.equal(whole(read().test).target == 0, whole(first.test).target == 1)


def test_a_damaged_mask_is_named_before_training(folder: Path) -> None:
    mask = folder / "masks" / "train" / "4.png"
    mask.write_bytes(mask.read_bytes()[:60])
    fails(folder, re.sub("^/", "/", str(mask)), "cannot be read")


def test_camvid_is_a_mask_folder_of_that_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "camvid"))):
        load("camvid")
    folder.rename(tmp_path / "camvid")
    data = load("camvid")
    assert (data.name, data.see.size, data.see.channels, data.masks) == ("camvid", (96, 128), 3, True)
    assert data.see.mean == (0.485, 0.456, 0.406)
    assert data.val is not None
    assert (len(data.train), len(data.val), len(data.test)) == (5, 2, 3)
    with pytest.raises(DataError, match="masks"):
        load("camvid:2")
