"""How wide a layer is left: the share that was asked for, as near as its kernels and groups of channels allow."""

from __future__ import annotations

import math

ROUNDING = 1e-9


def step_of(width: int, multiple: int, groups: int = 1) -> int:
    """The channels of each group that go or stay together, so that the width stays a multiple.

    A layer of at most twice the multiple would have no width to choose but its own and half of it: there the multiple
    is halved until there is a choice.

    Args:
        width: Channels of the layer.
        multiple: What its width should be a multiple of, at least 1.
        groups: How many equal groups they form.
    """
    places = width // groups
    step = multiple
    while step > 1 and (width <= 2 * step or places < 2 * _share(step, groups)):
        step //= 2
    return _share(step, groups)


def kept_places(stay: float, places: int, *, step: int, groups: int = 1) -> int:
    """How many places of each group of channels stay, at least one step and at most all.

    Without a step the share that goes is rounded up, and in groups, which may have few places, to the nearest number;
    with a step it is rounded to the nearest multiple, of two equally near ones the larger.

    Args:
        stay: How many would stay if channels could be divided, 0..places.
        places: How many there are.
        step: What the number should be a multiple of, 1 for none.
        groups: How many groups of channels there are.
    """
    if step == 1:
        return max(1, math.floor(stay + ROUNDING) if groups == 1 else math.ceil(stay - 0.5 - ROUNDING))
    return min(max(step, step * math.floor(stay / step + 0.5 + ROUNDING)), places)


def _share(step: int, groups: int) -> int:
    return step // math.gcd(step, groups)
