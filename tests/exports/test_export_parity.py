from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from compress.checkpoint import Checkpoint
from compress.errors import ExportError, GateError
from exports import Artefact, check_parity, noise, ship
from exports.run_onnx import read


def saved(graph: onnx.ModelProto, path: Path) -> Artefact:
    onnx.save(graph, path)
    return read(path, sealed=False)


def set_values(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def classifier(graph: onnx.ModelProto, dims: list[int]) -> onnx.TensorProto:
    return next(tensor for tensor in graph.graph.initializer if list(tensor.dims) == dims)


def head(checkpoint: Checkpoint, weight: float, bias: float) -> Checkpoint:
    """The checkpoint with all weights of its classifier one number, and likewise its biases."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    nn.init.constant_(network[1].weight, weight)
    nn.init.constant_(network[1].bias, bias)
    return replace(checkpoint, network=replace(checkpoint.network, model=network, stages=()))


def test_the_file_as_exported_passes(checkpoint: Checkpoint, exported: Artefact, images: Tensor) -> None:
    parity = check_parity(checkpoint.network.model, exported, images.split(50))
    assert parity.samples == 130
    assert parity.max_abs_difference < 1e-6
    assert parity.agreement == 1.0


def test_a_plain_function_can_be_the_reference(exported: Artefact, images: Tensor) -> None:
    assert check_parity(exported, exported, [images[:3]]).max_abs_difference == 0
    with pytest.raises(GateError):
        check_parity(lambda image: exported(image) * 2, exported, [images[:3]])


@pytest.mark.parametrize("which", range(10))
def test_one_changed_weight_in_any_tensor_is_found(
    checkpoint: Checkpoint, graph: onnx.ModelProto, changed: Path, images: Tensor, which: int
) -> None:
    tensors = [tensor for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    values = numpy_helper.to_array(tensors[which]).copy()
    values.flat[0] += 0.01
    set_values(tensors[which], values)
    with pytest.raises(GateError, match=r"changed\.onnx.*130 samples"):
        check_parity(checkpoint.network.model, saved(graph, changed), [images])


def test_swapped_classes_are_found(
    checkpoint: Checkpoint, graph: onnx.ModelProto, changed: Path, images: Tensor
) -> None:
    order = [1, 0, *range(2, 10)]
    for dims in ([10, 64], [10]):
        tensor = classifier(graph, dims)
        set_values(tensor, numpy_helper.to_array(tensor)[order])
    with pytest.raises(GateError, match="top-1 agreement"):
        check_parity(checkpoint.network.model, saved(graph, changed), [images])


def test_nan_in_the_file_is_found(
    checkpoint: Checkpoint, graph: onnx.ModelProto, changed: Path, images: Tensor
) -> None:
    tensor = classifier(graph, [10])
    set_values(tensor, np.full(10, np.nan, np.float32))
    with pytest.raises(GateError, match="the exported file: 1 of 1 outputs are NaN"):
        check_parity(checkpoint.network.model, saved(graph, changed), [images])


def test_another_number_of_classes_is_found(exported: Artefact, images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 11))
    with pytest.raises(GateError, match=r"\(1, 10\).*\(1, 11\)"):
        check_parity(network, exported, [images])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_limit_is_that_of_the_outputs_however_small_or_large(
    exported: Artefact, images: Tensor, scale: float
) -> None:
    tiny = replace(exported, runner=Scaled(exported, scale))
    spread = float(tiny(images).std(0).max())
    near = check_parity(lambda image: tiny(image) + 5e-5 * spread, tiny, [images])
    assert near.allowed_difference == pytest.approx(1e-4 * spread, rel=1.0)
    with pytest.raises(GateError, match="does not give the outputs"):
        check_parity(lambda image: tiny(image) + 3e-4 * spread, tiny, [images])


class Scaled:
    def __init__(self, artefact: Artefact, scale: float) -> None:
        self._artefact, self._scale = artefact, scale

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        return self._artefact.answer(image) * np.float32(self._scale)

    def bind(self, image: NDArray[Any]) -> object:
        raise NotImplementedError


def test_a_large_constant_in_one_output_widens_no_other_limit(exported: Artefact, images: Tensor) -> None:
    def network(image: Tensor) -> Tensor:
        return exported(image) + torch.tensor([1000.0] + [0.0] * 9)

    class Offset(Scaled):
        def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
            return (network(torch.from_numpy(image)) + torch.tensor([0.0] * 9 + [0.05])).numpy()

    with pytest.raises(GateError, match=r"allowed 0\.0076"):
        check_parity(network, replace(exported, runner=Offset(exported, 1)), [images])


def test_a_head_of_zeros_must_agree_to_a_few_steps_of_its_bias(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path
) -> None:
    constant = head(checkpoint, 0.0, 0.3)
    shipped = ship(constant, tmp_path / "constant.onnx", [images])
    assert shipped.parity.allowed_difference == pytest.approx(64 * 2**-23 * 0.3)
    with pytest.raises(GateError, match=r"allowed 2\.3e-06"):
        check_parity(head(checkpoint, 0.0, 0.3001).network.model, shipped.artefact, [images])
    with pytest.raises(GateError):
        check_parity(head(checkpoint, 1e-6, 0.3).network.model, shipped.artefact, [images])


def test_outputs_that_are_all_zero_must_be_so_in_the_file(
    checkpoint: Checkpoint, images: Tensor, tmp_path: Path
) -> None:
    shipped = ship(head(checkpoint, 0.0, 0.0), tmp_path / "zero.onnx", [images])
    assert (shipped.parity.max_abs_difference, shipped.parity.allowed_difference) == (0, 0)
    with pytest.raises(GateError):
        check_parity(head(checkpoint, 0.0, 1e-30).network.model, shipped.artefact, [images])


@pytest.mark.parametrize("sizes", [[130], [1] * 130, [64, 64, 2], [0, 7, 123]])
def test_the_verdict_does_not_depend_on_the_batches(
    checkpoint: Checkpoint, exported: Artefact, images: Tensor, sizes: list[int]
) -> None:
    whole = check_parity(checkpoint.network.model, exported, [images], tolerance=1)
    parts = check_parity(checkpoint.network.model, exported, images.split(sizes), tolerance=1)
    assert parts.samples == 130
    assert parts.allowed_difference == pytest.approx(whole.allowed_difference, rel=0.3)
    spread = checkpoint.network.model(images).double().std(0, correction=0).detach()
    assert any(parts.allowed_difference == pytest.approx(float(s), rel=1e-3) for s in spread)


def test_images_are_taken_one_batch_at_a_time(checkpoint: Checkpoint, exported: Artefact, images: Tensor) -> None:
    taken: list[int] = []

    def batches() -> Iterator[Tensor]:
        for batch in images.split(65):
            taken.append(len(batch))
            yield batch

    assert check_parity(checkpoint.network.model, exported, batches()).samples == sum(taken) == 130


def test_a_batch_size_frozen_into_the_file_shows(checkpoint: Checkpoint, exported: Artefact, images: Tensor) -> None:
    sizes: list[int] = []

    class Noted(Scaled):
        def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
            sizes.append(len(image))
            return super().__call__(image)

    check_parity(checkpoint.network.model, replace(exported, runner=Noted(exported, 1)), images[:9].split(5))
    assert sizes == [1, 4, 4]
    sizes.clear()
    fixed = replace(exported, runner=Noted(exported, 1), batch=3)
    check_parity(checkpoint.network.model, fixed, [images[:9]])
    assert sizes == [3, 3, 3]


def test_masks_are_held_to_the_spread_of_each_class(exported: Artefact) -> None:
    image = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    class Masks(Scaled):
        def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
            return image * np.array([1.0, 1e-3, 1.0], np.float32).reshape(3, 1, 1)

    artefact = replace(exported, runner=Masks(exported, 1))
    assert check_parity(artefact, artefact, [image]).samples == 4
    with pytest.raises(GateError):
        check_parity(lambda x: artefact(x) + torch.tensor([0, 5e-5, 0]).view(3, 1, 1), artefact, [image])


def test_a_module_in_training_mode_is_compared_in_eval_mode_and_put_back(
    checkpoint: Checkpoint, exported: Artefact, images: Tensor
) -> None:
    model = checkpoint.network.model
    model.train()
    frozen = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    frozen.eval()
    try:
        assert check_parity(model, exported, [images[:8]]).max_abs_difference < 1e-5
        assert model.training
        assert not frozen.training
    finally:
        model.eval()


def test_samples_of_another_shape_are_refused(checkpoint: Checkpoint, exported: Artefact) -> None:
    with pytest.raises(ExportError, match=r"\(any, 3, 32, 32\)"):
        check_parity(checkpoint.network.model, exported, [torch.zeros(2, 1, 28, 28)])


def test_no_samples_are_no_proof(checkpoint: Checkpoint, exported: Artefact, images: Tensor) -> None:
    for none in ([], [images[:0]]):
        with pytest.raises(ValueError, match="at least one"):
            check_parity(checkpoint.network.model, exported, none)


def test_noise_is_normalised_and_always_the_same(checkpoint: Checkpoint) -> None:
    images, see = noise(checkpoint.card, 200), checkpoint.card.preprocessing
    assert images.shape == (200, 3, 32, 32)
    assert torch.equal(images, noise(checkpoint.card, 200))
    pixels = images * torch.tensor(see.std).view(-1, 1, 1) + torch.tensor(see.mean).view(-1, 1, 1)
    assert pixels.min() > -1e-5
    assert pixels.max() < 1 + 1e-5
    assert pixels.mean() == pytest.approx(0.5, abs=0.01)
