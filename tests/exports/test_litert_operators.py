"""Each operator of ONNX that can be written to a .tflite file, held against ONNX Runtime on a graph of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from compress.errors import ExportError
from exports.formats import FORMATS
from exports.graph.codes import OPSETS, TYPES
from exports.litert.builder import pack
from exports.litert.lowered import lowered
from exports.litert.operators import OPERATORS, translate
from exports.run_litert import read

Stored = dict[str, NDArray[np.generic]]

node = helper.make_node


def some(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def graph(
    nodes: list[NodeProto], stored: Stored, side: tuple[int, int] = (9, 7), *, opset: int = 20
) -> onnx.ModelProto:
    """From "x" (batch, 4, rows, columns) to "y"."""
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, *side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=13 if opset > 20 else 10)


def written(model: onnx.ModelProto, path: Path) -> Path:
    builder, images, answers = translate(lowered(path, model))
    path.write_bytes(pack(builder.model({"x": images}, {"y": answers})))
    return path


def check(model: onnx.ModelProto, path: Path) -> dict[str, int]:
    """The operators of the file, once it gives what ONNX Runtime gives for one image and for several."""
    artefact = read(written(model, path))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    sides = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    for batch in (1, 3, 1):
        images = some(batch, *sides[1:], seed=batch) * 3
        (expected,) = session.run(None, {"x": images})
        found = artefact(torch.from_numpy(images)).numpy()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)
    return dict(FORMATS[".tflite"].census(path).operators)


CONV: Stored = {"w": some(6, 4, 3, 3), "b": some(6)}

CASES: dict[str, tuple[list[NodeProto], Stored, set[str]]] = {
    "conv": ([node("Conv", ["x", "w", "b"], ["y"])], CONV, {"CONV_2D"}),
    "conv without bias": ([node("Conv", ["x", "w"], ["y"])], CONV, {"CONV_2D"}),
    "conv, same": ([node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1])], CONV, {"CONV_2D"}),
    "conv, explicit": (
        [node("Conv", ["x", "w", "b"], ["y"], pads=[2, 0, 1, 1], strides=[2, 1], dilations=[1, 2])],
        CONV,
        {"PAD", "CONV_2D"},
    ),
    "conv, padding that no window reads": (
        [node("Conv", ["x", "w", "b"], ["y"], pads=[0, 0, 1, 1], strides=[2, 2])],
        CONV,
        {"CONV_2D"},
    ),
    "conv of groups": (
        [node("Conv", ["x", "w", "b"], ["y"], group=2)],
        {"w": some(6, 2, 3, 3), "b": some(6)},
        {"CONV_2D"},
    ),
    "depthwise": (
        [node("Conv", ["x", "w", "b"], ["y"], group=4, pads=[1, 1, 1, 1], strides=[2, 2])],
        {"w": some(4, 1, 3, 3), "b": some(4)},
        {"DEPTHWISE_CONV_2D"},
    ),
    "depthwise, two filters a channel": (
        [node("Conv", ["x", "w", "b"], ["y"], group=4)],
        {"w": some(8, 1, 3, 3), "b": some(8)},
        {"DEPTHWISE_CONV_2D"},
    ),
    "fused relu": ([node("Conv", ["x", "w", "b"], ["c"]), node("Relu", ["c"], ["y"])], CONV, {"CONV_2D"}),
    "relu of what another takes": (
        [node("Conv", ["x", "w", "b"], ["c"]), node("Relu", ["c"], ["r"]), node("Sub", ["c", "r"], ["y"])],
        CONV,
        {"CONV_2D", "RELU", "SUB"},
    ),
    "relu6": (
        [node("Conv", ["x", "w", "b"], ["c"]), node("Clip", ["c", "low", "high"], ["y"])],
        {**CONV, "low": np.float32(0), "high": np.float32(6)},
        {"CONV_2D"},
    ),
    "any clip": (
        [node("Clip", ["x", "low", "high"], ["y"])],
        {"low": np.float32(-0.5), "high": np.float32(2)},
        {"MAXIMUM", "MINIMUM"},
    ),
    "relu of a concatenation": (
        [node("Concat", ["x", "x"], ["c"], axis=1), node("Relu", ["c"], ["y"])],
        {},
        {"CONCATENATION", "RELU"},
    ),
    "sigmoid": ([node("Sigmoid", ["x"], ["y"])], {}, {"LOGISTIC"}),
    "tanh": ([node("Tanh", ["x"], ["y"])], {}, {"TANH"}),
    "leaky relu": ([node("LeakyRelu", ["x"], ["y"], alpha=0.2)], {}, {"LEAKY_RELU"}),
    "hard swish": ([node("HardSwish", ["x"], ["y"])], {}, {"HARD_SWISH"}),
    "hard sigmoid": ([node("HardSigmoid", ["x"], ["y"])], {}, {"MUL", "ADD"}),
    "hard sigmoid of a sixth": ([node("HardSigmoid", ["x"], ["y"], alpha=1 / 6)], {}, {"MUL", "ADD"}),
    "softmax of channels": ([node("Softmax", ["x"], ["y"], axis=1)], {}, {"SOFTMAX"}),
    "add a channel's constant": ([node("Add", ["x", "c"], ["y"])], {"c": some(4, 1, 1)}, {"ADD"}),
    "divide by a number": ([node("Div", ["x", "c"], ["y"])], {"c": np.float32(3)}, {"DIV"}),
    "a constant first": ([node("Sub", ["c", "x"], ["y"])], {"c": some(1, 4, 9, 7)}, {"SUB"}),
    "gate": (
        [node("GlobalAveragePool", ["x"], ["g"]), node("Sigmoid", ["g"], ["s"]), node("Mul", ["x", "s"], ["y"])],
        {},
        {"MEAN", "LOGISTIC", "MUL"},
    ),
    "batch norm": (
        [node("BatchNormalization", ["x", "s", "o", "m", "v"], ["y"])],
        {"s": some(4), "o": some(4), "m": some(4), "v": abs(some(4)) + 0.1},
        {"MUL", "ADD"},
    ),
    "max pool": ([node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])], {}, {"MAX_POOL_2D"}),
    "max pool of negative values, padded": (
        [node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 3], pads=[2, 1, 0, 1])],
        {},
        {"PADV2", "MAX_POOL_2D"},
    ),
    "max pool after relu, padded": (
        [
            node("Relu", ["x"], ["r"]),
            node("MaxPool", ["r"], ["y"], kernel_shape=[3, 3], strides=[2, 3], pads=[2, 1, 0, 1]),
        ],
        {},
        {"RELU", "PAD", "MAX_POOL_2D"},
    ),
    "max pool, rounded up": (
        [node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)],
        {},
        {"MAX_POOL_2D"},
    ),
    "average pool": ([node("AveragePool", ["x"], ["y"], kernel_shape=[2, 3])], {}, {"AVERAGE_POOL_2D"}),
    "average pool, same": (
        [node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
        {},
        {"AVERAGE_POOL_2D"},
    ),
    "average pool that counts its padding": (
        [node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)],
        {},
        {"PAD", "AVERAGE_POOL_2D"},
    ),
    "pad": (
        [node("Pad", ["x", "p", "v"], ["y"])],
        {"p": ints(0, 0, 1, 2, 0, 0, 0, 3), "v": np.float32(-1.5)},
        {"PADV2"},
    ),
    "mean, sides gone": ([node("ReduceMean", ["x", "a"], ["y"], keepdims=0)], {"a": ints(2, 3)}, {"MEAN"}),
    "mean over rows, gone": (
        [node("ReduceMean", ["x", "a"], ["y"], keepdims=0)],
        {"a": ints(2)},
        {"TRANSPOSE", "MEAN"},
    ),
    "max of channels": ([node("ReduceMax", ["x", "a"], ["y"])], {"a": ints(-3)}, {"REDUCE_MAX"}),
    "concat of columns": ([node("Concat", ["x", "x"], ["y"], axis=-1)], {}, {"CONCATENATION"}),
    "flattened map, dense": (
        [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w", "b"], ["y"], transB=1)],
        {"w": some(5, 252), "b": some(5)},
        {"FULLY_CONNECTED"},
    ),
    "flattened map, the other way round": (
        [node("Reshape", ["x", "s"], ["f"]), node("MatMul", ["f", "w"], ["y"])],
        {"s": ints(-1, 252), "w": some(252, 5)},
        {"FULLY_CONNECTED"},
    ),
    "flattened map that is the answer": ([node("Flatten", ["x"], ["y"])], {}, {"TRANSPOSE", "RESHAPE"}),
    "flattened map, then relu": (
        [node("Flatten", ["x"], ["f"]), node("Relu", ["f"], ["y"])],
        {},
        {"TRANSPOSE", "RESHAPE", "RELU"},
    ),
    "dense over the columns of a map": (
        [node("MatMul", ["x", "w"], ["y"])],
        {"w": some(7, 5)},
        {"TRANSPOSE", "FULLY_CONNECTED"},
    ),
    "shuffled channels": (
        [
            node("Reshape", ["x", "apart"], ["a"]),
            node("Transpose", ["a"], ["t"], perm=[0, 2, 1, 3, 4]),
            node("Reshape", ["t", "together"], ["y"]),
        ],
        {"apart": ints(-1, 2, 2, 9, 7), "together": ints(-1, 4, 9, 7)},
        {"TRANSPOSE", "RESHAPE"},
    ),
    "squeezed and back": (
        [
            node("GlobalMaxPool", ["x"], ["g"]),
            node("Squeeze", ["g", "a"], ["s"]),
            node("Unsqueeze", ["s", "a"], ["u"]),
            node("Add", ["x", "u"], ["y"]),
        ],
        {"a": ints(2, 3)},
        {"REDUCE_MAX", "RESHAPE", "ADD"},
    ),
    "nearest": (
        [node("Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        {"s": np.array([1, 1, 2, 3], np.float32)},
        {"RESIZE_NEAREST_NEIGHBOR"},
    ),
    "bilinear": (
        [node("Resize", ["x", "", "s"], ["y"], mode="linear")],
        {"s": np.array([1, 1, 2, 3], np.float32)},
        {"RESIZE_BILINEAR"},
    ),
    "bilinear, corners on corners": (
        [node("Resize", ["x", "", "s"], ["y"], mode="linear", coordinate_transformation_mode="align_corners")],
        {"s": np.array([1, 1, 2, 3], np.float32)},
        {"RESIZE_BILINEAR"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_it_gives_in_onnx(name: str, tmp_path: Path) -> None:
    nodes, stored, kinds = CASES[name]
    assert set(check(graph(nodes, stored), tmp_path / "m.tflite")) == kinds


def test_every_operator_of_the_table_is_tried() -> None:
    tried = {one.op_type for nodes, _, _ in CASES.values() for one in nodes}
    left_out = {"Dropout", "Identity"}  # by torch, of what it exports
    assert set(OPERATORS) - tried == left_out | {"QuantizeLinear", "DequantizeLinear"}  # see test_litert_grids


@pytest.mark.parametrize(("side", "pads", "stride", "left"), [(1, 1, 1, 1), (2, 1, 2, 4), (2, 2, 1, 9), (3, 2, 1, 25)])
def test_rows_and_columns_of_filters_that_only_meet_padding_are_left_out(
    side: int, pads: int, stride: int, left: int, tmp_path: Path
) -> None:
    size = 5 if pads == 2 else 3
    last = node("Conv", ["x", "w", "b"], ["y"], pads=[pads] * 4, strides=[stride] * 2)
    check(graph([last], {"w": some(6, 4, size, size), "b": some(6)}, (side, side)), tmp_path / "m.tflite")
    assert FORMATS[".tflite"].census(tmp_path / "m.tflite").parameters == 24 * left + 6


def coded(weight: NDArray[np.float32], bits: int, axis: int = 0) -> tuple[list[NodeProto], list[TensorProto]]:
    """A weight "w" as codes, cast and multiplied by a factor for each index of an axis, of either sign."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    scale = abs(weight).max(others, keepdims=True).astype(np.float32)
    scale *= np.where(np.arange(scale.size) % 2, 1, -1).reshape(scale.shape) / (2 ** (bits - 1) - 1)
    if bits == 16:
        codes = numpy_helper.from_array((weight / scale).astype(np.float16), "codes")
    else:
        whole = np.round(weight / scale).astype(np.int8)
        codes = helper.make_tensor("codes", TYPES[bits], whole.shape, whole.ravel().tolist())
    nodes = [node("Cast", ["codes"], ["f"], to=TensorProto.FLOAT), node("Mul", ["f", "factors"], ["w"])]
    return nodes, [codes, numpy_helper.from_array(scale.astype(np.float32), "factors")]


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize(
    ("last", "weight", "axis"),
    [
        (node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1]), some(31, 4, 3, 3), 0),
        (node("Conv", ["x", "w", "b"], ["y"], group=4), some(32, 1, 3, 3), 0),
        (node("Gemm", ["m", "w", "b"], ["y"], transB=1), some(31, 252), 0),
        (node("Gemm", ["m", "w"], ["y"]), some(252, 31), 1),
    ],
    ids=["conv", "depthwise", "dense", "dense turned"],
)
def test_weights_that_are_stored_as_codes_stay_so(
    last: NodeProto, weight: NDArray[np.float32], axis: int, bits: int, tmp_path: Path
) -> None:
    before, stored = coded(weight, bits, axis)
    nodes = [*before, *([node("Flatten", ["x"], ["m"])] if last.op_type == "Gemm" else []), last]
    model = graph(nodes, {"b": some(weight.shape[axis])}, opset=OPSETS[bits])
    model.graph.initializer.extend(stored)
    path = tmp_path / "m.tflite"
    kinds = check(model, path)
    assert kinds["DEQUANTIZE"] == 1
    assert path.stat().st_size < weight.size * bits / 8 + 32 * 16 + 1600  # a factor and a zero point a channel
    spare = weight.shape[axis] * (3 if bits == 16 else 1)
    assert FORMATS[".tflite"].census(path).parameters <= weight.size + spare


def test_half_floats_of_no_factor_cost_no_operator(tmp_path: Path) -> None:
    nodes = [node("Cast", ["h"], ["w"], to=TensorProto.FLOAT), node("Conv", ["x", "w", "b"], ["y"])]
    kinds = check(graph(nodes, {"h": some(6, 4, 3, 3).astype(np.float16), "b": some(6)}), tmp_path / "m.tflite")
    assert kinds == {"DEQUANTIZE": 1, "CONV_2D": 1}


REFUSED: dict[str, tuple[NodeProto, Stored, str]] = {
    "unknown": (
        node("Erf", ["x"], ["y"]),
        {},
        r"Erf cannot .*\(node 1 of 1, which takes \(1, 4, 9, 7\)\): it is none of",
    ),
    "batch": (node("Concat", ["x", "x"], ["y"], axis=0), {}, "images beside images"),
    "dilated pooling": (node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2]), {}, "dilation"),
    "uneven average": (
        node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[2, 2, 2, 2]),
        {},
        "leaves out padding",
    ),
    "softmax of rows": (node("Softmax", ["x"], ["y"], axis=2), {}, "softmax over axis 2"),
    "cubic": (
        node("Resize", ["x", "", "s"], ["y"], mode="cubic"),
        {"s": np.array([1, 1, 2, 2], np.float32)},
        "mode cubic",
    ),
    "rounded nearest": (
        node("Resize", ["x", "", "s"], ["y"]),
        {"s": np.array([1, 1, 2, 2], np.float32)},
        "round_prefer",
    ),
    "by no whole number": (
        node("Resize", ["x", "", "s"], ["y"], mode="linear"),
        {"s": np.array([1, 1, 1.3, 1.3], np.float32)},
        "other factors",
    ),
    "weights that are computed": (node("MatMul", ["x", "x"], ["y"]), {}, "not stored|no shape"),
    "reflected": (node("Pad", ["x", "p"], ["y"], mode="reflect"), {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}, "mode reflect"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    last, stored, reason = REFUSED[name]
    with pytest.raises(ExportError, match=reason) as caught:
        written(graph([last], stored), tmp_path / "m.tflite")
    assert "(node 1 of 1, which takes" in str(caught.value) or name == "weights that are computed"
    assert list(tmp_path.iterdir()) == []
