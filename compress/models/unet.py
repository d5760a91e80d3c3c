"""U-Nets over the trunks of `compress.models.resnet`: a class for every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from compress.models.ours import LAYERS, UNET
from compress.models.resnet import WIDTHS, Encoder, encoder_stages
from compress.models.source import Architecture
from compress.preprocessing import LARGEST_SIDE, Size
from compress.stages import Stage, Staged

STEP = 32  # a trunk halves its map five times
DECODER = (256, 128, 64, 32, 16)  # channels of up1 to up5


class UNet(nn.Module):
    """A trunk and the five blocks that bring its maps back to the size of the image.

    Each block takes what lies below it at twice the size (nearest neighbour), beside the trunk's map of that size; the
    fifth, for which the trunk has none, takes the first alone.

    Args:
        layers: Basic blocks in each of the trunk's layer1 to layer4.
        channels: Input channels.
        classes: Outputs a pixel.
    """

    def __init__(self, layers: tuple[int, ...], channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(layers, channels)
        self.up1 = _block(WIDTHS[4] + WIDTHS[3], DECODER[0])
        self.up2 = _block(DECODER[0] + WIDTHS[2], DECODER[1])
        self.up3 = _block(DECODER[1] + WIDTHS[1], DECODER[2])
        self.up4 = _block(DECODER[2] + WIDTHS[0], DECODER[3])
        self.up5 = _block(DECODER[3], DECODER[4])
        self.classifier = nn.Conv2d(DECODER[4], classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) images, both sides multiples of 32, to (B, classes, H, W) logits."""
        stem, first, second, third, deep = self.encoder(image)
        deep = self.up1(_beside(deep, third))
        deep = self.up2(_beside(deep, second))
        deep = self.up3(_beside(deep, first))
        deep = self.up4(_beside(deep, stem))
        logits: Tensor = self.classifier(self.up5(_twice(deep)))
        return logits


def unet(architecture: Architecture) -> Staged:
    """unet-resnet10 to unet-resnet34: a U-Net for images whose sides are multiples of 32, square or not.

    Its stages are those of the trunk, up1 to up5 (256, 128, 64, 32 and 16 channels, each after its last ReLU) and the
    logits, (classes, H, W). For 3 channels and 12 classes they have 8,059,084, 13,960,396, 14,329,804, 15,510,476,
    20,600,524 and 24,437,964 parameters, as the U-Net of segmentation_models_pytorch has, which the paper took.

    Raises:
        ValueError: A side is no multiple of 32; the message has the nearest size.

    Reference: Kulkarni et al., Stagewise Knowledge Distillation, Sec. 4; Ronneberger et al., U-Net, Sec. 2.
    """
    nearest = nearest_size(architecture.size)
    if nearest != architecture.size:
        given, taken = ("x".join(map(str, size)) for size in (architecture.size, nearest))
        raise ValueError(
            f"it takes images whose sides are multiples of {STEP} pixels; {given} is not: the nearest is --size {taken}"
        )
    layers = LAYERS[architecture.name.removeprefix(UNET)]
    model = UNet(layers, architecture.channels, architecture.classes)
    blocks = (Stage(f"up{n}", f"up{n}", (f"up{n}",), width) for n, width in enumerate(DECODER, start=1))
    logits = Stage("logits", "classifier", ("classifier",), architecture.classes)
    return Staged(model, (*encoder_stages(), *blocks, logits))


def nearest_size(size: Size) -> Size:
    """The nearest height and width that a U-Net takes; of two that are as near, the larger."""
    height, width = (min(max(STEP, (side + STEP // 2) // STEP * STEP), LARGEST_SIDE) for side in size)
    return height, width


def _block(channels: int, out: int) -> nn.Sequential:
    """Two convolutions with batch-norm and ReLU: (B, channels, H, W) to (B, out, H, W)."""
    layers: list[nn.Module] = []
    for inputs in (channels, out):
        conv = nn.Conv2d(inputs, out, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _twice(maps: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2H, 2W), each value four times."""
    return interpolate(maps, scale_factor=2.0, mode="nearest")


def _beside(deep: Tensor, skip: Tensor) -> Tensor:
    """(B, C, H, W) at twice the size, then the channels of (B, D, 2H, 2W): (B, C + D, 2H, 2W)."""
    return torch.cat((_twice(deep), skip), dim=1)
