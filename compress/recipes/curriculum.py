"""How many epochs each layer gets before the final task: l-CLS."""

from __future__ import annotations


def l_cls_epochs(layers: int, total: int, a: int, b: int) -> tuple[int, ...]:
    """The epochs of each sub-task: a + i*b for layer i = 1..`layers`, and what is left of `total` for the final one.

    Args:
        layers: Intermediate layers to transfer, at least 1.
        total: Epochs in all.
        a: Least epochs of a layer, at least 0.
        b: Further epochs for each later layer, at least 0; a + b at least 1.

    Returns:
        `layers` + 1 numbers that sum to `total`.

    Raises:
        ValueError: The layers leave no epoch for the final task, or a, b are out of range.

    Reference: Sarridis et al., InDistill, Eq. 2.
    """
    if a < 0 or b < 0 or a + b < 1:
        raise ValueError(f"a = {a}, b = {b}: both at least 0 and their sum at least 1")
    epochs = [a + layer * b for layer in range(1, layers + 1)]
    left = total - sum(epochs)
    if left < 1:
        raise ValueError(
            f"{total} epochs leave none for the final task: {layers} layers with a = {a}, b = {b} take {sum(epochs)}; "
            "give more epochs or a smaller a or b"
        )
    return (*epochs, left)
