"""What the teacher says of a batch: computed, or looked up where the same image would always give the same answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from compress.data import Batch, Split
from compress.stages import Staged, tapped

Targets = Callable[[Batch], dict[str, Tensor]]

TABLE_BYTES = 512 * 2**20
TABLE_STAGES = ("embedding", "logits")
TABLE_BATCH = 256


@contextmanager
def teacher_targets(teacher: Staged, stages: tuple[str, ...], split: Split, epochs: int) -> Iterator[Targets]:
    """A function from a batch to the teacher's features at `stages`, in eval mode and without gradient.

    Where the training images never change (no augmentation) and the features are small, they are computed once for the
    whole split and then looked up; the two ways agree to rounding.

    Args:
        teacher: Left as it is, in eval mode.
        stages: Names of the teacher's stages; none means a function that gives nothing.
        split: What will be trained on.
        epochs: How often each image will be asked for.
    """
    if not stages:
        yield lambda _batch: {}
        return
    teacher.model.eval()
    with tapped(teacher, stages) as taps:

        @torch.no_grad()
        def compute(batch: Batch) -> dict[str, Tensor]:
            taps.clear()
            teacher.model(teacher.scale(batch.image))
            return {stage: taps[stage] for stage in stages}

        if _worth_a_table(teacher, stages, split, epochs):
            table = _table(compute, stages, split, next(teacher.model.parameters()).device)
            yield lambda batch: {stage: table[stage][batch.index] for stage in stages}
        else:
            yield compute


def _worth_a_table(teacher: Staged, stages: tuple[str, ...], split: Split, epochs: int) -> bool:
    if epochs < 2 or not split.fixed or not set(stages) <= set(TABLE_STAGES):
        return False
    return sum(teacher.width(stage) for stage in stages) * len(split) * 4 <= TABLE_BYTES


def _table(compute: Targets, stages: tuple[str, ...], split: Split, device: torch.device) -> dict[str, Tensor]:
    parts: dict[str, list[Tensor]] = {stage: [] for stage in stages}
    for batch in split.batches(TABLE_BATCH):
        for stage, feature in compute(Batch(batch.image.to(device), batch.target, batch.index)).items():
            parts[stage].append(feature)
    return {stage: torch.cat(rows) for stage, rows in parts.items()}
