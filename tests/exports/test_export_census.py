from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compress.checkpoint import Checkpoint
from compress.cost import network_census
from compress.errors import ExportError
from compress.models import Architecture, build
from compress.stages import Staged
from exports import Artefact
from exports.graph.census import graph_census

CNN_S_MACS = 30 * 30 * 8 * 27 + 13 * 13 * 16 * 72 + 4 * 4 * 32 * 144 + 128 * 64 + 64 * 10


def resnet18_macs(classes: int) -> int:
    """By hand, for 3x32x32: the stem halves to 16, its pooling to 8, and layer2 to layer4 halve again."""
    total = 16 * 16 * 64 * 3 * 49 + 4 * 8 * 8 * 64 * 64 * 9
    for side, out in ((4, 128), (2, 256), (1, 512)):
        half = out // 2
        total += side * side * out * (half * 9 + half + 3 * out * 9)
    return total + 512 * classes


def test_cnn_s_by_hand(checkpoint: Checkpoint, exported: Artefact) -> None:
    assert CNN_S_MACS == 471_648
    network = network_census(checkpoint.network, (3, 32, 32))
    assert (network.parameters, network.macs) == (15_050, CNN_S_MACS)
    assert network.weight_bytes == 4 * (15_050 + 2 * (8 + 16 + 32)) + 3 * 8
    graph = graph_census(exported.path)
    assert (graph.parameters, graph.macs) == (15_050 - 2 * (8 + 16 + 32), CNN_S_MACS)
    assert graph.operators == {"Relu": 4, "Conv": 3, "MaxPool": 3, "Gemm": 2, "Reshape": 1}
    assert graph.versions == {"opset": 20, "ir_version": 10}
    assert (graph.input_shape, graph.output_shape) == (("batch", 3, 32, 32), ("batch", 10))


def test_resnet18_by_hand() -> None:
    census = network_census(build(Architecture("torchvision:resnet18", 10, 3, (32, 32))), (3, 32, 32))
    assert (census.parameters, census.macs) == (11_181_642, resnet18_macs(10))


def test_attention_is_counted_in_eval_mode() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True).eval()
    model = nn.Sequential(nn.Flatten(2), layer)
    before = torch.backends.mha.get_fastpath_enabled()
    census = network_census(Staged(model, ()), (5, 2, 4))
    projections, attention, feed_forward = 5 * 8 * 8 * 4, 2 * 5 * 5 * 8, 2 * 5 * 8 * 16
    assert census.macs == projections + attention + feed_forward
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_counting_leaves_the_network_as_it_was() -> None:
    network = build(Architecture("cnn-s", 10, 1, (32, 32)))
    network.model.train()
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    network_census(network, (1, 32, 32))
    assert network.model.training
    assert all(torch.equal(value, before[name]) for name, value in network.model.state_dict().items())


def made(path: Path, nodes: list[onnx.NodeProto], shape: list[int | str], stored: dict[str, np.ndarray]) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path


def test_grouped_convolution(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=4, strides=[2, 2])
    weight = np.zeros((8, 1, 3, 3), np.float32)
    census = graph_census(made(tmp_path / "m.onnx", [node], ["n", 4, 9, 9], {"w": weight}))
    assert (census.parameters, census.macs) == (72, 8 * 4 * 4 * 9)
    assert census.output_shape == ()


def test_int8_weights_behind_a_cast_and_an_open_shape(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["w"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "real"], ["y"]),
    ]
    stored = {"w": np.zeros((2, 3, 1, 1), np.int8), "axes": np.zeros(7, np.int64)}
    census = graph_census(made(tmp_path / "fixed.onnx", nodes, [16, 3, 5, 5], stored))
    assert (census.parameters, census.macs) == (6, 2 * 25 * 3)
    assert census.input_shape == (16, 3, 5, 5)
    assert graph_census(made(tmp_path / "open.onnx", nodes, ["n", 3, "h", "w"], stored)).macs is None


def test_products_and_constants(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.zeros((6, 5), np.float32), "w")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Gemm", ["h", "v"], ["y"], transA=1),
    ]
    census = graph_census(made(tmp_path / "m.onnx", nodes, ["n", 6], {"v": np.zeros((1, 2), np.float32)}))
    assert census.parameters == 6 * 5 + 2
    assert census.macs == 1 * 5 * 6 + 5 * 2 * 1


def test_local_functions_are_counted_inside(tmp_path: Path) -> None:
    function = helper.make_function(
        "own",
        "Layer",
        ["a", "b"],
        ["c"],
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        [helper.make_opsetid("", 20)],
    )
    graph = helper.make_graph(
        [helper.make_node("Layer", ["x", "w"], ["y"], domain="own")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.zeros((3, 2), np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    census = graph_census(tmp_path / "m.onnx")
    assert (census.macs, census.operators, census.versions["opset"]) == (6, {"MatMul": 1}, 20)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x0a"])
def test_what_is_not_a_network_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"odd\.onnx"):
        graph_census(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not exist"):
        graph_census(tmp_path / "nowhere.onnx")
