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


def kept_places(stay: float, places: int, step: int) -> int:
    """How many places of each group of channels stay: the nearest multiple of the step, of two the larger; at least 1.

    Args:
        stay: How many would stay if channels could be divided, 0..places.
        places: How many there are.
        step: What the number is a multiple of, unless all stay.
    """
    return min(max(step, step * math.floor(stay / step + 0.5 + ROUNDING)), places)


def kept_unrounded(stay: float, groups: int) -> int:
    """The same without a step: the share that goes is rounded up, and in groups, which have few places, to the nearest.

    Args:
        stay: As above.
        groups: How many groups of channels there are.
    """
    return max(1, math.floor(stay + ROUNDING) if groups == 1 else math.ceil(stay - 0.5 - ROUNDING))


def _share(step: int, groups: int) -> int:
    return step // math.gcd(step, groups)
