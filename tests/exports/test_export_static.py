"""Static int8 in an .onnx file: whole numbers from the image to the answer, computed as the network rounds them."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.errors import GateError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.quantization import FULL_RANGE, SCHEMES, Scheme, codes_of
from compress.smaller import cut, quantized_by
from exports import Artefact, Settings, noise, ship
from exports.closeness import Closeness
from exports.faithful import check_faithful
from exports.label import read_label
from exports.run_onnx import read

STATIC = SCHEMES["static"]
LARGEST_16 = 2**15 - 1


def _static(checkpoint: Checkpoint, images: Tensor, scheme: Scheme = STATIC) -> Checkpoint:
    return quantized_by(checkpoint, scheme, "edgepress quantize", rounding="nearest", images=[images])


def _network(name: str, size: tuple[int, int] = (32, 32), task: str = "classification") -> Checkpoint:
    """Untrained, but for batch-norms that have seen data and let the images through."""
    architecture = Architecture(name, 4, 3, size)
    network = build(architecture, seed=0)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(1))
    card = Card(architecture, Preprocessing(size, 3, (0.5,) * 3, (0.5,) * 3), tuple("abcd"), task)
    with torch.no_grad():
        for _ in range(3):
            network.model.train()(noise(card, 16))
    network.model.eval()
    return Checkpoint(network, card)


def _kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def _optimized(path: Path, target: Path) -> onnx.ModelProto:
    """The graph that ONNX Runtime computes."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(target), 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(target)


def test_a_runtime_computes_all_of_it_on_whole_numbers(checkpoint: Checkpoint, images: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    shipped = ship(_static(checkpoint, images), path, [images])
    assert _kinds(onnx.load(path)) >= Counter(QuantizeLinear=9, DequantizeLinear=19, Conv=3, Gemm=2)
    fused = _kinds(_optimized(path, tmp_path / "optimized.onnx"))
    assert (fused["QLinearConv"], fused["QGemm"], fused["QuantizeLinear"]) == (3, 2, 1)
    assert fused.keys().isdisjoint({"Conv", "Gemm", "Relu", "DequantizeLinear"})
    assert shipped.parity.agreement == 1
    assert shipped.faithful.kernels is not None
    assert shipped.faithful.kernels.agreement == 1


@pytest.mark.parametrize(
    ("name", "task", "layers", "adds"),
    [
        ("resnet10", "classification", 12, 4),
        pytest.param("unet-resnet10", "segmentation", 22, 4, marks=pytest.mark.slow),
    ],
)
def test_residual_networks_add_whole_numbers(name: str, task: str, layers: int, adds: int, tmp_path: Path) -> None:
    whole = _network(name, task=task)
    images = noise(whole.card, 16)
    ship(_static(whole, images), tmp_path / "small.onnx", [images])
    fused = _kinds(_optimized(tmp_path / "small.onnx", tmp_path / "optimized.onnx"))
    assert (fused["QLinearConv"], fused["QLinearAdd"]) == (layers, adds)


@pytest.mark.slow
def test_a_network_with_operators_that_stay_float_ships(tmp_path: Path) -> None:
    whole = _network("torchvision:mobilenet_v3_small")
    images = noise(whole.card, 16)
    shipped = ship(_static(whole, images), tmp_path / "small.onnx", [images])
    assert shipped.artefact.size_bytes < 0.4 * sum(p.numel() for p in whole.network.model.parameters()) * 4


def test_a_pruned_network_ships(checkpoint: Checkpoint, images: Tensor, tmp_path: Path) -> None:
    small = _static(cut(checkpoint, 0.5, "edgepress prune"), images)
    assert ship(small, tmp_path / "small.onnx", [images]).parity.agreement == 1


def test_a_bare_file_of_the_student_is_at_most_20_kib(checkpoint: Checkpoint, images: Tensor, tmp_path: Path) -> None:
    ship(_static(checkpoint, images), tmp_path / "small.onnx", [images], settings=Settings(label=False))
    assert (tmp_path / "small.onnx").stat().st_size <= 20 * 1024


def test_a_file_may_take_pixels(checkpoint: Checkpoint, tmp_path: Path) -> None:
    small = _static(checkpoint, noise(checkpoint.card))
    pixels = noise(checkpoint.card, takes="uint8")
    shipped = ship(small, tmp_path / "small.onnx", [pixels], settings=Settings(input="uint8"))
    assert shipped.artefact.input == "uint8"
    assert shipped.parity.agreement == 1


def test_the_codes_of_a_file_are_those_of_the_checkpoint_but_for_signs(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path
) -> None:
    """A channel that its batch-norm turns around has its codes negated, for runtimes want factors above 0."""
    for module in checkpoint.network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight > 0).all()
    small = _static(checkpoint, images)
    with torch.no_grad():
        small.network.model.get_submodule("blocks.1.norm").weight[3] *= -1
    ship(small, tmp_path / "small.onnx", [images])
    model = onnx.load(tmp_path / "small.onnx")
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    codes = {c.module: c.values.numpy() for c in codes_of(small.network, small.card.grids)}["blocks.1.conv"]
    (found,) = [value for value in stored.values() if value.shape == codes.shape]
    assert (np.abs(found) == np.abs(codes)).all()
    scales = [stored[node.input[1]] for node in model.graph.node if node.op_type == "DequantizeLinear"]
    assert all((scale > 0).all() for scale in scales)


@pytest.mark.parametrize("what", ["scale", "weight"])
def test_a_file_that_rounds_otherwise_is_not_faithful(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path, what: str
) -> None:
    small, path = _static(checkpoint, images), tmp_path / "small.onnx"
    ship(small, path, [images], settings=Settings(label=False))
    model = onnx.load(path)
    spoilt = _spoilt(model, what)
    changed = tmp_path / "changed.onnx"
    onnx.save(model, changed)
    assert spoilt
    check_faithful(small, read(path), [images])
    with pytest.raises(
        GateError, match=r"changed\.onnx: .*does not (give the outputs|run as its graph).*: rms difference"
    ):
        check_faithful(small, read(changed), [images])


def _spoilt(model: onnx.ModelProto, what: str) -> bool:
    """Whether the step of one grid of activations, or one filter, was changed."""
    maker = [node for node in model.graph.node if node.op_type == "QuantizeLinear"][3]
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        if what == "weight" and value.dtype == np.int8 and value.ndim == 4 and value.shape[0] == 16:
            value[0] = -value[0]
        elif what == "scale" and tensor.name == maker.input[1]:
            value = value * np.float32(1.1)
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(value), tensor.name))
        return True
    return False


def test_a_network_that_answers_nearly_the_same_to_every_image_may_differ_by_float_rounding(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path
) -> None:
    """What the grids change is then less than one step of float32 of the answers."""
    constant = deepcopy(checkpoint)
    *_, head = (module for module in constant.network.model.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        head.weight.mul_(1e-4)
        head.bias.fill_(1)
    shipped = ship(_static(constant, images), tmp_path / "small.onnx", [images])
    assert isinstance(shipped.parity, Closeness)
    assert 1e-6 < shipped.parity.allowed_difference < 1e-4
    assert max(shipped.parity.rms_difference, shipped.faithful.kernels.rms_difference) < 1e-6


# saturation


def _pairs(codes: NDArray[np.int8]) -> NDArray[np.int32]:
    """(O, K, 2) codes that meet one after the other, as kernels without VNNI sum them: two neighbours at a time."""
    rows = codes.astype(np.int32).transpose(0, 2, 3, 1).reshape(len(codes), -1)
    return rows[:, : rows.shape[1] // 2 * 2].reshape(len(codes), -1, 2)


def _conv_inputs(path: Path, images: Tensor) -> list[tuple[NDArray[np.uint8], NDArray[np.int8]]]:
    """What each convolution takes, as codes, and its weight."""
    model = onnx.load(path)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    taken = [makers[node.input[0]].input[0] for node in convolutions]
    shown = dict.fromkeys(taken)
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in shown)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(taken, {"input": images.numpy()})
    weights = [stored[makers[node.input[1]].input[0]] for node in convolutions]
    return list(zip(values, weights, strict=True))


@pytest.mark.parametrize(("scheme", "saturates"), [(STATIC, False), (FULL_RANGE, True)])
def test_sums_of_two_products_fit_16_bits_unless_the_full_range_is_asked_for(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path, scheme: Scheme, saturates: bool
) -> None:
    """CPUs with AVX2 and without VNNI keep the sum of two products in 16 bits, and say nothing where it saturates."""
    bright = images.abs() + 1  # much of the range of the first values is in use
    ship(_static(checkpoint, bright, scheme), tmp_path / "small.onnx", [bright])
    found = False
    for values, weight in _conv_inputs(tmp_path / "small.onnx", bright[:8]):
        columns = nn.functional.unfold(torch.from_numpy(values).float(), weight.shape[2:]).numpy().astype(np.int32)
        by_channel = columns.reshape(len(values), weight.shape[1], -1, columns.shape[-1]).swapaxes(1, 2)
        rows = by_channel.reshape(len(values), -1, columns.shape[-1])
        even = rows[:, : rows.shape[1] // 2 * 2].reshape(len(values), -1, 2, columns.shape[-1])
        sums = np.einsum("okt,nktp->nokp", _pairs(weight), even)
        found = found or bool((np.abs(sums) > LARGEST_16).any())
        if not saturates:
            assert np.abs(_pairs(weight)).sum(2).max() * 255 <= LARGEST_16
    assert found == saturates


def test_a_file_of_the_full_range_says_what_it_needs(checkpoint: Checkpoint, images: Tensor, tmp_path: Path) -> None:
    for scheme in (STATIC, FULL_RANGE):
        path = tmp_path / f"{scheme.bits}.onnx"
        ship(_static(checkpoint, images, scheme), path, [images])
        (text,) = [entry.value for entry in onnx.load(path).metadata_props if entry.key == "edgepress"]
        assert ("x64quantprecision" in text) == (scheme is FULL_RANGE)
        assert read_label(path, text).card.activations


def test_kernels_that_do_not_compute_the_graph_are_found(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path
) -> None:
    """As on a CPU whose sums saturate: the file that runs is another than the graph that is held against it."""
    small, path = _static(checkpoint, images), tmp_path / "small.onnx"
    artefact = ship(small, path, [images]).artefact
    saturating = replace(artefact, runner=Clipping(artefact))
    with pytest.raises(GateError, match=r"does not run as its graph says: rms difference.*without VNNI"):
        check_faithful(small, saturating, [images])
    assert isinstance(check_faithful(small, artefact, [images]).kernels, Closeness)


class Clipping:
    """A runner whose answers are cut off above.

    Args:
        artefact: What it runs.
    """

    def __init__(self, artefact: Artefact) -> None:
        self._artefact = artefact

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        answers = self._artefact.answer(image)
        return answers.clip(max=answers.mean())

    def bind(self, image: NDArray[Any]) -> object:
        """Not asked for."""
        raise NotImplementedError
