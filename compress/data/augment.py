"""What becomes of training images in a view: every augmentation, in one place, the same for memory and streams.

A view is drawn for all images of a split at once, from its seed and number alone, so that an image is varied by its
position and by nothing else: not by the batch it is in, the order, the shard or the process. Arithmetic that could
round otherwise in other company (sums, threads) is done in integers or one element at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from compress.data.chance import Draws, Positions, draw_augmentation, generator
from compress.data.found import VOID
from compress.data.prepare import Bytes, margin
from compress.preprocessing import Size

Reals = npt.NDArray[np.float64]

INDISTILL_MARGIN = (4, 4)  # pixels
CROP_AREA, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
STAGEWISE_DEGREES, STAGEWISE_ZOOM, STAGEWISE_WARP, STAGEWISE_LIGHT = 10.0, 1.1, 0.2, 0.2
COLOR = 0.4
MIXUP_ALPHA = 0.2
GREY = (299, 587, 114)  # thousandths of luminance


@dataclass(frozen=True)
class Light:
    """How the light of N images changes: each (N, 1) factor is 1 where nothing does."""

    contrast: Reals
    brightness: Reals
    saturation: Reals | None = None

    def of(self, index: Positions) -> Light:
        """The factors of the images at `index`."""
        saturation = None if self.saturation is None else self.saturation[index]
        return Light(self.contrast[index], self.brightness[index], saturation)


@dataclass(frozen=True)
class Mix:
    """With which other image each of N is mixed.

    Attributes:
        partner: (N,) positions.
        share: (N,) float64, what is left of an image and its target, in [0, 1]; the rest is its partner's.
        box: (N, 4) int, the rows and columns (from, to) that come from the partner; None mixes every pixel by `share`.
    """

    partner: Positions
    share: Reals
    box: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class View:
    """The augmentation of one pass over the N images of a split.

    Attributes:
        flips: Draws to flip by.
        crops: Draws to crop by, in images padded by `margin`.
        margin: Down and right, in pixels.
        warps: One (N, 8) array for each warp in turn: a b c d e f g h of (ax + by + c, dx + ey + f) / (gx + hy + 1),
            from a place in the new image to one in the old; both run from -1 to 1 in x and y.
        lights: What happens to the light, in turn.
        rand: (N,) seeds of torchvision's RandAugment.
        mix: How images are mixed at the end.
    """

    flips: Draws | None = None
    crops: Draws | None = None
    margin: Size = (0, 0)
    warps: tuple[Reals, ...] = ()
    lights: tuple[Light, ...] = ()
    rand: Positions | None = None
    mix: Mix | None = None

    def sources(self, positions: Positions) -> Positions:
        """The images that a batch of (B,) positions is made of: (B,), or (2B,) with each one's partner."""
        return positions if self.mix is None else np.concatenate([positions, self.mix.partner[positions]])

    def images(self, images: Bytes, positions: Positions) -> Bytes:
        """(B, C, H, W): the images of the batch in this view, from those of its `sources`."""
        at = self.sources(positions)
        images = self._move(images, at, fill=0)
        for warp in self.warps:
            images = warped(images, warp[at])
        for light in self.lights:
            images = lit(images, light.of(at))
        if self.rand is not None:
            images = rand_augmented(images, self.rand[at])
        return images if self.mix is None else mixed(images, self.mix, positions)

    def masks(self, masks: Bytes, positions: Positions) -> Bytes:
        """(B, H, W): the masks of the images in this view, `VOID` where a view reaches beyond its image."""
        moved = self._move(masks[:, None], positions, fill=VOID)
        for warp in self.warps:
            moved = warped(moved, warp[positions], nearest=True)
        return moved[:, 0]

    def targets(self, labels: Tensor, positions: Positions, classes: int) -> Tensor:
        """(B,) int64 classes of the batch, or (B, classes) float32, rows that sum to 1, where images are mixed.

        Args:
            labels: (N,) int64 of the split.
            positions: (B,).
            classes: How many.
        """
        own = labels[torch.from_numpy(positions)]
        if self.mix is None:
            return own
        share = torch.from_numpy(self.mix.share[positions].astype(np.float32))[:, None]
        other = labels[torch.from_numpy(self.mix.partner[positions])]
        soft = torch.zeros(len(positions), classes)
        soft.scatter_add_(1, own[:, None], share)
        return soft.scatter_add_(1, other[:, None], 1 - share)

    def _move(self, images: Bytes, at: Positions, *, fill: int) -> Bytes:
        if self.crops is not None:
            images = cropped(images, self.crops.of(at), self.margin, fill)
        if self.flips is not None:
            images = flipped(images, self.flips.of(at))
        return np.ascontiguousarray(images)


def draw_view(augment: tuple[str, ...], size: Size, count: int, *, seed: int, epoch: int) -> View:
    """What chance makes of the `count` images of a split in one view.

    Args:
        augment: Names of `AUGMENTATIONS`; whatever their order, images are cropped, flipped, warped, lit and mixed.
        size: Height and width of the images.
        count: Images in the split.
        seed: Of the run.
        epoch: The number of the view, from 0.
    """
    names = {*augment, *(("flip", "crop") if "indistill" in augment else ())}
    reach = INDISTILL_MARGIN if "indistill" in augment else margin(size)
    moves = draw_augmentation(count, reach, seed=seed, epoch=epoch) if names & {"flip", "crop"} else None
    warps = [draw(count, size, generator(name, seed, epoch)) for name, draw in WARPS.items() if name in names]
    lights = [draw(count, generator(name, "light", seed, epoch)) for name, draw in LIGHTS.items() if name in names]
    mixes = [draw(count, size, generator(name, seed, epoch)) for name, draw in MIXES.items() if name in names]
    rand = generator("rand-augment", seed, epoch).integers(0, 2**63 - 1, count) if "rand-augment" in names else None
    return View(
        flips=moves if "flip" in names else None,
        crops=moves if "crop" in names else None,
        margin=reach,
        warps=tuple(warps),
        lights=tuple(lights),
        rand=rand,
        mix=mixes[0] if mixes else None,
    )


def cropped(images: Bytes, draws: Draws, reach: Size, fill: int) -> Bytes:
    """(B, C, H, W): each image padded by `reach` with `fill`, and cut out again where its draw says."""
    (down, right), size = reach, (images.shape[2], images.shape[3])
    padded = np.pad(images, ((0, 0), (0, 0), (down, down), (right, right)), constant_values=fill)
    windows = sliding_window_view(padded, size, axis=(2, 3))
    found: Bytes = windows[np.arange(len(images)), :, draws.corner[:, 0], draws.corner[:, 1]]
    return found


def flipped(images: Bytes, draws: Draws) -> Bytes:
    """(B, C, H, W): the images, mirrored left and right where their draw says so."""
    images = images.copy()
    images[draws.flip] = images[draws.flip, ..., ::-1]
    return images


def warped(images: Bytes, warp: Reals, *, nearest: bool = False) -> Bytes:
    """(B, C, H, W): each image, seen through its warp; bilinear, and mirrored beyond its edges.

    Args:
        images: (B, C, H, W) images; or masks, with `nearest`.
        warp: (B, 8), see `View`.
        nearest: Take the nearest pixel, and `VOID` beyond the edges.
    """
    height, width = images.shape[2:]
    x, y = ((torch.arange(side) + 0.5) * (2 / side) - 1 for side in (width, height))
    x, y = x[None, None, :], y[None, :, None]
    a, b, c, d, e, f, g, h = torch.from_numpy(warp.astype(np.float32)).T[..., None, None]
    under = g * x + h * y + 1
    grid = torch.stack([(a * x + b * y + c) / under, (d * x + e * y + f) / under], dim=-1)
    pixels = torch.from_numpy(images).float()
    if nearest:
        seen = F.grid_sample(pixels - VOID, grid, "nearest", "zeros", align_corners=False) + VOID
    else:
        seen = F.grid_sample(pixels, grid, "bilinear", "reflection", align_corners=False).round_().clamp_(0, 255)
    found: Bytes = seen.to(torch.uint8).numpy()
    return found


def lit(images: Bytes, light: Light) -> Bytes:
    """(B, C, H, W): the images with other contrast (about their mean grey), then brightness, then saturation."""
    sums = images.reshape(*images.shape[:2], -1).sum(axis=2, dtype=np.int64)
    pixels = images.shape[2] * images.shape[3]
    mean = ((sums * _weights(images)).sum(axis=1) / (1000 * pixels))[:, None]
    values = np.arange(256)[None]
    levels = np.clip(light.contrast * values + (1 - light.contrast) * mean, 0, 255)
    table = np.rint(np.clip(light.brightness * levels, 0, 255)).astype(np.uint8)
    changed = np.stack([own[image] for own, image in zip(table, images, strict=True)])
    if light.saturation is None or images.shape[1] == 1:
        return changed
    grey = (changed * np.array(GREY, np.int32)[:, None, None]).sum(axis=1, dtype=np.int32, keepdims=True)
    factor = light.saturation.astype(np.float32)[..., None, None]
    vivid = factor * changed + (1 - factor) * (grey.astype(np.float32) / 1000)
    coloured: Bytes = np.rint(np.clip(vivid, 0, 255)).astype(np.uint8)
    return coloured


def rand_augmented(images: Bytes, seeds: Positions) -> Bytes:
    """(B, C, H, W): torchvision's RandAugment with its defaults (2 of 14 operations at magnitude 9 of 31).

    Pillow's operations, not the tensors': these may round by the number of threads.

    Reference: Cubuk et al., "RandAugment", 2020, arXiv:1909.13719.
    """
    from torchvision.transforms.v2 import RandAugment

    change = RandAugment()
    planes = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    made = []
    with torch.random.fork_rng(devices=[]):
        for plane, seed in zip(planes, seeds.tolist(), strict=True):
            torch.default_generator.manual_seed(seed)
            made.append(np.asarray(change(Image.fromarray(plane))))
    stacked = np.stack(made)
    return stacked[:, None] if stacked.ndim == 3 else np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def mixed(images: Bytes, mix: Mix, positions: Positions) -> Bytes:
    """(B, C, H, W): the first half of (2B, C, H, W) images, mixed with the second."""
    own, other = np.split(images, 2)
    if mix.box is None:
        share = mix.share[positions].astype(np.float32)[:, None, None, None]
        return np.rint(share * own + (1 - share) * other).astype(np.uint8)
    top, bottom, left, right = mix.box[positions].T[..., None]
    row, column = np.arange(own.shape[2]), np.arange(own.shape[3])
    inside = ((row >= top) & (row < bottom))[:, None, :, None] & ((column >= left) & (column < right))[:, None, None]
    return np.where(inside, other, own)


def _draw_resized_crop(count: int, size: Size, chance: np.random.Generator) -> Reals:
    """Windows of 8 to 100 % of the area and of sides 3:4 to 4:3, cut to the image, anywhere in it."""
    area = chance.uniform(*CROP_AREA, count) * (size[0] * size[1])
    ratio = np.exp(chance.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1]), count))
    tall = np.minimum(np.sqrt(area / ratio) / size[0], 1)
    wide = np.minimum(np.sqrt(area * ratio) / size[1], 1)
    right, down = chance.uniform(-1, 1, (2, count))
    zero = np.zeros(count)
    return np.stack([wide, zero, right * (1 - wide), zero, tall, down * (1 - tall), zero, zero], axis=1)


def _draw_stagewise(count: int, size: Size, chance: np.random.Generator) -> Reals:
    """A window of the image 1 to 1.1 times smaller, anywhere in it, turned by up to 10 degrees and seen at a slant."""
    angle = np.deg2rad(chance.uniform(-STAGEWISE_DEGREES, STAGEWISE_DEGREES, count))
    zoom = 1 / chance.uniform(1, STAGEWISE_ZOOM, count)
    right, down = chance.uniform(-1, 1, (2, count)) * (1 - zoom)
    g, h = chance.uniform(-STAGEWISE_WARP, STAGEWISE_WARP, (2, count)) / 2  # both at once: corners move by about 0.2
    aspect = size[1] / size[0]
    a, b = zoom * np.cos(angle), -zoom * np.sin(angle) / aspect
    d, e = zoom * np.sin(angle) * aspect, zoom * np.cos(angle)
    return np.stack([a + right * g, b + right * h, right, d + down * g, e + down * h, down, g, h], axis=1)


def _draw_stagewise_light(count: int, chance: np.random.Generator) -> Light:
    low, high = 1 - STAGEWISE_LIGHT, 1 + STAGEWISE_LIGHT
    return Light(chance.uniform(low, high, (count, 1)), chance.uniform(low, high, (count, 1)))


def _draw_color(count: int, chance: np.random.Generator) -> Light:
    return Light(*(chance.uniform(1 - COLOR, 1 + COLOR, (count, 1)) for _ in range(3)))


def _draw_mixup(count: int, _size: Size, chance: np.random.Generator) -> Mix:
    """Reference: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, arXiv:1710.09412.

    Deviates: The partner is drawn from the whole split, not from the batch.
    """
    return Mix(chance.permutation(count), chance.beta(MIXUP_ALPHA, MIXUP_ALPHA, count))


def _draw_cutmix(count: int, size: Size, chance: np.random.Generator) -> Mix:
    """Reference: Yun et al., "CutMix", 2019, arXiv:1905.04899.

    Deviates: The partner is drawn from the whole split, not from the batch.
    """
    partner, side = chance.permutation(count), np.sqrt(chance.random(count))
    edges = []
    for length in size:
        middle = chance.integers(0, length, count)
        half = (side * length / 2).astype(np.int64)
        edges += [np.maximum(middle - half, 0), np.minimum(middle + half, length)]
    top, bottom, left, right = edges
    share = 1 - (bottom - top) * (right - left) / (size[0] * size[1])
    return Mix(partner, share, np.stack(edges, axis=1))


def _weights(images: Bytes) -> npt.NDArray[np.int64]:
    return np.array(GREY if images.shape[1] == 3 else (1000,), np.int64)


WARPS = {"resized-crop": _draw_resized_crop, "stagewise": _draw_stagewise}
LIGHTS = {"color": _draw_color, "stagewise": _draw_stagewise_light}
MIXES = {"mixup": _draw_mixup, "cutmix": _draw_cutmix}
