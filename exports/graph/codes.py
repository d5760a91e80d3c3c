"""Stored codes in an ONNX graph: whole numbers or half floats, which nodes turn into float weights.

The exporter folds what it likes into the output channels of a weight, a batch-norm first of all. What it leaves is, in
each channel, still a multiple of the codes: weight[o] = factor[o] * codes[o]. So the codes are found in the graph by
that, whatever became of their names, and the factors with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from compress.errors import ExportError
from compress.quantization import HALF_BITS, Codes, Grid

LARGEST_BIAS = 2**30  # codes of a bias, so that a sum with products of codes fits 32 bits
CLOSE = 1e-5  # of the largest weight of a channel: what folding in float32 may change
TYPES = {16: TensorProto.FLOAT16, 8: TensorProto.INT8, 7: TensorProto.INT8, 4: TensorProto.INT4, 2: TensorProto.INT2}
OPSETS = {16: 18, 8: 18, 7: 18, 4: 21, 2: 25}  # the least that knows the type
IR_VERSIONS = {16: 8, 8: 8, 7: 8, 4: 10, 2: 13}

Array = NDArray[np.float32]


def store(model: ModelProto, codes: Iterable[Codes]) -> None:
    """Each of these weights as its codes, and what brings them to float by the factor of each output channel, in place.

    Where the layer takes a float value, this is a Cast and a Mul: runtimes compute the two when they load the file, so
    that it runs as fast as with float weights. Where it takes a value on a grid, it is a DequantizeLinear, by which
    runtimes know that they may compute the layer on whole numbers.

    Args:
        model: Whose stored weights were rounded to the codes before it was exported.
        codes: What to store of which layer.

    Raises:
        ExportError: The exporter left no weight that is a multiple of a layer's codes.
    """
    for one in codes:
        _store(model.graph, one)


def least_opset(grids: Iterable[Grid]) -> int:
    """The least operator set that knows the types of such codes."""
    return max((OPSETS[grid.bits] for grid in grids), default=0)


def least_ir_version(grids: Iterable[Grid]) -> int:
    """The least version of the file format that knows them."""
    return max((IR_VERSIONS[grid.bits] for grid in grids), default=0)


def _store(graph: GraphProto, codes: Codes) -> None:
    values = codes.values.numpy()
    for tensor in graph.initializer:
        for axis, laid_out in ((0, values), (1, values.T)) if values.ndim == 2 else ((0, values),):
            if tensor.data_type != TensorProto.FLOAT or tuple(tensor.dims) != laid_out.shape:
                continue
            factors = _factors(numpy_helper.to_array(tensor), laid_out.astype(np.float32), axis)
            if factors is not None:
                layer = next(node for node in graph.node if tensor.name in node.input)
                grid = _grid_of(graph, layer.input[0])
                if grid is None or codes.bits == HALF_BITS:
                    _scale(graph, tensor, codes.bits, laid_out, factors)
                else:
                    _dequantize(graph, tensor, codes.bits, laid_out, factors, axis)
                    _whole_bias(graph, layer, float(grid) * _positive(factors.reshape(-1)))
                return
    raise ExportError(
        f"layer {codes.module!r}: the exporter left no weight of shape {values.shape} that is a multiple of its "
        "codes; leave it out of the quantization with --keep-float"
    )


def _factors(weight: Array, codes: Array, axis: int) -> Array | None:
    """One factor an output channel, in a shape that broadcasts; None where the weight is no such multiple."""
    rest = tuple(other for other in range(weight.ndim) if other != axis)
    wide, long = weight.astype(np.float64), codes.astype(np.float64)
    squares = (long**2).sum(rest, keepdims=True)
    factors = (wide * long).sum(rest, keepdims=True) / np.where(squares > 0, squares, 1)
    largest = np.abs(wide).max(rest, keepdims=True)
    if (np.abs(wide - factors * long) > CLOSE * largest).any():
        return None
    return np.asarray(factors, np.float32)


def _scale(graph: GraphProto, tensor: TensorProto, bits: int, codes: NDArray[Any], factors: Array) -> None:
    """A weight as codes, cast to float and multiplied by their factors."""
    name = tensor.name
    tensor.CopyFrom(_tensor(f"{name}/codes", bits, codes))
    graph.initializer.append(numpy_helper.from_array(factors, f"{name}/factors"))
    graph.node.insert(0, helper.make_node("Mul", [f"{name}/float", f"{name}/factors"], [name]))
    graph.node.insert(0, helper.make_node("Cast", [f"{name}/codes"], [f"{name}/float"], to=TensorProto.FLOAT))


def _grid_of(graph: GraphProto, value: str) -> NDArray[np.float32] | None:
    """The step of the grid that a value is on; None where it is on none."""
    maker = next((node for node in graph.node if value in node.output), None)
    if maker is None or maker.op_type != "DequantizeLinear":
        return None
    return _stored(graph, maker.input[1])


def _stored(graph: GraphProto, name: str) -> NDArray[Any] | None:
    return next((numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == name), None)


def _positive(factors: Array) -> Array:
    """The factors as runtimes want them, above 0; what a channel of nothing is multiplied by does not matter."""
    found: Array = np.where(factors == 0, np.float32(1), np.abs(factors))
    return found


def _dequantize(
    graph: GraphProto, tensor: TensorProto, bits: int, codes: NDArray[Any], factors: Array, axis: int
) -> None:
    """A weight as codes, dequantized; ONNX Runtime fuses a dense layer only where its weight has a zero, too."""
    name, scales = tensor.name, _positive(factors.reshape(-1))
    tensor.CopyFrom(_tensor(f"{name}/codes", bits, (codes * np.sign(factors)).astype(codes.dtype)))
    inputs = [f"{name}/codes", f"{name}/factors"]
    graph.initializer.append(numpy_helper.from_array(scales, inputs[1]))
    if codes.ndim == 2:
        inputs.append(f"{name}/zeros")
        graph.initializer.append(_tensor(inputs[2], bits, np.zeros(len(scales), np.int8)))
    graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [name], axis=axis))


def _whole_bias(graph: GraphProto, layer: NodeProto, scales: Array) -> None:
    """The bias of a layer as the multiples of the scales nearest to it, as it is added on whole numbers."""
    name = layer.input[2] if len(layer.input) > 2 else ""
    bias = _stored(graph, name)
    if bias is None or bias.shape != scales.shape or (np.abs(bias / scales) > LARGEST_BIAS).any():
        return
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.rint(bias / scales).astype(np.int32), f"{name}/codes"))
    graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), f"{name}/scales"))
    graph.node.insert(0, helper.make_node("DequantizeLinear", [f"{name}/codes", f"{name}/scales"], [name], axis=0))


def _tensor(name: str, bits: int, codes: NDArray[Any]) -> TensorProto:
    if bits in (7, 8, 16):
        return numpy_helper.from_array(np.ascontiguousarray(codes), name)
    packed = helper.make_tensor(name, TYPES[bits], codes.shape, codes.reshape(-1).tolist())
    raw = bytes(value & 0xFF for value in packed.int32_data)
    return TensorProto(name=name, data_type=TYPES[bits], dims=codes.shape, raw_data=raw)
