"""Decoded folders: kept for the next command, the same bits as decoded anew, and never a reason to fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from compress.data import DataOptions, Dataset, cache, load

SIZE = (20, 28)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """More than a megabyte of noise, and a data root of its own."""
    chance = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 6)):
        for name in ("ant", "bee"):
            folder = tmp_path / "noise" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(chance.integers(0, 256, (190, 180, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    monkeypatch.setenv("EDGEPRESS_DATA", str(tmp_path / "root"))
    return tmp_path / "noise"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many files were decoded since the last call."""
    read, counted = cache.read_listing, [0]

    def count(listing, see):  # type: ignore[no-untyped-def]
        counted[0] += len(listing.files)
        return read(listing, see)

    def since() -> int:
        done, counted[0] = counted[0], 0
        return done

    monkeypatch.setattr(cache, "read_listing", count)
    return since


def pixels(data: Dataset) -> Tensor:
    return torch.cat([batch.image for split in (data.train, data.test) for batch in split.batches(64)])


def kept(folder: Path) -> list[Path]:
    return sorted((folder.parent / "root" / ".decoded").glob("*"))


def test_the_second_command_decodes_nothing_and_sees_the_same(folder: Path, decoded: Callable[[], int]) -> None:
    first = load(str(folder), DataOptions(size=SIZE))
    assert decoded() == 28
    second = load(str(folder), DataOptions(size=SIZE))
    assert decoded() == 0
    assert second.fingerprint == first.fingerprint
    assert torch.equal(pixels(first), pixels(second))
    assert len(kept(folder)) == 2
    assert torch.equal(pixels(load(str(folder), DataOptions(size=SIZE), memory_limit_bytes=0)), pixels(second))


def test_what_is_held_out_of_a_folder_that_is_kept_is_not_decoded_again(
    folder: Path, decoded: Callable[[], int]
) -> None:
    load(str(folder), DataOptions(size=SIZE))
    decoded()
    data = load(str(folder), DataOptions(size=SIZE, val_fraction=0.25, seed=3))
    assert decoded() == 0
    assert data.val is not None
    assert (len(data.train), len(data.val)) == (12, 4)


def test_augmentation_does_not_reach_what_is_kept(folder: Path) -> None:
    load(str(folder), DataOptions(size=SIZE))
    before = [path.read_bytes() for path in kept(folder)]
    data = load(str(folder), DataOptions(size=SIZE, augment=("flip", "crop")))
    for batch in data.train.batches(8, order=0, view=0):
        batch.image.zero_()
    assert [path.read_bytes() for path in kept(folder)] == before


def test_an_image_or_a_rule_that_changed_is_decoded_anew(folder: Path, decoded: Callable[[], int]) -> None:
    load(str(folder), DataOptions(size=SIZE))
    decoded()
    for options in (
        DataOptions(size=(28, 20)),
        DataOptions(size=SIZE, channels=1),
        DataOptions(size=SIZE, resize="stretch"),
        DataOptions(size=SIZE, crop=0.5),
    ):
        load(str(folder), options)
        assert decoded() == 28
    load(str(folder), DataOptions(size=SIZE, mean=(0.5,) * 3, augment=()))
    assert decoded() == 0
    image = folder / "train" / "ant" / "0.png"
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    changed = load(str(folder), DataOptions(size=SIZE))
    assert decoded() == 16
    assert torch.equal(pixels(changed), pixels(load(str(folder), DataOptions(size=SIZE), memory_limit_bytes=0)))


@pytest.mark.parametrize("damage", [lambda _: b"", lambda raw: raw[:-9], lambda raw: raw[:-9] + b"\7" * 9])
def test_what_is_damaged_is_decoded_anew(
    folder: Path, decoded: Callable[[], int], damage: Callable[[bytes], bytes]
) -> None:
    first = load(str(folder), DataOptions(size=SIZE))
    whole = [path.read_bytes() for path in kept(folder)]
    expected = pixels(first)
    del first
    decoded()
    for path in kept(folder):
        raw = damage(path.read_bytes())
        path.unlink()
        path.write_bytes(raw)
    assert torch.equal(pixels(load(str(folder), DataOptions(size=SIZE))), expected)
    assert decoded() == 28
    assert [path.read_bytes() for path in kept(folder)] == whole


def test_a_place_that_cannot_be_written_is_no_error(folder: Path, decoded: Callable[[], int]) -> None:
    (folder.parent / "root").touch()
    for _ in range(2):
        assert len(load(str(folder), DataOptions(size=SIZE)).test) == 12
        assert decoded() == 28


def test_nothing_is_kept_where_that_is_switched_off(
    folder: Path, decoded: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", "off")
    for _ in range(2):
        load(str(folder), DataOptions(size=SIZE))
        assert decoded() == 28
    assert kept(folder) == []


def test_small_folders_are_not_kept(folder: Path) -> None:
    for image in folder.rglob("*.png"):
        Image.new("L", (8, 8)).save(image)
    load(str(folder), DataOptions(size=SIZE))
    assert kept(folder) == []


def test_what_was_not_used_for_the_longest_time_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(str(folder), DataOptions(size=SIZE))
    old = kept(folder)
    for path in old:
        os.utime(path, (1, 1))
    load(str(folder), DataOptions(size=(8, 8)))
    assert set(old) < set(kept(folder))
    bytes_kept = sum(path.stat().st_size for path in kept(folder))
    monkeypatch.setattr(cache, "MOST_BYTES", bytes_kept - 100)
    load(str(folder), DataOptions(size=(4, 4)))
    assert len(set(old) & set(kept(folder))) < 2
    assert sum(path.stat().st_size for path in kept(folder)) <= bytes_kept - 100


def test_what_a_killed_process_left_is_removed_after_a_day(folder: Path) -> None:
    new, old = (folder.parent / "root" / ".decoded" / f".{name}.partial" for name in ("new", "old"))
    for left in (new, old):
        left.mkdir(parents=True)
        (left / "images.safetensors").touch()
    os.utime(old, (1, 1))
    load(str(folder), DataOptions(size=SIZE))
    assert new.exists()
    assert not old.exists()
