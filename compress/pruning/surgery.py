"""Narrowing a network for good, by cuts that can be written down and replayed, or only what its taps show."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch_pruning import DependencyGraph

from compress.edits import Cut
from compress.errors import CompressError, PlanError
from compress.pruning.importance import filter_norms, largest
from compress.stages import Staged, feature_shapes

Graph = Any  # torch-pruning's DependencyGraph, which has no types


def apply(network: Staged, cuts: Iterable[Cut], image: Tensor) -> Staged:
    """A copy of the network without the channels that were cut, its stages as wide as they then are.

    The weights that stay keep their values; batch-norm statistics, modes and `requires_grad` flags are kept too.

    Args:
        network: As it was before the first cut; left as it is.
        cuts: What to remove, in order.
        image: One image (1, C, H, W) that the network takes.

    Raises:
        PlanError: The network shows only some channels at a tap; cut it before it is narrowed.
        CompressError: A cut does not fit the network, or torch-pruning cannot follow the network's layers.
    """
    if network.keep:
        raise PlanError(
            f"stages {', '.join(network.keep)} are narrowed; cut the network first and narrow its taps then"
        )
    model = copy.deepcopy(network.model)
    modes = {module: module.training for module in model.modules()}
    learns = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    graph = trace(model, image)
    for cut in cuts:
        _remove(graph, cut)
    with named_failures(model):
        _refresh(model)
        shapes = feature_shapes(replace(network, model=model), image)
    logits = network.stages[-1]
    if shapes[logits.name][0] != logits.width:
        raise CompressError(
            f"the cuts leave {shapes[logits.name][0]} of the {logits.width} outputs of {_kind(model)}; none may be lost"
        )
    for module, training in modes.items():
        module.training = training
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(learns[name])
    stages = tuple(replace(stage, width=shapes[stage.name][0]) for stage in network.stages)
    return replace(network, model=model, stages=stages)


def narrow_taps(
    network: Staged, widths: Mapping[str, int], *, score: Callable[[Tensor], Tensor] = filter_norms
) -> Staged:
    """The same network, showing at each named tap only its best channels, in their order; no parameter changes.

    Args:
        network: An auxiliary; each named stage ends in a convolution, whose filters make the channels of its tap.
        widths: Stage to the number of channels that it shows.
        score: The weight (out, in, ...) of that convolution to the scores (out,) of its filters.

    Raises:
        PlanError: A stage is unknown, has no convolution, or does not have so many channels.

    Reference: Sarridis et al., InDistill, Algorithm 1.
    """
    kept = {name: _best_channels(network, name, width, score) for name, width in widths.items()}
    return replace(network, keep={**network.keep, **kept})


def trace(model: nn.Module, image: Tensor) -> Graph:
    """Which channels of which layers depend on each other, found by one pass in eval mode; switches gradients on.

    Args:
        model: Left in eval mode, with every floating-point parameter requiring a gradient.
        image: One image (1, C, H, W).

    Raises:
        CompressError: The network does not take the image or gives more than one output, or torch-pruning cannot
            follow its layers.
    """
    if _from_torchvision(model):
        _check_followed(model)
    model.eval()
    _check_output(model, image)
    with named_failures(model), torch.enable_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unwrapped parameters detected", UserWarning)
        warnings.filterwarnings("error", ".*(Unknown operation|Maximum recursive depth)", UserWarning)
        model.requires_grad_(True)
        graph: Graph = DependencyGraph()  # type: ignore[no-untyped-call]
        graph.build_dependency(model, example_inputs=[image])
    return graph


@torch.no_grad()
def _check_output(model: nn.Module, image: Tensor) -> None:
    shape = "x".join(map(str, image.shape[1:]))
    try:
        output = model(image)
    except Exception as error:  # a network may raise anything about an image that it was not built for
        raise CompressError(
            f"{_kind(model)} fails on an image of {shape}: {type(error).__name__}: {error}; give the size and channels "
            "that it was built for"
        ) from error
    if not isinstance(output, Tensor):
        count = f"{len(output)} outputs" if isinstance(output, tuple | list) else f"a {_kind(output)}"
        raise CompressError(
            f"{_kind(model)} gives {count}; only a network with one output, its logits, can be cut: wrap it in a "
            "module that returns them alone"
        )


def _remove(graph: Graph, cut: Cut) -> None:
    try:
        module = graph.model.get_submodule(cut.module)
    except AttributeError as error:
        raise CompressError(f"a cut names {cut.module!r}, which {_kind(graph.model)} does not have") from error
    with named_failures(graph.model):
        pruner = graph.get_pruner_of_module(module)
        if pruner is None or module not in graph.module2node:
            raise CompressError(f"a cut names {cut.module!r}, a {_kind(module)}, which has no channels to cut")
        width = graph.get_out_channels(module) if cut.out else graph.get_in_channels(module)
        if cut.channels[-1] >= width:
            raise CompressError(f"a cut removes channel {cut.channels[-1]} of {cut.module!r}, which has {width}")
        prune = pruner.prune_out_channels if cut.out else pruner.prune_in_channels
        group = graph.get_pruning_group(module, prune, list(cut.channels))
        if not graph.check_pruning_group(group):
            raise CompressError(f"a cut would leave {cut.module!r}, or a layer coupled to it, without channels")
        group.prune(record_history=False)


@contextmanager
def named_failures(model: nn.Module) -> Iterator[None]:
    """A `with` whose failures come out as a CompressError that names the network."""
    try:
        yield
    except CompressError:
        raise
    except Exception as error:  # torch-pruning raises whatever it met in a layer that it does not know
        raise CompressError(
            f"torch-pruning cannot cut {_kind(model)}: {type(error).__name__}: {error}; choose another network"
        ) from error


def _from_torchvision(model: nn.Module) -> bool:
    """Whether a part of it is torchvision's; only then are torchvision's networks, slow to import, of interest."""
    return any(type(module).__module__.startswith("torchvision.models.") for module in model.modules())


def _check_followed(model: nn.Module) -> None:
    from torchvision.models import MaxVit, ShuffleNetV2, SwinTransformer

    unfollowed = {
        MaxVit: "its attention over windows of the map",
        ShuffleNetV2: "its channel shuffle",
        SwinTransformer: "its attention over windows of the map",
    }
    for kind, reason in unfollowed.items():
        if any(isinstance(module, kind) for module in model.modules()):
            raise CompressError(
                f"torch-pruning cannot cut {kind.__name__}: it does not follow {reason}; choose another network"
            )


def _refresh(model: nn.Module) -> None:
    """Bring the width that a vision transformer keeps beside its layers in step with them."""
    if not _from_torchvision(model):
        return
    from torchvision.models import VisionTransformer

    if isinstance(model, VisionTransformer):
        model.hidden_dim = model.conv_proj.out_channels  # type: ignore[assignment]


def _kind(thing: object) -> str:
    return type(thing).__name__


def _best_channels(network: Staged, name: str, width: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    stage = network.stage(name)
    owned = [module for path, module in network.model.named_modules() if network.owns([name], path)]
    convolutions = [module for module in owned if isinstance(module, nn.Conv2d)]
    if not convolutions:
        raise PlanError(f"stage {name!r}: owns no convolution whose filters could be ranked; narrow another stage")
    weight = convolutions[-1].weight
    if len(weight) != stage.width:
        raise PlanError(
            f"stage {name!r}: its last convolution has {len(weight)} filters, its tap {stage.width} channels; "
            "narrow a stage whose feature is that convolution's"
        )
    if not 1 <= width <= stage.width:
        raise PlanError(
            f"stage {name!r}: cannot show {width} of {stage.width} channels; allowed are 1 to {stage.width}"
        )
    return largest(score(weight.detach()), width)
