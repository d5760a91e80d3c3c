"""A tiny data set of masks, and tiny networks for it: bright and dark boxes on a noisy ground, some of it void."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from compress.checkpoint import Card, Checkpoint
from compress.data import Dataset
from compress.data.found import Pixels
from compress.data.split import VOID, MemorySplit
from compress.models import Architecture
from compress.phase import OPTIMIZERS, Fit, Phase
from compress.preprocessing import Preprocessing, Scale
from compress.stages import Stage, Staged
from compress.tasks import SEGMENTATION
from compress.training.engine import Run, run

CLASSES = ("ground", "bright", "dark")
SEE = Preprocessing((12, 20), 1, (0.5,), (0.25,))
BOX = 6


def boxes_split(count: int, seed: int) -> MemorySplit:
    """Images of 12 x 20 whose masks have the first row void."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(90, 160, (count, *SEE.shape), generator=random)
    masks = torch.zeros(count, *SEE.size, dtype=torch.uint8)
    for number in range(count):
        for label, shade in ((1, 230), (2, 20)):
            top, left = (int(torch.randint(side - BOX, (), generator=random)) for side in SEE.size)
            images[number, 0, top : top + BOX, left : left + BOX] = shade
            masks[number, top : top + BOX, left : left + BOX] = label
    masks[:, 0] = VOID
    return MemorySplit(Pixels(images.to(torch.uint8), masks, True), SEE)


def boxes() -> Dataset:
    """48 training, 20 validation and 31 test images."""
    return Dataset("boxes", CLASSES, SEE, boxes_split(48, 1), boxes_split(20, 2), boxes_split(31, 3), "0" * 16)


def boxes_network(width: int, seed: int) -> Staged:
    """Two convolutions that keep the size: stages "edges" and "logits", the latter (B, 3, H, W)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Sequential(
            *(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            nn.Conv2d(width, len(CLASSES), 1),
        )
    stages = (Stage("edges", "2", ("0", "1"), width), Stage("logits", "3", ("3",), len(CLASSES)))
    return Staged(layers, stages, scale=Scale(SEE.mean, SEE.std))


def boxes_checkpoint(epochs: int) -> Checkpoint:
    """A tiny network that has learnt the boxes, for as many epochs; its card names a network that it is not."""
    network, data = boxes_network(8, seed=2), replace(boxes(), val=None)
    phase = Phase("task", SEGMENTATION.terms, Fit(epochs, OPTIMIZERS["adam"](2e-2), (1.0,) * epochs, batch_size=16))
    list(run([phase], network, data, Run(SEGMENTATION)))
    card = Card(Architecture("cnn-s", len(CLASSES), 1, SEE.size), SEE, CLASSES, task="segmentation")
    return Checkpoint(network, card)
