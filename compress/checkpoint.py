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
from compress.code import file_of, said
from compress.errors import CheckpointError, CompressError
from compress.evidence import tensors_digest, weights_digest
from compress.files import write_whole
from compress.header import KEY, about, read_card
from compress.models import Architecture, Option, named, outline, rough
from compress.preprocessing import Preprocessing, Size
from compress.stages import Staged, feature_shapes
from compress.weights import check_shapes, ends, fill, read_plain, read_tensors, shapes_of

ANY_SIZE = (224, 224)  # at which every network can be outlined

__all__ = ["KEY", "Card", "Checkpoint", "blank_image", "load", "load_plain", "read_card", "save", "shape_plain"]


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
        CheckpointError: `load` would not give the same network: its card does not describe it.
        OutputError: It cannot be written there, or exists and `force` is not given.
    """
    path, network = Path(path), checkpoint.network
    card = replace(checkpoint.card, stages=network.stages, weights=weights_digest(network.model))
    with about(path):
        card = replace(card, architecture=_as_it_is(card.architecture))
        if network.keep:
            raise CheckpointError(
                f"its stages {', '.join(network.keep)} are narrowed, which no checkpoint can keep; save the network "
                "as it was before"
            )
        _check_same(outlined(card).model, network.model)
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.model.state_dict().items()}
    content = safetensors.torch.save(tensors, metadata={KEY: card.to_json()})
    return write_whole(path, lambda staged: _write_bytes(staged, content), force=force)


def load(path: Path | str) -> Checkpoint:
    """The checkpoint in a .safetensors file that `save` wrote; its network is in eval mode.

    The network is outlined without memory first, and nothing is read that does not fit the outline. A network from a
    file of code is built by it, which has to be named first: see `compress.code.naming`.

    Raises:
        CheckpointError: The file is missing, a folder, a pickle, truncated, altered, or does not fit its own card; or
            its file of code was not named, or is another one.
    """
    path = Path(path)
    card, shapes = read_card(path)
    with about(path):
        network = outlined(card)
        check_shapes(network.model, shapes)
    tensors = read_tensors(path)
    with about(path):
        if card.weights not in ("", tensors_digest(tensors)):
            raise CheckpointError("its weights are not those it was written with; get the file again")
        fill(network.model, tensors)
    return Checkpoint(network, card)


def load_plain(
    path: Path | str,
    name: str,
    see: Preprocessing,
    classes: tuple[str, ...] = (),
    *,
    options: Mapping[str, Option] | None = None,
    told: Mapping[str, str] | None = None,
) -> Checkpoint:
    """The network in a plain torch state dict (read with `weights_only=True`, or .safetensors without a card).

    Outputs and input channels are read off the classifier and the first convolution. The card has no lineage.

    Args:
        path: The file.
        name: The network it belongs to.
        see: How it sees an image.
        classes: Their names; none numbers them.
        options: Of the network: width, depth.
        told: Stage to the module whose output is its feature, see `compress.models.found`.

    Raises:
        CheckpointError: The file cannot be read as tensors, or they do not fit the network or the classes.
    """
    path = Path(path)
    tensors = read_plain(path)
    with about(path):
        architecture = _read_off(tensors, named(name, 10, 3, see.size, options))
        if architecture.channels != see.channels:
            raise CheckpointError(
                f"has {architecture.channels} input channels; images of {see.channels} were to go into it"
            )
        if classes and len(classes) != architecture.classes:
            raise CheckpointError(f"tells {architecture.classes} classes apart; there are {len(classes)}")
        names = classes or tuple(str(number) for number in range(architecture.classes))
        card, network = Card(architecture, see, names), outline(architecture, told=told)
        fill(network.model, tensors)
    return Checkpoint(network, card)


def shape_plain(
    path: Path | str, name: str, size: Size = ANY_SIZE, *, options: Mapping[str, Option] | None = None
) -> Architecture:
    """The network of a plain state dict, with as many classes and channels as its weights have.

    Args:
        path: The file.
        name: The network it belongs to.
        size: Height and width of its images, where they are known; neither classes nor channels depend on them.
        options: Of the network: width, depth.

    Raises:
        CheckpointError: The file cannot be read as tensors, or they are another network's.
    """
    tensors = read_plain(Path(path))
    with about(Path(path)):
        return _read_off(tensors, named(name, 10, 3, size, options))


def blank_image(card: Card) -> Tensor:
    """One black image (1, C, H, W) of the card's input shape."""
    return torch.zeros(1, *card.preprocessing.shape)


def _as_it_is(architecture: Architecture) -> Architecture:
    """The architecture with the digest of its file of code as that is now, where there is one."""
    if not architecture.sha256:
        return architecture
    return replace(architecture, sha256=file_of(architecture.name, architecture.sha256).sha256)


def outlined(card: Card) -> Staged:
    """The network of a card on the meta device, shapes without memory; of one from elsewhere with memory."""
    network = outline(card.architecture, stages=card.stages)
    _check_names(replace(network, stages=card.stages))
    image = torch.zeros(1, *card.preprocessing.shape, device=next(network.model.parameters()).device)
    built = network.stages
    if card.cuts:
        from compress.pruning import surgery

        network = surgery.apply(network, card.cuts, image)
    if card.grids or card.activations:
        from compress.quantization import grids

        network = grids.apply(network, card.grids, card.activations)
    if not card.stages or (card.stages == network.stages and built is not card.stages):
        return network
    network = replace(network, stages=card.stages)
    _check_widths(network, image)
    return network


def _check_names(network: Staged) -> None:
    """Nothing, once every stage names modules and parameters that there are."""
    names = [stage.name for stage in network.stages]
    if len(set(names)) < len(names):
        raise CheckpointError(f"it has two stages of one name: {', '.join(names)}")
    known = {name for name, _ in (*network.model.named_modules(), *network.model.named_parameters())}
    for stage in network.stages:
        strange = [name for name in (stage.tap, *stage.owns) if name not in known]
        if strange:
            raise CheckpointError(f"its stage {stage.name!r} names {strange[0]!r}, which its network does not have")


def _check_widths(network: Staged, image: Tensor) -> None:
    """Nothing, once every stage can be read where it says and is as wide as it says."""
    try:
        shapes = feature_shapes(network, image)
    except (KeyError, AttributeError) as error:
        raise CheckpointError(f"its stage {error} is never reached in a forward pass") from error
    except CompressError:
        raise
    except Exception as error:  # code that was edited may raise anything
        raise CheckpointError(f"its network fails on its own images: {said(error)}") from error
    for stage in network.stages:
        if shapes[stage.name][:1] != (stage.width,):
            raise CheckpointError(
                f"its stage {stage.name!r} is {stage.width} wide; its feature is {shapes[stage.name]}"
            )


def _check_same(blank: nn.Module, model: nn.Module) -> None:
    """Nothing, once a network has the layers and the tensors of the outline that its card gives."""
    check_shapes(blank, shapes_of(model))
    own = model.state_dict()
    for key, wanted in blank.state_dict().items():
        if own[key].dtype != wanted.dtype:
            raise CheckpointError(f"{key} is of type {own[key].dtype}; a checkpoint keeps {wanted.dtype}: convert it")
    expected = {name: _described(module) for name, module in blank.named_modules()}
    found = {name: _described(module) for name, module in model.named_modules()}
    for name in (*expected, *found):
        if found.get(name) != expected.get(name):
            raise CheckpointError(
                f"its module {name!r} is {found.get(name, 'missing')}; its card builds {expected.get(name, 'none')}"
            )


def _described(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"


def _read_off(tensors: Mapping[str, Tensor], about: Architecture) -> Architecture:
    """The architecture with as many classes and channels as the tensors have."""
    first, head = (f"{name}.weight" for name in ends(rough(about)))
    for key in (first, head):
        if key not in tensors or tensors[key].ndim < 2:
            raise CheckpointError(f"it has no weight {key!r}; is it the state dict of another network?")
    return replace(about, classes=tensors[head].shape[0], channels=tensors[first].shape[1])


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
