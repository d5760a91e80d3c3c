"""Which node of an .onnx file is which layer of the network."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import GraphProto, TensorProto, helper, numpy_helper
from torch import nn

from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.cost import Product, network_products
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from exports import Settings, format_of
from exports.graph.weighted import back_to, layer_of_node, weighted

SIZE = (32, 32)


def _checkpoint(name: str) -> Checkpoint:
    architecture = Architecture(name, 4, 3, SIZE)
    network = build(architecture, seed=0)
    network.model.eval()
    return Checkpoint(network, Card(architecture, Preprocessing(SIZE, 3, (0.5,) * 3, (0.5,) * 3), tuple("abcd")))


@pytest.mark.parametrize("name", ["cnn-a", "unet-resnet10", pytest.param("mobilenet_v2", marks=pytest.mark.slow)])
def test_each_node_with_weights_is_the_layer_that_has_them(name: str, tmp_path: Path) -> None:
    """A batch-norm that has seen nothing changes weights by its epsilon alone, so that they can be told by value."""
    checkpoint, path = _checkpoint(name), tmp_path / "own.onnx"
    format_of(path).write(checkpoint, path, Settings(lineage=False))
    graph, model = onnx.load(path).graph, checkpoint.network.model
    named = layer_of_node(graph, network_products(model, (3, *SIZE)))
    layers = {layer for layer, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert set(named.values()) == layers
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for one in weighted(graph):
        weight = model.get_parameter(f"{named[one.node]}.weight").detach().numpy()
        found = stored[one.stored_as].reshape(-1)
        np.testing.assert_allclose(np.sort(found), np.sort(weight.reshape(-1)), rtol=2e-3, atol=1e-6)


def _graph(*weights: tuple[str, tuple[int, int]]) -> GraphProto:
    """Linear layers in a row, with a clip behind each."""
    nodes, value = [], "input"
    for number, (name, _) in enumerate(weights):
        nodes.append(helper.make_node("MatMul", [value, name], [f"product{number}"]))
        nodes.append(helper.make_node("Relu", [f"product{number}"], [f"relu{number}"]))
        value = f"relu{number}"
    tensors = [helper.make_tensor(name, TensorProto.FLOAT, size, [0.0] * math.prod(size)) for name, size in weights]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("input", value)]
    return helper.make_graph(nodes, "graph", ends[:1], ends[1:], tensors)


def test_a_file_from_elsewhere_names_its_layers_where_it_can() -> None:
    graph = _graph(("fc1.weight", (2, 3)), ("onnx::MatMul_7", (3, 4)))
    assert layer_of_node(graph) == {0: "fc1"}


def test_a_product_that_the_file_lacks_does_not_shift_the_names() -> None:
    graph = _graph(("0", (2, 3)), ("1", (3, 5)), ("2", (5, 4)))
    products = [
        Product("first", 6, (3, 2)),
        Product("folded away", 49, (7, 7)),
        Product("second", 15, (5, 3)),
        Product("third", 20, (4, 5)),
    ]
    assert layer_of_node(graph, products) == {0: "first", 2: "second", 4: "third"}


def test_a_weight_in_codes_is_found_behind_what_decodes_it() -> None:
    graph = _graph(("weight", (2, 3)))
    graph.initializer[0].name = "codes"
    graph.initializer.append(helper.make_tensor("scale", TensorProto.FLOAT, (1,), [0.1]))
    graph.node.insert(0, helper.make_node("Mul", ["codes", "scale"], ["weight"]))
    assert [(one.node, one.values, one.stored_as) for one in weighted(graph)] == [(1, 6, "codes")]


def test_the_nodes_before_one_are_the_nearest_with_weights() -> None:
    graph = _graph(("0", (2, 3)), ("1", (3, 5)))
    assert list(back_to(graph, 3, [0, 2])) == [2]
    assert list(back_to(graph, 1, [0, 2])) == [0]
