"""Networks by name: every builder takes an Architecture and returns a Staged."""

from __future__ import annotations

from collections.abc import Callable

import torch

from compress.errors import CompressError, unknown_name
from compress.models.cnn import OPTIONS as CNN_OPTIONS
from compress.models.cnn import cnn_a, cnn_s
from compress.models.resnet import LAYERS, resnet
from compress.models.source import Architecture
from compress.models.unet import PREFIX, unet
from compress.stages import Staged

__all__ = [
    "MODELS",
    "Architecture",
    "build",
    "canonical",
    "known_name",
    "model_names",
    "outline",
]

TORCHVISION = "torchvision:"


MODELS: dict[str, tuple[Callable[[Architecture], Staged], tuple[str, ...]]] = {
    "cnn-s": (cnn_s, CNN_OPTIONS),
    "cnn-a": (cnn_a, CNN_OPTIONS),
    **dict.fromkeys(LAYERS, (resnet, ())),
    **{PREFIX + name: (unet, ()) for name in LAYERS},
}


def model_names() -> tuple[str, ...]:
    """Every network by the shortest name that `build` knows: our own, then torchvision's.

    Those that have a namesake of ours are "torchvision:resnet18" and "torchvision:resnet34".
    """
    from compress.models.vision import vision_names

    return (*MODELS, *(TORCHVISION + name if name in MODELS else name for name in vision_names()))


def canonical(name: str) -> str:
    """The name of a network as cards keep it, whether or not there is one: "squeezenet1_1" is torchvision's."""
    return name if name in MODELS or ":" in name else TORCHVISION + name


def known_name(name: str) -> str:
    """The name of a network as cards keep it: "resnet18" is ours, "torchvision:resnet18" torchvision's.

    Raises:
        CompressError: There is no such network.
    """
    whole = canonical(name)
    if whole in MODELS:
        return whole
    from compress.models.vision import vision_names

    theirs = [TORCHVISION + each for each in vision_names()]
    if whole not in theirs:
        known = theirs if name.startswith(TORCHVISION) else model_names()
        raise CompressError(unknown_name("network", name, known))
    return whole


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
    name = architecture.name
    builder, allowed = _builder(known_name(name))
    for option in architecture.options:
        if option not in allowed:
            known = ", ".join(allowed) or "none"
            raise CompressError(f"network {name!r}: unknown option {option!r}; it takes: {known}")
    try:
        return builder(architecture)
    except (ValueError, AssertionError, RuntimeError) as error:  # the last where memory does not suffice
        raise CompressError(f"network {name!r} cannot be built: {error}") from error


def _builder(name: str) -> tuple[Callable[[Architecture], Staged], tuple[str, ...]]:
    if name in MODELS:
        return MODELS[name]
    from compress.models.vision import vision

    return vision, ()
