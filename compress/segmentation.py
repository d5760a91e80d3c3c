"""How well masks are told apart: pixels that are counted class by class, and intersections over unions made of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from compress.data.split import VOID
from compress.errors import DataError

RESAMPLES = 1000


def pixel_counts(logits: Tensor, masks: Tensor) -> Tensor:
    """(B, 3, C) int64: of each image and class the pixels that are told right, that have it, that are taken for it.

    A void pixel is in none of the three. Sums over images are the counts of all their pixels.

    Args:
        logits: Of each pixel (B, C, H, W); the largest is what the pixel is taken for.
        masks: Class of each pixel (B, H, W), int64 in 0..C-1 or `VOID`.

    Raises:
        ValueError: The shapes do not fit, or a mask holds another class.
    """
    if logits.ndim != 4 or masks.shape != (len(logits), *logits.shape[2:]):
        raise ValueError(
            f"pixel counts: logits {tuple(logits.shape)} and masks {tuple(masks.shape)}; "
            "expected (B, C, H, W) and (B, H, W)"
        )
    images, classes = logits.shape[:2]
    asked = masks != VOID
    if (asked & ((masks < 0) | (masks >= classes))).any():
        most = int(masks[asked].max())
        raise ValueError(f"pixel counts: a mask holds class {most}; the logits tell classes 0 to {classes - 1} apart")
    taken = logits.argmax(dim=1)
    first = torch.arange(images, device=masks.device).view(-1, 1, 1) * classes
    parts = ((first + masks)[asked & (taken == masks)], (first + masks)[asked], (first + taken)[asked])
    counts = [part.bincount(minlength=images * classes).view(images, classes) for part in parts]
    return torch.stack(counts, dim=1)


def class_ious(counts: Tensor) -> Tensor:
    """(..., C) float64: the intersection over union of each class, in [0, 1].

    A class that pixels are taken for and none has, has 0; one that neither occurs nor is taken for anything, NaN.

    Args:
        counts: (..., 3, C), see `pixel_counts`.
    """
    right, true, taken = counts.double().unbind(dim=-2)
    return right / (true + taken - right)


def mean_iou(counts: Tensor) -> Tensor:
    """(...,) float64: the mean of `class_ious` over the classes that have one; NaN where every pixel is void.

    Args:
        counts: (..., 3, C), see `pixel_counts`.
    """
    return class_ious(counts).nanmean(dim=-1)


def mean_iou_per_image(counts: Tensor) -> float:
    """The mean over the images of each one's mean IoU over the classes that its own mask shows.

    So a class that an image does not show only costs it the pixels that were wrongly taken for that class, and images
    of void alone are left out.

    Args:
        counts: (N, 3, C), see `pixel_counts`.

    Raises:
        DataError: Every pixel is void.
    """
    shown = counts[:, 1] > 0
    return _known(class_ious(counts).where(shown, torch.nan).nanmean(dim=1).nanmean())


def split_iou(counts: Tensor) -> float:
    """`mean_iou` of all pixels of a split.

    Args:
        counts: (3, C), see `pixel_counts`.

    Raises:
        DataError: Every pixel is void.
    """
    return _known(mean_iou(counts))


def pixel_accuracy(counts: Tensor) -> float:
    """The share of the pixels that are told right.

    Args:
        counts: (3, C), see `pixel_counts`; at least one pixel is not void.
    """
    return int(counts[0].sum()) / int(counts[1].sum())


def iou_interval(counts: Tensor, *, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean IoU of a split, both ends in [0, 1].

    1,000 times as many images are drawn from the images, with replacement. So it covers other images of the same kind;
    images that resemble each other, such as those of one video, make it too narrow.

    Args:
        counts: (N, 3, C), see `pixel_counts`; at least one pixel is not void.
        level: Coverage, in (0, 1).
        seed: Of the draws; equal arguments give an equal interval.
    """
    return _quantiles(mean_iou(_drawn(counts, seed)), level)


def iou_drop_interval(
    counts: Tensor, others: Tensor, *, level: float = 0.95, seed: int = 0
) -> tuple[tuple[float, float], Tensor]:
    """How much larger the mean IoU of others is on the same images, and that of each class: how far both may stray.

    The images are drawn as in `iou_interval`, and the same ones for both: what is hard in an image is hard for both,
    and cancels.

    Args:
        counts: (N, 3, C), see `pixel_counts`; at least one pixel is not void.
        others: (N, 3, C) of the other, image by image.
        level: Coverage of the interval, in (0, 1).
        seed: Of the draws.

    Returns:
        The percentile interval of the difference of the mean IoUs, both ends in [-1, 1]; and (C,) the standard error of
        the difference of each class's IoU, NaN where a class is in no more than one draw.

    Raises:
        ValueError: The two are not of the same images and classes.
    """
    if counts.shape != others.shape:
        raise ValueError(
            f"pixel counts of {tuple(counts.shape)} and {tuple(others.shape)}; give those of both networks"
        )
    own, its = (_drawn(one, seed) for one in (counts, others))
    changes = (class_ious(its) - class_ious(own)).numpy()
    known = np.isfinite(changes)
    count = known.sum(axis=0)
    whole = np.where(known, changes, 0.0)
    middle = whole.sum(axis=0) / np.maximum(count, 1)
    spread = (np.where(known, changes - middle, 0.0) ** 2).sum(axis=0) / np.maximum(count - 1, 1)
    errors = np.where(count > 1, np.sqrt(spread), np.nan)
    return _quantiles(mean_iou(its) - mean_iou(own), level), torch.from_numpy(errors)


def _drawn(counts: Tensor, seed: int) -> Tensor:
    """(draws, 3, C) float64: the counts of all pixels of as many images as there are, drawn from them."""
    images = len(counts)
    random = np.random.default_rng(seed)
    draws = [np.bincount(random.integers(images, size=images), minlength=images) for _ in range(RESAMPLES)]
    rows = counts.flatten(1).double()
    return torch.stack([torch.from_numpy(draw).double() @ rows for draw in draws]).view(-1, *counts.shape[1:])


def _quantiles(values: Tensor, level: float) -> tuple[float, float]:
    low, high = np.nanquantile(values.numpy(), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _known(mean: Tensor) -> float:
    if mean.isnan():
        raise DataError("every pixel of the masks is void, so there is no mean IoU; take images with other masks")
    return float(mean)
