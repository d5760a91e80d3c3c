"""Networks of quantized activations in a .tflite file: what runs on int8 codes, and how near it comes to ONNX."""

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
from exports.litert.builder import pack
from exports.litert.lowered import lowered
from exports.litert.model_file import parse
from exports.litert.operators import translate
from exports.run_litert import read

Stored = dict[str, NDArray[np.generic]]

node = helper.make_node

STEP = {"a": 0.0311, "b": 0.0473, "c": 0.0207, "r": 0.0251, "n": 6 / 255, "huge": 20.0}  # of the grids of these names
ZERO = {"a": 121, "b": 130, "c": 90, "r": 0, "n": 0, "huge": 128}


def some(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def snap(value: str, grid: str, to: str) -> list[NodeProto]:
    """What rounds a value to a grid."""
    grids = [f"{grid}.step", f"{grid}.zero"]
    return [
        node("QuantizeLinear", [value, *grids], [f"{to}.codes"]),
        node("DequantizeLinear", [f"{to}.codes", *grids], [to]),
    ]


def coded(name: str, weight: NDArray[np.float32], axis: int = 0) -> tuple[list[NodeProto], Stored]:
    """A weight of 7 bits of that name, of which every other output has a scale below 0."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    scale = abs(weight).max(others) / 63 * np.where(np.arange(weight.shape[axis]) % 2, 1, -1)
    lanes = [-1 if other == axis else 1 for other in range(weight.ndim)]
    codes = np.round(weight / scale.reshape(lanes)).astype(np.int8)
    made = node("DequantizeLinear", [f"{name}.q", f"{name}.s"], [name], axis=axis)
    return [made], {f"{name}.q": codes, f"{name}.s": scale.astype(np.float32)}


def graph(nodes: list[NodeProto], stored: Stored) -> onnx.ModelProto:
    """From "x" (batch, 4, 9, 7), which is "i" on the grid a, to "y"."""
    grids = {f"{name}.step": np.float32(step) for name, step in STEP.items()}
    zeros = {f"{name}.zero": np.uint8(zero) for name, zero in ZERO.items()}
    made = helper.make_graph(
        [*snap("x", "a", "i"), *nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 9, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in {**grids, **zeros, **stored}.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def written(model: onnx.ModelProto, path: Path) -> Path:
    builder, images, answers = translate(lowered(path, model))
    path.write_bytes(pack(builder.model({"x": images}, {"y": answers})))
    return path


def kinds(path: Path) -> tuple[set[str], set[str]]:
    """The operators that compute codes, and those that compute floats; the two that turn one into the other aside."""
    first = parse(path, path.read_bytes()).graphs[0]
    operators = [one for one in first.operators if one.kind not in ("QUANTIZE", "DEQUANTIZE")]
    found = [(first.tensors[one.outputs[0]].kind, one.kind) for one in operators]
    return {kind for of, kind in found if of == "INT8"}, {kind for of, kind in found if of != "INT8"}


def off(model: onnx.ModelProto, path: Path, step: float) -> NDArray[np.float64]:
    """How many steps the answers of the file are off those of ONNX Runtime, for one image and for several."""
    artefact = read(written(model, path))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = []
    for batch in (1, 5):
        images = some(batch, 4, 9, 7, seed=batch) * 1.5
        (expected,) = session.run(None, {"x": images})
        answers = artefact(torch.from_numpy(images)).numpy()
        assert answers.shape == expected.shape
        found.append(((answers.astype(np.float64) - expected) / step).ravel())
    return np.abs(np.concatenate(found))


CONV = coded("w", some(6, 4, 3, 3) / 3)
DEPTHWISE = coded("w", some(8, 1, 3, 3) / 2)
DENSE = coded("w", some(5, 252) / 9)
TURNED = coded("w", some(252, 5) / 9, axis=1)
BIAS: Stored = {"b": some(6)}
ONE_SCALE: Stored = {"w.q": CONV[1]["w.q"], "w.s": np.float32(0.01)}
POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}

Case = tuple[list[NodeProto], Stored, str, set[str]]

CASES: dict[str, Case] = {
    "conv": ([*CONV[0], node("Conv", ["i", "w", "b"], ["o"], pads=[1] * 4)], {**CONV[1], **BIAS}, "b", {"CONV_2D"}),
    "conv without bias": ([*CONV[0], node("Conv", ["i", "w"], ["o"])], CONV[1], "b", {"CONV_2D"}),
    "conv of one scale": (
        [*CONV[0], node("Conv", ["i", "w", "b"], ["o"])],
        {**ONE_SCALE, **BIAS},
        "b",
        {"CONV_2D"},
    ),
    "depthwise of one scale": (
        [*CONV[0], node("Conv", ["i", "w", "b"], ["o"], group=4)],
        {"w.q": CONV[1]["w.q"][:4, :1], "w.s": np.float32(0.01), "b": some(4)},
        "b",
        {"DEPTHWISE_CONV_2D"},
    ),
    "dense of one scale": (
        [*DENSE[0], node("Flatten", ["i"], ["f"]), node("Gemm", ["f", "w", "b"], ["o"], transB=1)],
        {"w.q": DENSE[1]["w.q"], "w.s": np.float32(0.001), "b": some(5)},
        "b",
        {"FULLY_CONNECTED"},
    ),
    "conv, padded explicitly, relu": (
        [*CONV[0], node("Conv", ["i", "w", "b"], ["c"], pads=[2, 0, 1, 1], strides=[2, 1]), node("Relu", ["c"], ["o"])],
        {**CONV[1], **BIAS},
        "r",
        {"PAD", "CONV_2D"},
    ),
    "depthwise, relu6": (
        [*DEPTHWISE[0], node("Conv", ["i", "w"], ["c"], group=4), node("Clip", ["c", "low", "high"], ["o"])],
        {**DEPTHWISE[1], "low": np.float32(0), "high": np.float32(6)},
        "n",
        {"DEPTHWISE_CONV_2D"},
    ),
    "flattened map, dense": (
        [*DENSE[0], node("Flatten", ["i"], ["f"]), node("Gemm", ["f", "w", "b"], ["o"], transB=1)],
        {**DENSE[1], "b": some(5)},
        "b",
        {"FULLY_CONNECTED"},
    ),
    "flattened map, product": (
        [*TURNED[0], node("Flatten", ["i"], ["f"]), node("MatMul", ["f", "w"], ["o"])],
        TURNED[1],
        "b",
        {"FULLY_CONNECTED"},
    ),
    "sum of two grids, relu": (
        [*snap("x", "b", "j"), node("Add", ["i", "j"], ["s"]), node("Relu", ["s"], ["o"])],
        {},
        "r",
        {"ADD"},
    ),
    "difference": ([*snap("x", "b", "j"), node("Sub", ["i", "j"], ["o"])], {}, "c", {"SUB"}),
    "gate": (
        [node("GlobalAveragePool", ["i"], ["g"]), *snap("g", "c", "h"), node("Mul", ["i", "h"], ["o"])],
        {},
        "b",
        {"MEAN", "MUL"},
    ),
    "relu alone": ([node("Relu", ["i"], ["o"])], {}, "r", {"RELU"}),
    "max pool, on another grid": ([node("MaxPool", ["i"], ["o"], **POOL)], {}, "b", {"MAX_POOL_2D"}),
    "average pool": ([node("AveragePool", ["i"], ["o"], **POOL)], {}, "c", {"AVERAGE_POOL_2D"}),
    "mean that is reshaped": (
        [node("ReduceMean", ["i", "a"], ["m"]), node("Reshape", ["m", "s"], ["o"])],
        {"a": ints(2, 3), "s": ints(-1, 4)},
        "c",
        {"MEAN", "RESHAPE"},
    ),
    "concat of two grids": (
        [*snap("x", "b", "j"), node("Concat", ["i", "j"], ["o"], axis=1)],
        {},
        "b",
        {"CONCATENATION"},
    ),
    "concat of what is computed": (
        [
            *CONV[0],
            node("Conv", ["i", "w", "b"], ["c"]),
            node("Conv", ["i", "w"], ["d"]),
            node("Concat", ["c", "d"], ["e"], axis=1),
            node("Relu", ["e"], ["o"]),
        ],
        {**CONV[1], **BIAS},
        "r",
        {"CONV_2D", "CONCATENATION", "RELU"},
    ),
    "product of small numbers": (
        [*snap("x", "huge", "j"), node("Mul", ["i", "j"], ["o"])],
        {},
        "b",
        {"MUL"},
    ),
    "bilinear": (
        [node("Resize", ["i", "", "s"], ["o"], mode="linear")],
        {"s": np.array([1, 1, 2, 2], np.float32)},
        "b",
        {"RESIZE_BILINEAR"},
    ),
}


OFF = {
    "average pool": 0.4,  # rounded to the grid of its input, and then to its own
    "bilinear": 0.4,
    "concat of two grids": 0.08,  # from one grid to another LiteRT multiplies by a number of 8 bits
    "max pool, on another grid": 0.08,
}  # the share of codes that are one step off, where that is not nearly none


@pytest.mark.parametrize("name", CASES)
def test_an_operator_between_grids_runs_on_codes(name: str, tmp_path: Path) -> None:
    nodes, stored, grid, computed = CASES[name]
    steps = off(graph([*nodes, *snap("o", grid, "y")], stored), tmp_path / "m.tflite", STEP[grid])
    assert kinds(tmp_path / "m.tflite") == (computed, set())
    assert steps.max() < 1.01
    assert (steps > 0.01).mean() < OFF.get(name, 0.02)


def shuffled() -> list[NodeProto]:
    return [
        node("Reshape", ["i", "apart"], ["p"]),
        node("Transpose", ["p"], ["t"], perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["t", "together"], ["y"]),
    ]


MOVED: dict[str, tuple[list[NodeProto], Stored, set[str]]] = {
    "max pool, padded explicitly": (
        [node("MaxPool", ["i"], ["y"], kernel_shape=[3, 3], strides=[2, 3], pads=[2, 1, 0, 1])],
        {},
        {"PADV2", "MAX_POOL_2D"},
    ),
    "padded by a number of the grid": (
        [node("Pad", ["i", "p", "v"], ["y"])],
        {"p": ints(0, 0, 1, 2, 0, 0, 0, 3), "v": np.float32(-0.0311 * 20)},
        {"PADV2"},
    ),
    "nearest": (
        [node("Resize", ["i", "", "s"], ["y"], coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        {"s": np.array([1, 1, 2, 3], np.float32)},
        {"RESIZE_NEAREST_NEIGHBOR"},
    ),
    "concat of one grid": ([node("Concat", ["i", "i"], ["y"], axis=2)], {}, {"CONCATENATION"}),
    "largest": ([node("GlobalMaxPool", ["i"], ["y"])], {}, {"REDUCE_MAX"}),
    "shuffled channels": (
        shuffled(),
        {"apart": ints(-1, 2, 2, 9, 7), "together": ints(-1, 4, 9, 7)},
        {"TRANSPOSE", "RESHAPE"},
    ),
    "the same grid again": ([*snap("i", "a", "y")], {}, set()),
}


@pytest.mark.parametrize("name", MOVED)
def test_codes_that_are_moved_stay_as_they_are(name: str, tmp_path: Path) -> None:
    nodes, stored, computed = MOVED[name]
    steps = off(graph(nodes, stored), tmp_path / "m.tflite", STEP["a"])
    assert kinds(tmp_path / "m.tflite") == (computed, set())
    assert steps.max() < 0.01


def test_the_layer_that_answers_computes_in_floats_from_stored_codes(tmp_path: Path) -> None:
    units = abs(DENSE[1]["w.s"].astype(np.float32)) * np.float32(STEP["a"])
    bias = node("DequantizeLinear", ["b.q", "b.s"], ["b"], axis=0)
    last = [node("Flatten", ["i"], ["f"]), node("Gemm", ["f", "w", "b"], ["y"], transB=1)]
    stored: Stored = {**DENSE[1], "b.q": np.array([900, -40, 3, 0, 77], np.int32), "b.s": units}
    assert off(graph([*DENSE[0], bias, *last], stored), tmp_path / "m.tflite", 1.0).max() < 1e-4
    assert kinds(tmp_path / "m.tflite") == (set(), {"FULLY_CONNECTED"})
    assert (tmp_path / "m.tflite").stat().st_size < 5 * 252 + 1500


def strange(codes: NDArray[np.int8], scale: float, bias: float) -> Case:
    """A convolution whose first output is otherwise than the others."""
    stored = {**CONV[1], **{name: values.copy() for name, values in BIAS.items()}}
    stored["w.q"], stored["w.s"] = CONV[1]["w.q"].copy(), CONV[1]["w.s"].copy()
    stored["w.q"][0], stored["w.s"][0], stored["b"][0] = codes, scale, bias
    return [*CONV[0], node("Conv", ["i", "w", "b"], ["o"])], stored, "b", {"CONV_2D"}


EMPTY, ONE = np.zeros((4, 3, 3), np.int8), np.ones((4, 3, 3), np.int8)


@pytest.mark.parametrize("scale", [0.0, 1e-12, 0.01])
def test_an_output_without_weights_keeps_its_bias(scale: float, tmp_path: Path) -> None:
    nodes, stored, grid, computed = strange(EMPTY, scale, 3.0)
    steps = off(graph([*nodes, *snap("o", grid, "y")], stored), tmp_path / "m.tflite", STEP[grid])
    assert kinds(tmp_path / "m.tflite") == (computed, set())
    assert steps.max() < 1.01


FLOATS: dict[str, tuple[list[NodeProto], Stored, set[str]]] = {
    "a bias that no sum holds": (*strange(ONE, 1e-12, 3.0)[:2], {"CONV_2D"}),
    "weights too large for the grid they end on": (*strange(ONE, 1e4, 0.0)[:2], {"CONV_2D"}),
    "a code of -128": (*strange(-128 * ONE, 0.001, 0.0)[:2], {"CONV_2D"}),
    "a kind that has no kernel": ([node("HardSwish", ["i"], ["o"])], {}, {"HARD_SWISH"}),
    "limits that are no operator": (
        [node("Clip", ["i", "low"], ["o"])],
        {"low": np.float32(-0.7)},
        {"MAXIMUM"},
    ),
    "a stored summand": ([node("Add", ["i", "c"], ["o"])], {"c": some(4, 1, 1)}, {"ADD"}),
    "padding by a number that is on no grid": (
        [node("Pad", ["i", "p", "v"], ["o"])],
        {"p": ints(0, 0, 1, 2, 0, 0, 0, 3), "v": np.float32(-0.0311 * 20.5)},
        {"PADV2"},
    ),
    "summands too large for the grid they end on": (
        [*snap("x", "huge", "j"), node("Add", ["j", "i"], ["o"])],
        {},
        {"ADD"},
    ),
    "a value that is wanted on two grids": (
        [node("Add", ["i", "i"], ["s"]), *snap("s", "c", "k"), *snap("s", "b", "l"), node("Add", ["k", "l"], ["o"])],
        {},
        {"ADD"},
    ),
}


@pytest.mark.parametrize("name", FLOATS)
def test_what_has_no_kernel_runs_in_floats_between_the_grids(name: str, tmp_path: Path) -> None:
    nodes, stored, computed = FLOATS[name]
    steps = off(graph([*nodes, *snap("o", "b", "y")], stored), tmp_path / "m.tflite", STEP["b"])
    assert kinds(tmp_path / "m.tflite")[1] == computed
    assert steps.max() < 1.01
    assert (steps > 0.01).mean() < 0.02


def test_weights_of_4_bits_are_computed_in_floats(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(-8, 8, (6, 4, 3, 3))
    before = node("DequantizeLinear", ["q", "s"], ["w"], axis=0)
    model = graph([before, node("Conv", ["i", "w"], ["o"]), *snap("o", "b", "y")], {"s": abs(some(6)) / 20})
    model.graph.initializer.append(helper.make_tensor("q", TensorProto.INT4, codes.shape, codes.ravel().tolist()))
    steps = off(model, tmp_path / "m.tflite", STEP["b"])
    assert kinds(tmp_path / "m.tflite") == (set(), {"CONV_2D"})
    assert (steps > 0.01).mean() < 0.02


def test_a_value_that_floats_need_too_is_not_rounded_for_them(tmp_path: Path) -> None:
    nodes = [
        *CONV[0],
        node("Conv", ["i", "w"], ["c"]),
        node("Relu", ["c"], ["r"]),
        *snap("r", "r", "s"),
        node("Sub", ["r", "s"], ["y"]),
    ]
    assert off(graph(nodes, CONV[1]), tmp_path / "m.tflite", 1.0).max() < STEP["r"] + 1e-4
    assert kinds(tmp_path / "m.tflite") == (set(), {"CONV_2D", "SUB"})


def test_codes_that_are_named_on_another_grid_are_refused(tmp_path: Path) -> None:
    other = node("DequantizeLinear", ["i.codes", "b.step", "b.zero"], ["y"])
    with pytest.raises(ExportError, match=r"DequantizeLinear cannot .*on another grid than it names"):
        written(graph([other], {}), tmp_path / "m.tflite")


@pytest.mark.parametrize(
    ("step", "zero", "reason"),
    [
        (np.float32(0.1), np.uint16(0), "codes of uint16 with 1 steps"),
        (np.full(4, 0.1, np.float32), np.zeros(4, np.uint8), "codes of uint8 with 4 steps"),
        (np.float32(0), np.uint8(0), "one step above 0"),
    ],
)
def test_a_grid_of_another_kind_is_refused(
    step: NDArray[np.float32], zero: NDArray[np.generic], reason: str, tmp_path: Path
) -> None:
    model = graph(
        [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])], {}
    )
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.asarray(step), "s"), numpy_helper.from_array(np.asarray(zero), "z")]
    )
    with pytest.raises(ExportError, match=reason):
        written(model, tmp_path / "m.tflite")
