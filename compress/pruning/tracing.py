"""Which channels depend on each other: torch-pruning's dependency graph of a network, or of its parts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning import DependencyGraph

from compress.errors import CompressError
from compress.stages import evaluating

Graph = Any  # torch-pruning's DependencyGraph, which has no types


@dataclass(frozen=True)
class Region:
    """A part of a network whose channels were followed.

    Attributes:
        prefix: What comes before the names of its modules: "", or the name of the part and a dot.
        graph: The dependencies inside.
        held: Modules that work on the channels of what goes into the part, which stay.
    """

    prefix: str
    graph: Graph
    held: tuple[nn.Module, ...] = ()


def regions(model: nn.Module, image: Tensor) -> list[Region]:
    """The network followed as a whole, or part by part where that cannot be done; switches gradients on.

    A part is a chain of layers, of which only the inner widths may change; what lies between the parts stays as it is.

    Args:
        model: Left in eval mode, with every floating-point parameter requiring a gradient.
        image: One image (1, C, H, W).

    Raises:
        CompressError: See `trace`.
    """
    if followed(model):
        return [Region("", trace(model, image))]
    model.eval()
    check_output(model, image)
    found = {name: part for name, part in _parts(model, "") if isinstance(part, nn.Sequential)}
    given = _inputs(model, found, image)
    model.requires_grad_(True)
    return [Region(f"{name}.", trace(part, given[name]), _first(part)) for name, part in found.items() if name in given]


def followed(model: nn.Module) -> bool:
    """Whether channels can be followed through the whole network; of others only inner widths can be cut.

    torch-pruning follows neither a shuffle of channels nor attention over windows of a map.
    """
    if not from_torchvision(model):
        return True
    from torchvision.models import MaxVit, ShuffleNetV2, SwinTransformer

    return not any(isinstance(module, MaxVit | ShuffleNetV2 | SwinTransformer) for module in model.modules())


def _parts(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The largest chains with inner widths: of two layers with weights, or more."""
    if _is_chain(module):
        if sum(isinstance(layer, _ConvNd | nn.Linear) for layer in module.modules()) > 1:
            yield name, module
        return
    for own, child in module.named_children():
        yield from _parts(child, f"{name}.{own}" if name else own)


def _is_chain(module: nn.Module) -> bool:
    """Whether a module runs layers of torch one after the other, with squeeze-and-excitation at most between them."""
    from torchvision.ops import SqueezeExcitation

    if not list(module.children()):
        return False
    chained = isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward
    return chained and all(
        _is_chain(child)
        or isinstance(child, SqueezeExcitation)
        or (not list(child.children()) and type(child).__module__.startswith("torch.nn."))
        for child in module.children()
    )


def _first(part: nn.Module) -> tuple[nn.Module, ...]:
    """The layers of a chain before its first one that mixes channels."""
    held: list[nn.Module] = []
    for layer in part.modules():
        if isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and layer.groups < layer.in_channels):
            break
        held.append(layer)
    return tuple(held)


@torch.no_grad()
def _inputs(model: nn.Module, parts: Mapping[str, nn.Module], image: Tensor) -> dict[str, Tensor]:
    """Part to an input of the shape that it gets."""
    given: dict[str, Tensor] = {}

    def note(name: str, _part: nn.Module, args: tuple[Any, ...]) -> None:
        given[name] = torch.zeros_like(args[0])

    with evaluating(model), ExitStack() as hooks:
        for name, part in parts.items():
            hooks.callback(part.register_forward_pre_hook(partial(note, name)).remove)
        model(image)
    return given


def trace(model: nn.Module, image: Tensor) -> Graph:
    """Which channels of which layers depend on each other, found by one pass in eval mode; switches gradients on.

    Args:
        model: Left in eval mode, with every floating-point parameter requiring a gradient.
        image: One image (1, C, H, W).

    Raises:
        CompressError: The network does not take the image or gives more than one output, or torch-pruning cannot
            follow its layers.
    """
    model.eval()
    check_output(model, image)
    with named_failures(model), torch.enable_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unwrapped parameters detected", UserWarning)
        warnings.filterwarnings("error", ".*(Unknown operation|Maximum recursive depth)", UserWarning)
        model.requires_grad_(True)
        graph: Graph = DependencyGraph()  # type: ignore[no-untyped-call]
        graph.build_dependency(model, example_inputs=[image])
    return graph


@torch.no_grad()
def check_output(model: nn.Module, image: Tensor) -> None:
    """Nothing, once a network takes an image and gives one tensor; CompressError where it does not."""
    shape = "x".join(map(str, image.shape[1:]))
    try:
        output = model(image)
    except Exception as error:  # a network may raise anything about an image that it was not built for
        raise CompressError(
            f"{kind(model)} fails on an image of {shape}: {type(error).__name__}: {error}; give the size and channels "
            "that it was built for"
        ) from error
    if not isinstance(output, Tensor):
        count = f"{len(output)} outputs" if isinstance(output, tuple | list) else f"a {kind(output)}"
        raise CompressError(
            f"{kind(model)} gives {count}; only a network with one output, its logits, can be cut: wrap it in a "
            "module that returns them alone"
        )


@contextmanager
def named_failures(model: nn.Module) -> Iterator[None]:
    """A `with` whose failures come out as a CompressError that names the network."""
    try:
        yield
    except CompressError:
        raise
    except Exception as error:  # torch-pruning raises whatever it met in a layer that it does not know
        raise CompressError(
            f"torch-pruning cannot cut {kind(model)}: {type(error).__name__}: {error}; choose another network"
        ) from error


def from_torchvision(model: nn.Module) -> bool:
    """Whether a part of it is torchvision's; only then are torchvision's networks, slow to import, of interest."""
    return any(type(module).__module__.startswith("torchvision.models.") for module in model.modules())


def kind(thing: object) -> str:
    """What a thing is called in messages: the name of its class."""
    return type(thing).__name__
