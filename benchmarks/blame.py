"""Which layers of a smaller network are why fewer multiply-accumulates did not make it faster."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure.operators import Operation, Spent
from compress.cost import Product

MOST_BLAMED = 5
LEAST_EXCESS = 0.01  # of the time of the whole network: what is less explains nothing
LEAST_RISE = 1.1  # times what a layer should take: what is less may be noise
LARGEST_BLOCK = 16  # channels that the widest vector units take at once
ALIGNED = 4  # ONNX Runtime brings only widths that are multiples of it into its layout of blocks of channels


@dataclass(frozen=True)
class Blamed:
    """A layer, or an operator that is no layer's, that takes more time than its share of the work that is left.

    Attributes:
        name: The layer as the network calls it, or the operator as ONNX Runtime does.
        macs: Multiply-accumulates of one image before and after; (0, 0) of an operator that is no layer's.
        time_ms: Milliseconds before and after.
        excess_ms: What it takes beyond the time before, scaled as its MACs were.
        reason: Why, as far as it can be known; "" where it cannot.
    """

    name: str
    macs: tuple[int, int]
    time_ms: tuple[float, float]
    excess_ms: float
    reason: str


@dataclass(frozen=True)
class _Side:
    """One of the two networks: its layers, and what ran of each name."""

    products: Mapping[str, list[Product]]
    ran: Mapping[str, list[Operation]]

    @property
    def block(self) -> int:
        """The channels of a block: 8 or 16, as the machine's vector unit is wide."""
        widths = (one.blocked_width for operations in self.ran.values() for one in operations)
        return math.gcd(LARGEST_BLOCK, *widths)

    def macs(self, name: str) -> int:
        return sum(one.macs for one in self.products.get(name, ()))

    def time_ms(self, name: str) -> float:
        return sum(one.time_ms for one in self.ran.get(name, ()))


def blame(before: Spent, after: Spent) -> list[Blamed]:
    """What costs the most beyond its share, the worst first, at most five.

    Args:
        before: Where the time of the network as it was goes.
        after: Where that of what is left of it goes, measured in turn with it.
    """
    was, now = _side(before), _side(after)
    found = (_held_against(name, was, now) for name in now.ran)
    least_ms = LEAST_EXCESS * before.sum_ms
    guilty = [one for one in found if one.excess_ms >= least_ms and _rose(one)]
    return sorted(guilty, key=lambda one: -one.excess_ms)[:MOST_BLAMED]


def _rose(one: Blamed) -> bool:
    return one.time_ms[1] >= LEAST_RISE * (one.time_ms[1] - one.excess_ms)


def _side(taken: Spent) -> _Side:
    products: dict[str, list[Product]] = {}
    ran: dict[str, list[Operation]] = {}
    for product in taken.products:
        products.setdefault(product.layer, []).append(product)
    for operation in taken.operations:
        ran.setdefault(operation.name, []).append(operation)
    return _Side(products, ran)


def _held_against(name: str, was: _Side, now: _Side) -> Blamed:
    macs, time_ms = (was.macs(name), now.macs(name)), (was.time_ms(name), now.time_ms(name))
    share = macs[1] / macs[0] if macs[0] else 1.0
    return Blamed(name, macs, time_ms, time_ms[1] - share * time_ms[0], _reason(name, was, now))


def _reason(name: str, was: _Side, now: _Side) -> str:
    if name not in now.products:
        return _reason_of_operator(name, len(was.ran.get(name, ())), len(now.ran[name]))
    product, ran = now.products[name][-1], now.ran[name][-1]
    outputs, inputs = product.weight[0], product.weight[1] * product.groups
    if any(one.blocked_width for one in was.ran.get(name, ())) and not ran.blocked_width:
        return _reason_of_layout(outputs, inputs)
    if ran.blocked_width and not product.depthwise and inputs < now.block:
        return f"reads {inputs} channels, too few for a block of {now.block}"
    if ran.blocked_width > outputs:
        return f"{outputs} channels are computed as {ran.blocked_width}, which fill the vector unit"
    if product.depthwise:
        return "depthwise: its time goes into memory more than into MACs"
    return ""


def _reason_of_operator(name: str, was: int, now: int) -> str:
    one, more = "change between layouts", "changes between layouts"
    if not name.startswith("Reorder"):
        one, more = "operation of its own", "operations of their own"
    what = one if now == 1 else more
    return f"{now} {what} where there {'was' if was == 1 else 'were'} {was or 'none'}" if now > was else ""


def _reason_of_layout(outputs: int, inputs: int) -> str:
    """Why a layer is no longer computed on blocks of channels."""
    odd: Sequence[int] = [width for width in dict.fromkeys((inputs, outputs)) if width % ALIGNED]
    if not odd:
        return "no longer computed on blocks of channels, as its neighbours are not"
    widths = " and ".join(f"{width} channels" for width in odd)
    return f"{widths}: no multiple of {ALIGNED}, so not computed on blocks that fill the vector unit"
