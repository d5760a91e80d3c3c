from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from exports.graph.strip import strip, without_folders


def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: image})[0])


@pytest.fixture(scope="module")
def raw() -> onnx.ModelProto:
    """What torch writes for a small network, with all of its debug metadata."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()
    program = torch.onnx.export(
        network, (torch.zeros(2, 3, 8, 8),), dynamo=True, external_data=False, verbose=False,
        input_names=["picture"], output_names=["scores"], dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    assert program is not None
    model = program.model_proto
    model.doc_string = "made by hand"
    model.graph.node[0].doc_string = "/home/me/network.py"
    return model


def branching() -> onnx.ModelProto:
    """y = x + long_name if the sum of x is positive, else x * 2, with a subgraph on either side."""

    def branch(kind: str, name: str) -> onnx.GraphProto:
        node = helper.make_node(
            kind, ["image_of_the_outer_graph", "constant_of_the_outer_graph"], [name], "a long name"
        )
        return helper.make_graph(
            [node], name + "_graph", [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
        )

    nodes = [
        helper.make_node("Identity", ["x"], ["image_of_the_outer_graph"]),
        helper.make_node("ReduceSum", ["image_of_the_outer_graph"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero_constant"], ["condition"]),
        helper.make_node(
            "If",
            ["condition"],
            ["y"],
            then_branch=branch("Add", "then_result"),
            else_branch=branch("Mul", "else_result"),
        ),
    ]
    stored = [
        numpy_helper.from_array(np.float32(2), "constant_of_the_outer_graph"),
        numpy_helper.from_array(np.float32(0), "zero_constant"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph(nodes, "main", values[:1], values[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_outputs_keep_their_bits(raw: onnx.ModelProto) -> None:
    image = np.random.default_rng(0).standard_normal((7, 3, 8, 8), dtype=np.float32)
    stripped = strip(raw)
    onnx.checker.check_model(stripped, full_check=True)
    assert np.array_equal(run(raw, image), run(stripped, image))


def test_names_inside_branches_go_along() -> None:
    stripped = strip(branching())
    onnx.checker.check_model(stripped, full_check=True)
    assert run(stripped, np.array([1, 2], np.float32)).tolist() == [3, 4]
    assert run(stripped, np.array([-1, -2], np.float32)).tolist() == [-2, -4]
    assert b"outer_graph" not in stripped.SerializeToString()


def test_debug_metadata_go_and_the_source_keeps_them(raw: onnx.ModelProto) -> None:
    before = raw.SerializeToString(deterministic=True)
    content = strip(raw).SerializeToString()
    assert b"pkg.torch" in before
    assert raw.SerializeToString(deterministic=True) == before
    for trace in (b"pkg.torch", b"stack_trace", b".py", b"made by hand", b"node_"):
        assert trace not in content


def test_inputs_outputs_and_the_batch_keep_their_names(raw: onnx.ModelProto) -> None:
    graph = strip(raw).graph
    assert [value.name for value in graph.input] == ["picture"]
    assert [value.name for value in graph.output] == ["scores"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert len(graph.value_info) == 0


def attributes(model: onnx.ModelProto, kind: str) -> dict[str, object]:
    node = next(node for node in model.graph.node if node.op_type == kind)
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def test_attributes_that_say_the_default_go(raw: onnx.ModelProto) -> None:
    assert {"dilations", "group", "pads"} <= attributes(raw, "Conv").keys()
    assert attributes(strip(raw), "Conv") == {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}
    assert attributes(strip(raw), "MaxPool") == {"kernel_shape": [2, 2], "strides": [2, 2]}
    assert attributes(strip(raw), "Gemm") == {"transB": 1}


@pytest.mark.parametrize(("order", "left"), [([2, 1, 0], {}), ([0, 2, 1], {"perm": [0, 2, 1]})])
def test_a_transpose_that_turns_the_shape_around_needs_no_order(order: list[int], left: dict[str, object]) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b", "c"]) for name in "xy"]
    node = helper.make_node("Transpose", ["x"], ["y"], perm=order)
    graph = helper.make_graph([node], "graph", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    assert attributes(strip(model), "Transpose") == left
    image = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert np.array_equal(run(strip(model), image), image.transpose(order))


def test_a_name_that_a_short_one_would_take_stays_apart() -> None:
    model = branching()
    model.graph.input[0].name = "5"
    model.graph.node[0].input[0] = "5"
    stripped = strip(model)
    onnx.checker.check_model(stripped, full_check=True)
    assert run(stripped, np.array([1, 2], np.float32)).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/me/runs/teacher.safetensors", "teacher.safetensors"),
        ("C:\\Users\\me\\teacher.safetensors", "teacher.safetensors"),
        ("/home/John Doe/my photos", "my photos"),
        ("edgepress train -o /home/me/a.safetensors --data ~/photos", "edgepress train -o a.safetensors --data photos"),
        ("edgepress train --output=/home/me/a.safetensors", "edgepress train --output=a.safetensors"),
        ("edgepress train --data '/home/John Doe/photos' -o b", "edgepress train --data 'photos' -o b"),
        ("edgepress prune ../../secret/a.safetensors", "edgepress prune a.safetensors"),
        ("edgepress prune runs/a.safetensors", "edgepress prune runs/a.safetensors"),
        ("top-1 after 3/4 of the epochs", "top-1 after 3/4 of the epochs"),
        ("2 / 3", "2 / 3"),
    ],
)
def test_folders_of_this_machine_are_cut_off(text: str, left: str) -> None:
    assert without_folders({"command": [text, {"seed": 3}]}) == {"command": [left, {"seed": 3}]}


def test_what_is_not_text_is_left_alone() -> None:
    data = {"seed": 3, "ratio": 0.5, "none": None, "yes": True}
    assert without_folders(data) == data
