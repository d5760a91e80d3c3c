"""Quantized weights in an .onnx file: as few bytes as their bits, found again whatever was folded into them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.errors import ExportError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.quantization import SCHEMES, Codes, codes_of, plan
from compress.smaller import cut, quantized
from exports import Settings, noise, ship
from exports.graph.codes import store

STORED = {
    "fp16": (TensorProto.FLOAT16, 20, 2.0),
    "w8": (TensorProto.INT8, 20, 1.0),
    "w4": (TensorProto.INT4, 21, 0.5),
    "w2": (TensorProto.INT2, 25, 0.25),
}


def _small(checkpoint: Checkpoint, scheme: str) -> Checkpoint:
    return quantized(
        checkpoint, plan(checkpoint.network, SCHEMES[scheme].bits), "edgepress quantize", rounding="nearest"
    )


def _codes(model: onnx.ModelProto, kind: int) -> list[TensorProto]:
    return [tensor for tensor in model.graph.initializer if tensor.data_type == kind]


@pytest.mark.parametrize("scheme", STORED)
def test_a_file_stores_the_codes_of_the_checkpoint(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path, scheme: str
) -> None:
    small, (kind, opset, bytes_a_weight) = _small(checkpoint, scheme), STORED[scheme]
    shipped = ship(small, tmp_path / "small.onnx", [images])
    model = onnx.load(shipped.artefact.path)
    stored = _codes(model, kind)
    assert [entry.version for entry in model.opset_import] == [opset]
    for tensor, codes in zip(stored, codes_of(small.network, small.card.grids), strict=True):
        assert (numpy_helper.to_array(tensor).astype("float32") == codes.values.float().numpy()).all()
        assert len(tensor.raw_data) == codes.values.numel() * bytes_a_weight
    assert shipped.parity.agreement == 1
    assert shipped.artefact.card is not None
    assert shipped.artefact.card.grids == small.card.grids


@pytest.mark.parametrize(("scheme", "most"), [(None, 61_049), ("w8", 17_408), ("w4", 9_626), ("w2", 5_939)])
def test_a_bare_file_is_little_more_than_its_weights(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path, scheme: str | None, most: int
) -> None:
    """Within 1 % and 700 bytes of its weights as float32; 17.0, 9.4 and 5.8 KiB with fewer bits."""
    small = checkpoint if scheme is None else _small(checkpoint, scheme)
    shipped = ship(small, tmp_path / "small.onnx", [images], settings=Settings(label=False))
    assert shipped.artefact.size_bytes <= most
    assert (shipped.artefact.card, shipped.artefact.provenance) == (None, None)
    assert not onnx.load(shipped.artefact.path).metadata_props


@pytest.mark.parametrize(
    ("name", "size", "grown"),
    [
        pytest.param("torchvision:mobilenet_v3_small", (32, 32), 0.5, marks=pytest.mark.slow),
        ("unet-resnet10", (32, 64), 0.1),
        pytest.param("resnet10", (32, 32), 0.1, marks=pytest.mark.slow),
    ],
)
def test_any_network_ships_with_weights_of_eight_bits(
    tmp_path: Path, name: str, size: tuple[int, int], grown: float
) -> None:
    architecture = Architecture(name, 10, 3, size)
    see = Preprocessing(size, 3, (0.5,) * 3, (0.5,) * 3)
    task = "segmentation" if name.startswith("unet") else "classification"
    network = build(architecture, seed=0)
    network.model.eval()
    whole = Checkpoint(network, Card(architecture, see, tuple("abcdefghij"), task=task))
    shipped = ship(_small(whole, "w8"), tmp_path / "small.onnx", [noise(whole.card, 4)])
    weights = sum(parameter.numel() for parameter in network.model.parameters())
    assert shipped.artefact.size_bytes < (1 + grown) * weights


def test_a_pruned_network_ships_quantized(checkpoint: Checkpoint, tmp_path: Path) -> None:
    small = _small(cut(checkpoint, 0.5, "edgepress prune"), "w4")
    assert ship(small, tmp_path / "small.onnx", [noise(small.card)]).parity.agreement == 1


def test_an_operator_set_that_knows_no_such_weights_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="give --opset 21 or leave it out"):
        ship(_small(checkpoint, "w4"), tmp_path / "s.onnx", [noise(checkpoint.card)], settings=Settings(opset=20))
    assert list(tmp_path.iterdir()) == []


def test_codes_that_the_graph_does_not_hold_are_refused(graph: onnx.ModelProto) -> None:
    strange = Codes("classifier", 8, torch.ones(10, 64, dtype=torch.int8))
    with pytest.raises(ExportError, match=r"'classifier': .*--keep-float"):
        store(graph, [strange])
