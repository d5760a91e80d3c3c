"""The tiny convolutional students and auxiliaries of InDistill."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from compress.models.source import Architecture
from compress.preprocessing import Size
from compress.stages import Stage, Staged

WIDTH_S, WIDTH_A = 8, 16  # of the first block, where none is given
MOST_WEIGHTS = 2**28  # 1 GiB; far above any use, and refused before memory is asked for

GROWTH = (1, 2, 2, 4, 8, 8, 16)  # widths of more than three blocks, in widths of the first; further ones keep the last
POOLED = (0, 1, 3)  # the blocks among them that halve the map
LAYOUT = 2  # the present one; 1 is that of checkpoints which version 0.1 wrote


@dataclass(frozen=True)
class Block:
    """The shape of a `ConvBlock`: output channels, side of the kernel, and height and width of what is pooled to one.

    Where nothing is pooled, (1, 1), the convolution is padded and the map keeps its size.
    """

    out: int
    kernel: int
    pool: Size


class ConvBlock(nn.Module):
    """Convolution, batch-norm, ReLU and, where asked, max-pooling: (B, C, H, W) to (B, out, H', W').

    In training the map is pooled before the ReLU: the same bits and gradients, from fewer elements. In eval mode, and
    so in what is exported, the ReLU follows the convolution, where runtimes fuse the two.

    Args:
        channels: Input channels.
        block: The rest of its shape.
    """

    def __init__(self, channels: int, block: Block) -> None:
        super().__init__()
        pooled = block.pool != (1, 1)
        self.conv = nn.Conv2d(channels, block.out, block.kernel, padding=0 if pooled else block.kernel // 2)
        self.norm = nn.BatchNorm2d(block.out)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(block.pool) if pooled else nn.Identity()

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
        blocks: Their shapes.
        embedding: Width of the embedding.
        classes: Outputs.

    Raises:
        ValueError: The input is too small for the blocks.
    """

    def __init__(self, channels: int, size: Size, blocks: tuple[Block, ...], *, embedding: int, classes: int) -> None:
        super().__init__()
        made, (height, width) = [], size
        for block in blocks:
            height, width = _map_size((height, width), block)
            made.append(ConvBlock(channels, block))
            channels = block.out
        if min(height, width) < 1:
            raise ValueError(
                f"an input of {size[0]}x{size[1]} pixels is too small for {len(blocks)} blocks; give a larger size"
            )
        self.blocks = nn.Sequential(*made)
        self.embedding = nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, embedding), nn.ReLU())
        self.classifier = nn.Linear(embedding, classes)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) images to (B, classes) logits."""
        logits: Tensor = self.classifier(self.embedding(self.blocks(image)))
        return logits


def cnn_s(architecture: Architecture) -> Staged:
    """The student of InDistill: first block 8 wide; 15,050 parameters for 3x32x32 and 10 classes.

    Up to three blocks double the width and pool 2x2 each; of one or two, the last pools the map to 2x2. More than three
    are 1, 2, 2, 4, 8, 8 and 16 times as wide as the first (then 16), and the first, second and fourth pool 2x2. The
    embedding is twice as wide as the last. Kernels are 3; from 48 pixels on they are the paper's 9, 5, 5 for up to
    three blocks, and 9, 7, 5 (then 3) for more.

    The paper gives the widths of three blocks alone, and of its networks of 2, 3, 5 and 7 that they have between 3,706
    and 1,131,262 parameters. These rules are ours, and reach both: 3,706 are this network's for 1x32x32, 10 classes and
    depth 2, and 1,131,262 the auxiliary's for 3x48x48, 30 classes and depth 7.

    Args:
        architecture: Options: `width` of the first block (8), `depth` in blocks (3), `layout` (2; 1 is that of version
            0.1, where blocks after the third kept width and map, and the embedding was 8 times the first block).

    Reference: Sarridis et al., InDistill, Fig. 2 and 4b, Sec. 4.3.
    """
    return _cnn(architecture, WIDTH_S)


def cnn_a(architecture: Architecture) -> Staged:
    """The auxiliary of InDistill, twice as wide as `cnn_s`: 57,994 parameters for 3x32x32 and 10 classes.

    Args:
        architecture: Options: `width` of the first block (16), `depth` and `layout` as in `cnn_s`.

    Reference: Sarridis et al., InDistill, Fig. 2 and 4b, Sec. 4.3.
    """
    return _cnn(architecture, WIDTH_A)


def _cnn(architecture: Architecture, width: int) -> Staged:
    width = architecture.option("width", width, 1_024)
    depth = architecture.option("depth", 3, 32)
    if architecture.option("layout", LAYOUT, LAYOUT) == 1:
        blocks, units = _first_layout(depth, width, architecture.size), 8 * width
    else:
        blocks = _layout(depth, width, architecture.size)
        units = 2 * blocks[-1].out
    weights = _count_weights(architecture, blocks, units)
    if weights > MOST_WEIGHTS:
        raise ValueError(
            f"it would have {weights:,} weights; allowed are {MOST_WEIGHTS:,}: give a smaller size or width"
        )
    model = ConvNet(architecture.channels, architecture.size, blocks, embedding=units, classes=architecture.classes)
    maps = (Stage(f"map{n + 1}", f"blocks.{n}", (f"blocks.{n}",), block.out) for n, block in enumerate(blocks))
    embedding = Stage("embedding", "embedding", ("embedding",), units)
    logits = Stage("logits", "classifier", ("classifier",), architecture.classes)
    return Staged(model, (*maps, embedding, logits))


def _layout(depth: int, width: int, size: Size) -> tuple[Block, ...]:
    """The blocks of a network, see `cnn_s`."""
    large = min(size) >= 48
    if depth > 3:
        growth = (*GROWTH, *GROWTH[-1:] * max(depth - len(GROWTH), 0))[:depth]
        kernels = ((9, 7, 5) if large else (3, 3, 3)) + (3,) * (depth - 3)
        pools = ((2, 2) if number in POOLED else (1, 1) for number in range(depth))
        return tuple(Block(width * g, k, p) for g, k, p in zip(growth, kernels, pools, strict=True))
    kernels = ((9, 5, 5) if large else (3, 3, 3))[:depth]
    blocks = [Block(width * 2**number, kernel, (2, 2)) for number, kernel in enumerate(kernels)]
    if depth < 3:
        height, wide = size
        for block in blocks[:-1]:
            height, wide = _map_size((height, wide), block)
        last = blocks[-1]
        pool = (max((height - last.kernel + 1) // 2, 1), max((wide - last.kernel + 1) // 2, 1))
        blocks[-1] = replace(last, pool=pool)
    return tuple(blocks)


def _first_layout(depth: int, width: int, size: Size) -> tuple[Block, ...]:
    """The blocks as they were in version 0.1: three that double and pool, further ones that keep both."""
    first = (9, 5, 5) if min(size) >= 48 else (3, 3, 3)
    kernels = (*first, *(3,) * max(depth - 3, 0))[:depth]
    return tuple(
        Block(width * 2 ** min(number, 2), kernel, (2, 2) if number < 3 else (1, 1))
        for number, kernel in enumerate(kernels)
    )


def _count_weights(architecture: Architecture, blocks: tuple[Block, ...], embedding: int) -> int:
    """Weights of a `ConvNet`, without biases and batch-norm."""
    count, channels, size = 0, architecture.channels, architecture.size
    for block in blocks:
        count += channels * block.out * block.kernel**2
        channels, size = block.out, _map_size(size, block)
    return count + channels * size[0] * size[1] * embedding + embedding * architecture.classes


def _map_size(size: Size, block: Block) -> Size:
    """Height and width of a `ConvBlock`'s map; 0 where the input is too small."""
    if block.pool == (1, 1):
        return size
    height, width = (max((s - block.kernel + 1) // p, 0) for s, p in zip(size, block.pool, strict=True))
    return height, width
