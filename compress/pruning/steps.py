"""A cut in several steps, with time between them for what is left to recover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from compress.pruning.choice import Choice
from compress.pruning.plan import Scored


@dataclass(frozen=True)
class Step:
    """One of the steps in which channels go.

    Attributes:
        number: From 1.
        of: How many there are.
        ratio: Share of the channels of the whole network that is gone after it, as far as it was asked for.
        widths: The root of each coupling to the channels that it leaves, see `compress.pruning.Scored.widths`.
    """

    number: int
    of: int
    ratio: float
    widths: Mapping[str, int]


def in_steps(found: Scored, ratio: float, count: int) -> list[Step]:
    """The steps to what a single cut would leave, with as much of the ratio in each.

    How wide each layer is after each of them is known beforehand, so that they end at the very costs of a single cut;
    which channels these are is decided at each step by what the network has become. Blocks go in the first.

    Args:
        found: The whole network, scored.
        ratio: As for `Scored.at`.
        count: How many steps, at least 1; those that would cut nothing, as the widths allow, are left out.

    Raises:
        PlanError: Nothing would be cut.
    """
    found.at(ratio)
    widths = [found.widths(ratio, number / count) for number in range(1, count + 1)]
    last = {tuple(left.values()): number for number, left in enumerate(widths)}
    before = () if found.drops else tuple(layer.width for layer, _ in found.layers)
    taken = [number for left, number in last.items() if left != before]
    return [
        Step(place, len(taken), ratio * (number + 1) / count, widths[number]) for place, number in enumerate(taken, 1)
    ]


def later(choice: Choice) -> Choice:
    """How channels are chosen after the first step: blocks are gone by then, and the widths are planned."""
    return replace(choice, layer_ratios={}, leave=(), blocks=0)
