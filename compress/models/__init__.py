"""Networks by name: every builder takes an Architecture and returns a Staged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from compress.errors import CompressError, unknown_name
from compress.models.cnn import OPTIONS as CNN_OPTIONS
from compress.models.cnn import cnn_a, cnn_s
from compress.models.resnet import LAYERS, resnet
from compress.models.source import Architecture
from compress.models.unet import PREFIX, unet
from compress.stages import Staged

__all__ = ["MODELS", "Architecture", "build", "known_name", "model_names", "outline"]

TORCHVISION = "torchvision:"

MODELS: dict[str, tuple[Callable[[Architecture], Staged], tuple[str, ...]]] = {
    "cnn-s": (cnn_s, CNN_OPTIONS),
    "cnn-a": (cnn_a, CNN_OPTIONS),
    **{name: (resnet, ()) for name in LAYERS if name not in ("resnet18", "resnet34")},  # these are torchvision's
    **{PREFIX + name: (unet, ()) for name in LAYERS},
}


def model_names() -> tuple[str, ...]:
    """Every name that `build` knows: our own, then torchvision's."""
    from compress.models.vision import vision_names

    return (*MODELS, *vision_names())


def known_name(name: str) -> str:
    """The name of a network as cards keep it: "torchvision:resnet18" is "resnet18".

    Raises:
        CompressError: There is no such network.
    """
    if name in MODELS:
        return name
    from compress.models.vision import vision_names

    bare = name.removeprefix(TORCHVISION)
    if bare not in vision_names():
        raise CompressError(unknown_name("network", bare, model_names()))
    return bare


def build(architecture: Architecture, *, seed: int = 0) -> Staged:
    """The network, with weights that depend on the seed alone; torch's own random state is left as it was.

    Args:
        architecture: Name and arguments of a builder.
        seed: Of the initial weights.

    Raises:
        CompressError: The name or an option is unknown, or the arguments do not make a network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _made(architecture)


def outline(architecture: Architecture) -> Staged:
    """The network without its weights: every tensor has its shape and its type, on the meta device, but no memory.

    Raises:
        CompressError: See `build`.
    """
    from compress.models.outlining import Outlining

    with Outlining():
        network = _made(architecture)
    network.model.to("meta")
    return network


def _made(architecture: Architecture) -> Staged:
    architecture = replace(architecture, name=known_name(architecture.name))
    builder, allowed = _builder(architecture.name)
    for option in architecture.options:
        if option not in allowed:
            known = ", ".join(allowed) or "none"
            raise CompressError(f"network {architecture.name!r}: unknown option {option!r}; it takes: {known}")
    try:
        return builder(architecture)
    except (ValueError, AssertionError, RuntimeError) as error:  # the last where memory does not suffice
        raise CompressError(f"network {architecture.name!r} cannot be built: {error}") from error


def _builder(name: str) -> tuple[Callable[[Architecture], Staged], tuple[str, ...]]:
    if name in MODELS:
        return MODELS[name]
    from compress.models.vision import vision

    return vision, ()
