"""Which images of a split come when: the order of a pass, a rank's share of it, and its batches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compress.data.draws import generator


def plan_batches(
    count: int, batch_size: int, *, order: int | None, seed: int, shard: tuple[int, int], even: bool
) -> list[npt.NDArray[np.int64]]:
    """The positions of every batch of one pass over a split, as `Split.batches` describes it.

    Args:
        count: Images in the split.
        batch_size: At least 1.
        order: None: as they stand, every image; else the epoch whose shuffle it is.
        seed: Of the shuffle.
        shard: (rank, count of ranks).
        even: With an order, leave out what makes shares unequal, and a last batch of one image.

    Raises:
        ValueError: A batch size below 1, or a rank outside 0..ranks - 1.
    """
    rank, ranks = shard
    if batch_size < 1:
        raise ValueError(f"batch size: got {batch_size}; at least 1 is needed")
    if not 0 <= rank < ranks:
        raise ValueError(f"shard: got rank {rank} of {ranks}; give (rank, count) with a rank from 0 to count - 1")
    images = np.arange(count) if order is None else generator("order", seed, order).permutation(count)
    even = even and order is not None
    share = images[rank : count // ranks * ranks if even else count : ranks]
    batches = [share[start : start + batch_size] for start in range(0, len(share), batch_size)]
    if even and batches and len(batches[-1]) == 1 < batch_size:
        return batches[:-1]
    return batches
