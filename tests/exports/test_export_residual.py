"""ResNets and U-Nets of our own as ONNX: plain operators, static scales, sides that differ, and the same answers."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from compress.checkpoint import Card, Checkpoint
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from exports import noise, ship

SIZE = (32, 64)


@pytest.mark.parametrize(("name", "task"), [("resnet10", "classification"), ("unet-resnet10", "segmentation")])
def test_it_exports_and_says_the_same(name: str, task: str, tmp_path: Path) -> None:
    architecture = Architecture(name, 4, 1, SIZE)
    card = Card(architecture, Preprocessing(SIZE, 1, (0.5,), (0.25,)), tuple("abcd"), task)
    network = build(architecture, seed=1)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(1))
    shipped = ship(Checkpoint(network, card), tmp_path / "network.onnx", [noise(card, 3)])
    graph = onnx.load(shipped.artefact.path).graph
    kinds = [node.op_type for node in graph.node]
    assert set(kinds) <= {
        "Conv",
        "Relu",
        "Add",
        "MaxPool",
        "ReduceMax",
        "ReduceMean",
        "Concat",
        "Reshape",
        "Flatten",
        "Gemm",
        "Resize",
    }
    assert kinds.count("Resize") == (5 if task == "segmentation" else 0)
    constants = {tensor.name for tensor in graph.initializer}
    assert all(node.input[2] in constants for node in graph.node if node.op_type == "Resize")
    with torch.no_grad():
        expected = network.model.eval()(noise(card, 3))
    torch.testing.assert_close(shipped.artefact(noise(card, 3)), expected, rtol=1e-3, atol=1e-4)
