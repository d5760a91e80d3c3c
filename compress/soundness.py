"""What must hold of any network that is used, and of whatever it answers: numbers, and variances that can be ones."""

from __future__ import annotations

from torch import Tensor, nn

from compress.errors import CheckpointError, GateError

VARIANCE = "running_var"


def check_statistics(model: nn.Module) -> None:
    """Nothing, once every parameter and buffer is finite and no running variance of a batch-norm is below 0.

    Args:
        model: Any network; its tensors are only read.

    Raises:
        CheckpointError: The first key of its state that is not sound, and what it holds.
    """
    for key, value in model.state_dict().items():
        wrong = int((~value.isfinite()).sum()) if value.is_floating_point() or value.is_complex() else 0
        if wrong:
            raise CheckpointError(
                f"{key} holds NaN or infinite values ({wrong:,} of {value.numel():,}); get the file again"
            )
        if key.rpartition(".")[2] == VARIANCE and (value < 0).any():
            raise CheckpointError(f"{key} holds {value.min().item():g}; a variance is at least 0: get the file again")


def check_outputs(outputs: Tensor, where: str) -> Tensor:
    """The outputs as they came, once all of them are finite.

    Args:
        outputs: Of a network or an exported file, of any shape.
        where: What gave them and for which images, as the message begins.

    Raises:
        GateError: One of them is NaN or infinite.
    """
    if not outputs.isfinite().all():
        images = outputs.flatten(1) if outputs.ndim > 1 else outputs[:, None]
        wrong = int((~images.isfinite()).any(dim=1).sum())
        raise GateError(
            f"{where}: {wrong:,} of {len(images):,} outputs are NaN or infinite, so no score would mean anything; "
            "train it anew with a smaller --lr, or take an earlier checkpoint"
        )
    return outputs
