"""Static int8 in an OpenVINO model: as its graph says it gives the network, and what runs is held against the graph."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from compress.card import Card
from compress.checkpoint import Checkpoint
from compress.errors import GateError
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.quantization import SCHEMES
from compress.smaller import quantized_by
from exports import Settings, noise, ship
from exports.artefact import Artefact
from exports.closeness import Closeness
from exports.faithful import check_faithful
from exports.run_openvino import read

pytestmark = pytest.mark.extra("openvino", "openvino")


def static(checkpoint: Checkpoint, images: Tensor) -> Checkpoint:
    return quantized_by(checkpoint, SCHEMES["static"], "q", rounding="nearest", images=[images])


def computed_in(artefact: Artefact) -> Counter[str]:
    """The types in which OpenVINO computes the convolutions."""
    operators = artefact.runner._compiled.get_runtime_model().get_ordered_ops()  # type: ignore[attr-defined]
    told = [operator.get_rt_info() for operator in operators]
    layers = [one for one in told if one["layerType"].astype(str) == "Convolution"]
    return Counter(one["runtimePrecision"].astype(str) for one in layers)


def test_as_written_it_is_the_network_and_deployed_it_computes_on_whole_numbers(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path
) -> None:
    small, path = static(checkpoint, images), tmp_path / "small.openvino"
    shipped = ship(small, path, [images])
    written = read(path, optimized=False)
    with torch.no_grad():
        apart = (written(images) - small.network.model(images)).abs()
    assert (apart < 1e-6).double().mean() > 0.9  # elsewhere a value between two codes fell to the other
    assert computed_in(written) == Counter(f32=3)
    assert computed_in(read(path)) == Counter(u8=3)
    assert isinstance(shipped.faithful.parity, Closeness)
    assert isinstance(shipped.faithful.kernels, Closeness)


def test_what_a_convolution_brings_to_an_addition_is_rounded_before_it(tmp_path: Path) -> None:
    """Left to themselves the kernels leave that rounding out, and end beyond the limit."""
    size = (32, 32)
    architecture = Architecture("resnet10", 4, 3, size)
    network = build(architecture, seed=0)
    whole = Checkpoint(network, Card(architecture, Preprocessing(size, 3, (0.5,) * 3, (0.5,) * 3), tuple("abcd")))
    images = noise(whole.card, 16)
    with torch.no_grad():
        network.model.train()(images)
    network.model.eval()
    faithful = ship(static(whole, images), tmp_path / "small.openvino", [images]).faithful
    for found in (faithful.parity, faithful.kernels):
        assert isinstance(found, Closeness)
        assert found.rms_difference < 0.5 * found.allowed_difference


def test_a_file_of_another_network_is_not_faithful(checkpoint: Checkpoint, images: Tensor, tmp_path: Path) -> None:
    small, path = static(checkpoint, images), tmp_path / "other.openvino"
    other = deepcopy(checkpoint)
    with torch.no_grad():
        next(value for value in other.network.model.parameters() if value.ndim == 4)[0].neg_()
    ship(static(other, images), path, [images], settings=Settings(label=False))
    with pytest.raises(GateError, match=r"other\.openvino: does not give the outputs of its network: rms difference"):
        check_faithful(small, read(path), [images])


def test_kernels_that_do_not_compute_the_graph_are_found(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path
) -> None:
    """As on a CPU whose sums saturate."""
    small = static(checkpoint, images)
    artefact = ship(small, tmp_path / "small.openvino", [images]).artefact
    limit = float(artefact(images).mean())
    saturating = replace(artefact, runner=lambda image: artefact.answer(image).clip(max=limit))  # type: ignore[arg-type]
    with pytest.raises(GateError, match=r"does not run as its graph says: rms difference.*without VNNI"):
        check_faithful(small, saturating, [images])
