"""The loss of a phase on images it does not train on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack

import torch
from torch import nn

from compress.data import Batch, Split
from compress.errors import DivergedError
from compress.phase import Loss, Phase
from compress.processes import share, total
from compress.stages import Staged, evaluating
from compress.training.features import Features, student_features


@torch.no_grad()
def phase_loss(
    phase: Phase, epoch: int, losses: Mapping[str, Loss], student: Staged, source: tuple[Features, Split]
) -> float:
    """The weighted sum of the phase's terms, a mean over the images of a split, all in eval mode, over all processes.

    Args:
        phase: Its terms and its batch size, on which losses of relations depend.
        epoch: Of the phase, from 0; decides the weights.
        losses: Term to its loss.
        student: Only read.
        source: The teacher as this split asks it, and the split.

    Raises:
        DivergedError: The sum is NaN or infinite.
    """
    guide, split = source
    device = next(student.model.parameters()).device
    sums = torch.zeros(2, dtype=torch.float64)
    with ExitStack() as modes:
        for module in (student.model, *(loss for loss in losses.values() if isinstance(loss, nn.Module))):
            modes.enter_context(evaluating(module))
        features = modes.enter_context(student_features(student.model, student, phase.stages("student"), whole=False))
        for batch in split.batches(phase.fit.batch_size, order=0, shard=share()):
            batch = Batch(*(part.to(device) for part in batch))
            given = {**features(batch), **guide(batch)}
            values = [term.weight_at(epoch) * losses[term.name](*(given[r] for r in term.args)) for term in phase.terms]
            sums += torch.tensor([float(torch.stack(values).sum()) * len(batch.target), len(batch.target)])
    loss, images = total(sums).tolist()
    if not images or not math.isfinite(loss):
        raise DivergedError(
            f"phase {phase.name!r}: the loss on the {images:.0f} validation images that make a batch is no number; "
            "hold out more of them, lower the learning rate, or keep by score"
        )
    return float(loss / images)
