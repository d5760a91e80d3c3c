"""The bytes of an .onnx file by the node that uses them: none is counted twice and none is lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from exports import Shipped
from exports.graph.bytes import FileBytes, file_bytes

FLOAT = TensorProto.FLOAT


def packed(name: str, kind: int, shape: tuple[int, ...], size: int) -> TensorProto:
    """A tensor of that many bytes of raw data, in a type that numpy has no word for."""
    return helper.make_tensor(name, kind, shape, bytes(size), raw=True)


def plain(name: str, *shape: int, kind: type = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, kind), name)


def account(path: Path, nodes: list[NodeProto], stored: list[TensorProto], shape: list[int | str]) -> FileBytes:
    """The account of a model of these nodes, from x to y, whose sum is checked."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13)
    path.write_bytes(model.SerializeToString())
    return summed(file_bytes(path), path)


def summed(found: FileBytes, path: Path) -> FileBytes:
    parts = [node.size_bytes for node in found.nodes] + list(found.rest.values())
    assert sum(parts) == found.size_bytes == path.stat().st_size
    assert min(parts) >= 0
    return found


def test_every_byte_of_an_exported_file_has_its_place(shipped: Shipped) -> None:
    path = shipped.artefact.path
    found, model = summed(file_bytes(path), path), onnx.load(path)
    assert [node.operator for node in found.nodes] == [node.op_type for node in model.graph.node]
    tensors = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    assert sum(node.size_bytes for node in found.nodes) == tensors
    first = found.nodes[0]
    assert (first.operator, first.shape, first.stored, first.computes) == ("Conv", (1, 8, 30, 30), "float32", "float32")
    assert [(one.shape, one.size_bytes) for one in first.tensors] == [((8, 3, 3, 3), 864), ((8,), 32)]
    assert found.rest["nodes"] == sum(node.ByteSize() for node in model.graph.node)
    label, seal = (entry for entry in model.metadata_props)
    assert found.rest["seal"] == seal.ByteSize()
    parts = {part: size for part, size in found.rest.items() if part.startswith("label: ")}
    assert sum(parts.values()) == label.ByteSize()
    written = json.loads(label.value)
    assert parts["label: lineage"] == len(json.dumps(written["card"]["lineage"], separators=(",", ":")))
    assert parts["label: preprocessing"] == len(json.dumps(written["preprocessing"], separators=(",", ":")))


def test_a_longer_lineage_shows_in_its_own_line_alone(shipped: Shipped, tmp_path: Path) -> None:
    model = onnx.load(shipped.artefact.path)
    written = json.loads(model.metadata_props[0].value)
    written["card"]["lineage"][0]["command"] += "x" * 100
    model.metadata_props[0].value = json.dumps(written, separators=(",", ":"))
    path = tmp_path / "longer.onnx"
    path.write_bytes(model.SerializeToString())
    before, after = file_bytes(shipped.artefact.path).rest, summed(file_bytes(path), path).rest
    grown = {part: after[part] - before[part] for part in after if after[part] != before[part]}
    assert grown == {"label: lineage": 100}


def test_a_label_that_is_none_of_ours_is_counted_whole(shipped: Shipped, tmp_path: Path) -> None:
    model = onnx.load(shipped.artefact.path)
    model.metadata_props[0].value = "[" * 5000
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    assert summed(file_bytes(path), path).rest["label"] == model.metadata_props[0].ByteSize()


@pytest.mark.parametrize(
    ("kind", "name", "size"),
    [
        (TensorProto.INT8, "int8", 54),
        (TensorProto.FLOAT16, "float16", 108),
        (TensorProto.INT4, "int4", 27),
        (TensorProto.INT2, "int2", 14),
    ],
)
def test_weights_that_are_unpacked_belong_to_the_convolution(tmp_path: Path, kind: int, name: str, size: int) -> None:
    nodes = [
        helper.make_node("Cast", ["w"], ["real"], to=FLOAT),
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Mul", ["real", "scale"], ["weight"]),
        helper.make_node("Conv", ["h", "weight", "b"], ["y"]),
    ]
    stored = [packed("w", kind, (2, 3, 3, 3), size), plain("scale", 2, 1, 1, 1), plain("b", 2)]
    relu, conv = account(tmp_path / "m.onnx", nodes, stored, ["n", 3, 5, 5]).nodes
    assert (relu.operator, relu.stored, relu.size_bytes) == ("Relu", "", 0)
    assert (conv.operator, conv.stored, conv.computes) == ("Conv", name, "float32")
    assert (conv.size_bytes, conv.tensors[0].size_bytes) == (size + 16, size)
    assert (conv.shape, conv.unpacked_by) == ((1, 2, 3, 3), ("Cast", "Mul"))


def test_dequantized_weights_belong_to_the_product(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["weight"], axis=0),
        helper.make_node("Gemm", ["x", "weight"], ["y"], transB=1),
    ]
    stored = [packed("w", TensorProto.INT4, (4, 8), 16), plain("scale", 4), packed("zero", TensorProto.INT4, (4,), 2)]
    (gemm,) = account(tmp_path / "m.onnx", nodes, stored, ["n", 8]).nodes
    assert (gemm.stored, gemm.size_bytes, gemm.unpacked_by) == ("int4", 34, ("DequantizeLinear",))


def test_activations_that_are_quantized_are_nodes_of_their_own(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("ConvInteger", ["q", "w"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=FLOAT),
    ]
    stored = [plain("s"), plain("z", kind=np.uint8), plain("w", 2, 3, 1, 1, kind=np.int8)]
    found = account(tmp_path / "m.onnx", nodes, stored, ["n", 3, 5, 5]).nodes
    assert [(node.operator, node.computes, node.size_bytes) for node in found] == [
        ("QuantizeLinear", "uint8", 5),
        ("ConvInteger", "int32", 6),
        ("Cast", "float32", 0),
    ]


def test_a_tensor_is_counted_once_and_an_idle_one_by_itself(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=plain("", 8))
    nodes = [
        constant,
        helper.make_node("Mul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "w"], ["i"]),
        helper.make_node("Mul", ["i", "c"], ["y"]),
    ]
    found = account(tmp_path / "m.onnx", nodes, [plain("w", 8), plain("idle", 5)], ["n", 8])
    assert [(node.stored, node.size_bytes) for node in found.nodes] == [
        ("float32", 32),
        ("float32", 0),
        ("float32", 32),
    ]
    assert found.rest["tensors of no node"] == 20
    assert found.rest["nodes"] == sum(node.ByteSize() for node in nodes) - 32


def test_typed_values_and_branches_are_counted(tmp_path: Path) -> None:
    """As other exporters write them: numbers one by one, and tensors that only a branch reads."""
    y = helper.make_tensor_value_info("out", FLOAT, None)
    branches = [
        helper.make_graph([helper.make_node("Add", ["x", name], ["out"])], name, [], [y], inside)
        for name, inside in (("outer", []), ("inner", [plain("inner", 8)]))
    ]
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1])
    stored = [
        helper.make_tensor("outer", FLOAT, (8,), [1.0] * 8),
        helper.make_tensor("yes", TensorProto.BOOL, (), [True]),
    ]
    (found,) = account(tmp_path / "m.onnx", [node], stored, ["n", 8]).nodes
    assert (found.operator, found.shape, found.computes) == ("If", (1, 8), "float32")
    assert sorted(tensor.size_bytes for tensor in found.tensors) == [3, 32, 34]  # typed values say how many they are


def test_a_shape_that_is_left_open_is_told_as_such(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    (found,) = account(tmp_path / "m.onnx", [node], [], ["n", 3, "h", "w"]).nodes
    assert found.shape == (1, 3, "h", "w")
