"""One .safetensors file that rebuilds itself: architecture, preprocessing, classes, surgery, lineage and weights."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from compress.errors import CheckpointError, CompressError
from compress.files import write_whole
from compress.models import Architecture, build
from compress.pruning.surgery import Cut, apply
from compress.stages import Staged

KEY = "edgepress"
FORMAT = 1
TASKS = ("classification", "retrieval")


@dataclass(frozen=True)
class Card:
    """What a network is, besides its weights.

    Attributes:
        architecture: How to build it.
        mean: Subtracted from each channel of an image in [0, 1].
        std: What each channel is then divided by.
        classes: Names, in the order of the logits.
        task: What it was trained for: "classification" or "retrieval".
        surgery: The cuts that structured pruning made, in order.
        lineage: Each step that led here: command, data, seed, versions, metrics.
    """

    architecture: Architecture
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    task: str = "classification"
    surgery: tuple[Cut, ...] = ()
    lineage: tuple[Mapping[str, Any], ...] = field(default=())

    def __post_init__(self) -> None:
        shape = self.architecture
        if len(self.mean) != shape.channels or len(self.std) != shape.channels:
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} stds for {shape.channels} input channels")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise ValueError(f"mean {self.mean} and std {self.std} must be finite, std above 0")
        if len(self.classes) != shape.classes:
            raise ValueError(f"{len(self.classes)} class names for {shape.classes} outputs")
        if self.task not in TASKS:
            raise ValueError(f"task {self.task!r}; known are {', '.join(TASKS)}")

    def to_json(self) -> str:
        """The card as JSON text; `from_json` reads it back."""
        shape = self.architecture
        return json.dumps(
            {
                "format": FORMAT,
                "architecture": {
                    "name": shape.name,
                    "classes": shape.classes,
                    "channels": shape.channels,
                    "size": shape.size,
                    "options": dict(shape.options),
                },
                "mean": self.mean,
                "std": self.std,
                "classes": self.classes,
                "task": self.task,
                "surgery": [cut.to_list() for cut in self.surgery],
                "lineage": [dict(step) for step in self.lineage],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Card:
        """The card that `to_json` wrote.

        Raises:
            CheckpointError: Something is missing, of the wrong type or out of range, or the format is a newer one.
        """
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise CheckpointError(f"its card has format {data['format']!r}; this version reads {FORMAT}")
            shape = data["architecture"]
            options = {_text(key): _whole(value) for key, value in shape["options"].items()}
            sides = (_whole(shape["classes"]), _whole(shape["channels"]), _whole(shape["size"]))
            return cls(
                Architecture(_text(shape["name"]), *sides, options),
                tuple(float(value) for value in data["mean"]),
                tuple(float(value) for value in data["std"]),
                tuple(_text(name) for name in data["classes"]),
                _text(data["task"]),
                tuple(Cut.from_list(cut) for cut in data["surgery"]),
                tuple(dict(step) for step in data["lineage"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise CheckpointError(f"its card is damaged: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, and its card."""

    network: Staged
    card: Card

    def with_step(self, step: Mapping[str, Any]) -> Checkpoint:
        """The same checkpoint with one more step of lineage."""
        return replace(self, card=replace(self.card, lineage=(*self.card.lineage, step)))


def save(checkpoint: Checkpoint, path: Path, *, force: bool = False) -> Path:
    """`path`, holding the whole checkpoint.

    Raises:
        OutputError: It cannot be written there, or exists and `force` is not given.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in checkpoint.network.model.state_dict().items()}
    content = safetensors.torch.save(tensors, metadata={KEY: checkpoint.card.to_json()})
    return write_whole(path, lambda staged: _write_bytes(staged, content), force=force)


def load(path: Path) -> Checkpoint:
    """The checkpoint in a .safetensors file that `save` wrote; its network is in eval mode.

    Raises:
        CheckpointError: The file is missing, a folder, a pickle, truncated, or does not fit its own card.
    """
    tensors, metadata = _read(path)
    if KEY not in metadata:
        raise CheckpointError(
            f"{path}: holds weights but no card of edgepress; commands with --arch read it when its network is named"
        )
    try:
        card = Card.from_json(metadata[KEY])
        network = build(card.architecture)
        if card.surgery:
            network = apply(network, card.surgery, blank_image(card))
    except CompressError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(_fill(network, tensors, path), card)


def load_plain(path: Path, name: str, size: int) -> Checkpoint:
    """The network in a plain torch state dict (read with `weights_only=True`, or .safetensors without a card).

    Classes and input channels are read off the classifier and the first convolution. The card has no lineage, classes
    by number and no normalisation (mean 0, std 1).

    Args:
        path: The file.
        name: The network it belongs to.
        size: Input side in pixels.

    Raises:
        CheckpointError: The file cannot be read as tensors, or they do not fit the network.
    """
    tensors = _read(path)[0] if _is_safetensors(path) else _read_pickle(path)
    try:
        blank = build(Architecture(name, 10, 3, size))
        first, head = (_named(tensors, key) for key in _ends(blank))
        architecture = Architecture(name, head.shape[0], first.shape[1], size)
        network = build(architecture)
    except (CompressError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    _fill(network, tensors, path)
    none, one = (0.0,) * architecture.channels, (1.0,) * architecture.channels
    return Checkpoint(network, Card(architecture, none, one, tuple(str(n) for n in range(architecture.classes))))


def blank_image(card: Card) -> Tensor:
    """One black image (1, C, H, W) of the card's input shape."""
    return torch.zeros(1, *image_shape(card))


def image_shape(card: Card) -> tuple[int, int, int]:
    """The card's input shape (C, H, W)."""
    shape = card.architecture
    return (shape.channels, shape.size, shape.size)


def _ends(network: Staged) -> tuple[str, str]:
    """The keys of the first convolution's weight and of the classifier's."""
    first = next(key for key, value in network.model.state_dict().items() if value.ndim == 4)
    return first, f"{network.stage('logits').owns[0]}.weight"


def _named(tensors: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in tensors or tensors[key].ndim < 2:
        raise CheckpointError(f"it has no weight {key!r}; is it the state dict of another network?")
    return tensors[key]


def _fill(network: Staged, tensors: Mapping[str, Tensor], path: Path) -> Staged:
    expected = network.model.state_dict()
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path}: its weights do not fit the network: {len(missing)} missing ({', '.join(missing[:3])}), "
            f"{len(extra)} unknown ({', '.join(extra[:3])})"
        )
    for key, value in expected.items():
        if value.shape != tensors[key].shape:
            raise CheckpointError(
                f"{path}: {key} has shape {tuple(tensors[key].shape)}; the network needs {tuple(value.shape)}"
            )
        if tensors[key].is_floating_point() != value.is_floating_point():
            raise CheckpointError(f"{path}: {key} is of type {tensors[key].dtype}; the network needs {value.dtype}")
        if not torch.isfinite(tensors[key].to(value.dtype)).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinite values")
    expected.update(tensors)  # and keeps the versions that some networks ask for
    network.model.load_state_dict(expected)
    network.model.eval()
    return network


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give a checkpoint file")
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; give a checkpoint that `edgepress train` or `distill` wrote")


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    _check_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        if _is_pickle(path):
            raise CheckpointError(
                f"{path}: is a PyTorch pickle, not a .safetensors checkpoint; commands with --arch can read "
                "its weights safely"
            ) from error
        raise CheckpointError(f"{path}: is damaged or not a .safetensors file: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    return tensors, metadata


def _read_pickle(path: Path) -> dict[str, Tensor]:
    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the unpickler met in a hostile or damaged file
        raise CheckpointError(
            f"{path}: cannot be read as a plain state dict ({type(error).__name__}); save it with "
            "torch.save(model.state_dict(), ...)"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
    if not isinstance(data, dict) or not data or not all(isinstance(value, Tensor) for value in data.values()):
        raise CheckpointError(f"{path}: holds a {type(data).__name__}, not a state dict of tensors")
    return {str(key): value for key, value in data.items()}


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value
