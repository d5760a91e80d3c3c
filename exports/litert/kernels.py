"""Which nodes of a network are computed in int8 codes, and on which grid they give them; all others are in floats.

A network whose activations are quantized has a QuantizeLinear and a DequantizeLinear behind each of them, and between
these floats that are all of a grid. An operator runs on the codes where it takes nothing but codes, the format has a
kernel for it, and what it gives is codes again: those it took, moved about; or those that the next QuantizeLinear asks
for, since the kernel then rounds once, where the network does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

from exports.litert.grids import Grid, whole
from exports.litert.lowered import Node
from exports.litert.translation import CLIPS, Translation

Rule = Callable[[Translation, Node, list[Grid], Grid | None], Grid | None]

_TRANSPARENT = (
    *("Clip", "Concat", "Dropout", "Flatten", "GlobalMaxPool", "Identity", "MaxPool", "ReduceMax", "Relu", "Reshape"),
    *("Squeeze", "Transpose", "Unsqueeze"),
)
_LARGEST_FACTOR = 256  # from the unit that a kernel computes in to the step of what it gives: LiteRT goes no further
_UNSIGNED = 128  # what the codes of uint8 are above those of int8


def wished(t: Translation) -> Mapping[str, Grid]:
    """The grid on which each value is wanted that nothing takes otherwise.

    The quantization that wants it may be behind operators that do the same to codes: moves, maxima and limits.
    """
    wishes: dict[str, list[Grid]] = defaultdict(list)
    found: dict[str, Grid] = {}
    for node in reversed(t.network.nodes):
        wishes_of_it = wishes[node.output]
        if len(wishes_of_it) == t.network.uses[node.output] and len(set(wishes_of_it)) == 1:
            found[node.output] = wishes_of_it[0]
        if node.kind == "QuantizeLinear":
            wishes[node.inputs[0]].append(_grid(t, node))
        elif node.kind in _TRANSPARENT and node.output in found:
            for name in node.inputs:
                wishes[name].append(found[node.output])
    return found


def kept(t: Translation, node: Node, wishes: Mapping[str, Grid]) -> Grid | None:
    """The grid of the codes that a node gives; None where it gives floats, and takes them."""
    if node.kind == "QuantizeLinear":
        return _grid(t, node)
    taken = [t.builder.grid(t.values[name].tensor) for name in node.inputs if name in t.values]
    grids = [grid for grid in taken if grid is not None]
    if node.kind not in _KERNELS or not grids or len(grids) < len(taken):
        return None
    return _KERNELS[node.kind](t, node, grids, wishes.get(node.output))


def quantize(t: Translation, node: Node) -> None:
    """QuantizeLinear: nothing where the value is on that grid already."""
    value, grid = t.given(node, 0), _grid(t, node)
    t.values[node.output] = replace(value, tensor=t.snapped(value.tensor, grid), positive=grid.zero == -_UNSIGNED)


def dequantize(t: Translation, node: Node) -> None:
    """DequantizeLinear of codes: the same codes, which are brought to float where something needs floats."""
    value, grid = t.given(node, 0), _grid(t, node)
    if t.builder.grid(value.tensor) != grid:
        t.refuse(node, f"it takes codes on another grid than it names, {grid}")
    t.values[node.output] = value


def _grid(t: Translation, node: Node) -> Grid:
    """What a quantization or its inverse names: one step, and one code of 0 of 8 bits."""
    step = t.constant(node, 1).dense
    zero = t.constant(node, 2).values if len(node.inputs) > 2 and node.inputs[2] else None
    kind = "uint8" if zero is None else zero.dtype.name
    if step.size != 1 or kind not in ("uint8", "int8") or not step.item() > 0:
        t.refuse(node, f"codes of {kind} with {step.size} steps; it can do uint8 and int8 with one step above 0")
    return Grid(float(step.item()), (0 if zero is None else int(zero.item())) - (_UNSIGNED if kind == "uint8" else 0))


def _same(_t: Translation, _node: Node, taken: list[Grid], _wish: Grid | None) -> Grid | None:
    """Codes that are moved about, or of which the largest is taken."""
    return taken[0]


def _rounded(_t: Translation, _node: Node, taken: list[Grid], wish: Grid | None) -> Grid | None:
    """Means of codes, rounded to the grid that they came from and then to the one that is wanted."""
    return None if wish is None else taken[0]


def _mean(_t: Translation, _node: Node, _taken: list[Grid], wish: Grid | None) -> Grid | None:
    """Means over axes, rounded once."""
    return wish


def _binary(_t: Translation, node: Node, taken: list[Grid], wish: Grid | None) -> Grid | None:
    """Sums, differences and products of two values, of which none is stored."""
    if wish is None or len(taken) < len(node.inputs):
        return None
    steps = [grid.step for grid in taken]
    unit = prod(steps) if node.kind == "Mul" else max(steps)
    return wish if unit < _LARGEST_FACTOR * wish.step else None


def _clip(t: Translation, node: Node, _taken: list[Grid], wish: Grid | None) -> Grid | None:
    """Those limits that the format has an operator for."""
    return wish if t.limits(node) in CLIPS else None


def _relu(_t: Translation, _node: Node, taken: list[Grid], wish: Grid | None) -> Grid | None:
    return wish or taken[0]


def _resize(t: Translation, node: Node, taken: list[Grid], wish: Grid | None) -> Grid | None:
    """Pixels that are repeated, or means of them."""
    nearest = node.attributes.get("mode", b"nearest") == b"nearest"
    return (_same if nearest else _rounded)(t, node, taken, wish)


def _pad(t: Translation, node: Node, taken: list[Grid], _wish: Grid | None) -> Grid | None:
    filled = t.stored(node, 2)
    return taken[0] if filled is None or taken[0].holds(filled.dense.item()) else None


def _concat(_t: Translation, _node: Node, taken: list[Grid], wish: Grid | None) -> Grid | None:
    """What lies on one grid stays there; what does not is moved to the one that is wanted."""
    return taken[0] if len(set(taken)) == 1 else wish


def _weighed(t: Translation, node: Node, taken: list[Grid], wish: Grid | None) -> Grid | None:
    """Convolutions and dense layers whose weights are stored as int8 codes."""
    weight, bias = t.stored(node, 1), t.stored(node, 2)
    dense = node.kind != "Conv"
    if wish is None or weight is None or (dense and len(t.shape(node)) == 4):
        return None
    found = whole(weight, bias, 1 if dense and not node.attributes.get("transB", 0) else 0, taken[0].step)
    return wish if found is not None and found.units.max() < _LARGEST_FACTOR * wish.step else None


_KERNELS: Mapping[str, Rule] = {
    "Add": _binary,
    "AveragePool": _rounded,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _weighed,
    "DequantizeLinear": _same,
    "Dropout": _same,
    "Flatten": _same,
    "Gemm": _weighed,
    "GlobalAveragePool": _mean,
    "GlobalMaxPool": _same,
    "Identity": _same,
    "MatMul": _weighed,
    "MaxPool": _same,
    "Mul": _binary,
    "Pad": _pad,
    "ReduceMax": _same,
    "ReduceMean": _mean,
    "Relu": _relu,
    "Reshape": _same,
    "Resize": _resize,
    "Squeeze": _same,
    "Sub": _binary,
    "Transpose": _same,
    "Unsqueeze": _same,
}
