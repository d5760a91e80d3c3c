"""Every augmentation: the same view whatever asks for it, masks that follow their images, targets that are mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from compress.data import AUGMENTATIONS, VOID, Batch, DataOptions, Split, load
from compress.data.augment import draw_view
from compress.data.decode import read_listing
from compress.data.folder import scan
from compress.data.found import Listing, Pixels
from compress.data.prepare import OF_CLASSES_ALONE
from compress.data.split import MemorySplit, StreamSplit
from compress.errors import DataError
from compress.preprocessing import Preprocessing

SIZE = (20, 36)
SEE = Preprocessing(SIZE, 3, mean=(0.5,) * 3, std=(0.25,) * 3)
GREY = Preprocessing(SIZE, 1, mean=(0.5,), std=(0.25,))
LISTS = [*((name,) for name in AUGMENTATIONS), ("flip", "crop", "color", "mixup"), ("stagewise", "cutmix")]
EVERY_LIST = pytest.mark.parametrize("augment", LISTS, ids=",".join)
GEOMETRY = [("flip",), ("crop",), ("resized-crop",), ("indistill",), ("stagewise",), ("flip", "crop", "resized-crop")]


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    root = tmp_path_factory.mktemp("photos")
    chance = np.random.default_rng(0)
    for part in ("train", "test"):
        for name, count in (("ant", 12), ("bee", 11)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                coarse = chance.integers(0, 256, (5, 9, 3), dtype=np.uint8)
                Image.fromarray(coarse).resize((36, 20), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.png")
    train = scan(root).train
    assert isinstance(train, Listing)
    return train


@pytest.fixture(scope="module")
def pixels(listing: Listing) -> Pixels:
    return read_listing(listing, SEE)


def whole(split: Split, batch_size: int = 64, **pass_: Any) -> Batch:
    """A pass in one batch, by position."""
    batches = split.batches(batch_size, **{"view": 3, "seed": 5, **pass_})
    batch = Batch(*(torch.cat(column) for column in zip(*batches, strict=True)))
    return Batch(*(column[batch.index.argsort()] for column in batch))


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(column, again) for column, again in zip(one, other, strict=True))


@EVERY_LIST
def test_a_view_is_that_of_its_image_in_any_batch_order_shard_and_process(
    listing: Listing, pixels: Pixels, augment: tuple[str, ...]
) -> None:
    split = MemorySplit(pixels, SEE, augment, classes=2)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    expected = whole(split)
    assert torch.equal(state, torch.get_rng_state())
    assert same(expected, whole(split))
    for batch_size in (1, 3, 7, 16):
        assert same(expected, whole(split, batch_size))
        assert same(expected, whole(split, batch_size, order=2, even=False))
    shards = [whole(split, 4, order=1, shard=(rank, 3), even=False) for rank in range(3)]
    for shard in shards:
        assert same(Batch(*(column[shard.index] for column in expected)), shard)
    for workers in (0, 1):
        assert same(
            expected, whole(StreamSplit(listing, SEE, augment, classes=2, workers=workers), 5, order=4, even=False)
        )


@EVERY_LIST
def test_threads_change_no_bit(pixels: Pixels, augment: tuple[str, ...]) -> None:
    big = F.interpolate(pixels.images.float(), size=(230, 250), mode="nearest").to(torch.uint8)
    see = Preprocessing((230, 250), 3, mean=(0.5,) * 3, std=(0.25,) * 3)
    split = MemorySplit(Pixels(big, pixels.targets, True), see, augment, classes=2)
    expected, threads = whole(split), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert same(expected, whole(split, 3))
    finally:
        torch.set_num_threads(threads)


@EVERY_LIST
def test_views_and_seeds_differ_and_a_pass_without_a_view_is_plain(pixels: Pixels, augment: tuple[str, ...]) -> None:
    split = MemorySplit(pixels, SEE, augment, classes=2)
    assert not split.fixed
    images = [whole(split, view=view, seed=seed).image for view, seed in ((0, 0), (1, 0), (0, 1))]
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])
    plain = whole(split, view=None)
    assert torch.equal(plain.image, pixels.images)
    assert torch.equal(plain.target, pixels.targets)


@EVERY_LIST
def test_grey_images_are_varied_too(pixels: Pixels, augment: tuple[str, ...]) -> None:
    split = MemorySplit(Pixels(pixels.images[:, :1].contiguous(), pixels.targets, True), GREY, augment, classes=2)
    batch = whole(split)
    assert batch.image.shape == (23, 1, *SIZE)
    assert batch.image.dtype == torch.uint8
    assert not torch.equal(batch.image, pixels.images[:, :1])


@pytest.mark.parametrize("augment", GEOMETRY, ids=",".join)
@pytest.mark.parametrize("size", [(48, 80), (64, 64)])
def test_masks_follow_their_images(augment: tuple[str, ...], size: tuple[int, int]) -> None:
    chance = torch.Generator().manual_seed(1)
    coarse = torch.randint(0, 5, (40, size[0] // 16, size[1] // 16), generator=chance)
    masks = coarse.repeat_interleave(16, 1).repeat_interleave(16, 2)
    images = (30 + 40 * masks)[:, None].expand(-1, 3, -1, -1).to(torch.uint8).contiguous()
    see = Preprocessing(size, 3, mean=(0.5,) * 3, std=(0.25,) * 3)
    batch = whole(MemorySplit(Pixels(images, masks.to(torch.uint8), True), see, augment))
    assert batch.target.dtype == torch.int64
    inner = away_from_edges(batch.target) & (batch.target != VOID)
    assert inner.float().mean() > 0.1
    for image, mask, sure in zip(batch.image[:, 0].long(), batch.target, inner, strict=True):
        shades = [image[sure & (mask == label)] for label in mask[sure].unique()]  # the light may have changed them
        assert max(int(shade.max() - shade.min()) for shade in shades) <= 1
        levels = torch.stack([shade[0] for shade in shades])
        assert (levels.diff() > 20).all()
        if "stagewise" not in augment:
            assert levels.tolist() == [30 + 40 * int(label) for label in mask[sure].unique()]
    assert not torch.equal(batch.target, masks)
    void = (batch.target == VOID).float().mean()
    assert void == 0 if augment in (("flip",), ("resized-crop",)) else 0 < void < 0.3


def away_from_edges(masks: Tensor) -> Tensor:
    """(B, H, W) bool: where all 9 x 9 pixels around are there and have one value."""
    values = masks[:, None].float()
    most, least = F.max_pool2d(values, 9, 1, 4), -F.max_pool2d(-values, 9, 1, 4)
    return F.pad((most == least)[:, 0, 4:-4, 4:-4], (4, 4, 4, 4))


def test_light_leaves_masks_alone() -> None:
    masks = torch.arange(4 * 20 * 36).remainder(7).view(4, *SIZE).to(torch.uint8)
    images = torch.full((4, 3, *SIZE), 90, dtype=torch.uint8)
    batch = whole(MemorySplit(Pixels(images, masks, True), SEE, ("color",)))
    assert torch.equal(batch.target, masks.long())
    assert not torch.equal(batch.image, images)


def test_color_is_contrast_then_brightness_then_saturation() -> None:
    images = torch.randint(0, 256, (6, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = whole(MemorySplit(Pixels(images, torch.zeros(6).long(), True), SEE, ("color",))).image
    (light,) = draw_view(("color",), SIZE, 6, seed=5, epoch=3).lights
    assert light.saturation is not None
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]
    for position, image in enumerate(images.double()):
        contrast, brightness, saturation = (
            float(factor[position, 0]) for factor in (light.contrast, light.brightness, light.saturation)
        )
        assert all(0.6 <= factor <= 1.4 for factor in (contrast, brightness, saturation))
        mean = (image * weights).sum(0).mean()
        changed = (contrast * image + (1 - contrast) * mean).clamp(0, 255)
        changed = (brightness * changed).clamp(0, 255).round()
        grey = (changed * weights).sum(0)
        expected = (saturation * changed + (1 - saturation) * grey).clamp(0, 255)
        assert (found[position] - expected).abs().max() <= 1


def test_the_papers_preset_of_indistill_is_flip_and_a_crop_of_4_pixels() -> None:
    at_32 = [load("digits", DataOptions(augment=augment)).train for augment in (("indistill",), ("flip", "crop"))]
    one, other = (whole(split).image for split in at_32)
    assert torch.equal(one, other)
    corners = draw_view(("indistill",), (96, 96), 500, seed=0, epoch=0).crops
    assert corners is not None
    assert (corners.corner.min(), corners.corner.max()) == (0, 8)


def test_the_papers_preset_of_stagewise_stays_in_its_ranges_and_does_not_flip() -> None:
    view = draw_view(("stagewise",), (64, 64), 2000, seed=0, epoch=0)
    ((a, b, c, d, e, f, g, h),) = (warp.T for warp in view.warps)
    a, b, d, e = a - c * g, b - c * h, d - f * g, e - f * h  # the affine part
    assert np.abs(np.rad2deg(np.arctan2(d, a))).max() <= 10
    zoom = 1 / np.hypot(a, d)
    assert 1 <= zoom.min() < 1.01 < 1.09 < zoom.max() <= 1.1
    assert np.allclose(a * e - b * d, 1 / zoom**2)
    assert max(np.abs(g).max(), np.abs(h).max()) <= 0.1
    assert (np.abs(np.stack([c, f])) <= 1 - 1 / zoom + 1e-12).all()
    (light,) = view.lights
    assert light.saturation is None
    assert min(light.contrast.min(), light.brightness.min()) >= 0.8
    assert max(light.contrast.max(), light.brightness.max()) <= 1.2
    assert view.flips is view.crops is None


@pytest.mark.parametrize("size", [(64, 64), (96, 128)])
def test_a_resized_crop_lies_in_the_image(size: tuple[int, int]) -> None:
    (warp,) = draw_view(("resized-crop",), size, 3000, seed=1, epoch=0).warps
    wide, right, tall, down = warp[:, 0], warp[:, 2], warp[:, 4], warp[:, 5]
    assert (wide + np.abs(right) <= 1 + 1e-12).all()
    assert (tall + np.abs(down) <= 1 + 1e-12).all()
    area = wide * tall
    assert 0.07 < area.min() < 0.1
    assert 0.95 < area.max() <= 1
    whole_ratio = (wide * size[1]) / (tall * size[0])
    uncut = (wide < 1) & (tall < 1)
    assert 0.75 - 1e-9 <= whole_ratio[uncut].min() < 0.8
    assert 1.3 < whole_ratio[uncut].max() <= 4 / 3 + 1e-9


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixed_images_and_targets_have_the_shares_that_were_drawn(pixels: Pixels, name: str) -> None:
    batch = whole(MemorySplit(pixels, SEE, (name,), classes=3))
    mix = draw_view((name,), SIZE, 23, seed=5, epoch=3).mix
    assert mix is not None
    assert (batch.target.shape, batch.target.dtype) == ((23, 3), torch.float32)
    assert torch.allclose(batch.target.sum(dim=1), torch.ones(23), rtol=0, atol=1e-6)
    assert ((batch.target >= 0) & (batch.target <= 1)).all()
    for position in range(23):
        partner, share = int(mix.partner[position]), float(mix.share[position])
        labels = [int(pixels.targets[at]) for at in (position, partner)]
        soft = torch.zeros(3)
        soft[labels[0]] += share
        soft[labels[1]] += 1 - share
        assert torch.allclose(batch.target[position], soft, atol=1e-6)
        own, other = pixels.images[position].double(), pixels.images[partner].double()
        if mix.box is None:
            expected = share * own + (1 - share) * other
        else:
            top, bottom, left, right = mix.box[position]
            expected = own.clone()
            expected[:, top:bottom, left:right] = other[:, top:bottom, left:right]
            assert share == pytest.approx(1 - (bottom - top) * (right - left) / (SIZE[0] * SIZE[1]))
        assert (batch.image[position] - expected).abs().max() <= 0.51


def test_partners_are_seen_in_the_same_view(pixels: Pixels) -> None:
    flipped = whole(MemorySplit(pixels, SEE, ("flip",))).image
    both = whole(MemorySplit(pixels, SEE, ("flip", "cutmix"), classes=2)).image
    mix = draw_view(("flip", "cutmix"), SIZE, 23, seed=5, epoch=3).mix
    assert mix is not None
    assert mix.box is not None
    for position, (top, bottom, left, right) in enumerate(mix.box):
        inside = flipped[int(mix.partner[position])][:, top:bottom, left:right]
        assert torch.equal(both[position][:, top:bottom, left:right], inside)


@pytest.mark.parametrize("name", OF_CLASSES_ALONE)
def test_what_masks_cannot_follow_is_refused(tmp_path: Path, name: str) -> None:
    for part in ("train", "test"):
        for folder in ("images", "masks"):
            (tmp_path / folder / part).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / part / "0.png")
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "masks" / part / "0.png")
    with pytest.raises(DataError, match=f"masks, which {name} cannot follow; allowed are none, flip"):
        load(str(tmp_path), DataOptions(augment=("flip", name)))


def test_an_image_is_mixed_once() -> None:
    with pytest.raises(DataError, match="mixup and cutmix"):
        DataOptions(augment=("mixup", "cutmix"))


def test_only_training_images_are_varied_and_mixed() -> None:
    data = load("digits", DataOptions(size=(8, 8), val_fraction=0.1, augment=("mixup",)))
    assert data.val is not None
    for split in (data.val, data.test):
        assert split.fixed
        assert whole(split).target.dtype == torch.int64
    assert whole(data.train).target.shape == (len(data.train), 10)
