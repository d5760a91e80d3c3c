"""Networks by name: every builder takes an Architecture and returns a Staged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from compress.errors import CompressError, PlanError, unknown_name
from compress.models.cnn import OPTIONS as CNN_OPTIONS
from compress.models.cnn import WIDTH_A, WIDTH_S, cnn_a, cnn_s
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
    "widened",
    "width_of",
]

TORCHVISION = "torchvision:"
NEAR_WHOLE = 1e-2  # a ratio of 0.333 is meant for a third


@dataclass(frozen=True)
class Model:
    """A network of our own.

    Attributes:
        builder: From the arguments to the network.
        options: Those of its own that the arguments may have.
        width: The option `width` where it is not given; 0 where the network has no such option.
    """

    builder: Callable[[Architecture], Staged]
    options: tuple[str, ...] = ()
    width: int = 0


MODELS: dict[str, Model] = {
    "cnn-s": Model(cnn_s, CNN_OPTIONS, WIDTH_S),
    "cnn-a": Model(cnn_a, CNN_OPTIONS, WIDTH_A),
    **{name: Model(resnet) for name in LAYERS},
    **{PREFIX + name: Model(unet) for name in LAYERS},
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


def width_of(architecture: Architecture) -> int:
    """How wide a network with a width to scale is at its first map; 0 for one that has none."""
    model = MODELS.get(architecture.name)
    return architecture.options.get("width", model.width) if model and model.width else 0


def widened(architecture: Architecture, factor: float) -> Architecture:
    """The same network `factor` times as wide at every stage but the logits.

    Args:
        architecture: Of a network with a width to scale, see `width_of`.
        factor: Above 0; one that makes the width a whole number.

    Raises:
        PlanError: The network has no width, or the factor does not give a whole one.
    """
    width = width_of(architecture)
    if not width:
        able = ", ".join(name for name, model in MODELS.items() if model.width)
        raise PlanError(f"network {architecture.name!r} has no width to scale; those that have one: {able}")
    wide = round(width * factor)
    if wide < 1 or abs(wide - width * factor) > NEAR_WHOLE:
        raise PlanError(
            f"network {architecture.name!r}: {factor:.4g} times a width of {width} is {width * factor:.4g}; give a "
            "factor that makes a whole number of at least 1"
        )
    return replace(architecture, options={**architecture.options, "width": wide})


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
        return MODELS[name].builder, MODELS[name].options
    from compress.models.vision import vision

    return vision, ()
