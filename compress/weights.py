"""Tensors by name: read from a file of weights (.safetensors, or a torch pickle of nothing else), and put to use."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.errors import CheckpointError
from compress.header import SUFFIX, Opened, check_file
from compress.soundness import check_statistics
from compress.stages import Staged

WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema")
PREFIXES = ("module.", "_orig_mod.", "model.")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor in a .safetensors file.

    Raises:
        CheckpointError: The file is missing, a folder, or not whole.
    """
    with Opened(path, "pt") as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118


def read_plain(path: Path) -> dict[str, Tensor]:
    """The state dict in a file that other tools wrote, without the wrappers and prefixes they put around it.

    Raises:
        CheckpointError: The file is missing or a folder, or holds anything but tensors.
    """
    data: Any = read_tensors(path) if path.suffix == SUFFIX else _read_pickle(path)
    for _ in WRAPPERS:
        inner = (data[key] for key in WRAPPERS if isinstance(data, dict) and isinstance(data.get(key), dict))
        data = next(inner, data)
    if not isinstance(data, dict) or not data or not all(isinstance(value, Tensor) for value in data.values()):
        raise CheckpointError(f"{path}: holds a {type(data).__name__}, not a state dict of tensors")
    return _bare({str(key): value for key, value in data.items()})


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter and buffer."""
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def ends(network: Staged) -> tuple[str, str]:
    """The dotted names of the first convolution and of the classifier; "" for none."""
    first = next((key for key, value in network.model.state_dict().items() if value.ndim == 4), "")
    return first.rpartition(".")[0], next(iter(network.stage("logits").owns), "")


def check_shapes(model: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Nothing, once tensors of these names and shapes are those of the network.

    Raises:
        CheckpointError: One is missing, unknown, or of another shape.
    """
    expected = shapes_of(model)
    missing, extra = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(
            f"its weights do not fit the network: {len(missing)} missing ({', '.join(missing[:3])}), "
            f"{len(extra)} unknown ({', '.join(extra[:3])})"
        )
    for key, shape in expected.items():
        if shape != shapes[key]:
            raise CheckpointError(f"{key} has shape {shapes[key]}; the network needs {shape}")


def fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors into an outline: each is copied, in the type that the network has; eval mode is switched on.

    Args:
        model: On the meta device; afterwards in memory.
        tensors: Its whole state by name.

    Raises:
        CheckpointError: They do not fit the network, or hold what no network of use holds.
    """
    check_shapes(model, {key: tuple(value.shape) for key, value in tensors.items()})
    state = model.state_dict()  # whose own attributes hold the versions that some networks ask for
    for key, wanted in state.items():
        given = tensors[key]
        if given.is_floating_point() != wanted.is_floating_point():
            raise CheckpointError(f"{key} is of type {given.dtype}; the network needs {wanted.dtype}")
        if given.layout is not torch.strided or given.is_meta or given.untyped_storage().nbytes() < given.nbytes:
            raise CheckpointError(f"{key} is no plain tensor: {given.layout}, {given.dtype}, on {given.device}")
        state[key] = given.to(wanted.dtype, copy=True, memory_format=torch.contiguous_format)
    model.load_state_dict(state, assign=True)
    left = [name for name, value in model.named_buffers() if value.is_meta]
    if left:
        raise CheckpointError(f"its network keeps {left[0]!r} out of its weights; it cannot be rebuilt")
    check_statistics(model)
    model.eval()


def _read_pickle(path: Path) -> Any:
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the unpickler met in a hostile or damaged file
        raise CheckpointError(
            f"{path}: cannot be read as a plain state dict ({type(error).__name__}); save it with "
            "torch.save(model.state_dict(), ...)"
        ) from error


def _bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            return _bare({key.removeprefix(prefix): value for key, value in tensors.items()})
    return dict(tensors)
