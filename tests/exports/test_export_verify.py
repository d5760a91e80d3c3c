from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from compress.checkpoint import Checkpoint
from compress.errors import ExportError, GateError
from exports import Exported, noise, to_onnx, verify


def saved(graph: onnx.ModelProto, path: Path) -> Exported:
    onnx.save(graph, path)
    return to_onnx.read(path)


def set_values(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def classifier(graph: onnx.ModelProto, dims: list[int]) -> onnx.TensorProto:
    return next(tensor for tensor in graph.graph.initializer if list(tensor.dims) == dims)


def test_the_file_as_exported_passes(checkpoint: Checkpoint, exported: Exported, images: Tensor) -> None:
    parity = verify(checkpoint.network, exported, images, batch_size=50)
    assert parity.samples == 130
    assert parity.max_abs_difference < 1e-5
    assert parity.top1_agreement == 1.0


def test_a_plain_function_can_be_the_reference(exported: Exported, images: Tensor) -> None:
    def double(image: Tensor) -> Tensor:
        return exported(image) * 2

    assert verify(exported, exported, images[:3]).max_abs_difference == 0
    with pytest.raises(GateError):
        verify(double, exported, images[:3])


@pytest.mark.parametrize("which", range(10))
def test_one_changed_weight_in_any_tensor_is_found(
    checkpoint: Checkpoint, graph: onnx.ModelProto, changed: Path, images: Tensor, which: int
) -> None:
    tensors = [tensor for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    values = numpy_helper.to_array(tensors[which]).copy()
    values.flat[0] += 1.0
    set_values(tensors[which], values)
    with pytest.raises(GateError, match=r"changed\.onnx.*130 samples"):
        verify(checkpoint.network, saved(graph, changed), images)


def test_swapped_classes_are_found(
    checkpoint: Checkpoint, graph: onnx.ModelProto, changed: Path, images: Tensor
) -> None:
    order = [1, 0, *range(2, 10)]
    for dims in ([10, 64], [10]):
        tensor = classifier(graph, dims)
        set_values(tensor, numpy_helper.to_array(tensor)[order])
    with pytest.raises(GateError, match="top-1 agreement"):
        verify(checkpoint.network, saved(graph, changed), images)


def test_nan_in_the_file_is_found(
    checkpoint: Checkpoint, graph: onnx.ModelProto, changed: Path, images: Tensor
) -> None:
    tensor = classifier(graph, [10])
    set_values(tensor, np.full(10, np.nan, np.float32))
    with pytest.raises(GateError, match="the exported file gives NaN"):
        verify(checkpoint.network, saved(graph, changed), images)


def test_another_number_of_classes_is_found(exported: Exported, images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 11))
    with pytest.raises(GateError, match=r"\(1, 10\).*\(1, 11\)"):
        verify(network, exported, images)


def test_the_limit_grows_with_the_logits(exported: Exported, images: Tensor) -> None:
    def network(image: Tensor) -> Tensor:
        return exported(image) + torch.tensor([1000.0] + [0.0] * 9)

    with pytest.raises(GateError, match=r"allowed 0\.1"):
        verify(network, exported, images)
    near = verify(lambda image: exported(image) + 5e-5, exported, images)
    assert near.max_abs_difference == pytest.approx(5e-5, rel=0.1)
    assert near.allowed_difference == pytest.approx(1e-4, rel=0.5)


def test_a_module_in_training_mode_is_compared_in_eval_mode_and_put_back(
    checkpoint: Checkpoint, exported: Exported, images: Tensor
) -> None:
    model = checkpoint.network.model
    model.train()
    frozen = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    frozen.eval()
    try:
        assert verify(checkpoint.network, exported, images[:8]).max_abs_difference < 1e-5
        assert model.training
        assert not frozen.training
    finally:
        model.eval()


def test_samples_of_another_shape_are_refused(checkpoint: Checkpoint, exported: Exported) -> None:
    with pytest.raises(ExportError, match=r"\(any, 3, 32, 32\)"):
        verify(checkpoint.network, exported, torch.zeros(2, 1, 28, 28))


def test_no_samples_are_no_proof(checkpoint: Checkpoint, exported: Exported, images: Tensor) -> None:
    with pytest.raises(ValueError, match="at least one"):
        verify(checkpoint.network, exported, images[:0])


def test_noise_is_normalised_and_always_the_same(checkpoint: Checkpoint) -> None:
    images = noise(checkpoint.card, 200)
    assert images.shape == (200, 3, 32, 32)
    assert torch.equal(images, noise(checkpoint.card, 200))
    pixels = images * torch.tensor(checkpoint.card.std).view(-1, 1, 1) + torch.tensor(checkpoint.card.mean).view(
        -1, 1, 1
    )
    assert pixels.min() > -1e-5
    assert pixels.max() < 1 + 1e-5
    assert pixels.mean() == pytest.approx(0.5, abs=0.01)
