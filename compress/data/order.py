"""Which images of a split come when: the order of a pass, a rank's share of it, and its batches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from compress.data.draws import generator


def plan_batches(
    count: int, batch_size: int, *, epoch: int | None, seed: int, shard: tuple[int, int]
) -> list[npt.NDArray[np.int64]]:
    """The positions of every batch of one pass over a split, as `Split.batches` describes it.

    Args:
        count: Images in the split.
        batch_size: At least 1.
        epoch: None: in order, every image.
        seed: Of the order of an epoch.
        shard: (rank, count of ranks).

    Raises:
        ValueError: A batch size below 1, or a rank outside 0..ranks - 1.
    """
    rank, ranks = shard
    if batch_size < 1:
        raise ValueError(f"batch size: got {batch_size}; at least 1 is needed")
    if not 0 <= rank < ranks:
        raise ValueError(f"shard: got rank {rank} of {ranks}; give (rank, count) with a rank from 0 to count - 1")
    if epoch is None:
        share = np.arange(rank, count, ranks)
    else:
        share = generator("order", seed, epoch).permutation(count)[rank : count // ranks * ranks : ranks]
    batches = [share[start : start + batch_size] for start in range(0, len(share), batch_size)]
    if epoch is not None and batches and len(batches[-1]) == 1 < batch_size:
        return batches[:-1]
    return batches
