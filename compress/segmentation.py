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
    images = len(counts)
    random = np.random.default_rng(seed)
    draws = [np.bincount(random.integers(images, size=images), minlength=images) for _ in range(RESAMPLES)]
    rows = counts.flatten(1).double()
    sums = torch.stack([torch.from_numpy(draw).double() @ rows for draw in draws])
    means = mean_iou(sums.view(-1, *counts.shape[1:])).numpy()
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _known(mean: Tensor) -> float:
    if mean.isnan():
        raise DataError("every pixel of the masks is void, so there is no mean IoU; take images with other masks")
    return float(mean)
