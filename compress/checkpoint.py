"""One .safetensors file that rebuilds itself: a card and the weights that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from compress.card import Card
from compress.errors import CheckpointError, CompressError
from compress.evidence import weights_digest
from compress.files import write_whole
from compress.models import Architecture, build
from compress.preprocessing import Preprocessing
from compress.stages import Staged
from compress.weights import read_header, read_plain, read_tensors

KEY = "edgepress"

__all__ = ["KEY", "Card", "Checkpoint", "blank_image", "load", "load_plain", "save"]


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights, and its card, which says how the network sees."""

    network: Staged
    card: Card

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", replace(self.network, scale=self.card.scale))

    def with_step(self, step: Mapping[str, Any]) -> Checkpoint:
        """The same checkpoint with one more step of lineage."""
        return replace(self, card=replace(self.card, lineage=(*self.card.lineage, step)))


def save(checkpoint: Checkpoint, path: Path | str, *, force: bool = False) -> Path:
    """`path`, holding the whole checkpoint.

    Raises:
        CheckpointError: `load` could not read it: its card does not describe its network.
        OutputError: It cannot be written there, or exists and `force` is not given.
    """
    path, model = Path(path), checkpoint.network.model
    card = replace(checkpoint.card, stages=checkpoint.network.stages, weights=weights_digest(model))
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    _check_shapes(_outline(card, path), {key: tuple(value.shape) for key, value in tensors.items()}, path)
    content = safetensors.torch.save(tensors, metadata={KEY: card.to_json()})
    return write_whole(path, lambda staged: _write_bytes(staged, content), force=force)


def load(path: Path | str) -> Checkpoint:
    """The checkpoint in a .safetensors file that `save` wrote; its network is in eval mode.

    The network is outlined without memory first, and nothing is read that does not fit the outline.

    Raises:
        CheckpointError: The file is missing, a folder, a pickle, truncated, altered, or does not fit its own card.
    """
    path = Path(path)
    shapes, metadata = read_header(path)
    if KEY not in metadata:
        raise CheckpointError(
            f"{path}: holds weights but no card of edgepress; commands with --arch read it when its network is named"
        )
    try:
        card = Card.from_json(metadata[KEY])
    except CompressError as error:
        raise CheckpointError(f"{path}: {error}") from error
    outline = _outline(card, path)
    _check_shapes(outline, shapes, path)
    network = _fill(outline, read_tensors(path), path)
    if card.weights and weights_digest(network.model) != card.weights:
        raise CheckpointError(f"{path}: its weights are not those it was written with; get the file again")
    return Checkpoint(network, card)


def load_plain(path: Path | str, name: str, see: Preprocessing, classes: tuple[str, ...] = ()) -> Checkpoint:
    """The network in a plain torch state dict (read with `weights_only=True`, or .safetensors without a card).

    Outputs and input channels are read off the classifier and the first convolution. The card has no lineage.

    Args:
        path: The file.
        name: The network it belongs to.
        see: How it sees an image.
        classes: Their names; none numbers them.

    Raises:
        CheckpointError: The file cannot be read as tensors, or they do not fit the network or the classes.
    """
    path = Path(path)
    tensors = read_plain(path)
    try:
        with torch.device("meta"):
            blank = build(Architecture(name, 10, 3, see.size))
            first, head = (_named(tensors, key) for key in _ends(blank))
            architecture = Architecture(name, head.shape[0], first.shape[1], see.size)
            outline = build(architecture)
        if architecture.channels != see.channels:
            raise CheckpointError(
                f"has {architecture.channels} input channels; images of {see.channels} were to go into it"
            )
        if classes and len(classes) != architecture.classes:
            raise CheckpointError(f"tells {architecture.classes} classes apart; there are {len(classes)}")
        names = classes or tuple(str(number) for number in range(architecture.classes))
        card = Card(architecture, see, names)
    except (CompressError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    _check_shapes(outline, {key: tuple(value.shape) for key, value in tensors.items()}, path)
    return Checkpoint(_fill(outline, tensors, path), card)


def blank_image(card: Card) -> Tensor:
    """One black image (1, C, H, W) of the card's input shape."""
    return torch.zeros(1, *card.preprocessing.shape)


def _outline(card: Card, path: Path) -> Staged:
    """The network of a card on the meta device: shapes without memory."""
    try:
        with torch.device("meta"):
            network = build(card.architecture)
            if card.edits:
                from compress.pruning.surgery import apply

                network = apply(network, card.edits, blank_image(card))
    except CompressError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if not card.stages:
        return network
    for stage in card.stages:
        if not _has(network.model, stage.tap) or not all(_has(network.model, owned) for owned in stage.owns):
            raise CheckpointError(f"{path}: its stage {stage.name!r} names a module that its network does not have")
    return replace(network, stages=card.stages)


def _has(model: nn.Module, name: str) -> bool:
    try:
        model.get_submodule(name)
    except AttributeError:
        return name in dict(model.named_parameters())
    return True


def _ends(network: Staged) -> tuple[str, str]:
    """The keys of the first convolution's weight and of the classifier's."""
    first = next(key for key, value in network.model.state_dict().items() if value.ndim == 4)
    return first, f"{network.stage('logits').owns[0]}.weight"


def _named(tensors: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in tensors or tensors[key].ndim < 2:
        raise CheckpointError(f"it has no weight {key!r}; is it the state dict of another network?")
    return tensors[key]


def _check_shapes(outline: Staged, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    expected = {key: tuple(value.shape) for key, value in outline.model.state_dict().items()}
    missing, extra = sorted(expected.keys() - shapes.keys()), sorted(shapes.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path}: its weights do not fit the network: {len(missing)} missing ({', '.join(missing[:3])}), "
            f"{len(extra)} unknown ({', '.join(extra[:3])})"
        )
    for key, shape in expected.items():
        if shape != shapes[key]:
            raise CheckpointError(f"{path}: {key} has shape {shapes[key]}; the network needs {shape}")


def _fill(outline: Staged, tensors: Mapping[str, Tensor], path: Path) -> Staged:
    state = outline.model.state_dict()  # whose own attributes hold the versions that some networks ask for
    for key, wanted in state.items():
        given = tensors[key]
        if given.is_floating_point() != wanted.is_floating_point():
            raise CheckpointError(f"{path}: {key} is of type {given.dtype}; the network needs {wanted.dtype}")
        state[key] = given.to(wanted.dtype)
        if not torch.isfinite(state[key]).all():
            raise CheckpointError(f"{path}: {key} holds NaN or infinite values")
    outline.model.load_state_dict(state, assign=True)
    left = [name for name, value in outline.model.named_buffers() if value.is_meta]
    if left:
        raise CheckpointError(f"{path}: its network keeps {left[0]!r} out of its weights; it cannot be rebuilt")
    outline.model.eval()
    return outline


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
