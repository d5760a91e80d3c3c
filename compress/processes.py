"""What several processes of one run agree on; with one process, each of these gives back what it got."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def share() -> tuple[int, int]:
    """(rank, count): which share of the images is this process's."""
    from accelerate import PartialState

    state = PartialState()
    return state.process_index, state.num_processes


def is_main() -> bool:
    """Whether this process is the one that writes files."""
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


def agree(tensors: Iterable[Tensor]) -> None:
    """Nothing, once every process has the first one's, in place: each saw other images and has statistics of its own.

    Args:
        tensors: As many, of the same shapes and in the same order everywhere.
    """
    if share()[1] == 1:
        return
    from accelerate.utils import broadcast

    broadcast(list(tensors))


def total(counts: Tensor) -> Tensor:
    """The sum of a tensor over the processes, on the CPU."""
    if share()[1] == 1:
        return counts.cpu()
    from accelerate import PartialState
    from accelerate.utils import reduce

    summed: Tensor = reduce(counts.to(PartialState().device), reduction="sum")
    return summed.cpu()


def gathered(rows: Tensor) -> Tensor:
    """(N, ...) the rows of every process, on the CPU, one process after the other; they may have unequally many."""
    if share()[1] == 1:
        return rows.cpu()
    from accelerate import PartialState
    from accelerate.utils import gather, pad_across_processes

    device = PartialState().device
    counts = gather(torch.tensor([len(rows)], device=device))
    padded = pad_across_processes(rows.to(device).contiguous(), dim=0)
    parts = gather(padded).cpu().split(int(counts.max()))
    return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)])
