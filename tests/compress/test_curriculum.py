"""The curriculum: epochs for each layer."""

from __future__ import annotations

import pytest
from compress.recipes.curriculum import l_cls_epochs


@pytest.mark.parametrize(
    ("layers", "total", "a", "b", "epochs"),
    [
        (3, 70, 2, 1, (3, 4, 5, 58)),
        (3, 13, 2, 1, (3, 4, 5, 1)),
        (4, 200, 0, 5, (5, 10, 15, 20, 150)),
        (2, 10, 3, 0, (3, 3, 4)),
        (1, 2, 1, 0, (1, 1)),
    ],
)
def test_l_cls_epochs(layers: int, total: int, a: int, b: int, epochs: tuple[int, ...]) -> None:
    assert l_cls_epochs(layers, total, a, b) == epochs
    assert sum(epochs) == total


@pytest.mark.parametrize(
    ("layers", "total", "a", "b", "message"),
    [
        (3, 12, 2, 1, r"12 epochs leave none.*take 12; give more epochs"),
        (3, 1, 2, 1, "1 epochs leave none"),
        (3, 70, -1, 2, "a = -1"),
        (3, 70, 2, -1, "b = -1"),
        (3, 70, 0, 0, "a = 0, b = 0"),
    ],
)
def test_epochs_that_do_not_suffice_are_an_error(layers: int, total: int, a: int, b: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        l_cls_epochs(layers, total, a, b)
