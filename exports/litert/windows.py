"""Convolutions and poolings of ONNX in a .tflite file, which knows two paddings: none, and the one it calls SAME."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from exports.litert.lowered import Node
from exports.litert.translation import TO_FILE, Code, Translation, Value

_LOWEST = np.finfo(np.float32).min

Pair = tuple[int, int]


class Window(NamedTuple):
    """How a convolution or a pooling moves over a map; pairs are (rows, columns).

    Attributes:
        kernel: Its size.
        stride: Its step.
        dilation: The step inside of it.
        before: Padding above and to the left.
        after: Padding below and to the right, of which some may never be looked at.
    """

    kernel: Pair
    stride: Pair
    dilation: Pair
    before: Pair
    after: Pair


def convolution(t: Translation, node: Node) -> None:
    """Conv: CONV_2D, of groups too, or DEPTHWISE_CONV_2D where each channel has filters of its own.

    Of the filters are left out those rows and columns that only ever meet the padding, as on a map of one pixel.
    """
    value, groups = t.given(node, 0), int(node.attributes.get("group", 1))
    weight, factors = t.constant(node, 1).apart()
    whole = _window(t, node, value, weight.values.shape[2:])
    rows, columns = (_met(value.shape[axis + 2], t.shape(node)[axis + 2], whole, axis) for axis in (0, 1))
    window = whole._replace(
        kernel=(len(rows), len(columns)),
        before=(whole.before[0] - rows[0] * whole.dilation[0], whole.before[1] - columns[0] * whole.dilation[1]),
    )
    bias = t.bias(node, weight)
    if bias < 0:
        bias = t.builder.constant(np.zeros(weight.values.shape[0], np.float32))
    tensor, padding = _padded(t, node, value, window, np.float32(0))
    options = {
        "padding": padding,
        "strideH": window.stride[0],
        "strideW": window.stride[1],
        "dilationHFactor": window.dilation[0],
        "dilationWFactor": window.dilation[1],
    }
    channels = value.shape[1]
    arrange = partial(_filters, rows=rows, columns=columns, order=(1, 2, 3, 0) if 1 < groups == channels else TO_FILE)
    filters = t.weight(node, weight, arrange)
    if 1 < groups == channels:
        made = schema.DepthwiseConv2DOptionsT(depthMultiplier=weight.values.shape[0] // channels, **options)
        t.weigh(node, Code.DEPTHWISE_CONV_2D, [tensor, filters, bias], made, factors)
    else:
        t.weigh(node, Code.CONV_2D, [tensor, filters, bias], schema.Conv2DOptionsT(**options), factors)


def _met(side: int, steps: int, window: Window, axis: int) -> range:
    """The rows, or columns, of a filter that meet the map at some step: all from the first to the last of them."""
    starts = [step * window.stride[axis] - window.before[axis] for step in range(steps)]
    places = range(window.kernel[axis])
    met = [place for place in places if any(0 <= start + place * window.dilation[axis] < side for start in starts)]
    if not met or met[0] * window.dilation[axis] > window.before[axis]:
        return places
    return range(met[0], met[-1] + 1)


def _filters(weight: NDArray[Any], *, rows: range, columns: range, order: tuple[int, ...]) -> NDArray[Any]:
    """(O, I, H, W) weights in the order of the file, of those rows and columns alone."""
    return weight[:, :, rows.start : rows.stop, columns.start : columns.stop].transpose(order)


def max_pool(t: Translation, node: Node) -> None:
    """MaxPool: MAX_POOL_2D; what is padded explicitly never wins."""
    value = t.given(node, 0)
    window = _window(t, node, value, node.ints("kernel_shape", ()))
    if window.dilation != (1, 1):
        t.refuse(node, f"a pooling of dilation {window.dilation}; it can do (1, 1)")
    tensor, padding = _padded(t, node, value, window, np.float32(0) if value.positive else _LOWEST)
    t.emit(node, Code.MAX_POOL_2D, [tensor], _pool(window, padding), positive=value.positive)


def average_pool(t: Translation, node: Node) -> None:
    """AveragePool: AVERAGE_POOL_2D, where both count the same values."""
    value = t.given(node, 0)
    window = _window(t, node, value, node.ints("kernel_shape", ()))
    counted = bool(node.attributes.get("count_include_pad", 0))
    needed = _needed(value, t.shape(node), window)
    if window.dilation != (1, 1) or any(a > b for a, b in zip(needed, window.after, strict=True)):
        t.refuse(node, "an average over dilated windows, or over windows that leave the padding (ceil_mode)")
    if counted:
        tensor, padding = _explicit(t, value, window.before, needed, np.float32(0)), schema.Padding.VALID
    else:
        tensor, padding = _padded(t, node, value, window, None)
    t.emit(node, Code.AVERAGE_POOL_2D, [tensor], _pool(window, padding), positive=value.positive)


def pad(t: Translation, node: Node) -> None:
    """Pad: PAD or PADV2 with one constant value around rows and columns."""
    value, mode = t.given(node, 0), node.attributes.get("mode", b"constant")
    pads, filled = t.constant(node, 1).values.tolist(), t.stored(node, 2)
    if mode != b"constant" or len(value.shape) != 4 or len(pads) != 8 or len(node.inputs) > 3 or min(pads) < 0:
        t.refuse(node, f"padding of mode {mode.decode()} by {pads}; it can do constant padding of rows and columns")
    if any(pads[axis] for axis in (0, 1, 4, 5)):
        t.refuse(node, f"padding of images or channels, by {pads}")
    number = np.float32(0 if filled is None else filled.dense.item())
    tensor = _explicit(t, value, (pads[2], pads[3]), (pads[6], pads[7]), number)
    t.values[node.output] = Value(tensor, t.shape(node), positive=value.positive and bool(number >= 0))


def _window(t: Translation, node: Node, value: Value, kernel: Sequence[int]) -> Window:
    if len(value.shape) != 4:
        t.refuse(node, f"it works on {len(value.shape) - 2} dimensions; 2 are possible")
    if node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        t.refuse(node, "its padding is not given in numbers")
    pads = node.ints("pads", (0, 0, 0, 0))
    if min(pads) < 0:
        t.refuse(node, f"its padding is {pads}; it may not be below 0")
    stride, dilation = node.ints("strides", (1, 1)), node.ints("dilations", (1, 1))
    return Window(_pair(kernel), _pair(stride), _pair(dilation), _pair(pads[:2]), _pair(pads[2:]))


def _pair(values: Sequence[int]) -> Pair:
    rows, columns = values
    return int(rows), int(columns)


def _needed(value: Value, shape: Sequence[int], window: Window) -> Pair:
    """What of the padding below and to the right some window looks at; below 0 where not all of the map is."""
    rows, columns = (
        (shape[axis + 2] - 1) * window.stride[axis]
        + (window.kernel[axis] - 1) * window.dilation[axis]
        + 1
        - value.shape[axis + 2]
        - window.before[axis]
        for axis in (0, 1)
    )
    return rows, columns


def _padded(t: Translation, node: Node, value: Value, window: Window, number: np.float32 | None) -> tuple[int, int]:
    """A tensor and the padding of the schema that together do what the node's padding does.

    Args:
        t: The translation.
        node: A convolution or a pooling.
        value: What it takes.
        window: How it moves.
        number: What is around the map; None where that is left out of account and can be no number.
    """
    shape = t.shape(node)
    needed = _needed(value, shape, window)
    if window.before == (0, 0) and max(needed) <= 0:
        return value.tensor, schema.Padding.VALID
    same = all(
        shape[axis + 2] == -(-value.shape[axis + 2] // window.stride[axis])
        and needed[axis] >= 0
        and window.before[axis] == (window.before[axis] + needed[axis]) // 2
        for axis in (0, 1)
    )
    if same:
        return value.tensor, schema.Padding.SAME
    if number is None:
        t.refuse(node, f"an average that leaves out padding of {window.before} before and {needed} after the map")
    return _explicit(t, value, window.before, needed, number), schema.Padding.VALID


def _explicit(t: Translation, value: Value, before: Pair, after: Pair, number: np.float32) -> int:
    """The tensor of a map with a border of `number`."""
    border: NDArray[Any] = np.array([(0, 0), (before[0], max(after[0], 0)), (before[1], max(after[1], 0)), (0, 0)])
    if not border.any():
        return value.tensor
    _, channels, height, width = value.shape
    shape = [1, height + int(border[1].sum()), width + int(border[2].sum()), channels]
    if number == 0:
        return t.step(Code.PAD, [value.tensor, t.numbers(border)], shape, schema.PadOptionsT())
    filled = t.builder.filling(number, value.tensor)
    return t.step(Code.PADV2, [value.tensor, t.numbers(border), filled], shape, schema.PadV2OptionsT())


def _pool(window: Window, padding: int) -> object:
    return schema.Pool2DOptionsT(
        padding=padding,
        strideH=window.stride[0],
        strideW=window.stride[1],
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
    )
