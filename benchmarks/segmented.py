"""Every number that follows from what files said of images whose pixels each show a class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import torch

from benchmarks.raw import Segmented
from benchmarks.scored import MIOU, SEED, class_name, shared_level
from benchmarks.verdict import LEVEL
from compress.evidence import Record
from compress.segmentation import (
    class_ious,
    iou_drop_interval,
    iou_interval,
    mean_iou_per_image,
    pixel_accuracy,
    split_iou,
)


def split_records(said: Segmented, classes: Sequence[str]) -> Iterator[Record]:
    """What a file that gives masks knows, in the whole and of each class.

    Args:
        said: Of the split.
        classes: The names of the classes.
    """
    counts = torch.from_numpy(said.pixels)
    whole, count = counts.sum(dim=0), len(counts)
    low, high = iou_interval(counts, level=LEVEL, seed=SEED)
    yield Record(MIOU, split_iou(whole), low, high, n=count, unit="share", seed=SEED)
    yield Record("miou_per_image", mean_iou_per_image(counts), n=count, unit="share")
    yield Record("pixel_accuracy", pixel_accuracy(whole), n=count, unit="share")
    for at, iou in enumerate(class_ious(whole).tolist()):
        if not math.isnan(iou):
            yield Record(f"iou {class_name(classes, at)}", iou, n=count, unit="share")


def split_pair(said: Segmented, base: Segmented, classes: Sequence[str]) -> Iterator[Record]:
    """What it knows less than the baseline; nothing where they tell other classes apart.

    Args:
        said: By the file.
        base: By the baseline.
        classes: The names of the classes.
    """
    own, its = (torch.from_numpy(one.pixels) for one in (said, base))
    if own.shape != its.shape:
        return
    count = len(own)
    (low, high), errors = iou_drop_interval(own, its, level=LEVEL, seed=SEED)
    drop = 100 * (split_iou(its.sum(dim=0)) - split_iou(own.sum(dim=0)))
    yield Record("drop", drop, 100 * low, 100 * high, n=count, unit="points", seed=SEED)
    if said.alike is not None:
        alike, whole = said.alike.sum(axis=0).tolist()
        yield Record("pixel_agreement", alike / whole, n=count, unit="share")
    drops = (class_ious(its.sum(dim=0)) - class_ious(own.sum(dim=0))).tolist()
    known = [at for at, one in enumerate(drops) if not math.isnan(one) and not math.isnan(errors[at])]
    reach = NormalDist().inv_cdf((1 + shared_level(len(known))) / 2)
    for at in known:
        value, half = 100 * drops[at], 100 * reach * float(errors[at])
        name = f"drop {class_name(classes, at)}"
        yield Record(name, value, value - half, value + half, n=count, unit="points", seed=SEED)
