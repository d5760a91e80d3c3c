"""Networks with random weights, for studies of what can be done with a network whatever it has learnt."""

from __future__ import annotations

from dataclasses import replace

import torch

from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.models import build, named
from compress.preprocessing import Preprocessing, Size
from exports import noise

CLASSES = tuple("abcdefghij")
SAMPLES = 8
FOR_PIXELS = "unet"  # what the names of the networks begin with that tell a class for each pixel


def untrained(name: str, size: Size) -> Checkpoint:
    """A network that has seen noise, so that its batch-norm has statistics; layers that begin at 0 begin at random.

    Args:
        name: Of a network; a file of code that is thereby named is run.
        size: Height and width of its images, which have 3 channels.

    Raises:
        CompressError: There is no such network, or it does not take such images.
    """
    architecture = named(name, len(CLASSES), 3, size)
    see = Preprocessing(size, 3, (0.5,) * 3, (0.5,) * 3)
    network, task = build(architecture, seed=0), "segmentation" if name.startswith(FOR_PIXELS) else "classification"
    made = Checkpoint(network, Card(architecture, see, CLASSES, task=task))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # some networks drop a part of their layers
        for parameter in network.model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.02)
        network.model.train()(noise(made.card, SAMPLES))
    network.model.eval()
    return replace(made, network=network)
