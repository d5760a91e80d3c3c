"""The tiny convolutional students and auxiliaries of InDistill."""

from __future__ import annotations

from torch import Tensor, nn

from compress.models.source import Architecture
from compress.preprocessing import Size
from compress.stages import Stage, Staged

OPTIONS = ("width", "depth")
WIDTH_S, WIDTH_A = 8, 16  # of the first block, where none is given
MOST_WEIGHTS = 2**28  # 1 GiB; far above any use, and refused before memory is asked for


class ConvBlock(nn.Module):
    """Convolution, batch-norm, ReLU and, where asked, 2x2 max-pooling: (B, C, H, W) to (B, out, H', W').

    In training the map is pooled before the ReLU: the same bits and gradients, from a quarter of the elements. In eval
    mode, and so in what is exported, the ReLU follows the convolution, where runtimes fuse the two.

    Args:
        channels: Input channels.
        out: Output channels.
        kernel: Side of the kernel; without padding when pooled, with padding (the map keeps its size) when not.
        pool: Halve the map.
    """

    def __init__(self, channels: int, out: int, kernel: int, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, padding=0 if pool else kernel // 2)
        self.norm = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, out, H', W')."""
        first, second = (self.pool, self.relu) if self.training else (self.relu, self.pool)
        output: Tensor = second(first(self.norm(self.conv(image))))
        return output


class ConvNet(nn.Module):
    """Blocks of convolution, then an embedding and a linear classifier.

    Args:
        channels: Input channels.
        size: Height and width of the input in pixels.
        widths: Output channels of each block.
        kernels: Kernel side of each block; as many as widths.
        embedding: Width of the embedding.
        classes: Outputs.

    Raises:
        ValueError: The input is too small for the blocks.
    """

    def __init__(
        self,
        channels: int,
        size: Size,
        widths: tuple[int, ...],
        kernels: tuple[int, ...],
        *,
        embedding: int,
        classes: int,
    ) -> None:
        super().__init__()
        (height, width), blocks = size, []
        for number, (out, kernel) in enumerate(zip(widths, kernels, strict=True)):
            pool = number < 3
            height, width = _map_size((height, width), kernel, pool)
            blocks.append(ConvBlock(channels, out, kernel, pool))
            channels = out
        if min(height, width) < 1:
            raise ValueError(
                f"an input of {size[0]}x{size[1]} pixels is too small for {len(widths)} blocks; give a larger size"
            )
        self.blocks = nn.Sequential(*blocks)
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, embedding), nn.ReLU())
        self.classifier = nn.Linear(embedding, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) images to (B, classes) logits."""
        logits: Tensor = self.classifier(self.embedding(self.blocks(image)))
        return logits


def cnn_s(architecture: Architecture) -> Staged:
    """The student of InDistill: first block 8 wide; 15,050 parameters for 3x32x32 and 10 classes.

    The first three blocks double the width and halve the map; further ones (`depth` > 3), for which the paper gives no
    widths, keep both. Kernels are 3, and from 48 pixels on the paper's 9, 5, 5 (then 3).

    Args:
        architecture: Options: `width` of the first block (8), `depth` in blocks (3).

    Reference: Sarridis et al., InDistill, Fig. 2 and Sec. 4.3.
    """
    return _cnn(architecture, WIDTH_S)


def cnn_a(architecture: Architecture) -> Staged:
    """The auxiliary of InDistill, twice as wide as `cnn_s`: 57,994 parameters for 3x32x32 and 10 classes.

    Args:
        architecture: Options: `width` of the first block (16), `depth` in blocks (3).

    Reference: Sarridis et al., InDistill, Fig. 2 and Sec. 4.3.
    """
    return _cnn(architecture, WIDTH_A)


def _cnn(architecture: Architecture, width: int) -> Staged:
    width = architecture.option("width", width, 1_024)
    depth = architecture.option("depth", 3, 32)
    widths = tuple(width * 2 ** min(number, 2) for number in range(depth))
    first = (9, 5, 5) if min(architecture.size) >= 48 else (3, 3, 3)
    kernels = (*first, *(3,) * max(depth - 3, 0))[:depth]
    weights = _count_weights(architecture, widths, kernels, 8 * width)
    if weights > MOST_WEIGHTS:
        raise ValueError(
            f"it would have {weights:,} weights; allowed are {MOST_WEIGHTS:,}: give a smaller size or width"
        )
    model = ConvNet(
        architecture.channels, architecture.size, widths, kernels, embedding=8 * width, classes=architecture.classes
    )
    maps = (Stage(f"map{n + 1}", f"blocks.{n}", (f"blocks.{n}",), w) for n, w in enumerate(widths))
    embedding = Stage("embedding", "embedding", ("embedding",), 8 * width)
    logits = Stage("logits", "classifier", ("classifier",), architecture.classes)
    return Staged(model, (*maps, embedding, logits))


def _count_weights(
    architecture: Architecture, widths: tuple[int, ...], kernels: tuple[int, ...], embedding: int
) -> int:
    """Weights of a `ConvNet`, without biases and batch-norm."""
    count, channels, size = 0, architecture.channels, architecture.size
    for number, (width, kernel) in enumerate(zip(widths, kernels, strict=True)):
        count += channels * width * kernel**2
        channels, size = width, _map_size(size, kernel, number < 3)
    return count + channels * size[0] * size[1] * embedding + embedding * architecture.classes


def _map_size(size: Size, kernel: int, pool: bool) -> Size:
    """Height and width of a `ConvBlock`'s map; 0 where the input is too small."""
    height, width = (max((side - kernel + 1) // 2, 0) if pool else side for side in size)
    return height, width
