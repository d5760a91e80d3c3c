"""Tensors by name from a file of weights: .safetensors, or a torch pickle that holds nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from compress.errors import CheckpointError

SUFFIX = ".safetensors"
WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema")
PREFIXES = ("module.", "_orig_mod.", "model.")
PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read_header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The shape of every tensor in a .safetensors file and its metadata; no tensor is read.

    Raises:
        CheckpointError: The file is missing, a folder, or not whole.
    """
    with _Opened(path) as opened:
        shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
        return shapes, opened.metadata() or {}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor in a .safetensors file.

    Raises:
        CheckpointError: The file is missing, a folder, or not whole.
    """
    with _Opened(path) as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118


def read_plain(path: Path) -> dict[str, Tensor]:
    """The state dict in a file that other tools wrote, without the wrappers and prefixes they put around it.

    Raises:
        CheckpointError: The file is missing or a folder, or holds anything but tensors.
    """
    data: Any = read_tensors(path) if path.suffix == SUFFIX else _read_pickle(path)
    for key in WRAPPERS:
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
    if not isinstance(data, dict) or not data or not all(isinstance(value, Tensor) for value in data.values()):
        raise CheckpointError(f"{path}: holds a {type(data).__name__}, not a state dict of tensors")
    return _bare({str(key): value for key, value in data.items()})


def is_pickle(path: Path) -> bool:
    """Whether a file begins as torch's pickles do."""
    with path.open("rb") as file:
        return file.read(2) in PICKLES


def check_file(path: Path) -> Path:
    """`path`, once it is sure that there is a file; CheckpointError otherwise."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give a checkpoint file")
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give a checkpoint that `edgepress train` or `distill` wrote")
    return path


class _Opened:
    """A .safetensors file inside a `with`, whose failures name it."""

    def __init__(self, path: Path) -> None:
        self.path = check_file(path)

    def __enter__(self) -> Any:
        try:
            self.file: Any = safetensors.safe_open(self.path, framework="pt")
            opened: Any = self.file
            return opened.__enter__()
        except (safetensors.SafetensorError, OSError) as error:
            raise self._named(error) from error

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.file.__exit__(kind, error, trace)
        if isinstance(error, safetensors.SafetensorError | OSError):
            raise self._named(error) from error

    def _named(self, error: Exception) -> CheckpointError:
        if isinstance(error, OSError):
            return CheckpointError(f"{self.path}: cannot be read: {error.strerror or error}")
        if self.path.suffix == ".onnx":
            return CheckpointError(
                f"{self.path}: is an exported file, not a checkpoint; give the .safetensors it was exported from, or "
                "use evaluate, predict, benchmark, verify or inspect, which take .onnx"
            )
        if is_pickle(self.path):
            return CheckpointError(
                f"{self.path}: is a PyTorch pickle, not a {SUFFIX} checkpoint; commands with --arch can read its "
                "weights safely"
            )
        return CheckpointError(f"{self.path}: is damaged or not a {SUFFIX} file: {error}")


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
