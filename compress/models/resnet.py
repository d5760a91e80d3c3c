"""The residual networks of the Stagewise paper: torchvision's trunks under a head of 256 units."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.models.ours import LAYERS
from compress.models.source import Architecture
from compress.stages import Stage, Staged

WIDTHS = (64, 64, 128, 256, 512)  # of the five maps, stem first
EMBEDDING = 256
ENCODER = "encoder."  # what the names of a trunk's parameters begin with, in every network that has one


class Encoder(nn.Module):
    """The trunk of a residual network: (B, C, H, W) to five maps, from the stem's (half the sides) to layer4's (1/32).

    Its parameters have the names that they have in torchvision's networks.

    Args:
        layers: Basic blocks in each of layer1 to layer4.
        channels: Input channels.
    """

    def __init__(self, layers: tuple[int, ...], channels: int) -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock, ResNet  # dear, and not needed to know that they exist

        trunk = ResNet(BasicBlock, list(layers), num_classes=1)
        self.conv1 = trunk.conv1 if channels == 3 else _stem(channels)
        self.bn1, self.relu, self.maxpool = trunk.bn1, trunk.relu, trunk.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(B, C, H, W) images to the stem's map, after its ReLU and before the max-pool, and those of layer1 to layer4.

        Shapes: (B, 64, H/2, W/2), (B, 64, H/4, W/4), (B, 128, H/8, W/8), (B, 256, H/16, W/16), (B, 512, H/32, W/32),
        each side rounded up.
        """
        stem = self.relu(self.bn1(self.conv1(image)))
        first = self.layer1(self.maxpool(stem))
        second = self.layer2(first)
        third = self.layer3(second)
        return stem, first, second, third, self.layer4(third)


class ConcatPool(nn.Module):
    """The maximum, then the mean of each channel: (B, C, H, W) to (B, 2C)."""

    def __init__(self) -> None:
        super().__init__()
        self.max = nn.AdaptiveMaxPool2d(1)
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 2C)."""
        return torch.cat((self.max(maps), self.mean(maps)), dim=1).flatten(1)


class ResNet(nn.Module):
    """A trunk, an embedding of 256 units and a linear classifier.

    Args:
        layers: Basic blocks in each of layer1 to layer4.
        channels: Input channels.
        classes: Outputs.
    """

    def __init__(self, layers: tuple[int, ...], channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(layers, channels)
        self.pool = ConcatPool()
        self.embedding = nn.Sequential(nn.Linear(2 * WIDTHS[-1], EMBEDDING), nn.ReLU())
        self.classifier = nn.Linear(EMBEDDING, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) images to (B, classes) logits."""
        logits: Tensor = self.classifier(self.embedding(self.pool(self.encoder(image)[-1])))
        return logits


def resnet(architecture: Architecture) -> Staged:
    """resnet10, 14, 18, 20, 26 or 34 as in the Stagewise paper: the ImageNet stem also for small images.

    Between trunk and logits, the maximum and the mean of each of the 512 channels (1,024 values, maxima first), a
    linear layer of 256 units and a ReLU: the embedding. For 3 channels and 10 classes these have 5,170,762, 11,072,074,
    11,441,482, 12,622,154, 17,712,202 and 21,549,642 parameters.

    Reference: Kulkarni et al., Stagewise Knowledge Distillation, Sec. 4 and Table 2; He et al., Deep Residual Learning
    for Image Recognition, Table 1. The paper does not describe its head; this one gives its parameter counts.
    """
    model = ResNet(LAYERS[architecture.name], architecture.channels, architecture.classes)
    embedding = Stage("embedding", "embedding", ("embedding",), EMBEDDING)
    logits = Stage("logits", "classifier", ("classifier",), architecture.classes)
    return Staged(model, (*encoder_stages(), embedding, logits))


def encoder_stages() -> tuple[Stage, ...]:
    """The stages of a network's `encoder`: stem and layer1 to layer4."""
    stem = Stage("stem", "encoder.relu", ("encoder.conv1", "encoder.bn1"), WIDTHS[0])
    names = (f"layer{number}" for number in range(1, 5))
    layers = (Stage(n, f"encoder.{n}", (f"encoder.{n}",), w) for n, w in zip(names, WIDTHS[1:], strict=True))
    return (stem, *layers)


def _stem(channels: int) -> nn.Conv2d:
    """The first convolution for any number of channels, drawn as torchvision draws its own."""
    conv = nn.Conv2d(channels, WIDTHS[0], 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
