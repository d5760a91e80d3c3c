"""Files that take uint8 pixels and scale them themselves."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from compress.checkpoint import Card, Checkpoint
from compress.errors import ExportError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing, Scale
from exports import Settings, noise, ship
from exports.answers import as_network
from exports.claims import verify
from exports.graph.pixels import take_pixels
from exports.run_onnx import read

PIXELS = Settings(input="uint8")
SCALE = Scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def pixels(*shape: int) -> Tensor:
    """Noise whose edges are white, so that a mean that is padded wrongly shows."""
    made = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    made[..., 0, :] = made[..., -1, :] = made[..., :, 0] = made[..., :, -1] = 255
    return made


def trained(name: str, task: str) -> Checkpoint:
    """A network of three channels whose batch-norm has seen data."""
    see = Preprocessing((32, 64), 3, SCALE.mean, SCALE.std)
    architecture = Architecture(name, 4, 3, see.size)
    network = build(architecture, seed=1)
    with torch.no_grad():
        network.model.train()(SCALE(pixels(8, *see.shape)))
    network.model.eval()
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(1))
    return Checkpoint(network, Card(architecture, see, tuple("abcd"), task))


@pytest.mark.parametrize(
    ("name", "task", "first"),
    [
        ("cnn-s", "classification", ["Cast", "Conv"]),
        ("cnn-s", "retrieval", ["Cast", "Conv"]),
        ("resnet10", "classification", ["Cast", "Sub", "Conv"]),
        pytest.param("unet-resnet10", "segmentation", ["Cast", "Sub", "Conv"], marks=pytest.mark.slow),
    ],
)
def test_a_network_is_exported_for_pixels(name: str, task: str, first: list[str], tmp_path: Path) -> None:
    made = trained(name, task)
    scaled = ship(made, tmp_path / "scaled.onnx", [noise(made.card, 3)]).artefact
    shipped = ship(made, tmp_path / "pixels.onnx", [noise(made.card, 3, "uint8")], settings=PIXELS)
    artefact, image = shipped.artefact, pixels(3, *made.card.preprocessing.shape)
    assert (artefact.dtype, artefact.input, scaled.input) == ("uint8", "uint8", "float32")
    expected = scaled(made.card.scale(image))
    torch.testing.assert_close(artefact(image), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    kinds = [[node.op_type for node in onnx.load(one.path).graph.node] for one in (artefact, scaled)]
    assert kinds[0] == [*first[:-1], *kinds[1]]
    assert kinds[0][: len(first)] == first
    assert [claim.verdict for claim in verify(artefact.path, made, [image])] == ["ok"] * 5
    answers = as_network(artefact, Scale())
    assert torch.equal(answers.model(answers.scale(image)), artefact(image))


def test_the_label_says_what_goes_in(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = ship(checkpoint, tmp_path / "p.onnx", [noise(checkpoint.card, 2, "uint8")], settings=PIXELS).artefact.path
    label = json.loads(onnx.load(path).metadata_props[0].value)
    see = label["preprocessing"]
    assert see["input"] == "uint8"
    assert not {"mean", "std"} & see.keys()
    assert [step.split()[0] for step in see["steps"]] == ["Turn", "Convert", "If", "Cut", "Resize", "Leave", "Feed"]
    assert "Feed uint8 of shape (batch, 3, 32, 32)" in see["steps"][-1]
    assert "ivide" not in " ".join(see["steps"])
    assert read(path).card.scale == checkpoint.card.scale  # type: ignore[union-attr]


def test_images_of_the_other_type_are_told_and_nothing_is_written(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path, scaled, image = tmp_path / "p.onnx", noise(checkpoint.card, 2), noise(checkpoint.card, 2, "uint8")
    with pytest.raises(ExportError, match=r"p\.onnx.*takes uint8 of shape \(any, 3, 32, 32\); got float32"):
        ship(checkpoint, path, [scaled], settings=PIXELS)
    with pytest.raises(ExportError, match=r"takes float32 .* got uint8"):
        ship(checkpoint, path, [image])
    assert list(tmp_path.iterdir()) == []
    artefact = ship(checkpoint, path, [image], settings=PIXELS).artefact
    for call in (artefact.answer, artefact.bind):
        with pytest.raises(ExportError, match="pixels to a file that takes uint8"):
            call(scaled.numpy())
    run = artefact.bind(image[:1].numpy())
    assert run() is None
    assert torch.equal(torch.from_numpy(run.target.numpy()), artefact(image[:1]))  # type: ignore[attr-defined]


def test_another_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"input: got 'int8'; allowed are float32, uint8"):
        Settings(input="int8")  # type: ignore[arg-type]


def test_a_file_for_pixels_of_other_weights_is_found_out(checkpoint: Checkpoint, tmp_path: Path) -> None:
    images = [noise(checkpoint.card, 8, "uint8")]
    path = ship(checkpoint, tmp_path / "p.onnx", images, settings=PIXELS).artefact.path
    model = onnx.load(path)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == first.input[2])
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.1), bias.name))
    path.write_bytes(model.SerializeToString())
    verdicts = {claim.record.quantity: claim.verdict for claim in verify(path, checkpoint, images)}
    assert {name for name, verdict in verdicts.items() if verdict == "FAILED"} == {"seal", "export again", "parity"}


# the graph by itself


def model_of(nodes: list[NodeProto], stored: dict[str, Any], channels: int = 3) -> ModelProto:
    """From x, (B, channels, 9, 11), to y."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, 9, 11])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def taken(model: ModelProto, scale: Scale = SCALE, channels: int = 3) -> list[str]:
    """The operators of the model for pixels, once it gives what the model gives for the scaled ones."""
    before = model.SerializeToString()
    made = take_pixels(model, scale)
    assert model.SerializeToString() == before
    onnx.checker.check_model(made, full_check=True)
    image = pixels(2, channels, 9, 11)
    found, expected = (
        onnxruntime.InferenceSession(one.SerializeToString()).run(None, {"x": given.numpy()})[0]
        for one, given in ((made, image), (model, scale(image)))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    return [node.op_type for node in made.graph.node]


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0.3, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("pads", "bias", "strides"),
    list(itertools.product(([0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 2, 1]), (True, False), ([1, 1], [2, 3]))),
)
def test_the_scale_is_in_a_convolution(pads: list[int], bias: bool, strides: list[int]) -> None:
    stored = {"w": weights(5, 3, 3, 2), **({"b": weights(5)} if bias else {})}
    node = helper.make_node("Conv", ["x", *stored], ["y"], pads=pads, strides=strides)
    assert taken(model_of([node], stored)) == (["Cast", "Sub", "Conv"] if any(pads) else ["Cast", "Conv"])


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_without_a_mean_nothing_is_subtracted(pads: list[int]) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=pads)
    model = model_of([node], {"w": weights(5, 3, 3, 3)})
    assert taken(model, Scale((0.0,), (0.5,))) == ["Cast", "Conv"]
    assert len(take_pixels(model, Scale()).graph.node[1].input) == 2


OTHERS: dict[str, tuple[list[NodeProto], dict[str, Any]]] = {
    "another operator": ([helper.make_node("Relu", ["x"], ["y"])], {}),
    "groups": ([helper.make_node("Conv", ["x", "w"], ["y"], group=3)], {"w": weights(6, 1, 3, 3)}),
    "padding by name": (
        [helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER")],
        {"w": weights(6, 3, 3, 3)},
    ),
    "weights of another type": (
        [
            helper.make_node("Cast", ["w"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["x", "real"], ["y"]),
        ],
        {"w": np.arange(54, dtype=np.int8).reshape(2, 3, 3, 3)},
    ),
    "two readers": (
        [
            helper.make_node("Conv", ["x", "w"], ["h"]),
            helper.make_node("ReduceMean", ["x"], ["m"]),
            helper.make_node("Add", ["h", "m"], ["y"]),
        ],
        {"w": weights(5, 3, 3, 3)},
    ),
    "weights of two": (
        [
            helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]),
            helper.make_node("Conv", ["h", "w"], ["y"]),
        ],
        {"w": weights(3, 3, 3, 3)},
    ),
}


@pytest.mark.parametrize(("nodes", "stored"), OTHERS.values(), ids=OTHERS.keys())
def test_elsewhere_the_scale_is_two_nodes(nodes: list[NodeProto], stored: dict[str, Any]) -> None:
    kinds = [node.op_type for node in nodes]
    assert taken(model_of(nodes, stored)) == ["Cast", "Mul", "Sub", *kinds]
