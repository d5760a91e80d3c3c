"""What each operator of ONNX is in a .tflite file: one function a kind, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import inf, isclose, prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from compress.errors import ExportError
from exports.litert.builder import Builder
from exports.litert.kernels import dequantize, kept, quantize, wished
from exports.litert.lowered import Lowered, Node
from exports.litert.translation import AXIS_IN_FILE, CLIPS, TO_FILE, Code, Translation, Value, in_file
from exports.litert.windows import average_pool, convolution, max_pool, pad

Translate = Callable[[Translation, Node], None]


def relu(t: Translation, node: Node) -> None:
    """Relu: inside the operator before it where that can do it."""
    _clip(t, node, (0.0, inf))


def clip(t: Translation, node: Node) -> None:
    """Clip: Relu, Relu6, or a MAXIMUM and a MINIMUM."""
    _clip(t, node, t.limits(node))


def _clip(t: Translation, node: Node, limits: tuple[float, float]) -> None:
    value, positive = t.given(node, 0), limits[0] >= 0
    if limits in CLIPS:
        code, fused = CLIPS[limits]
        if not t.fuse(node, fused):
            t.emit(node, code, [_whole(t, value)], positive=positive)
        return
    tensor = _whole(t, value)
    shape = t.builder.shape(tensor)
    for code, limit in ((Code.MAXIMUM, limits[0]), (Code.MINIMUM, limits[1])):
        if abs(limit) != inf:
            stored = t.number(limit)
            tensor = t.step(code, [tensor, stored], shape, schema.MaximumMinimumOptionsT())
    t.values[node.output] = Value(tensor, t.shape(node), positive=positive)


def single(t: Translation, node: Node, code: int, *, positive: bool = False) -> None:
    """An operator that does the same to every number."""
    t.emit(node, code, [_whole(t, t.given(node, 0))], positive=positive)


def leaky_relu(t: Translation, node: Node) -> None:
    """LeakyRelu."""
    options = schema.LeakyReluOptionsT(alpha=float(node.attributes.get("alpha", 0.01)))
    t.emit(node, Code.LEAKY_RELU, [_whole(t, t.given(node, 0))], options)


def hard_sigmoid(t: Translation, node: Node) -> None:
    """HardSigmoid: Relu6(6 alpha x + 6 beta) / 6, which leaves the first product out where alpha is a sixth."""
    value = t.given(node, 0)
    tensor = _whole(t, value)
    shape = t.builder.shape(tensor)
    slope, offset = 6 * float(node.attributes.get("alpha", 0.2)), 6 * float(node.attributes.get("beta", 0.5))
    if not isclose(slope, 1, rel_tol=1e-6):
        tensor = t.step(Code.MUL, [tensor, t.number(slope)], shape, schema.MulOptionsT())
    clipped = schema.AddOptionsT(fusedActivationFunction=schema.ActivationFunctionType.RELU6)
    tensor = t.step(Code.ADD, [tensor, t.number(offset)], shape, clipped)
    sixth = t.number(1 / 6)
    t.emit(node, Code.MUL, [tensor, sixth], schema.MulOptionsT(), positive=True)


def softmax(t: Translation, node: Node) -> None:
    """Softmax over the last axis of the file: that of the channels of a map."""
    value, axis = t.given(node, 0), int(node.attributes.get("axis", -1))
    rank = len(value.shape)
    if (AXIS_IN_FILE[axis % rank] if rank == 4 else axis % rank) != rank - 1:
        t.refuse(node, f"a softmax over axis {axis} of {value.shape}; it can do channels, or the last of fewer axes")
    t.emit(node, Code.SOFTMAX, [_whole(t, value)], schema.SoftmaxOptionsT(beta=1.0), positive=True)


def binary(t: Translation, node: Node, code: int, options: Callable[[], object]) -> None:
    """An operator of two values, one of which may be stored."""
    rank = len(t.shape(node))
    tensors = []
    for number in (0, 1):
        constant = t.stored(node, number)
        if constant is None:
            value = t.given(node, number)
            if len(value.shape) != rank:
                t.refuse(node, f"values of {len(value.shape)} and of {rank} dimensions together")
            tensors.append(_whole(t, value))
            continue
        dense = constant.dense
        if dense.dtype != np.float32 or dense.ndim > rank or (dense.ndim == rank and dense.shape[0] != 1):
            t.refuse(node, f"a stored {dense.dtype} of shape {dense.shape}; it can do float32 that every image shares")
        arranged = _beside(dense, rank)
        tensors.append(t.builder.constant(arranged))
    t.emit(node, code, tensors, options())


def _beside(dense: NDArray[Any], rank: int) -> NDArray[Any]:
    """A stored tensor in the order of values of `rank` dimensions; a single number without any."""
    if dense.size == 1:
        return dense.reshape(())
    full = dense.reshape((1,) * (rank - dense.ndim) + dense.shape)
    return full.transpose(TO_FILE) if rank == 4 else full


def batch_norm(t: Translation, node: Node) -> None:
    """BatchNormalization that nothing before it took in: a product and a sum for each channel."""
    value = t.given(node, 0)
    scale, offset, mean, variance = (t.constant(node, number).dense.astype(np.float64) for number in (1, 2, 3, 4))
    factor = scale / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
    shape = (1, 1, 1, -1) if len(value.shape) == 4 else (1, -1) + (1,) * (len(value.shape) - 2)
    parts = [part.reshape(shape).astype(np.float32) for part in (factor, offset - mean * factor)]
    tensor = _whole(t, value)
    scaled = t.step(Code.MUL, [tensor, t.builder.constant(parts[0])], t.builder.shape(tensor), schema.MulOptionsT())
    t.emit(node, Code.ADD, [scaled, t.builder.constant(parts[1])], schema.AddOptionsT())


def dense(t: Translation, node: Node) -> None:
    """Gemm and MatMul with stored weights: FULLY_CONNECTED; over a flattened map in the order of the file."""
    value, weight, factors = t.given(node, 0), t.constant(node, 1), None
    if len(value.shape) != 4:
        weight, factors = weight.apart()
    numbers = [float(node.attributes.get(name, 1)) for name in ("alpha", "beta")]
    if numbers != [1, 1] or node.attributes.get("transA", 0) or weight.values.ndim != 2:
        t.refuse(node, f"weights of shape {weight.values.shape} with factors {numbers}; it can do a matrix and 1")
    tensor = value.tensor if value.flattened else t.in_onnx(value)
    axis = 0 if node.attributes.get("transB", 0) else 1
    arrange = partial(_rows, turned=axis == 1, maps=value.flattened)
    inputs = [tensor, t.weight(node, weight, arrange, axis=axis), t.bias(node, weight, axis=axis)]
    if _has(node, 2) and t.constant(node, 2).values.shape != (t.shape(node)[-1],):
        t.refuse(node, f"a bias of shape {t.constant(node, 2).values.shape}; it can do one number for each output")
    options = schema.FullyConnectedOptionsT(keepNumDims=len(value.shape) > 2)
    if len(value.shape) == 4:
        shape = t.shape(node)
        t.keep(node, t.step(Code.FULLY_CONNECTED, inputs, shape, options))
    else:
        t.weigh(node, Code.FULLY_CONNECTED, inputs, options, factors)


def _rows(weight: NDArray[Any], *, turned: bool, maps: tuple[int, ...] | None) -> NDArray[Any]:
    """Weights as (outputs, inputs), the inputs in the order of the file."""
    rows = weight.T if turned else weight
    if maps is None:
        return rows
    return rows.reshape(-1, *maps).transpose(TO_FILE).reshape(rows.shape)


def reduce(t: Translation, node: Node, code: int) -> None:
    """A mean, maximum, minimum or sum over some axes."""
    value = t.given(node, 0)
    rank, keep = len(value.shape), bool(node.attributes.get("keepdims", 1))
    asked = t.constant(node, 1).values.tolist() if _has(node, 1) else [*node.ints("axes", range(2, rank))]
    axes = sorted(axis % rank for axis in asked)
    if 0 in axes or not axes:
        t.refuse(node, f"over axes {axes}; it can do all but that of the images")
    options = schema.ReducerOptionsT(keepDims=keep)
    left = [axis for axis in TO_FILE if axis not in axes]
    if rank == 4 and (keep or left == sorted(left)):
        where = t.numbers(sorted(AXIS_IN_FILE[axis] for axis in axes))
        t.emit(node, code, [value.tensor, where], options, positive=value.positive)
        return
    tensor = t.step(code, [t.in_onnx(value), t.numbers(axes)], t.shape(node), options)
    t.keep(node, tensor, positive=value.positive)


def concat(t: Translation, node: Node) -> None:
    """Concat along any axis but that of the images."""
    values = [t.given(node, number) for number in range(len(node.inputs))]
    rank = len(values[0].shape)
    axis = int(node.attributes["axis"]) % rank
    if axis == 0:
        t.refuse(node, "it puts images beside images")
    options = schema.ConcatenationOptionsT(axis=AXIS_IN_FILE[axis] if rank == 4 else axis)
    tensors = [_whole(t, value) if t.grid is None else t.snapped(_whole(t, value), t.grid) for value in values]
    t.emit(node, Code.CONCATENATION, tensors, options, positive=all(value.positive for value in values))


def reshape(t: Translation, node: Node) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze and Identity: a map that is flattened stays as it is for now."""
    value, shape = t.given(node, 0), t.shape(node)
    if prod(shape) != prod(value.shape):
        t.refuse(node, f"it makes {shape} of {value.shape}")
    if shape == value.shape:
        t.values[node.output] = value
    elif len(value.shape) == 4 and len(shape) == 2:
        t.values[node.output] = Value(value.tensor, shape, value.shape[1:], value.positive)
    else:
        t.keep(node, t.reshaped(t.in_onnx(value), shape), positive=value.positive)


def transpose(t: Translation, node: Node) -> None:
    """Transpose of any axes but that of the images."""
    value = t.given(node, 0)
    order = node.ints("perm", tuple(reversed(range(len(value.shape)))))
    if order[0] != 0:
        t.refuse(node, f"it moves the axis of the images: {order}")
    inputs = [t.in_onnx(value), t.numbers(order)]
    t.keep(node, t.step(Code.TRANSPOSE, inputs, t.shape(node), schema.TransposeOptionsT()), positive=value.positive)


def resize(t: Translation, node: Node) -> None:
    """Resize of a map to fixed sides, where both formats take the same pixels."""
    value, shape = t.given(node, 0), t.shape(node)
    mode = node.attributes.get("mode", b"nearest").decode()
    where = node.attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    rounding = node.attributes.get("nearest_mode", b"round_prefer_floor").decode()
    if len(shape) != 4 or not _plain_resize(t, node, value.shape, shape):
        t.refuse(node, f"from {value.shape} to {shape} by other factors than these, or with options")
    whole = all(to % side == 0 for side, to in zip(value.shape[2:], shape[2:], strict=True))
    sides = t.numbers(shape[2:])
    half = where in ("half_pixel", "pytorch_half_pixel") and (where == "half_pixel" or min(shape[2:]) > 1)
    if mode == "nearest" and whole and (where, rounding) == ("asymmetric", "floor"):
        options, code = schema.ResizeNearestNeighborOptionsT(), Code.RESIZE_NEAREST_NEIGHBOR
    elif mode == "linear" and (half or where in ("asymmetric", "align_corners")):
        options = schema.ResizeBilinearOptionsT(halfPixelCenters=half, alignCorners=where == "align_corners")
        code = Code.RESIZE_BILINEAR
    else:
        t.refuse(node, f"mode {mode}, coordinates {where}, rounding {rounding}, from {value.shape} to {shape}")
    t.emit(node, code, [value.tensor, sides], options, positive=value.positive)


def _plain_resize(t: Translation, node: Node, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether the sides alone say by which factors a map is resized."""
    if any(node.attributes.get(name) for name in ("antialias", "axes", "exclude_outside")):
        return False
    scales = t.stored(node, 2)
    if before[:2] != after[:2]:
        return False
    if scales is None or scales.values.size == 0:
        return _has(node, 3)
    return bool(np.array_equal(scales.values.astype(np.float64) * before, np.asarray(after, np.float64)))


def _whole(t: Translation, value: Value) -> int:
    """The tensor of a value, laid out as the file has values of its dimensions."""
    return t.in_onnx(value) if value.flattened else value.tensor


def _has(node: Node, number: int) -> bool:
    return len(node.inputs) > number and bool(node.inputs[number])


OPERATORS: Mapping[str, Translate] = {
    "Add": partial(binary, code=Code.ADD, options=schema.AddOptionsT),
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Clip": clip,
    "Concat": concat,
    "Conv": convolution,
    "DequantizeLinear": dequantize,
    "Div": partial(binary, code=Code.DIV, options=schema.DivOptionsT),
    "Dropout": reshape,
    "Flatten": reshape,
    "Gemm": dense,
    "GlobalAveragePool": partial(reduce, code=Code.MEAN),
    "GlobalMaxPool": partial(reduce, code=Code.REDUCE_MAX),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": partial(single, code=Code.HARD_SWISH),
    "Identity": reshape,
    "LeakyRelu": leaky_relu,
    "MatMul": dense,
    "MaxPool": max_pool,
    "Mul": partial(binary, code=Code.MUL, options=schema.MulOptionsT),
    "Pad": pad,
    "QuantizeLinear": quantize,
    "ReduceMax": partial(reduce, code=Code.REDUCE_MAX),
    "ReduceMean": partial(reduce, code=Code.MEAN),
    "Relu": relu,
    "Reshape": reshape,
    "Resize": resize,
    "Sigmoid": partial(single, code=Code.LOGISTIC, positive=True),
    "Softmax": softmax,
    "Squeeze": reshape,
    "Sub": partial(binary, code=Code.SUB, options=schema.SubOptionsT),
    "Tanh": partial(single, code=Code.TANH),
    "Transpose": transpose,
    "Unsqueeze": reshape,
}


def translate(network: Lowered) -> tuple[Builder, int, int]:
    """The network in a builder, with the tensors of the images and of the answers.

    Raises:
        UntranslatableError: It has an operator that this cannot express.
        ExportError: It takes what is no image, or answers with a constant.
    """
    t = Translation(network)
    shape = network.shapes[network.input]
    if len(shape) != 4 or min(shape) < 1:
        raise ExportError(f"{network.path}: the network takes input of shape {shape}; a .tflite file takes images")
    images = t.builder.value(in_file(shape), open_batch=True)
    t.values[network.input] = Value(images, shape)
    wishes = wished(t)
    for node in network.nodes:
        if node.kind not in OPERATORS:
            t.refuse(node, f"it is none of {', '.join(OPERATORS)}")
        t.grid = kept(t, node, wishes)
        OPERATORS[node.kind](t, node)
    if network.output not in t.values:
        raise ExportError(f"{network.path}: the network answers with a constant; there is nothing to write")
    answers = t.values[network.output]
    return t.builder, images, t.floating(Value(_whole(t, answers), answers.shape)).tensor
