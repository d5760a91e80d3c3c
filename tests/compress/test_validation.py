"""The loss by which the best epoch is chosen is a number, or the run ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from compress.checkpoint import Checkpoint
from compress.data import Dataset
from compress.errors import DivergedError
from compress.losses import cross_entropy_loss
from compress.phase import LABELS, Fit, Phase, S, Term
from compress.tasks import CLASSIFICATION
from compress.training.engine import Run, run


def nan_in_validation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy while it is trained on, NaN where only the value is asked for."""
    loss = cross_entropy_loss(logits, labels)
    fewer = not torch.is_grad_enabled() and len(labels) > 2  # the check of the plan looks at two images
    return loss * torch.nan if fewer else loss


def test_a_validation_loss_that_is_no_number_ends_the_run(
    student: Checkpoint, varied_digits: Dataset, make_fit: Callable[..., Fit]
) -> None:
    term = Term(nan_in_validation_loss, (S("logits"), LABELS), 1.0, "ce")
    phase = Phase("task", (term,), make_fit(2, keep="best loss"))
    with pytest.raises(DivergedError, match=r"phase 'task': the loss on the \d+ validation images .* is no number"):
        list(run([phase], student.network, varied_digits, Run(CLASSIFICATION)))
