"""Which layers of a network are quantized to how many bits, with or without what goes through them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from compress.edits import ActivationGrid, Grid
from compress.errors import PlanError, unknown_name
from compress.quantization.grids import HALF_BITS, LAYERS
from compress.quantization.places import plan_activations
from compress.stages import Staged

Rounding = Literal["nearest", "compensated"]

FLOAT_WEIGHTS = "float_weights"  # what a step of lineage calls the digest of the weights before


@dataclass(frozen=True)
class Scheme:
    """What is put on grids.

    Attributes:
        bits: Of one weight.
        activations: What goes through the layers, too, in 8 bits.
    """

    bits: int
    activations: bool = False


@dataclass(frozen=True)
class Static:
    """How activations find their grids.

    Attributes:
        ranges: How the range of each is chosen, a name in `compress.quantization.calibration.RANGES`.
        equalize: Bring the channels between two layers to like ranges first.
        correct_bias: Let the mean of each channel be what it was, at last.
    """

    ranges: str = "mse"
    equalize: bool = False
    correct_bias: bool = False


USUAL = Static()
SCHEMES: Mapping[str, Scheme] = {
    "fp16": Scheme(16),
    "w8": Scheme(8),
    "w4": Scheme(4),
    "w2": Scheme(2),
    "static": Scheme(7, activations=True),  # the sums of two products of 8 and 7 bits fit 16, which not all CPUs check
}
FULL_RANGE = Scheme(8, activations=True)
ROUNDINGS: tuple[Rounding, ...] = ("nearest", "compensated")


def read_scheme(name: str) -> Scheme:
    """The scheme of that name; PlanError for an unknown one."""
    if name not in SCHEMES:
        raise PlanError(unknown_name("scheme", name, SCHEMES))
    return SCHEMES[name]


def read_rounding(name: object) -> Rounding:
    """The rounding of that name; PlanError for an unknown one."""
    for rounding in ROUNDINGS:
        if rounding == name:
            return rounding
    raise PlanError(unknown_name("rounding", str(name), ROUNDINGS))


def plan(
    network: Staged,
    bits: int,
    *,
    answer: str = "logits",
    keep_float: Iterable[str] = (),
    mixed: Mapping[str, int] = MappingProxyType({}),
    idle: Collection[str] = (),
) -> tuple[Grid, ...]:
    """A grid for every convolution and linear layer of the network that its answer needs, in its order.

    Layers are named by stage, by module, or by a pattern of modules such as "*layer4*".

    Args:
        network: Only read.
        bits: Of each weight.
        answer: The stage that the network answers with; what only later stages own is left as it is.
        keep_float: Layers to leave as they are.
        mixed: Layers to the bits of their weights; of two entries that match a layer the later one counts.
        idle: Layers that no export writes, see `compress.quantization.idle_layers`; they stay as they are.

    Raises:
        PlanError: A name matches nothing, or nothing is left to quantize.
    """
    order = [stage.name for stage in network.stages]
    later = order[order.index(answer) + 1 :] if answer in order else []
    named = [name for name, layer in network.model.named_modules() if isinstance(layer, LAYERS) and name]
    layers = [name for name in named if not network.owns(later, name)]
    width = dict.fromkeys(layers, bits)
    for pattern, other in mixed.items():
        width |= dict.fromkeys(_matching(network, pattern, layers), other)
    left = {*idle, *(name for pattern in keep_float for name in _matching(network, pattern, layers))}
    grids = tuple(Grid(name, width[name]) for name in layers if name not in left)
    if not grids:
        raise PlanError("no layer is left to quantize; keep fewer as they are, or take a network with such layers")
    return grids


def plan_values(
    network: Staged, scheme: Scheme, grids: Iterable[Grid], image: Tensor, *, answer: str = "logits"
) -> tuple[ActivationGrid, ...]:
    """A grid for every value that a quantized layer takes or gives, where the scheme asks for them; else none.

    Args:
        network: Only read.
        scheme: What is wished.
        grids: Those of its weights; layers of 16 bits compute on floats.
        image: (B, C, H, W) scaled images to follow through the network.
        answer: The stage that the network answers with, which stays float.

    Raises:
        PlanError: See `compress.quantization.places.plan_activations`.
    """
    whole = {grid.module for grid in grids if grid.bits < HALF_BITS}
    return plan_activations(network, whole, image, answer=answer) if scheme.activations else ()


def _matching(network: Staged, pattern: str, layers: Sequence[str]) -> list[str]:
    """The layers that a pattern names, at least one."""
    found = [name for name in layers if _matches(network, pattern, name)]
    if not found:
        stages = ", ".join(stage.name for stage in network.stages)
        raise PlanError(
            f"{pattern!r}: no layer with weights matches; the stages are {stages}, the layers "
            f"{', '.join(layers[:12])}{', ...' if len(layers) > 12 else ''}"
        )
    return found


def _matches(network: Staged, pattern: str, layer: str) -> bool:
    stages = [stage.name for stage in network.stages]
    if pattern in stages:
        return network.owns([pattern], layer)
    return fnmatchcase(layer, pattern) or layer.startswith(f"{pattern}.")
